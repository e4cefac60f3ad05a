// The picture under work: tools, mask, frame, and the result that is shown over it.
import { $, $$, on } from "./dom.js";
import { NO_GROWTH, placeOf } from "./artwork.js";
import { Brush } from "./brush.js";
import { Compare } from "./compare.js";
import { Frame } from "./frame.js";
import { Pointers } from "./pointers.js";
import { Stage } from "./stage.js";

export class Editor extends EventTarget {
  constructor() {
    super();
    this.stage = new Stage($("#stage"));
    this.tool = "brush";
    this.mode = "repaint";
    this.busy = false;
    this.work = null;
    this.brush = new Brush(this.stage, () => this.canPaint);
    this.frame = new Frame(this.stage);
    this.compare = new Compare(this.stage);
    this.pointers = new Pointers(this.stage, {
      tool: () => this.tool,
      canPaint: () => this.canPaint,
      brush: () => this.brush,
    });
    this.frame.addEventListener("change", () => this.#tell("grown"));
    this.frame.addEventListener("end", () => this.#growthInView());
    this.stage.addEventListener("view", () => ($("#zoom-shown").value = `${Math.round(100 * this.stage.scale)} %`));
    on("[data-tool]", "click", ({ currentTarget }) => this.choose(currentTarget.dataset.tool));
    const commands = { undo: "undo", redo: "redo", "mask-fill": "fill", "mask-invert": "invert", "mask-clear": "clear" };
    for (const [id, command] of Object.entries(commands)) $(`#${id}`).addEventListener("click", () => this.change(command));
    $("#zoom-in").addEventListener("click", () => this.stage.zoom(1.3));
    $("#zoom-out").addEventListener("click", () => this.stage.zoom(1 / 1.3));
    $("#zoom-fit").addEventListener("click", () => this.fit());
  }

  get artwork() {
    return this.stage.artwork;
  }

  get canPaint() {
    return ["brush", "eraser"].includes(this.tool) && this.mode === "repaint" && !this.busy && !this.stage.showsResult;
  }

  /** What the server is to do, by what the user has done. */
  get verb() {
    if (this.mode === "repaint") return this.artwork?.mask.empty ?? true ? "img2img" : "inpaint";
    return this.mode === "extend" ? "outpaint" : "upscale";
  }

  /** Work on a picture. */
  open(artwork) {
    this.#watch(artwork);
    this.work = null;
    this.stage.show(artwork);
    this.#update();
    this.fit();
  }

  choose(tool) {
    if (this.busy) return;
    if (tool !== "hand") {
      this.edit();
      this.setMode(tool === "frame" ? "extend" : "repaint");
    }
    this.tool = tool;
    this.#update();
  }

  setMode(mode) {
    const changed = mode !== this.mode;
    this.mode = mode;
    if (mode === "extend") this.tool = "frame";
    else if (mode === "upscale") this.tool = "hand";
    else if (changed && this.tool !== "eraser") this.tool = "brush";
    this.#update();
    if (changed) this.#tell("mode");
    if (changed && !this.stage.showsResult) this.fit();
  }

  /** Do something to the mask: undo, redo, fill, invert or clear. */
  change(command) {
    if (this.busy || !this.artwork) return;
    this.edit();
    if (this.mode === "extend" && ["clear", "undo"].includes(command)) {
      Object.assign(this.artwork.growth, NO_GROWTH);
      this.frame.draw();
      this.#tell("grown");
      this.fit();
      return;
    }
    this.setMode("repaint");
    this.artwork.mask[command]();
  }

  setGrowth(growth) {
    Object.assign(this.artwork.growth, growth);
    this.frame.draw();
    this.#growthInView();
    this.#update();
  }

  fit() {
    this.stage.fit(this.mode === "extend" && !this.stage.showsResult ? 0.28 : 0);
  }

  setBusy(busy) {
    this.busy = busy;
    this.#update();
  }

  /** Show a work's result over its input. */
  async showWork(work, artwork, reveal = false) {
    this.#watch(artwork);
    const bitmap = await createImageBitmap(work.result);
    if (this.artwork !== artwork) this.stage.show(artwork);
    this.work = work;
    this.stage.showResult(bitmap, placeOf(artwork, work.verb, work.growth, bitmap.width, bitmap.height));
    this.#update();
    this.stage.fit();
    if (reveal) this.compare.reveal();
    else this.stage.setSplit(0);
  }

  /** Back from a result to its input. */
  edit() {
    if (!this.work && !this.stage.showsResult) return;
    this.work = null;
    this.stage.hideResult();
    this.#update();
    this.fit();
    this.#tell("edit");
  }

  /** Show the input or the result. */
  flip() {
    if (!this.work) return false;
    this.compare.set(this.stage.split > 0.5 ? 0 : 1);
    return true;
  }

  #watch(artwork) {
    if (artwork === this.watched) return;
    this.watched?.mask.removeEventListener("change", this.#masked);
    artwork.mask.addEventListener("change", this.#masked);
    this.watched = artwork;
  }

  #masked = () => {
    this.#update();
    this.#tell("mode");
  };

  /** A frame that was dragged out of view is brought back into it. */
  #growthInView() {
    const { x, y, width, height } = this.artwork.frame;
    const { scale, konva } = this.stage;
    const [left, top] = [konva.x() + x * scale, konva.y() + y * scale];
    const out = left < 0 || top < 0 || left + width * scale > konva.width() || top + height * scale > konva.height();
    if (out) this.fit();
  }

  #update() {
    const { stage, artwork } = this;
    const result = this.work !== null;
    for (const button of $$("[data-tool]")) button.setAttribute("aria-pressed", String(button.dataset.tool === this.tool));
    stage.framed = this.mode === "extend";
    this.frame.show(stage.framed && !stage.showsResult, !this.busy);
    this.compare.show(result && !this.busy);
    $("#result-bar").hidden = !result || this.busy;
    $("#brush-bar").hidden = !this.canPaint;
    stage.container.classList.toggle("painting", this.canPaint);
    if (!artwork) return;
    const { mask } = artwork;
    stage.maskImage.visible(!stage.showsResult && this.mode === "repaint");
    $("#undo").disabled = this.busy || (this.mode === "extend" ? !artwork.grows : !mask.done.length);
    $("#redo").disabled = this.busy || !mask.undone.length;
    $("#mask-clear").disabled = this.busy || (this.mode === "extend" ? !artwork.grows : mask.empty);
    for (const id of ["#mask-fill", "#mask-invert"]) $(id).disabled = this.busy;
    const size = result ? `${this.work.width} × ${this.work.height}` : this.mode === "extend" ? `${artwork.frame.width} × ${artwork.frame.height}` : `${artwork.width} × ${artwork.height}`;
    $("#size-shown").textContent = size;
    $("#stage").setAttribute("aria-label", `${result ? "The result" : artwork.name}, ${size} pixels${!result && !mask.empty ? ", with a mask" : ""}`);
    this.brush.show();
    stage.redraw();
  }

  #tell(type) {
    if (type === "grown") this.#update();
    this.dispatchEvent(new Event(type));
  }
}
