// Settings under a name, in this browser.
import { $, el, stored, toast } from "./dom.js";

const kept = stored("presets");

/** `apply(preset)` takes {mode, values}, `current()` gives it. */
export function setUpPresets(apply, current) {
  let presets = kept.read({});
  const list = $("#preset-list");

  function show(chosen = "") {
    const names = Object.keys(presets).sort((one, other) => one.localeCompare(other));
    list.replaceChildren(...(names.length ? names : [""]).map((name) => el("option", { value: name }, name || "None saved yet")));
    list.value = chosen || names[0] || "";
    for (const id of ["#preset-load", "#preset-delete", "#preset-list"]) $(id).disabled = !names.length;
  }

  function save() {
    const name = $("#preset-name").value.trim();
    if (!name) {
      $("#preset-name").focus();
      toast("Name the preset first.");
      return;
    }
    presets = { ...presets, [name]: current() };
    if (!kept.write(presets)) toast("This browser does not let pages store anything.", "error");
    $("#preset-name").value = "";
    show(name);
    toast(`Saved “${name}”.`);
  }

  $("#preset-save").addEventListener("click", save);
  $("#preset-name").addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    save();
  });
  $("#preset-load").addEventListener("click", () => {
    if (presets[list.value]) apply(presets[list.value]);
  });
  $("#preset-delete").addEventListener("click", () => {
    const { [list.value]: _, ...others } = presets;
    presets = others;
    kept.write(presets);
    show();
  });
  show();
}
