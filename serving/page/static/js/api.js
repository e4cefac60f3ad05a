// The server's own interface: /v1.
import { askKey, keyHeaders } from "./key.js";

/** What the server said went wrong; `field` is the option's name, `retry` the seconds to wait. */
export class ApiError extends Error {
  constructor(status, { message, type = "", field = null } = {}, retry = null) {
    super(message || `The server answered ${status}.`);
    Object.assign(this, { status, type, field, retry });
  }
}

async function send(path, options) {
  try {
    return await fetch(path, { ...options, headers: { ...keyHeaders(), ...options.headers } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, { message: "The server cannot be reached. Is overpaint serve still running?", type: "offline" });
  }
}

/** A call; a missing key is asked for, and the call made again. Raises `ApiError`. */
async function call(path, options = {}) {
  const response = await send(path, options);
  if (response.status === 401) {
    await askKey(keyHeaders().authorization !== undefined);
    return call(path, options);
  }
  if (response.ok) return response;
  const document = await response.json().catch(() => ({}));
  throw new ApiError(response.status, document.error, Number(response.headers.get("retry-after")) || null);
}

/** JSON in which whole numbers too large for a double stay exact, as texts: seeds have 64 bits. */
function parse(text) {
  return JSON.parse(text.replace(/"seed": ?(\d{16,})/g, '"seed": "$1"'));
}

export async function models() {
  return (await call("v1/models")).json();
}

export async function schema(verb, model) {
  return (await call(`v1/options?${new URLSearchParams({ verb, model })}`)).json();
}

export async function submit(form, signal) {
  return parse(await (await call("v1/jobs", { method: "POST", body: form, signal })).text());
}

export async function status(id) {
  return parse(await (await call(`v1/jobs/${id}`)).text());
}

export async function picture(id, index, format) {
  return (await call(`v1/jobs/${id}/result?${new URLSearchParams({ index, format })}`)).blob();
}

export async function cancel(id, leaving = false) {
  return call(`v1/jobs/${id}`, { method: "DELETE", keepalive: leaving }).catch(() => null);
}

/** A job's events as [kind, data], to the end of the stream. An EventSource could not bring a key. */
export async function* events(id, signal) {
  const response = await call(`v1/jobs/${id}/events`, { signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (text + value).split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const found = block.match(/^event: (\w+)\ndata: (.*)$/s);
      if (found) yield [found[1], parse(found[2])];
    }
  }
}
