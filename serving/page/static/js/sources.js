// Pictures come in: dropped, pasted, picked, or one of the examples. Several are a batch.
import { $, $$, el, toast } from "./dom.js";
import { Artwork } from "./artwork.js";

export const EXAMPLES = {
  fox: "fox, ink style", cat: "cat face, noto style", octopus: "octopus, twemoji style", pizza: "pizza, ink style",
  rocket: "rocket, noto style", strawberry: "strawberry, fluent style", "house-sketch": "house, fluent style", "hamburger-sketch": "hamburger, fluent style",
};

export class Sources extends EventTarget {
  constructor() {
    super();
    this.artworks = [];
    this.current = null;
    const input = $("#file-input");
    input.addEventListener("change", () => {
      this.open([...input.files]);
      input.value = "";
    });
    $("#open-pictures").addEventListener("click", () => $("#open-dialog").showModal());
    $("#pick-files").addEventListener("click", () => this.pick());
    this.#drops();
    document.addEventListener("paste", (event) => {
      const files = [...event.clipboardData.items].filter((item) => item.type.startsWith("image/")).map((item) => item.getAsFile());
      if (!files.length) return;
      event.preventDefault();
      this.open(files);
    });
    $("#examples").replaceChildren(...Object.keys(EXAMPLES).map((name) =>
      el("button", { className: "example", "aria-label": `Example: ${name.replace("-", " ")}`, title: name.replace("-", " "), onclick: () => this.openExample(name) },
        el("img", { src: `page/examples/${name}.png`, alt: "", width: 64, height: 64 }))));
  }

  pick() {
    $("#file-input").click();
  }

  /** Open files in place of what is open; those that are no pictures are named. */
  async open(files) {
    const read = await Promise.allSettled(files.map((file) => Artwork.read(file, file.name || "The pasted picture")));
    for (const { reason } of read.filter(({ status }) => status === "rejected")) toast(reason.message, "error");
    const artworks = read.filter(({ status }) => status === "fulfilled").map(({ value }) => value);
    if (!artworks.length) return;
    $("#open-dialog").close();
    this.use(artworks);
  }

  async openExample(name) {
    const response = await fetch(`page/examples/${name}.png`);
    $("#open-dialog").close();
    this.use([await Artwork.read(await response.blob(), `${name}.png`)]);
    this.dispatchEvent(new CustomEvent("example", { detail: EXAMPLES[name] }));
  }

  use(artworks) {
    this.artworks = artworks;
    this.select(artworks[0]);
  }

  /** Put a picture in the place of the one that is selected. */
  replaceCurrent(artwork) {
    this.artworks = this.artworks.map((each) => (each === this.current ? artwork : each));
    if (!this.artworks.includes(artwork)) this.artworks = [artwork];
    this.select(artwork);
  }

  select(artwork) {
    this.current = artwork;
    this.#show();
    this.dispatchEvent(new Event("select"));
  }

  #drop(artwork) {
    const at = this.artworks.indexOf(artwork);
    this.artworks = this.artworks.filter((each) => each !== artwork);
    this.select(artwork === this.current ? this.artworks[Math.min(at, this.artworks.length - 1)] : this.current);
  }

  #show() {
    const strip = $("#sources");
    strip.hidden = this.artworks.length < 2;
    strip.replaceChildren(...this.artworks.map((artwork) =>
      el("div", { className: "source" },
        el("button", { type: "button", "aria-pressed": String(artwork === this.current), "aria-label": artwork.name, title: artwork.name, onclick: () => this.select(artwork) },
          el("img", { src: artwork.url, alt: "" })),
        el("button", { type: "button", className: "source-drop", "aria-label": `Leave out ${artwork.name}`, title: "Leave out", onclick: () => this.#drop(artwork) }, "×"))));
  }

  #drops() {
    const zone = document.body;
    let depth = 0;
    const over = (on) => $("#drop-zone").classList.toggle("dropping", on);
    const isFiles = (event) => [...event.dataTransfer.types].includes("Files");
    zone.addEventListener("dragenter", (event) => isFiles(event) && over(++depth > 0));
    zone.addEventListener("dragleave", (event) => isFiles(event) && over(--depth > 0));
    zone.addEventListener("dragover", (event) => event.preventDefault());
    zone.addEventListener("drop", (event) => {
      depth = 0;
      over(false);
      if (event.defaultPrevented) return; // a slot took it
      event.preventDefault();
      this.open([...event.dataTransfer.files]);
    });
  }
}
