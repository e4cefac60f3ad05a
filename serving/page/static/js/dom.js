// Small helpers around the document.
import { icon } from "./icons.js";

export const $ = (selector, within = document) => within.querySelector(selector);
export const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];

/** An element with properties (attributes where they have a dash or are `role`, `for`) and children. */
export function el(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "dataset") Object.assign(made.dataset, value);
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name.includes("-") || ["role", "for", "list"].includes(name)) made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  if (made.dataset.icon) made.prepend(icon(made.dataset.icon));
  return made;
}

export function placeIcons() {
  for (const each of $$("[data-icon]")) each.prepend(icon(each.dataset.icon));
}

/** Tell a screen reader, without moving the focus. */
export function announce(text) {
  $("#live").textContent = text;
}

export function toast(text, kind = "note") {
  const made = el("div", { className: `toast ${kind}` }, text);
  $("#toasts").append(made);
  setTimeout(() => made.remove(), kind === "error" ? 8000 : 3500);
}

export function on(selector, type, listener) {
  for (const each of $$(selector)) each.addEventListener(type, listener);
}

/** Reads and writes JSON in a storage that may be switched off. */
export function stored(name, storage = "localStorage") {
  return {
    read(otherwise = null) {
      try {
        return JSON.parse(window[storage].getItem(`overpaint.${name}`)) ?? otherwise;
      } catch {
        return otherwise;
      }
    },
    write(value) {
      try {
        window[storage].setItem(`overpaint.${name}`, JSON.stringify(value));
        return true;
      } catch {
        return false;
      }
    },
  };
}

export function seconds(value) {
  if (value < 10) return `${value.toFixed(1)} s`;
  if (value < 90) return `${Math.round(value)} s`;
  return `${Math.floor(value / 60)} min ${Math.round(value % 60)} s`;
}
