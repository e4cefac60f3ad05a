// The canvas: what lies on it, and the view of it. Positions are in the picture's pixels unless they say screen.
/* global Konva */

const MARGIN = 28;
const CRISP = 3;

export class Stage extends EventTarget {
  constructor(container) {
    super();
    this.container = container;
    this.konva = new Konva.Stage({ container, width: container.clientWidth || 1, height: container.clientHeight || 1 });
    this.pictures = new Konva.Layer({ listening: false });
    this.controls = new Konva.Layer();
    this.konva.add(this.pictures, this.controls);
    this.shadow = new Konva.Rect({ fill: "#888", shadowBlur: 24, shadowOpacity: 0.3, shadowForStrokeEnabled: false });
    this.before = new Konva.Image();
    this.afterGroup = new Konva.Group();
    this.after = new Konva.Image({ visible: false });
    this.maskImage = new Konva.Image({ opacity: 0.62 });
    this.afterGroup.add(this.after);
    this.pictures.add(this.shadow, this.before, this.afterGroup, this.maskImage);
    this.artwork = null;
    this.split = 0;
    this.redrawn = false;
    this.fitted = true;
    this.framed = false;
    new ResizeObserver(() => this.#resized()).observe(container);
  }

  get scale() {
    return this.konva.scaleX();
  }

  get showsResult() {
    return this.after.visible();
  }

  /** Show a picture with its mask. */
  show(artwork) {
    const moved = !this.artwork || this.artwork.width !== artwork.width || this.artwork.height !== artwork.height;
    this.artwork?.mask.removeEventListener("drawn", this.redraw);
    this.artwork = artwork;
    artwork.mask.addEventListener("drawn", this.redraw);
    this.before.image(artwork.bitmap);
    this.maskImage.image(artwork.mask.canvas);
    this.hideResult();
    if (moved) this.fit();
  }

  /** Lay a picture, an image or a bitmap, over a rectangle of the input: a preview, or a result. */
  showResult(image, place) {
    this.after.setAttrs({ image, ...place, visible: true });
    this.shadow.setAttrs(place);
    this.maskImage.visible(false);
    this.setSplit(this.split);
  }

  hideResult() {
    this.after.visible(false);
    if (this.artwork) this.shadow.setAttrs(this.artwork.all);
    this.maskImage.visible(true);
    this.setSplit(0);
  }

  /** How much of the result, from its left, shows the input instead: 0 to 1. */
  setSplit(split) {
    this.split = split;
    const { x, y, width, height } = this.after.getAttrs();
    if (width) this.afterGroup.clip({ x: x + split * width, y, width: (1 - split) * width, height });
    this.dispatchEvent(new Event("split"));
    this.redraw();
  }

  redraw = () => {
    this.pictures.batchDraw();
  };

  /** What is to be seen whole. */
  get bounds() {
    if (this.showsResult) return this.after.getAttrs();
    return this.framed ? this.artwork.frame : this.artwork.all;
  }

  fit(room = 0) {
    if (!this.artwork) return;
    const { x, y, width, height } = this.bounds;
    const [w, h] = [this.konva.width(), this.konva.height()];
    const insets = { top: 60, bottom: 56, side: MARGIN };
    const free = { width: Math.max(40, w - 2 * insets.side), height: Math.max(40, h - insets.top - insets.bottom) };
    const scale = Math.min(free.width / width, free.height / height, 16) * (1 - room);
    this.konva.scale({ x: scale, y: scale });
    this.konva.position({
      x: w / 2 - (x + width / 2) * scale,
      y: insets.top + free.height / 2 - (y + height / 2) * scale,
    });
    this.fitted = true;
    this.#viewed();
  }

  /** Zoom by a factor around a point of the screen. */
  zoom(factor, point = { x: this.konva.width() / 2, y: this.konva.height() / 2 }) {
    const old = this.scale;
    const scale = Math.min(64, Math.max(0.02, old * factor));
    const { x, y } = this.konva.position();
    this.konva.scale({ x: scale, y: scale });
    this.konva.position({ x: point.x - ((point.x - x) / old) * scale, y: point.y - ((point.y - y) / old) * scale });
    this.fitted = false;
    this.#viewed();
  }

  pan(dx, dy) {
    const { x, y } = this.konva.position();
    this.konva.position({ x: x + dx, y: y + dy });
    this.fitted = false;
    this.#viewed();
  }

  /** A point of the screen, in the canvas. */
  onScreen(event) {
    const box = this.container.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  }

  toPicture(point) {
    const { x, y } = this.konva.position();
    return { x: (point.x - x) / this.scale, y: (point.y - y) / this.scale };
  }

  #viewed() {
    // Enlarged pixels are shown as they are: a blur would be the browser's, not the picture's.
    this.pictures.imageSmoothingEnabled(this.scale < CRISP);
    this.shadow.shadowBlur(28 / this.scale); // Konva's blur grows with the view
    this.konva.batchDraw();
    this.dispatchEvent(new Event("view"));
  }

  #resized() {
    const { clientWidth: width, clientHeight: height } = this.container;
    if (!width || !height) return;
    this.konva.size({ width, height });
    if (this.fitted) this.fit();
    else this.#viewed();
  }
}
