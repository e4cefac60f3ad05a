// Light and dark: the system's, until one is chosen.
import { $ } from "./dom.js";
import { setIcon } from "./icons.js";

const system = matchMedia("(prefers-color-scheme: dark)");

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : system.matches;
}

function show() {
  setIcon($("#switch-theme"), isDark() ? "sun" : "moon");
}

export function switchTheme() {
  const next = isDark() ? "light" : "dark";
  document.documentElement.dataset.theme = next;
  try {
    localStorage.setItem("overpaint.theme", next);
  } catch {
    // It then holds until the page is left.
  }
  show();
}

export function setUpTheme() {
  $("#switch-theme").addEventListener("click", switchTheme);
  system.addEventListener("change", show);
  show();
}
