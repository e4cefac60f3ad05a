// A run of one picture or a batch: its progress, its previews, its end.
import { run } from "./jobs.js";
import { $, announce, seconds } from "./dom.js";
import { placeOf } from "./artwork.js";

const TOGETHER = 4;

export class Painting extends EventTarget {
  constructor(stage) {
    super();
    this.stage = stage;
    this.controller = null;
    $("#cancel").addEventListener("click", () => this.cancel());
  }

  get running() {
    return this.controller !== null;
  }

  cancel() {
    this.controller?.abort();
  }

  /**
   * Run orders, each with its `artwork`, some at a time, and hand over what came of each: `finished(order, pictures)`.
   * Raises the first error; what is under way then ends.
   */
  async run(orders, finished) {
    this.controller = new AbortController();
    const { signal } = this.controller;
    this.begun = performance.now();
    this.shares = orders.map(() => ({ done: 0, total: 0, fraction: 0 }));
    this.spoken = 0;
    this.text = "Starting";
    this.#show(true);
    const timer = setInterval(() => this.#tick(), 100);
    const queue = [...orders.entries()];
    const worker = async () => {
      for (let next = queue.shift(); next; next = queue.shift()) {
        const [index, order] = next;
        const pictures = await run(order, (notice) => this.#told(notice, index, order), signal);
        this.shares[index].fraction = 1;
        await finished(order, pictures);
      }
    };
    try {
      await Promise.all(Array.from({ length: Math.min(TOGETHER, orders.length) }, worker));
    } catch (error) {
      this.controller.abort();
      throw error;
    } finally {
      clearInterval(timer);
      this.controller = null;
      this.#show(false);
    }
    return (performance.now() - this.begun) / 1000;
  }

  get elapsed() {
    return (performance.now() - this.begun) / 1000;
  }

  #told(notice, index, order) {
    if (notice.kind === "busy") this.text = `The server is busy, waiting ${seconds(notice.seconds)}`;
    else if (notice.kind === "starting") this.text = "The server is warming up";
    else if (notice.kind === "status") this.#status(notice, index);
    else if (notice.kind === "progress") this.#progressed(notice, index);
    else if (notice.kind === "preview" && order.artwork === this.stage.artwork && notice.image === 0) this.#preview(notice, order);
  }

  #status({ status, stage, progress }, index) {
    if (progress.total) Object.assign(this.shares[index], progress);
    if (status === "queued") this.text = "Waiting in the queue";
    else if (stage === "encoding" && !progress.done) this.text = "Reading the picture";
    else if (stage === "decoding" && progress.done >= progress.total) this.text = "Finishing";
  }

  #progressed(notice, index) {
    Object.assign(this.shares[index], notice);
    const many = this.shares.length > 1;
    const done = many ? this.shares.filter(({ fraction }) => fraction >= 1).length : notice.done;
    this.text = many ? `${done} of ${this.shares.length} pictures` : `Step ${done} of ${notice.total}`;
  }

  async #preview({ data }, order) {
    const image = new Image();
    image.src = data;
    await image.decode();
    if (!this.running || order.artwork !== this.stage.artwork) return;
    // A preview of another shape, or of a tile, is of a part of the picture: it is shown beside it.
    const place = placeOf(order.artwork, order.verb, order.artwork.growth, image.width, image.height);
    const whole = !["upscale"].includes(order.verb) && !order.values.only_masked;
    const sameShape = Math.abs(place.width / place.height / (image.width / image.height) - 1) < 0.02;
    const inset = $("#run-inset");
    inset.hidden = whole && sameShape;
    if (inset.hidden) this.stage.showResult(image, place);
    else inset.src = data;
    this.dispatchEvent(new Event("preview"));
  }

  #tick() {
    const fraction = this.shares.reduce((sum, share) => sum + share.fraction, 0) / this.shares.length;
    const left = fraction > 0.1 && fraction < 1 && this.elapsed > 3 ? `, about ${seconds((this.elapsed / fraction) * (1 - fraction))} left` : "";
    $("#run-text").textContent = `${this.text} · ${seconds(this.elapsed)}${left}`;
    const bar = $("#progress-bar");
    bar.setAttribute("aria-valuenow", Math.round(100 * fraction));
    bar.setAttribute("aria-valuetext", this.text);
    bar.firstElementChild.style.transform = `scaleX(${fraction})`;
    const quarter = Math.floor(4 * fraction);
    if (quarter > this.spoken) announce(`${25 * quarter} percent painted`);
    this.spoken = Math.max(this.spoken, quarter);
  }

  #show(running) {
    $("#progress").hidden = !running;
    $("#run-pill").hidden = !running;
    $("#run-inset").hidden = true;
    document.body.classList.toggle("running", running);
    if (running) {
      $("#progress-bar").firstElementChild.style.transform = "scaleX(0)";
      $("#run-text").textContent = "Starting";
      announce("Painting");
    }
    this.dispatchEvent(new Event("running"));
  }
}
