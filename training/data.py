"""Emoji drawings from npm packages become captioned pictures, cached in one npz file."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import resvg_py
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm


@dataclass(frozen=True)
class Style:
    """One way of drawing: an iconify set, and the CSS that turns its drawings into a computed style."""

    package: str
    css: str = ""


# Stroke widths are in the units of fluent-emoji-flat's 32-unit canvas.
SKETCH = (
    "[fill]{fill:#fff;stroke:#303030;stroke-width:.9;stroke-linejoin:round}"
    '[fill="none"]{fill:none} [opacity]{opacity:1}'
)
INK = "[fill]{stroke:#000;stroke-width:1;stroke-linejoin:round}"

STYLES = {
    "noto": Style("noto"),
    "twemoji": Style("twemoji"),
    "fluent": Style("fluent-emoji"),
    "flat": Style("fluent-emoji-flat"),
    "contrast": Style("fluent-emoji-high-contrast"),
    "sketch": Style("fluent-emoji-flat", SKETCH),
    "ink": Style("fluent-emoji-flat", INK),
}
GROUPS = ("Animals & Nature", "Food & Drink", "Travel & Places")
# Concepts that differ only in a clock's hands, a shadow's edge or a letter cannot be told apart at 64 px.
INDISTINCT = re.compile(r"o'clock|-thirty|moon|clock|globe showing|sunrise|sunset|cityscape|night with")
# The concepts that the shipped U-Net was trained on, one a line.
CORE = Path(__file__).with_name("core.txt")
MARGIN = 0.03  # of the canvas on each side, so that outlines are not cut off
OVERSAMPLING = 4


@dataclass(frozen=True)
class Pictures:
    """Captioned pictures.

    Attributes:
        pixels: uint8 [pictures, size, size, 3], on white.
        concept, style: int64 [pictures], indices into `names` and `styles`.
        names: the concepts' names, in the order of Unicode.
        keywords: for each concept other words for it.
        styles: the styles' names.
    """

    pixels: NDArray[np.uint8]
    concept: NDArray[np.int64]
    style: NDArray[np.int64]
    names: list[str]
    keywords: list[list[str]]
    styles: list[str]

    def caption(self, index: int, word: str | None = None) -> str:
        """The caption of a picture; `word` stands in for the concept's name."""
        return caption(word or self.names[self.concept[index]], self.styles[self.style[index]])

    def core(self) -> Pictures:
        """The pictures of the core concepts, with the concepts numbered anew."""
        core = set(CORE.read_text(encoding="utf-8").splitlines())
        kept = [i for i, name in enumerate(self.names) if name in core]
        names, keywords = ([values[i] for i in kept] for values in (self.names, self.keywords))
        chosen = self.pick(np.isin(self.concept, kept))
        return replace(chosen, concept=np.searchsorted(kept, chosen.concept), names=names, keywords=keywords)

    def pick(self, mask: NDArray[np.bool_]) -> Pictures:
        """The pictures where `mask` [pictures] is true."""
        return replace(self, pixels=self.pixels[mask], concept=self.concept[mask], style=self.style[mask])

    def split(self, every: int) -> tuple[Pictures, Pictures]:
        """All but every n-th picture, and those."""
        held = (self.concept * len(self.styles) + self.style) % every == every - 1
        return self.pick(~held), self.pick(held)

    def words(self) -> list[str]:
        """Every caption that training can show, for the tokenizer."""
        return [
            caption(w, s)
            for n, ks in zip(self.names, self.keywords, strict=True)
            for w in [n, *ks]
            for s in self.styles
        ]

    def save(self, path: Path) -> None:
        facts = json.dumps({key: getattr(self, key) for key in ("names", "keywords", "styles")})
        np.savez_compressed(path, pixels=self.pixels, concept=self.concept, style=self.style, facts=np.array(facts))

    @staticmethod
    def load(path: Path) -> Pictures:
        with np.load(path) as file:
            return Pictures(file["pixels"], file["concept"], file["style"], **json.loads(str(file["facts"])))


def caption(name: str, style: str) -> str:
    """The form of words the model is trained on."""
    return f"{name}, {style} style"


def draw(body: str, canvas: tuple[float, float], size: int, css: str = "") -> NDArray[np.uint8]:
    """Rasterise the body of an SVG on white, uint8 [size, size, 3]; box-filtered from a larger rendering."""
    width, height = canvas
    pad = MARGIN * max(canvas)
    box = f"{-pad} {-pad} {width + 2 * pad} {height + 2 * pad}"
    # The group's fill is what shapes without one inherit, and what the computed styles' CSS can then address.
    spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    svg = f'<svg {spaces} viewBox="{box}"><g fill="#000">{body}</g></svg>'
    large = size * OVERSAMPLING
    png = resvg_py.svg_to_bytes(
        svg_string=svg, width=large, height=large, background="#ffffff", style_sheet=css or None, skip_system_fonts=True
    )
    return np.asarray(Image.open(io.BytesIO(bytes(png))).convert("RGB").resize((size, size), Image.Resampling.BOX))


def concepts(npm: Path) -> dict[str, tuple[str, list[str]]]:
    """Iconify's name for each concept -> (its name, keywords), in the order of Unicode."""
    modules = npm / "node_modules"
    known = json.loads((modules / "unicode-emoji-json/data-by-emoji.json").read_text())
    words = json.loads((modules / "emojilib/dist/emoji-en-US.json").read_text())
    found = {}
    for emoji, facts in known.items():
        if facts["group"] in GROUPS and not INDISTINCT.search(facts["name"]):
            keywords = [w.replace("_", " ") for w in words.get(emoji, []) if w.isascii()]
            found[facts["slug"].replace("_", "-")] = facts["name"], [w for w in keywords if w != facts["name"]]
    return found


def drawings(npm: Path, styles: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The iconify sets that the styles need, by package."""
    paths = {STYLES[s].package: npm / f"node_modules/@iconify-json/{STYLES[s].package}/icons.json" for s in styles}
    return {package: json.loads(path.read_text()) for package, path in paths.items()}


def draw_icon(sets: dict[str, dict[str, Any]], slug: str, style: str, size: int) -> NDArray[np.uint8]:
    """One concept in one style, uint8 [size, size, 3]."""
    icons = sets[STYLES[style].package]
    icon = icons["icons"][slug]
    canvas = (float(icon.get("width", icons.get("width", 16))), float(icon.get("height", icons.get("height", 16))))
    return draw(icon["body"], canvas, size, STYLES[style].css)


def build(npm: Path, size: int, styles: list[str]) -> Pictures:
    """Rasterise every concept that all `styles` have, style by style within a concept."""
    sets = drawings(npm, styles)
    found = {slug: facts for slug, facts in concepts(npm).items() if all(slug in s["icons"] for s in sets.values())}
    pixels = [draw_icon(sets, slug, style, size) for slug in tqdm(found, desc="drawing") for style in styles]
    concept, style = np.divmod(np.arange(len(pixels)), len(styles))
    facts = (list(column) for column in zip(*found.values(), strict=True))
    return Pictures(np.stack(pixels), concept, style, *facts, list(styles))


def psnr(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Peak signal-to-noise ratio in dB of each picture, [n]."""
    error = ((a.astype(np.float64) - b) ** 2).mean((1, 2, 3))
    return 10 * np.log10(255**2 / np.maximum(error, 1e-9))


def sheet(pixels: NDArray[np.uint8], columns: int, scale: int = 1) -> Image.Image:
    """A contact sheet of pictures [n, h, w, 3], row by row."""
    n, h, w, _ = pixels.shape
    rows = -(-n // columns)
    canvas = np.full((rows * columns, h, w, 3), 255, np.uint8)
    canvas[:n] = pixels
    grid = canvas.reshape(rows, columns, h, w, 3).swapaxes(1, 2).reshape(rows * h, columns * w, 3)
    return Image.fromarray(grid).resize((columns * w * scale, rows * h * scale), Image.Resampling.NEAREST)
