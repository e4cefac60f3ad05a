// The page: it wires its parts together.
import * as api from "./api.js";
import { $, $$, announce, el, on, placeIcons, seconds, toast } from "./dom.js";
import { Adapters } from "./adapters.js";
import { Artwork } from "./artwork.js";
import { Editor } from "./editor.js";
import { History } from "./history.js";
import { setUpKey } from "./key.js";
import { Options } from "./options.js";
import { Painting } from "./painting.js";
import { setUpPresets } from "./presets.js";
import { setUpShortcuts } from "./shortcuts.js";
import { Sources } from "./sources.js";
import { setUpTheme, switchTheme } from "./theme.js";
import { artworkOf, download, modeOf, orderOf, remember, workOf } from "./works.js";

const SIDES = ["left", "top", "right", "bottom"];
const HINTS = {
  img2img: "Changes all of it. Paint a mask for a part.",
  inpaint: "Changes only what you painted.",
  outpaint: "Drag an edge of the frame outwards.",
  upscale: "Enlarges the picture, painting its tiles.",
};

placeIcons();
setUpTheme();
setUpKey();
const options = new Options();
const adapters = new Adapters();
let models = [];
const editor = new Editor();
const sources = new Sources();
const history = new History();
const painting = new Painting(editor.stage);

function fail(error) {
  if (error.name === "AbortError") return;
  const shown = error.field && options.fail(error.field, error.message);
  $("#alert").hidden = Boolean(shown);
  $("#alert").textContent = error.message;
  if (!(error instanceof api.ApiError)) console.warn(error);
}

function hint() {
  const { verb } = editor;
  const lost = verb === "inpaint" && editor.brush.softness > 0 && !options.values().levels;
  $("#mode-hint").textContent = HINTS[verb] + (lost ? " Its soft edge counts with Mask levels soft." : "");
}

async function showOptions() {
  const { verb } = editor;
  for (const radio of $$("[name=mode]")) radio.checked = radio.value === editor.mode;
  try {
    await options.show(verb, $("#model").value);
    adapters.show(models.find(({ id }) => id === $("#model").value), options.properties);
    hint();
    if (verb === "outpaint" && editor.artwork) for (const side of SIDES) options.set(side, editor.artwork.growth[side] || undefined);
  } catch (error) {
    fail(error);
  }
}

async function paint(artworks) {
  if (painting.running || !editor.artwork) return;
  $("#alert").hidden = true;
  $("#notes").textContent = "";
  options.clearErrors();
  if (!options.check() || !adapters.check()) return;
  if (editor.mode === "extend" && !editor.artwork.grows) {
    options.fail("left", "Drag an edge of the frame outwards, or say here how many pixels the picture grows.");
    return;
  }
  const { verb } = editor;
  // Pictures of a batch without a frame of their own grow like the one that is shown.
  if (verb === "outpaint") for (const each of artworks) if (!each.grows) Object.assign(each.growth, editor.artwork.growth);
  const orders = await Promise.all(artworks.map((artwork) => orderOf(artwork, verbOf(artwork, verb), $("#model").value, valuesFor(artwork, verb))));
  editor.edit();
  editor.setBusy(true);
  window.scrollTo({ top: 0, behavior: "smooth" }); // on a phone the picture is above the settings
  let last = null;
  const notes = [];
  try {
    const took = await painting.run(orders, async (order, pictures) => {
      for (const picture of pictures.reverse()) {
        const work = await history.add(workOf(order, picture));
        remember(work, order.artwork);
        if (order.artwork === sources.current) last = work;
        notes.push(...picture.notes);
      }
    });
    notes.unshift(`Painted in ${seconds(took)}.`);
    announce(notes[0]);
  } catch (error) {
    fail(error);
    announce(error.name === "AbortError" ? "Cancelled" : error.message);
  }
  editor.setBusy(false);
  editor.stage.hideResult();
  if (last) await open(last, true);
  else editor.edit();
  $("#notes").textContent = notes.map((note) => note[0].toUpperCase() + note.slice(1)).join("\n");
}

/** In a batch each picture is repainted by its own mask, where it has one. */
function verbOf(artwork, verb) {
  if (editor.mode !== "repaint") return verb;
  return artwork.mask.empty ? "img2img" : "inpaint";
}

function valuesFor(artwork, verb) {
  const values = { ...options.values(verbOf(artwork, verb)), ...adapters.values() };
  if (verb === "outpaint") for (const side of SIDES) values[side] = artwork.growth[side];
  return values;
}

async function open(work, reveal = false) {
  if (painting.running) return;
  const artwork = await artworkOf(work);
  if (!sources.artworks.includes(artwork)) sources.use([artwork]);
  else if (sources.current !== artwork) sources.select(artwork);
  editor.setMode(modeOf(work.verb));
  await editor.showWork(work, artwork, reveal);
  history.mark(work);
}

async function replay(work) {
  await open(work);
  editor.edit();
  await showOptions();
  options.replace(work.values, work.verb);
  adapters.replace(work.values);
  announce("The settings of this work are back");
  toast("Settings are back. Press Paint to make it again.");
}

async function useResult() {
  const { work } = editor;
  if (!work || painting.running) return false;
  const artwork = await Artwork.read(work.result, work.name);
  editor.setMode("repaint");
  sources.replaceCurrent(artwork);
  announce("The result is the input now");
  return true;
}

function browse(step) {
  const work = history.beside(editor.work, step);
  if (work) open(work);
}

function escape() {
  if (painting.running) painting.cancel();
  else if (editor.work) editor.edit();
  else return false;
  return true;
}

sources.addEventListener("select", () => {
  editor.open(sources.current);
  history.mark(null);
  showRuns();
  showOptions();
});
sources.addEventListener("example", ({ detail }) => options.set("prompt", detail));
editor.addEventListener("mode", showOptions);
editor.addEventListener("edit", () => history.mark(null));
editor.addEventListener("grown", () => {
  for (const side of SIDES) options.set(side, editor.artwork.growth[side] || undefined);
});
options.addEventListener("change", ({ detail }) => {
  hint();
  if (SIDES.includes(detail)) editor.setGrowth({ [detail]: Math.max(0, Number(options.values()[detail] ?? 0)) });
});
history.addEventListener("open", ({ detail }) => open(detail).catch(fail));
history.addEventListener("replay", ({ detail }) => replay(detail).catch(fail));
history.addEventListener("removed", ({ detail }) => editor.work?.id === detail.id && editor.edit());
painting.addEventListener("running", showRuns);

function showRuns() {
  const many = sources.artworks.length > 1;
  $("#paint").disabled = painting.running;
  $("#paint").textContent = painting.running ? "Painting…" : many ? "Paint this one" : "Paint";
  $("#paint-all").hidden = !many;
  $("#paint-all").disabled = painting.running;
  $("#paint-all").textContent = `Paint all ${sources.artworks.length}`;
}

$("#panel").addEventListener("submit", (event) => {
  event.preventDefault();
  paint([sources.current]);
});
$("#paint-all").addEventListener("click", () => paint(sources.artworks));
on("[name=mode]", "change", ({ target }) => {
  editor.edit();
  editor.setMode(target.value);
});
$("#model").addEventListener("change", showOptions);
$("#back-to-edit").addEventListener("click", () => editor.edit());
$("#use-result").addEventListener("click", useResult);
$("#download").addEventListener("click", () => download(editor.work));
setUpPresets(
  ({ mode, values }) => {
    editor.edit();
    editor.setMode(mode);
    showOptions().then(() => options.replace(values));
  },
  () => ({ mode: editor.mode, values: options.values() }),
);
setUpShortcuts(
  {
    paint: () => paint([sources.current]), escape, open: () => sources.pick(),
    brush: () => editor.choose("brush"), eraser: () => editor.choose("eraser"), hand: () => editor.choose("hand"), frame: () => editor.choose("frame"),
    size: (key) => editor.brush.larger(key === "]" ? 1.25 : 0.8), softness: (key) => editor.brush.softer(key === "}" ? 0.1 : -0.1),
    undo: () => editor.change("undo"), redo: () => editor.change("redo"), fill: () => editor.change("fill"), invert: () => editor.change("invert"), clear: () => editor.change("clear"),
    zoom: (key) => editor.stage.zoom(key === "-" ? 1 / 1.3 : 1.3), fit: () => editor.fit(),
    move: (key) => editor.stage.pan({ ArrowLeft: 40, ArrowRight: -40 }[key] ?? 0, { ArrowUp: 40, ArrowDown: -40 }[key] ?? 0),
    compare: () => editor.flip(), use: () => Boolean(useResult()), download: () => editor.work && download(editor.work),
    browse: (key) => browse(key === "," ? -1 : 1), theme: switchTheme, help: () => $("#help-dialog").showModal(),
  },
  (space) => editor.pointers.hold(space),
);

async function begin() {
  const served = await api.models();
  models = served.models;
  options.upscalers = served.upscalers;
  const list = $("#model");
  list.replaceChildren(...models.map(({ id }) => el("option", { value: id }, id)));
  const facts = () => {
    const { family, default_size: [width, height], multiple } = models.find(({ id }) => id === list.value);
    $("#model-facts").textContent = `${family}, ${width} × ${height}`;
    editor.frame.snap = multiple;
  };
  list.addEventListener("change", facts);
  facts();
  await Promise.all([history.load(), options.isNew ? sources.openExample("fox") : Artwork.read(await (await fetch("page/examples/fox.png")).blob(), "fox.png").then((fox) => sources.use([fox]))]);
}

begin()
  .then(() => document.body.classList.add("ready"))
  .catch(fail);
