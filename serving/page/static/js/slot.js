// A place for one picture: chosen, dropped, shown small, taken away.
import { el } from "./dom.js";

const TYPES = "image/*,.heic,.heif,.avif,.jxl";

const dataURL = (file) =>
  new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });

/** `empty` is what it says without a picture; a "change" tells of another one. `value` is its data URL, or undefined. */
export class Slot extends EventTarget {
  constructor(label, empty) {
    super();
    this.value = undefined;
    this.empty = empty;
    this.input = el("input", { type: "file", accept: TYPES, hidden: true, tabIndex: -1, "aria-label": label, onchange: () => this.#take(this.input.files) });
    this.image = el("img", { alt: "", hidden: true });
    this.text = el("span", { className: "muted" }, empty);
    this.button = el("button", { type: "button", className: "slot-pick", "aria-label": label, onclick: () => this.input.click() }, this.image, this.text);
    this.away = el("button", { type: "button", className: "icon-button", dataset: { icon: "clear" }, title: "Take it away", "aria-label": `${label}: take it away`, hidden: true, onclick: () => this.#set(undefined) });
    this.element = el("div", { className: "slot" }, this.button, this.away, this.input);
    this.element.addEventListener("drop", (event) => {
      event.preventDefault(); // the page does not open it as the picture to work on
      this.#take(event.dataTransfer.files);
    });
  }

  write(value, name = "A picture") {
    this.value = value;
    this.image.hidden = this.away.hidden = value === undefined;
    if (value === undefined) this.image.removeAttribute("src");
    else this.image.src = value;
    this.text.textContent = value === undefined ? this.empty : name;
  }

  async #take([file]) {
    if (file) this.#set(await dataURL(file), file.name);
    this.input.value = "";
  }

  #set(value, name) {
    this.write(value, name);
    this.dispatchEvent(new Event("change"));
  }
}
