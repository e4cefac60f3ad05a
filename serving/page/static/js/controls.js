// A field of the form from an option's schema: its control, its limits, its help, and a place for its error.
import { $, el } from "./dom.js";

const LABELS = {
  n: "Pictures", content: "Content", only_masked: "Zoom in on the mask", blur: "Mask blur", levels: "Mask levels",
  guidance_scale: "Guidance", negative_prompt: "Negative prompt", fill: "New area", upscaler: "First enlargement", eta: "Eta",
};
const PLACEHOLDERS = { prompt: "What the picture shall become", negative_prompt: "What it shall not be", seed: "Random" };

export function labelOf(name) {
  const words = name.replaceAll("_", " ");
  return LABELS[name] ?? words[0].toUpperCase() + words.slice(1);
}

const types = (schema) => (schema.anyOf ?? [schema]).flatMap((each) => each.type ?? []);
const isNumeric = (schema) => types(schema).some((type) => type === "number" || type === "integer");
/** Beyond what a double counts exactly: such numbers stay texts. */
const isVast = (schema) => (schema.maximum ?? 0) > Number.MAX_SAFE_INTEGER;

function limits(schema) {
  const { minimum, maximum } = schema;
  if (isVast(schema) || (minimum === undefined && maximum === undefined)) return "";
  return maximum === undefined ? `from ${minimum}` : `${minimum} to ${maximum}`;
}

function shownDefault(schema) {
  const value = schema.default;
  if (value === undefined || value === null || value === "" || (Array.isArray(value) && !value.length)) return "Automatic";
  return Array.isArray(value) ? value.join(", ") : String(value);
}

const KINDS = {
  /** One of several. */
  choice(name, schema) {
    const words = schema.enum.filter((each) => each !== null);
    const usual = schema.default ?? null;
    const blank = el("option", { value: "" }, usual || "Automatic");
    const input = el("select", {}, blank, ...words.filter((each) => each !== usual).map((each) => el("option", { value: each }, each)));
    return { input, read: () => input.value || undefined, write: (value) => (input.value = value === usual ? "" : (value ?? "")) };
  },
  /** Yes or no. */
  flag(name, schema) {
    const input = el("input", { type: "checkbox", className: "switch" });
    const usual = schema.default ?? false;
    return { input, read: () => (input.checked === usual ? undefined : input.checked), write: (value) => (input.checked = value ?? usual) };
  },
  /** A share, with a slider. */
  share(name, schema) {
    const slider = el("input", { type: "range", min: schema.minimum, max: schema.maximum, step: 0.01, tabIndex: -1, "aria-hidden": "true" });
    const input = el("input", { type: "number", min: schema.minimum, max: schema.maximum, step: "any", placeholder: shownDefault(schema), inputMode: "decimal" });
    const usual = schema.default ?? schema.minimum;
    slider.addEventListener("input", () => {
      input.value = slider.value;
      input.dispatchEvent(new Event("input", { bubbles: true }));
    });
    input.addEventListener("input", () => (slider.value = input.value === "" ? usual : input.value));
    const write = (value) => {
      input.value = value ?? "";
      slider.value = value ?? usual;
    };
    return { input, body: el("div", { className: "slider" }, slider, input), read: () => (input.value === "" ? undefined : Number(input.value)), write };
  },
  number(name, schema) {
    const whole = types(schema).includes("integer");
    const input = el("input", { type: "number", min: schema.minimum, max: schema.maximum, step: whole ? 1 : "any", inputMode: whole && schema.minimum >= 0 ? "numeric" : "text", placeholder: shownDefault(schema) });
    return { input, read: () => (input.value === "" ? undefined : Number(input.value)), write: (value) => (input.value = value ?? "") };
  },
  /** A whole number that no double holds. */
  vast(name, schema) {
    const input = el("input", { inputMode: "numeric", pattern: "-?[0-9]+", placeholder: PLACEHOLDERS[name] ?? shownDefault(schema), autocomplete: "off" });
    return { input, read: () => input.value.trim() || undefined, write: (value) => (input.value = value ?? "") };
  },
  /** Several numbers, or one where the schema allows that too. */
  numbers(name, schema) {
    const input = el("input", { placeholder: shownDefault(schema) === "Automatic" ? "Numbers, with commas" : shownDefault(schema), autocomplete: "off" });
    const read = () => {
      const parts = input.value.split(/[\s,x×]+/).filter(Boolean).map(Number);
      if (!parts.length) return undefined;
      return parts.length === 1 && schema.anyOf ? parts[0] : parts;
    };
    return { input, read, write: (value) => (input.value = value === undefined ? "" : [value].flat().join(", ")) };
  },
  lines(name) {
    const input = el("textarea", { rows: 2, placeholder: "One a line" });
    const read = () => input.value.split("\n").filter((line) => line.trim());
    return { input, read: () => (read().length ? read() : undefined), write: (value) => (input.value = (value ?? []).join("\n")) };
  },
  text(name, schema) {
    const long = name === "prompt" || name === "negative_prompt";
    const input = long
      ? el("textarea", { rows: name === "prompt" ? 3 : 1, placeholder: PLACEHOLDERS[name], spellcheck: true })
      : el("input", { placeholder: shownDefault(schema), autocomplete: "off" });
    const list = schema.examples && el("datalist", { id: `list-${name}` }, ...schema.examples.map((value) => el("option", { value })));
    if (list) input.setAttribute("list", list.id);
    return { input, body: list && el("div", {}, input, list), read: () => input.value || undefined, write: (value) => (input.value = value ?? "") };
  },
};

function kindOf(name, schema) {
  if (schema.enum) return "choice";
  const arrays = (schema.anyOf ?? [schema]).find((each) => types(each).includes("array"));
  if (arrays) return isNumeric(arrays.items ?? {}) ? "numbers" : "lines";
  if (types(schema).includes("boolean")) return "flag";
  if (isVast(schema)) return "vast";
  if (isNumeric(schema)) return schema.minimum === 0 && schema.maximum === 1 ? "share" : "number";
  return "text";
}

/** A field: {name, element, input, read(), write(value), fail(message)}; undefined is the usual value. */
export function fieldOf(name, schema, changed, title = labelOf(name)) {
  const kind = kindOf(name, schema);
  const made = KINDS[kind](name, schema);
  const id = `option-${name}`;
  const range = limits(schema);
  const help = el("small", { className: "help", id: `${id}-help` }, [schema.description, range && !schema.description?.includes(range) ? range : ""].filter(Boolean).join("; "));
  const error = el("p", { className: "field-error", id: `${id}-error`, role: "alert", hidden: true });
  Object.assign(made.input, { id, name });
  made.input.setAttribute("aria-describedby", `${help.id} ${error.id}`);
  const label = el("label", { for: id, title: help.textContent }, title);
  const element = el("div", { className: `field kind-${kind}`, dataset: { name } }, label, made.body ?? made.input, help, error);
  const field = { ...made, name, element };
  field.fail = (message) => {
    error.textContent = message ?? "";
    error.hidden = !message;
    made.input.setAttribute("aria-invalid", message ? "true" : "false");
  };
  made.input.addEventListener("input", () => {
    field.fail(made.input.validity.valid ? null : made.input.validationMessage);
    changed(field);
  });
  return field;
}

/** A field's value as a form has it: numbers, lists and flags as in JSON, texts as they are. */
export const asFormText = (value) => (typeof value === "string" ? value : JSON.stringify(value));

export function addDice(field) {
  const button = el("button", { type: "button", className: "icon-button", dataset: { icon: "dice" }, title: "A random seed", "aria-label": "A random seed" });
  button.addEventListener("click", () => {
    field.write(undefined);
    field.input.dispatchEvent(new Event("input", { bubbles: true }));
  });
  const row = el("div", { className: "with-button" });
  field.input.replaceWith(row);
  row.append(field.input, button);
  return $("label", field.element);
}
