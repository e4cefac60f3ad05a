// Before and after: a divider on the picture, and a slider that says the same to the keyboard.
/* global Konva */
import { $ } from "./dom.js";

export class Compare {
  constructor(stage) {
    this.stage = stage;
    this.slider = $("#compare");
    this.grip = new Konva.Group({ visible: false, draggable: true, dragBoundFunc: (point) => this.#bound(point) });
    this.line = new Konva.Rect({ name: "handle", fill: "#fff", shadowBlur: 4, shadowOpacity: 0.5 });
    this.knob = new Konva.Circle({ name: "handle", fill: "#fff", shadowBlur: 4, shadowOpacity: 0.4 });
    this.arrows = new Konva.Path({ data: "M-3 -4L-7 0L-3 4M3 -4L7 0L3 4", stroke: "#444", strokeWidth: 1.8, listening: false, lineCap: "round", lineJoin: "round" });
    this.grip.add(this.line, this.knob, this.arrows);
    stage.controls.add(this.grip);
    this.grip.on("mouseenter", () => (stage.container.style.cursor = "ew-resize"));
    this.grip.on("mouseleave", () => (stage.container.style.cursor = ""));
    this.grip.on("dragmove", () => this.set(this.#share(this.grip.x())));
    this.slider.addEventListener("input", () => this.set(this.slider.value / 1000));
    stage.addEventListener("split", () => this.draw());
    stage.addEventListener("view", () => this.draw());
    this.active = false;
    this.revealing = false;
  }

  /** Where the user puts the divider: that ends a sweep. */
  set(split) {
    this.revealing = false;
    this.stage.setSplit(split);
  }

  show(active) {
    this.active = active;
    this.grip.visible(active);
    this.draw();
  }

  /** Sweep from the input to the result, so that the eye sees what changed. */
  async reveal() {
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) {
      this.stage.setSplit(0);
      return;
    }
    this.revealing = true;
    const begin = performance.now();
    const step = (now) => {
      const t = Math.min(1, (now - begin) / 700);
      if (!this.active || !this.revealing) return;
      this.stage.setSplit((1 - t) ** 3);
      if (t < 1) requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }

  draw() {
    if (!this.active) {
      this.stage.controls.batchDraw();
      return;
    }
    const unit = 1 / this.stage.scale;
    const { x, y, width, height } = this.stage.after.getAttrs();
    this.grip.position({ x: x + this.stage.split * width, y: 0 });
    this.line.setAttrs({ x: -unit, y, width: 2 * unit, height, hitStrokeWidth: 20, shadowBlur: 4 * unit });
    this.knob.setAttrs({ y: y + height / 2, radius: 15 * unit, shadowBlur: 4 * unit });
    this.arrows.setAttrs({ y: y + height / 2, scaleX: unit, scaleY: unit });
    this.slider.value = Math.round(1000 * this.stage.split);
    this.slider.setAttribute("aria-valuetext", `${Math.round(100 * this.stage.split)} % input`);
    this.stage.controls.batchDraw();
  }

  #share(x) {
    const place = this.stage.after.getAttrs();
    return Math.min(1, Math.max(0, (x - place.x) / place.width));
  }

  /** Where the grip may be, in pixels of the screen. */
  #bound(point) {
    const { x, width } = this.stage.after.getAttrs();
    const [scale, origin] = [this.stage.scale, this.stage.konva.x()];
    return { x: Math.min(origin + (x + width) * scale, Math.max(origin + x * scale, point.x)), y: this.grip.absolutePosition().y };
  }
}
