"""Contact sheets: rows of labelled pictures on one page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from .fonts import Face

_PAPER = "white"
_INK = "#222222"
_GREY = "#6b6b6b"
_TEXT = ((10, 14), (11, 12), (15, 8))  # small, medium, large: the least size in pixels, and cells per size
_FRAME = "#dddddd"
_CHECKER = (225, 255)
_CHECKER_SIDE = 8


@dataclass(frozen=True)
class Row:
    """A row of a sheet: a caption, and (label, image) pairs from left to right."""

    caption: str
    cells: Sequence[tuple[str, Image.Image]]


def contact_sheet(
    rows: Sequence[Row], *, cell: int = 192, title: str | None = None, font: Path | None = None
) -> Image.Image:
    """Lay out `rows` from top to bottom, each picture scaled to fit a square of `cell` pixels, its label beneath.

    Pictures of at most half a cell are enlarged by a whole factor with hard pixels, all others with Lanczos; alpha
    shows a checkerboard. Texts too long for their place are cut short; they are written with `font` where that has
    their characters, else with Pillow's own or one of the system's: see `fonts.missing`. Returns an RGB image.
    """
    page = _Page(cell, max((len(row.cells) for row in rows), default=0), title, font)
    tops = list(accumulate((page.row_height(row) for row in rows), initial=page.head))
    sheet = Image.new("RGB", (page.width, tops[-1] + page.margin - page.gap), _PAPER)
    draw = ImageDraw.Draw(sheet)
    if title:
        _write(sheet, (page.margin, page.margin), title, page.large, page.inner, _INK)
    for row, top in zip(rows, tops, strict=False):
        _draw_row(sheet, draw, page, row, top)
    return sheet


class _Page:
    """The measures of a sheet, in pixels, all in proportion to the cell."""

    def __init__(self, cell: int, columns: int, title: str | None, font: Path | None) -> None:
        self.cell = cell
        self.small, self.medium, self.large = (Face(max(least, cell // part), font) for least, part in _TEXT)
        self.gap = max(6, cell // 16)
        self.margin = 2 * self.gap
        self.inner = max(columns, 1) * (cell + self.gap) - self.gap
        self.width = self.inner + 2 * self.margin
        self.head = self.margin + (self.large.line + self.gap if title else 0)

    def label_height(self, row: Row) -> int:
        """The height of the labels under a row."""
        return self.small.line + self.gap if any(label for label, _ in row.cells) else 0

    def caption_height(self, row: Row) -> int:
        """The height of the caption over a row."""
        return self.medium.line + self.gap // 2 if row.caption else 0

    def row_height(self, row: Row) -> int:
        """The height of a row, the gap beneath it included."""
        return self.caption_height(row) + self.cell + self.label_height(row) + self.gap


def _draw_row(sheet: Image.Image, draw: ImageDraw.ImageDraw, page: _Page, row: Row, top: int) -> None:
    _write(sheet, (page.margin, top), row.caption, page.medium, page.inner, _INK)
    top += page.caption_height(row)
    for column, (label, image) in enumerate(row.cells):
        left = page.margin + column * (page.cell + page.gap)
        fitted = _opaque(_fitted(image, page.cell))
        x, y = left + (page.cell - fitted.width) // 2, top + (page.cell - fitted.height) // 2
        draw.rectangle((x - 1, y - 1, x + fitted.width, y + fitted.height), outline=_FRAME)
        sheet.paste(fitted, (x, y))
        text = _cut(label, page.small, page.cell)
        centre = left + (page.cell - page.small.length(text)) / 2
        _write(sheet, (centre, top + page.cell + page.gap // 2), text, page.small, page.cell, _GREY)


def _fitted(image: Image.Image, cell: int) -> Image.Image:
    longest = max(image.size)
    if 2 * longest <= cell:
        factor = cell // longest
        return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    size = max(1, round(image.width * cell / longest)), max(1, round(image.height * cell / longest))
    return image if size == image.size else image.resize(size, Image.Resampling.LANCZOS)


def _opaque(image: Image.Image) -> Image.Image:
    if image.mode != "RGBA":
        return image.convert("RGB")
    rows, columns = np.indices((image.height, image.width)) // _CHECKER_SIDE
    board = np.where((rows + columns) % 2, *_CHECKER).astype(np.uint8)
    return Image.alpha_composite(Image.fromarray(board).convert("RGBA"), image).convert("RGB")


def _write(sheet: Image.Image, place: tuple[float, float], text: str, face: Face, width: int, ink: str) -> None:
    face.draw(sheet, place, _cut(text, face, width), ink)


def _cut(text: str, face: Face, width: int) -> str:
    """The longest beginning of `text` that fits in `width` pixels, with an ellipsis where it is not all."""
    if face.length(text) <= width:
        return text
    while text and face.length(text + "…") > width:
        text = text[:-1].rstrip()
    return text + "…"
