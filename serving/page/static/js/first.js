// Runs before anything is drawn: a chosen theme shall not flash in from the other one.
try {
  const chosen = localStorage.getItem("overpaint.theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // Without storage the system's theme it is.
}
