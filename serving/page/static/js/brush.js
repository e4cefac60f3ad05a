// The brush: its size, its softness, and the ring that shows it.
/* global Konva */
import { $, stored } from "./dom.js";

const kept = stored("brush");

export class Brush {
  constructor(stage, canPaint) {
    this.stage = stage;
    this.canPaint = canPaint;
    const { share = 0.12, softness = 0 } = kept.read({});
    this.share = share;
    this.softness = softness;
    this.ring = new Konva.Ring({ listening: false, visible: false, fill: "#fff", stroke: "#000", strokeScaleEnabled: false, strokeWidth: 0.7, opacity: 0.85 });
    stage.controls.add(this.ring);
    const { container } = stage;
    container.addEventListener("pointermove", (event) => this.#follow(event));
    container.addEventListener("pointerleave", () => this.#hide());
    stage.addEventListener("view", () => this.#hide());
    $("#brush-size").addEventListener("input", () => this.#set({ share: ($("#brush-size").value / 100) ** 2 }));
    $("#brush-softness").addEventListener("input", () => this.#set({ softness: $("#brush-softness").value / 100 }));
    this.show();
  }

  /** In the picture's pixels: a share of its longer side, so that a brush fits every picture. */
  get radius() {
    const { width, height } = this.stage.artwork ?? { width: 64, height: 64 };
    return Math.max(0.5, (this.share * Math.max(width, height)) / 2);
  }

  larger(factor) {
    this.#set({ share: Math.min(1, Math.max(0.0004, this.share * factor)) });
  }

  softer(step) {
    this.#set({ softness: Math.min(1, Math.max(0, this.softness + step)) });
  }

  show() {
    $("#brush-size").value = Math.round(100 * Math.sqrt(this.share));
    $("#brush-softness").value = Math.round(100 * this.softness);
    $("#brush-size-shown").value = `${Math.max(1, Math.round(2 * this.radius))} px`;
    $("#brush-softness-shown").value = `${Math.round(100 * this.softness)} %`;
  }

  #set(values) {
    Object.assign(this, values);
    kept.write({ share: this.share, softness: this.softness });
    this.show();
    this.ring.visible() && this.#place(this.ring.position());
  }

  #follow(event) {
    if (event.pointerType === "touch" || !this.canPaint()) {
      this.#hide();
      return;
    }
    this.#place(this.stage.toPicture(this.stage.onScreen(event)));
  }

  #place(point) {
    const thin = 1.2 / this.stage.scale;
    this.ring.setAttrs({ ...point, innerRadius: this.radius, outerRadius: this.radius + thin, visible: true });
    this.stage.controls.batchDraw();
  }

  #hide() {
    if (this.ring.visible()) this.ring.visible(false);
    this.stage.controls.batchDraw();
  }
}
