// The page's icons: strokes in a square of 24.
const PATHS = {
  add: "M12 5v14M5 12h14",
  back: "M10 6l-6 6 6 6M4 12h16",
  brush: "M20 4c-4 2-8.500 6-10.500 9.500l1 1C14 12.500 18 8 20 4zM8.500 14.500c-2.500 0-2.500 3.500-5 4 2.500 2 7.500 1.500 7.500-2z",
  clear: "M5 7h14M10 7V5h4v2M7 7l1 12h8l1-12M10.500 11v5M13.500 11v5",
  close: "M6.500 6.500l11 11M17.500 6.500l-11 11",
  dice: "M5 5h14v14H5zM9 9h.01M15 9h.01M9 15h.01M15 15h.01M12 12h.01",
  download: "M12 4v11M7.500 11l4.500 4.500 4.500-4.500M5 20h14",
  eraser: "M9 19h11M5.500 13.500l8-8 6 6-7.500 7.500H9.500l-4-4zM9.500 9.500l6 6",
  fill: "M6 11l6-6 7 7-6 6a1.500 1.500 0 0 1-2 0l-5-5a1.500 1.500 0 0 1 0-2zM9 5l3 3M6.500 12h12M20.500 16.500v.01",
  frame: "M4 8V4h4M16 4h4v4M20 16v4h-4M8 20H4v-4M9 9h6v6H9z",
  hand: "M8 12V6.500a1.500 1.500 0 0 1 3 0V11 5a1.500 1.500 0 0 1 3 0v6-4.500a1.500 1.500 0 0 1 3 0V14c0 4-2 6-5 6-2.500 0-4-1-5.500-3.500L4.500 13c.500-1.500 2-1.500 3 0z",
  help: "M9 9.500a3 3 0 1 1 4.500 2.600c-1 .600-1.500 1.200-1.500 2.400M12 17.500v.01",
  invert: "M12 4a8 8 0 1 0 0 16zM12 4a8 8 0 0 1 0 16M12 8h3.500M12 12h5M12 16h3.500",
  key: "M14.500 9.500a4 4 0 1 0-3.500 4l1.500 1.500h2v2h2v2h3v-3l-5-5zM8 8h.01",
  minus: "M6 12h12",
  moon: "M19 14.500A8 8 0 0 1 9.500 5 7.500 7.500 0 1 0 19 14.500z",
  plus: "M12 6v12M6 12h12",
  redo: "M19 9H9.500a5 5 0 0 0 0 10H13M15 5l4 4-4 4",
  replay: "M5 12a7 7 0 1 0 2.200-5.100M5 4v4h4",
  sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 3v1.500M12 19.500V21M3 12h1.500M19.500 12H21M5.600 5.600l1 1M17.400 17.400l1 1M18.400 5.600l-1 1M6.600 17.400l-1 1",
  undo: "M5 9h9.500a5 5 0 0 1 0 10H11M9 5L5 9l4 4",
  use: "M5 12h11M12 7l5 5-5 5M20 5v14",
};
const SVG = "http://www.w3.org/2000/svg";

export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("class", "icon");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}

export function setIcon(button, name) {
  button.querySelector("svg")?.remove();
  button.prepend(icon(name));
}
