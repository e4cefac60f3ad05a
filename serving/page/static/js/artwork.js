// A picture to work on: its file, its pixels, its mask, and the frame that it is to grow to.
import { Mask } from "./mask.js";

export const NO_GROWTH = Object.freeze({ left: 0, top: 0, right: 0, bottom: 0 });

export class Artwork {
  constructor(blob, bitmap, name) {
    this.blob = blob;
    this.bitmap = bitmap;
    this.name = name;
    this.url = URL.createObjectURL(blob);
    this.mask = new Mask(bitmap.width, bitmap.height);
    this.growth = { ...NO_GROWTH };
  }

  /** Read a file; raises an `Error` that says what to do where the browser cannot show it. */
  static async read(blob, name = "picture") {
    try {
      return new Artwork(blob, await createImageBitmap(blob), name);
    } catch {
      throw new Error(`${name} is no picture that this browser can show. Save it as PNG or JPEG and open that.`);
    }
  }

  get width() {
    return this.bitmap.width;
  }

  get height() {
    return this.bitmap.height;
  }

  get grows() {
    return Object.values(this.growth).some((pixels) => pixels > 0);
  }

  /** The frame in the picture's pixels. */
  get frame() {
    const { left, top, right, bottom } = this.growth;
    return { x: -left, y: -top, width: this.width + left + right, height: this.height + top + bottom };
  }

  get all() {
    return { x: 0, y: 0, width: this.width, height: this.height };
  }

  close() {
    URL.revokeObjectURL(this.url);
    this.bitmap.close();
  }
}

/** Where a result of a verb lies, in its input's pixels. */
export function placeOf(artwork, verb, growth, width, height) {
  if (verb === "outpaint") {
    const { left, top, right, bottom } = growth;
    return { x: -left, y: -top, width: artwork.width + left + right, height: artwork.height + top + bottom };
  }
  // A result of another shape (a size with crop or pad) lies in the middle, as large as goes in.
  const scale = Math.min(artwork.width / width, artwork.height / height);
  const [w, h] = [width * scale, height * scale];
  return { x: (artwork.width - w) / 2, y: (artwork.height - h) / 2, width: w, height: h };
}
