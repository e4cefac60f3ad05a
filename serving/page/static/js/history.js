// The strip of what was painted.
import { $, $$, el } from "./dom.js";
import * as vault from "./vault.js";

export class History extends EventTarget {
  constructor() {
    super();
    this.strip = $("#history");
    this.works = new Map();
    this.strip.addEventListener("wheel", (event) => {
      if (!event.deltaX) this.strip.scrollLeft += event.deltaY;
    }, { passive: true });
    this.strip.addEventListener("keydown", (event) => this.#keys(event));
  }

  async load() {
    for (const work of (await vault.all()).reverse()) this.#put(work);
    this.#showEmpty();
  }

  /** Keep a work and show it first; returns it with its id. */
  async add(work) {
    const { id, gone } = await vault.add(work);
    for (const old of gone) this.#drop(old);
    const kept = { ...work, id };
    this.#put(kept);
    this.#showEmpty();
    return kept;
  }

  mark(work) {
    for (const item of $$(".work", this.strip)) item.classList.toggle("selected", item.dataset.id === String(work?.id));
  }

  /** The work before or after another one. */
  beside(work, step) {
    const ids = $$(".work", this.strip).map((item) => item.dataset.id);
    const at = work ? ids.indexOf(String(work.id)) + step : 0;
    return this.works.get(ids[at]);
  }

  async remove(work) {
    await vault.remove(work.id);
    this.#drop(work.id);
    this.#showEmpty();
    this.dispatchEvent(new CustomEvent("removed", { detail: work }));
  }

  #put(work) {
    this.works.set(String(work.id), work);
    const url = URL.createObjectURL(work.result);
    const text = work.values.prompt || work.verb;
    const time = new Date(work.time).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
    const tell = (type) => () => this.dispatchEvent(new CustomEvent(type, { detail: work }));
    const item = el("div", { className: "work", role: "listitem", dataset: { id: work.id } },
      el("button", { className: "work-open", title: `${text}\n${work.verb}, seed ${work.values.seed ?? "?"}, ${time}`, "aria-label": `${work.verb}: ${text}, at ${time}`, onclick: tell("open") },
        el("img", { src: url, alt: "", loading: "lazy", draggable: false })),
      el("div", { className: "work-actions" },
        el("button", { className: "icon-button", dataset: { icon: "replay" }, title: "Use its settings again", "aria-label": `Use the settings of: ${text}`, onclick: tell("replay") }),
        el("button", { className: "icon-button", dataset: { icon: "clear" }, title: "Delete", "aria-label": `Delete: ${text}`, onclick: () => this.remove(work) })));
    this.strip.prepend(item);
  }

  #drop(id) {
    this.works.delete(String(id));
    const item = $(`.work[data-id="${id}"]`, this.strip);
    if (!item) return;
    URL.revokeObjectURL($("img", item).src);
    item.remove();
  }

  #keys(event) {
    const item = event.target.closest(".work");
    if (!item) return;
    const next = { ArrowRight: item.nextElementSibling, ArrowLeft: item.previousElementSibling }[event.key];
    if (next) $(".work-open", next).focus();
    else if (event.key === "Delete") this.remove(this.works.get(item.dataset.id));
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  #showEmpty() {
    $("#history-empty").hidden = this.works.size > 0;
    if (!vault.isKept()) $("#history-empty").textContent = "This browser keeps nothing: the history ends with this tab.";
  }
}
