// Works: what a run made, with all that it takes to make it again.
import { Artwork } from "./artwork.js";

const SIDES = ["left", "top", "right", "bottom"];
const opened = new Map();

/** An order for what the editor shows; `values` are the options that differ from the usual ones. */
export async function orderOf(artwork, verb, model, values) {
  const mask = verb === "inpaint" ? await artwork.mask.blob() : null;
  return { artwork, verb, model, values, blob: artwork.blob, name: artwork.name, mask, growth: { ...artwork.growth } };
}

/** The work that a picture of a finished order is, without its id. */
export function workOf(order, picture) {
  const { verb, model, name, mask, growth } = order;
  const { blob: result, width, height, parameters, seed } = picture;
  // A picture of several has the seed that makes it alone.
  const { n, ...values } = order.values;
  return { time: Date.now(), verb, model, name, mask, growth, values: { ...values, seed: seed ?? values.seed }, source: order.blob, result, width, height, parameters };
}

export function remember(work, artwork) {
  opened.set(work.id, artwork);
}

/** The picture that a work was made from, with its mask and frame. */
export async function artworkOf(work) {
  if (!opened.has(work.id)) {
    const artwork = await Artwork.read(work.source, work.name);
    if (work.mask) await artwork.mask.load(work.mask);
    for (const side of SIDES) artwork.growth[side] = work.growth[side];
    opened.set(work.id, artwork);
  }
  return opened.get(work.id);
}

export const modeOf = (verb) => ({ outpaint: "extend", upscale: "upscale" })[verb] ?? "repaint";

export function download(work) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(work.result);
  const kind = { "image/jpeg": "jpg", "image/webp": "webp" }[work.result.type] ?? "png";
  const stem = (work.values.prompt || work.verb).toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 40).replace(/^-|-$/g, "");
  link.download = `${stem || "picture"}-${work.values.seed ?? work.id}.${kind}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
