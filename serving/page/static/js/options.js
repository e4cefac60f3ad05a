// The settings: fields made from the server's schema, the main ones shown, the others folded.
import * as api from "./api.js";
import { addDice, fieldOf } from "./controls.js";
import { $, $$, el, stored } from "./dom.js";

const NOT_OPTIONS = new Set(["verb", "model", "image", "mask", "regions", "inpaint_mask", "prompts", "controls", "image_prompts"]);
/** What stays when the verb changes; the rest is each verb's own, since its usual values are. */
const SHARED = new Set(["prompt", "negative_prompt", "seed", "steps", "guidance_scale", "sampler", "schedule", "n", "convention", "format", "quality"]);
const COMMON = ["prompt", "negative_prompt", "strength", "steps", "guidance_scale", "seed", "n"];
const MAIN = {
  img2img: COMMON,
  inpaint: [...COMMON, "content", "blur", "levels", "only_masked"],
  outpaint: ["prompt", "negative_prompt", "left", "right", "top", "bottom", "fill", "strength", "steps", "guidance_scale", "seed", "n"],
  upscale: ["scale", "upscaler", "prompt", "negative_prompt", "strength", "steps", "guidance_scale", "seed"],
};
const GROUPS = [["plan", "Steps and sampler"], ["rows", "Prompt and guidance"], ["start", "What it starts from"], ["picture", "After decoding"], ["file", "File"], ["run", "Run"], [undefined, "Job"]];
const kept = stored("settings");

export class Options extends EventTarget {
  constructor() {
    super();
    this.shared = {};
    this.own = {};
    Object.assign(this, kept.read({}));
    this.fields = new Map();
    this.schemas = new Map();
    this.verb = "img2img";
    this.upscalers = [];
    $("#find-option").addEventListener("input", () => this.#find());
    $("#reset-options").addEventListener("click", () => this.reset());
  }

  get isNew() {
    return kept.read() === null;
  }

  /** Show a verb's options, with a model's usual values. */
  async show(verb, model) {
    const key = `${verb} ${model}`;
    if (!this.schemas.has(key)) this.schemas.set(key, api.schema(verb, model).catch((error) => (this.schemas.delete(key), Promise.reject(error))));
    const { properties } = await this.schemas.get(key);
    this.properties = properties;
    if (this.shown === key) return;
    [this.verb, this.shown] = [verb, key];
    this.#build(this.#usable(properties));
  }

  /** The values that differ from the usual ones, by name. */
  values(verb = this.verb) {
    const names = [...this.fields.keys()];
    const all = { ...this.shared, ...this.own[verb] };
    return Object.fromEntries(names.filter((name) => all[name] !== undefined).map((name) => [name, all[name]]));
  }

  set(name, value) {
    this.#keep(name, value);
    this.fields.get(name)?.write(value);
    this.#count();
  }

  /** Take all values of a preset or of the history; what they do not name is as usual. */
  replace(values, verb = this.verb) {
    this.shared = {};
    this.own[verb] = {};
    for (const [name, value] of Object.entries(values)) this.#keep(name, value, verb);
    for (const [name, field] of this.fields) field.write({ ...this.shared, ...this.own[this.verb] }[name]);
    this.#save();
  }

  reset() {
    const { prompt, negative_prompt } = this.shared;
    this.replace({ prompt, negative_prompt });
    this.dispatchEvent(new Event("change"));
  }

  /** Whether all fields can be sent; the first that cannot is shown. */
  check() {
    const wrong = [...this.fields.values()].find((field) => !field.input.validity.valid);
    if (wrong) this.fail(wrong.name, wrong.input.validationMessage);
    return !wrong;
  }

  /** Show an error beside the field it names; whether there is such a field. */
  fail(name, message) {
    const field = this.fields.get(name);
    if (!field) return false;
    for (let at = field.element; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
    field.fail(message);
    field.input.focus();
    return true;
  }

  clearErrors() {
    for (const field of this.fields.values()) field.fail(null);
  }

  #usable(properties) {
    const made = Object.entries(properties).filter(([name]) => !NOT_OPTIONS.has(name));
    if (this.upscalers.length) {
      return made.map(([name, schema]) => [name, name === "upscaler" ? { ...schema, enum: this.upscalers } : schema]);
    }
    return made.filter(([name]) => name !== "upscaler");
  }

  #build(properties) {
    const focused = document.activeElement?.name;
    const main = MAIN[this.verb];
    const values = { ...this.shared, ...this.own[this.verb] };
    this.fields = new Map();
    for (const [name, schema] of properties) {
      const field = fieldOf(name, schema, () => this.#changed(field));
      field.group = schema["x-affects"];
      field.write(values[name]);
      this.fields.set(name, field);
    }
    if (this.fields.has("seed")) addDice(this.fields.get("seed"));
    $("#options-main").replaceChildren(...main.filter((name) => this.fields.has(name)).map((name) => this.fields.get(name).element));
    const rest = [...this.fields.values()].filter((field) => !main.includes(field.name));
    const groups = GROUPS.map(([group, title]) => [title, rest.filter((field) => field.group === group)]);
    $("#options-more").replaceChildren(
      ...groups.filter(([, fields]) => fields.length).map(([title, fields]) =>
        el("details", { className: "group" }, el("summary", {}, title), el("div", { className: "fields" }, ...fields.map((field) => field.element)))),
    );
    if (focused) this.fields.get(focused)?.input.focus({ preventScroll: true });
    this.#count();
    this.#find();
  }

  #changed(field) {
    this.#keep(field.name, field.read());
    this.#save();
    this.dispatchEvent(new CustomEvent("change", { detail: field.name }));
  }

  #keep(name, value, verb = this.verb) {
    const into = SHARED.has(name) ? this.shared : (this.own[verb] ??= {});
    if (value === undefined) delete into[name];
    else into[name] = value;
  }

  #save() {
    kept.write({ shared: this.shared, own: this.own });
    this.#count();
  }

  #count() {
    const values = this.values();
    const more = [...this.fields.keys()].filter((name) => !MAIN[this.verb].includes(name) && values[name] !== undefined);
    $("#changed-count").hidden = !more.length;
    $("#changed-count").textContent = `${more.length} changed`;
    for (const [name, field] of this.fields) field.element.classList.toggle("changed", values[name] !== undefined);
  }

  #find() {
    const words = $("#find-option").value.trim().toLowerCase();
    for (const group of $$("#options-more > details")) {
      const fields = $$(".field", group);
      for (const field of fields) field.hidden = words !== "" && !field.textContent.toLowerCase().includes(words) && !field.dataset.name.includes(words);
      group.hidden = fields.every((field) => field.hidden);
      if (words) group.open = true;
    }
  }
}
