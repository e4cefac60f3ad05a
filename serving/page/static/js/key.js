// The API key, for servers that want one: kept for this tab alone.
import { $, stored } from "./dom.js";

const kept = stored("key", "sessionStorage");
let key = kept.read("");
let asking = null;

export function keyHeaders() {
  return key ? { authorization: `Bearer ${key}` } : {};
}

/** Ask for the key, once for all calls that wait for it. */
export function askKey(wrong = false) {
  asking ??= new Promise((resolve) => {
    const dialog = $("#key-dialog");
    const alert = $("#key-alert");
    alert.hidden = !wrong;
    alert.textContent = "The server does not know this key.";
    $("#open-key").hidden = false;
    $("#key-input").value = "";
    dialog.showModal();
    dialog.addEventListener("close", () => resolve(), { once: true });
  }).finally(() => {
    asking = null;
  });
  return asking;
}

export function setUpKey() {
  const dialog = $("#key-dialog");
  // Without a key nothing works: escaping the dialog would only bring it back.
  dialog.addEventListener("cancel", (event) => key || event.preventDefault());
  $("#key-form").addEventListener("submit", () => {
    key = $("#key-input").value.trim();
    kept.write(key);
  });
  $("#open-key").addEventListener("click", () => askKey());
  $("#open-key").hidden = !key;
}
