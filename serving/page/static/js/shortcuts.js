// Keyboard shortcuts, and the dialog that lists them.
import { $, el, on } from "./dom.js";

/** [keys as shown, what it does, event.key values, action's name, modifiers]. */
const KEYS = [
  ["Ctrl Enter", "Paint", ["Enter"], "paint", "ctrl"],
  ["Esc", "Cancel the run, or go back to editing", ["Escape"], "escape"],
  ["Ctrl O", "Open pictures", ["o"], "open", "ctrl"],
  ["B", "Brush", ["b"], "brush"],
  ["E", "Eraser", ["e"], "eraser"],
  ["H", "Hand: move the view (or hold space)", ["h"], "hand"],
  ["F", "Frame: extend the picture", ["f"], "frame"],
  ["[ ]", "Smaller, larger brush", ["[", "]"], "size"],
  ["{ }", "Harder, softer brush", ["{", "}"], "softness"],
  ["Ctrl Z", "Undo", ["z"], "undo", "ctrl"],
  ["Ctrl Shift Z", "Redo", ["z", "y"], "redo", "ctrl redo"],
  ["G", "Fill the mask", ["g"], "fill"],
  ["I", "Invert the mask", ["i"], "invert"],
  ["Del", "Clear the mask", ["Delete", "Backspace"], "clear"],
  ["+ −", "Zoom in, out", ["+", "=", "-"], "zoom"],
  ["0", "Fit into view", ["0"], "fit"],
  ["Arrows", "Move the view, with the picture focused", ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"], "move"],
  ["C", "Compare: input or result", ["c"], "compare"],
  ["U", "Use the result as input", ["u"], "use"],
  ["D", "Download the result", ["d"], "download"],
  [", .", "Newer, older work of the history", [",", "."], "browse"],
  ["T", "Light or dark", ["t"], "theme"],
  ["?", "This help", ["?"], "help"],
];

const isTyping = (target) => target.matches?.("input:not([type=range]):not([type=checkbox]):not([type=radio]), textarea, select");

function matches([, , keys, name, modifiers = ""], event) {
  const ctrl = event.ctrlKey || event.metaKey;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (!keys.includes(key) || modifiers.includes("ctrl") !== ctrl || event.altKey) return false;
  if (name === "undo") return !event.shiftKey;
  return name !== "redo" || key === "y" || event.shiftKey;
}

/** `actions` by name; `hold(space)` is told of the space bar. */
export function setUpShortcuts(actions, hold) {
  document.addEventListener("keydown", (event) => {
    if (document.querySelector("dialog[open]")) return;
    const typing = isTyping(event.target);
    if (event.key === " " && (event.target === document.body || event.target.id === "stage")) {
      hold(true);
      event.preventDefault();
      return;
    }
    const found = KEYS.find((each) => matches(each, event));
    if (!found || (typing && !["paint", "escape"].includes(found[3]))) return;
    if (found[3] === "move" && event.target.id !== "stage") return;
    if (actions[found[3]](event.key) !== false) event.preventDefault();
  });
  document.addEventListener("keyup", (event) => event.key === " " && hold(false));
  window.addEventListener("blur", () => hold(false));
  $("#key-list").replaceChildren(...KEYS.flatMap(([keys, what]) => [
    el("dt", {}, ...keys.split(" ").map((key) => el("kbd", {}, key))), el("dd", {}, what),
  ]));
  on("dialog .close", "click", ({ currentTarget }) => currentTarget.closest("dialog").close());
  on("dialog", "click", (event) => event.target === event.currentTarget && event.target.id !== "key-dialog" && event.target.close());
  $("#open-help").addEventListener("click", () => $("#help-dialog").showModal());
}
