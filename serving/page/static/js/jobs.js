// Jobs of the server, from the order to the pictures.
import * as api from "./api.js";
import { asFormText } from "./controls.js";

const TRIES = 5;
const wait = (ms, signal) =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => (clearTimeout(timer), reject(signal.reason)), { once: true });
  });

/** An order as the server's form has it: {verb, model, values, blob, name, mask}. */
function formOf(order) {
  const form = new FormData();
  form.append("verb", order.verb);
  form.append("model", order.model);
  for (const [name, value] of Object.entries(order.values)) form.append(name, asFormText(value));
  form.append("image", order.blob, order.name);
  if (order.mask) form.append("mask", order.mask, "mask.png");
  return form;
}

/** Submit; where the server is busy, or not ready yet, wait as long as it says. */
async function submitted(order, tell, signal) {
  for (;;) {
    try {
      return await api.submit(formOf(order), signal);
    } catch (error) {
      if (!["busy", "starting"].includes(error.type)) throw error;
      const seconds = Math.min(error.retry ?? 2, 60);
      tell({ kind: error.type, seconds });
      await wait(1000 * seconds, signal);
    }
  }
}

/** Follow a job to its end, also over a connection that breaks; returns its last document. */
async function ended(id, tell, signal) {
  for (let left = TRIES; ; left--) {
    try {
      for await (const [kind, data] of api.events(id, signal)) {
        if (kind === "end") return data;
        tell({ kind, ...data });
        left = TRIES;
      }
    } catch (error) {
      if (signal.aborted || left <= 0 || (error.status >= 400 && error.status < 500)) throw error;
    }
    if (left <= 0) throw new api.ApiError(0, { message: "The connection to the server was lost." });
    await wait(1000, signal);
  }
}

/**
 * Run an order: `tell` gets {kind: "status" | "progress" | "preview" | "busy" | "starting", ...}. Gives the pictures as
 * {blob, width, height, seed, parameters, notes}. Raises `ApiError`, or an AbortError when `signal` cancels it: the
 * server's job is then cancelled too.
 */
export async function run(order, tell, signal) {
  const { id } = await submitted(order, tell, signal);
  const leave = () => api.cancel(id, true);
  window.addEventListener("pagehide", leave);
  signal.addEventListener("abort", leave, { once: true });
  try {
    signal.throwIfAborted();
    const document = await ended(id, tell, signal);
    if (document.status !== "done") throw new api.ApiError(500, document.error ?? { message: `The job was ${document.status}.` });
    const format = order.values.format ?? "png";
    return await Promise.all(document.result.pictures.map(async (each, index) => ({ ...each, blob: await api.picture(id, index, format) })));
  } finally {
    window.removeEventListener("pagehide", leave);
    signal.removeEventListener("abort", leave);
  }
}
