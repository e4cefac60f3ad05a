// A picture's mask, with its undo, on a canvas of the picture's size that shows it.
import { cut, greys, paintSegment, paste, tinted, union } from "./levels.js";

const COLOUR = [110, 106, 222];
const MOST_UNDO = 60;

export class Mask extends EventTarget {
  constructor(width, height) {
    super();
    this.width = width;
    this.height = height;
    this.levels = new Uint8Array(width * height);
    this.canvas = new OffscreenCanvas(width, height);
    this.empty = true;
    this.undone = [];
    this.done = [];
    this.before = null;
    this.touched = null;
  }

  get whole() {
    return { left: 0, top: 0, right: this.width, bottom: this.height };
  }

  begin() {
    this.before = this.levels.slice();
    this.touched = null;
  }

  /** A segment of a stroke; ends are {x, y, radius} in pixels. */
  segment(from, to, softness, erase) {
    const box = paintSegment(this.levels, this.width, this.height, from, to, softness, erase);
    this.touched = union(this.touched, box);
    if (box) this.#draw(box);
  }

  end() {
    const box = this.touched;
    if (this.before && box) this.#remember(box, cut(this.before, this.width, box));
    this.before = null;
    this.#changed();
  }

  /** Take back the stroke under way, as when a second finger begins a pinch. */
  abort() {
    if (!this.before) return;
    this.levels = this.before;
    this.before = null;
    this.#draw(this.whole);
    this.#changed();
  }

  fill() {
    this.#everywhere(() => this.levels.fill(255));
  }

  clear() {
    if (!this.empty) this.#everywhere(() => this.levels.fill(0));
  }

  invert() {
    this.#everywhere(() => this.levels.forEach((level, i) => (this.levels[i] = 255 - level)));
  }

  undo() {
    this.#exchange(this.done, this.undone);
  }

  redo() {
    this.#exchange(this.undone, this.done);
  }

  /** The mask as a PNG of greys, white where it is repainted. */
  async blob() {
    const canvas = new OffscreenCanvas(this.width, this.height);
    canvas.getContext("2d").putImageData(greys(this.levels, this.width, this.height), 0, 0);
    return canvas.convertToBlob({ type: "image/png" });
  }

  /** Take the levels of a mask's picture. */
  async load(blob) {
    const bitmap = await createImageBitmap(blob);
    const canvas = new OffscreenCanvas(this.width, this.height);
    const context = canvas.getContext("2d");
    context.drawImage(bitmap, 0, 0, this.width, this.height);
    const { data } = context.getImageData(0, 0, this.width, this.height);
    this.#everywhere(() => this.levels.forEach((_, i) => (this.levels[i] = data[4 * i])));
  }

  #everywhere(change) {
    const before = this.levels.slice();
    change();
    this.#remember(this.whole, before);
    this.#draw(this.whole);
    this.#changed();
  }

  #remember(box, levels) {
    this.done.push({ box, levels });
    if (this.done.length > MOST_UNDO) this.done.shift();
    this.undone = [];
  }

  #exchange(from, to) {
    const entry = from.pop();
    if (!entry) return;
    to.push({ box: entry.box, levels: cut(this.levels, this.width, entry.box) });
    paste(this.levels, this.width, entry.box, entry.levels);
    this.#draw(entry.box);
    this.#changed();
  }

  #draw(box) {
    const context = this.canvas.getContext("2d");
    context.putImageData(tinted(this.levels, this.width, box, COLOUR), box.left, box.top);
    this.dispatchEvent(new Event("drawn"));
  }

  #changed() {
    this.empty = !this.levels.some((level) => level > 0);
    this.dispatchEvent(new Event("change"));
  }
}
