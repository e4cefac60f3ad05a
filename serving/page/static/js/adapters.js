// What steers the model beside the prompt: a ControlNet, and a picture as a prompt. Each is shown where the model has one.
import { fieldOf } from "./controls.js";
import { $, el } from "./dom.js";
import { Slot } from "./slot.js";

const UNITS = [
  {
    option: "controls", box: "#control-unit", name: "net", listed: "controlnets", label: "ControlNet", off: "None",
    fields: ["preprocessor", "mode", "weight", "start", "end"], slot: "Hint", empty: "Follows the picture itself",
  },
  {
    option: "image_prompts", box: "#image-prompt-unit", name: "adapter", listed: "image_prompt_adapters", label: "Adapter",
    fields: ["weight", "start", "end"], slot: "Image prompt", empty: "Choose a picture that it shall resemble",
  },
];

class Unit {
  constructor(unit) {
    Object.assign(this, unit);
    this.box = $(unit.box);
    this.slot = new Slot(unit.slot, unit.empty);
    this.slot.addEventListener("change", () => this.#count());
  }

  /** Fields for the names that a model has, by the option's schema; hidden where it has none. */
  show(names, schema) {
    this.box.hidden = !names.length || !schema;
    const key = names.join();
    if (this.box.hidden || this.shown === key) return;
    this.shown = key;
    const value = this.value;
    const { properties } = schema.items;
    const changed = () => this.#count();
    this.choice = fieldOf(`${this.option}-${this.name}`, { enum: names, default: this.off ?? names[0] }, changed, this.label);
    this.made = this.fields.map((name) => [name, fieldOf(`${this.option}-${name}`, properties[name], changed, name[0].toUpperCase() + name.slice(1))]);
    this.choice.element.hidden = !this.off && names.length < 2;
    $(".fields", this.box).replaceChildren(this.choice.element, this.slot.element, ...this.made.map(([, field]) => field.element));
    this.write(value);
  }

  /** What is sent of it, as an item of the option; undefined where it is off. */
  get value() {
    if (this.box.hidden || !this.made) return undefined;
    const chosen = this.choice.read();
    if (this.off ? !chosen : !this.slot.value) return undefined;
    const given = { [this.name]: chosen, image: this.slot.value, ...Object.fromEntries(this.made.map(([name, field]) => [name, field.read()])) };
    return Object.fromEntries(Object.entries(given).filter(([, each]) => each !== undefined));
  }

  write(value = {}) {
    if (!this.made) return;
    this.choice.write(value[this.name]);
    this.slot.write(value.image);
    for (const [name, field] of this.made) field.write(value[name]);
    this.#count();
  }

  /** The first field that cannot be sent. */
  get wrong() {
    return this.value && this.made.map(([, field]) => field).find(({ input }) => !input.validity.valid);
  }

  #count() {
    $(".count", this.box).hidden = !this.value;
  }
}

export class Adapters {
  constructor() {
    this.units = UNITS.map((unit) => new Unit(unit));
  }

  /** Show what a model, of /v1/models, has. */
  show(model, properties) {
    for (const unit of this.units) unit.show(model[unit.listed] ?? [], properties[unit.option]);
  }

  values() {
    return Object.fromEntries(this.units.filter(({ value }) => value).map(({ option, value }) => [option, [value]]));
  }

  /** Take those of a work; what it has not is off. */
  replace(values) {
    for (const unit of this.units) unit.write(values[unit.option]?.[0]);
  }

  /** Whether all can be sent; the first field that cannot is shown. */
  check() {
    const wrong = this.units.map((unit) => unit.wrong).find(Boolean);
    if (wrong) this.#open(wrong);
    return !wrong;
  }

  #open(field) {
    field.element.closest("details").open = true;
    field.fail(field.input.validationMessage);
    field.input.focus();
  }
}
