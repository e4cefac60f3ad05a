// The frame around the picture: its edges and corners are dragged outwards to say how far the picture grows.
/* global Konva */

const SIDES = ["left", "top", "right", "bottom"];
const HANDLES = [["left"], ["top"], ["right"], ["bottom"], ["left", "top"], ["right", "top"], ["left", "bottom"], ["right", "bottom"]];
const CURSORS = ["ew-resize", "ns-resize", "ew-resize", "ns-resize", "nwse-resize", "nesw-resize", "nesw-resize", "nwse-resize"];
const ACCENT = "#6e6ade";

export class Frame extends EventTarget {
  constructor(stage) {
    super();
    this.stage = stage;
    this.snap = 8;
    this.group = new Konva.Group({ visible: false });
    this.line = new Konva.Rect({ stroke: ACCENT, strokeWidth: 2, dash: [6, 4], strokeScaleEnabled: false, listening: false });
    this.ground = new Konva.Rect({ fill: ACCENT, opacity: 0.16, listening: false });
    this.group.add(this.line);
    stage.pictures.add(this.ground);
    this.ground.moveToBottom();
    this.ground.visible(false);
    this.handles = HANDLES.map((sides, i) => this.#handle(sides, CURSORS[i]));
    stage.controls.add(this.group);
    stage.addEventListener("view", () => this.draw());
  }

  /** `editable` shows the handles too. */
  show(visible, editable = visible) {
    this.group.visible(visible);
    for (const handle of this.handles) handle.visible(editable);
    this.ground.visible(visible);
    this.draw();
  }

  /** Lay the handles on the frame; they keep their size on the screen. */
  draw() {
    if (!this.group.visible() || !this.stage.artwork) return;
    const { x, y, width, height } = this.stage.artwork.frame;
    this.line.setAttrs({ x, y, width, height });
    this.ground.setAttrs({ x, y, width, height });
    for (const handle of this.handles) this.#place(handle, x, y, width, height);
    this.stage.controls.batchDraw();
    this.stage.pictures.batchDraw();
  }

  #handle(sides, cursor) {
    const handle = new Konva.Rect({ name: "handle", draggable: true, fill: "#fff", stroke: ACCENT, strokeWidth: 2, strokeScaleEnabled: false, hitStrokeWidth: 18 });
    handle.sides = sides;
    const style = this.stage.container.style;
    handle.on("mouseenter", () => (style.cursor = cursor));
    handle.on("mouseleave", () => (style.cursor = ""));
    handle.on("dragmove", (event) => this.#dragged(handle, event.evt));
    handle.on("dragend", () => this.dispatchEvent(new Event("end")));
    this.group.add(handle);
    return handle;
  }

  #place(handle, x, y, width, height) {
    const unit = 1 / this.stage.scale;
    const { sides } = handle;
    const [across, down] = [sides.some((side) => side === "left" || side === "right"), sides.some((side) => side === "top" || side === "bottom")];
    const w = (across && !down ? 8 : !across ? 34 : 14) * unit;
    const h = (down && !across ? 8 : !down ? 34 : 14) * unit;
    const cx = sides.includes("left") ? x : sides.includes("right") ? x + width : x + width / 2;
    const cy = sides.includes("top") ? y : sides.includes("bottom") ? y + height : y + height / 2;
    handle.setAttrs({ x: cx - w / 2, y: cy - h / 2, width: w, height: h, cornerRadius: 4 * unit });
  }

  #dragged(handle, event) {
    const { artwork } = this.stage;
    const center = { x: handle.x() + handle.width() / 2, y: handle.y() + handle.height() / 2 };
    const reach = { left: -center.x, top: -center.y, right: center.x - artwork.width, bottom: center.y - artwork.height };
    const snap = event?.altKey ? 1 : this.snap;
    for (const side of SIDES.filter((each) => handle.sides.includes(each))) {
      artwork.growth[side] = Math.max(0, Math.round(reach[side] / snap) * snap);
    }
    this.draw();
    this.dispatchEvent(new Event("change"));
  }
}
