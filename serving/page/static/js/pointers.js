// Mouse, fingers and pen on the canvas: strokes, moving the view, pinching.

/**
 * `tools` says what a press does: {tool(), canPaint(), brush() -> {radius, softness}}.
 * Shapes that are dragged (the frame, the divider) are Konva's; a press on one is left alone.
 */
export class Pointers {
  constructor(stage, tools) {
    Object.assign(this, { stage, tools });
    this.down = new Map();
    this.gesture = null;
    this.space = false;
    this.sawPen = false;
    this.last = null;
    const { container } = stage;
    container.addEventListener("pointerdown", (event) => this.#pressed(event));
    container.addEventListener("pointermove", (event) => this.#moved(event));
    for (const type of ["pointerup", "pointercancel"]) container.addEventListener(type, (event) => this.#released(event));
    container.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    container.addEventListener("contextmenu", (event) => event.preventDefault());
  }

  /** Whether the space bar is held: then everything moves the view. */
  hold(space) {
    this.space = space;
    this.stage.container.classList.toggle("grabbing", space);
  }

  #pressed(event) {
    const point = this.stage.onScreen(event);
    if (this.stage.konva.getIntersection(point)?.hasName("handle") && !this.space) return;
    if (event.pointerType === "pen") this.sawPen = true;
    this.stage.container.setPointerCapture(event.pointerId);
    this.down.set(event.pointerId, point);
    if (this.down.size > 1) {
      this.stage.artwork.mask.abort();
      this.gesture = "pinch";
    } else if (this.#paints(event)) {
      this.gesture = "stroke";
      this.stage.artwork.mask.begin();
      this.last = this.#dab(event);
      this.#segment(this.last, event);
    } else {
      this.gesture = "pan";
    }
  }

  #paints(event) {
    const palm = this.sawPen && event.pointerType === "touch";
    return !palm && !this.space && [0, 5].includes(event.button) && this.tools.canPaint();
  }

  #moved(event) {
    const before = this.down.get(event.pointerId);
    if (!before) return;
    const point = this.stage.onScreen(event);
    if (this.gesture === "stroke") {
      const parts = event.getCoalescedEvents?.() ?? [];
      for (const part of parts.length ? parts : [event]) this.#segment(this.#dab(part), event);
    } else if (this.gesture === "pan") {
      this.stage.pan(point.x - before.x, point.y - before.y);
    } else if (this.down.size === 2) {
      const [other] = [...this.down].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
      const reach = (at) => Math.max(10, Math.hypot(at.x - other.x, at.y - other.y));
      const middle = { x: (point.x + other.x) / 2, y: (point.y + other.y) / 2 };
      this.stage.zoom(reach(point) / reach(before), middle);
      this.stage.pan((point.x - before.x) / 2, (point.y - before.y) / 2);
    }
    this.down.set(event.pointerId, point);
  }

  #released(event) {
    if (!this.down.delete(event.pointerId)) return;
    if (this.gesture === "stroke") this.stage.artwork.mask.end();
    // The finger that stays after a pinch moves the view; it does not paint.
    this.gesture = this.down.size ? "pan" : null;
  }

  #dab(event) {
    const { radius } = this.tools.brush();
    const pressure = event.pointerType === "pen" ? 0.2 + 0.8 * event.pressure : 1;
    return { ...this.stage.toPicture(this.stage.onScreen(event)), radius: Math.max(0.5, radius * pressure) };
  }

  #segment(to, event) {
    const erases = this.tools.tool() === "eraser" || (event.buttons & 32) !== 0;
    this.stage.artwork.mask.segment(this.last, to, this.tools.brush().softness, erases);
    this.last = to;
  }

  #wheel(event) {
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 16 : 1;
    if (event.shiftKey) {
      this.stage.pan(-(event.deltaX || event.deltaY) * lines, 0);
    } else {
      const speed = event.ctrlKey ? 0.01 : 0.0018; // a pinch on a trackpad comes as small turns with ctrl
      this.stage.zoom(Math.exp(-event.deltaY * lines * speed), this.stage.onScreen(event));
    }
  }
}
