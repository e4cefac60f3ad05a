"""A grid of parameters on one picture, as a labelled contact sheet: the X/Y/Z plot."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from PIL import Image

from ...errors import InputError, unknown
from ..denoising.loop import Step
from ..execution.run import Run
from ..imaging.fonts import missing
from ..imaging.metadata import format_parameters, parse_parameters
from ..imaging.picture import Picture
from ..imaging.sheet import Row, contact_sheet
from ..model.model import Model
from ..requests.expand import ALIASES, START, named
from ..requests.options import fields_of
from ..requests.request import Request
from ..sampling.noise import drawn

MAX_AXES = 3
MAX_SHEET = 2**28
"""The most pixels that a sheet's cells may have together."""

REPLACE = "replace"
"""The axis of prompts: its first value is searched for, and each value stands there in turn."""

_KINDS: Mapping[str, type] = {"number": float, "whole": int, "seed": int, "name": str, "label": str, "text": str}
# The fields of a request that an axis may go along, and what their values are.
AXES: Mapping[str, type] = {name: _KINDS[option.kind] for name, option in fields_of("request").items() if option.axis}
SEEDS = tuple(name for name in AXES if fields_of("request")[name].kind == "seed")

# What `Pipeline.grid` takes.
OFFER = START - {"n", "timeout"} | {"font"}


@dataclass(frozen=True)
class Axis:
    """A field of `AXES`, or `REPLACE`, and its values; of seeds -1 draws one.

    Raises `InputError` for another field, no values, and a value that is given twice.
    """

    name: str
    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        if self.name not in (*AXES, REPLACE):
            raise unknown("axis", self.name, (*AXES, REPLACE), self.name)
        if not self.values:
            raise InputError(f"the axis {self.name} has no values; give one at least", self.name)
        if self.name in SEEDS:
            object.__setattr__(self, "values", tuple(drawn(value) for value in self.values))
        if len(set(self.values)) < len(self.values):
            raise InputError(f"the axis {self.name} has a value twice; leave one out", self.name)

    def labels(self) -> list[str]:
        """What is written beside each value."""
        return [str(value) if self.name == REPLACE else f"{self.title} {value}" for value in self.values]

    @property
    def title(self) -> str:
        """The field in words."""
        return self.name.removesuffix("_scale").replace("_", " ")


def axis(name: str, text: str) -> Axis:
    """An axis from values with commas between them; "fox=>cat,dog" for `REPLACE`, whose first is then fox.

    Raises `InputError` for a value of another kind.
    """
    if name == REPLACE:
        search, arrow, others = text.partition("=>")
        if not arrow or not search.strip():
            raise InputError(f"{text!r} does not say what is replaced by what; write fox=>cat,dog")
        values = [search.strip(), *(value.strip() for value in others.split(","))]
        return Axis(name, tuple(dict.fromkeys(values)))
    if name not in AXES:
        raise unknown("axis", name, (*AXES, REPLACE), name)
    kind = AXES[name]
    try:
        values = [kind(value.strip()) for value in text.split(",")]
    except ValueError:
        number = "whole numbers" if kind is int else "numbers"
        raise InputError(f"{name} is {text!r}; give {number} with commas between them", name) from None
    return Axis(name, tuple(values))


@dataclass(frozen=True)
class Grid:
    """One to three axes: along the columns, down the rows, and in blocks of rows.

    Raises `InputError` for another number of axes and for two of one name.
    """

    axes: tuple[Axis, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.axes) <= MAX_AXES:
            raise InputError(f"a grid has one to {MAX_AXES} axes, not {len(self.axes)}; give a list of values for one")
        names = [axis.name for axis in self.axes]
        if twice := {name for name in names if names.count(name) > 1}:
            raise InputError(f"the axis {min(twice)} is given twice; give it once", min(twice))

    @classmethod
    def of(cls, axes: Mapping[str, Sequence[Any]]) -> Grid:
        """The grid of axes by name; the names that A1111 and diffusers have are known too."""
        return cls(tuple(Axis(ALIASES.get(name, name), tuple(values)) for name, values in axes.items()))

    def __len__(self) -> int:
        count = 1
        for axis in self.axes:
            count *= len(axis.values)
        return count

    def requests(self, picture: Picture, prompt: str, negative: str, options: Mapping[str, Any]) -> list[Request]:
        """A request a cell: block by block, row by row, from left to right. All have one seed where none is an axis.

        Raises `InputError` for a text to be replaced that is in neither prompt, and as `Request` does.
        """
        searched = [axis.values[0] for axis in self.axes if axis.name == REPLACE]
        if searched and searched[0] not in prompt and searched[0] not in negative:
            raise InputError(
                f"{searched[0]!r} is not in the prompt, so nothing can stand in its place; correct it", REPLACE
            )
        made = []
        for cell in product(*(axis.values for axis in reversed(self.axes))):
            values = dict(zip((axis.name for axis in reversed(self.axes)), cell, strict=True))
            here, there = searched[0] if searched else "", values.pop(REPLACE, "")
            texts = [text.replace(here, there) if here else text for text in (prompt, negative)]
            made.append(Request(picture, texts[0], texts[1], **{**options, **values}))
        return made

    def check(self, cell: int) -> None:
        """Raise `InputError` for a sheet that would be too large with cells of so many pixels a side."""
        if len(self) * cell**2 > MAX_SHEET:
            raise InputError(
                f"{len(self)} cells of {cell} pixels are too large a sheet; make the cells smaller", "cell"
            )

    def sheet(
        self, images: Sequence[Image.Image], title: str, cell: int = 256, font: Path | None = None
    ) -> Image.Image:
        """The images, in the requests' order, on a page, labelled with `font` where that has the characters."""
        columns, captions = self._labels()
        width = len(columns)
        rows = [
            Row(caption, list(zip(columns, images[index * width : (index + 1) * width], strict=True)))
            for index, caption in enumerate(captions)
        ]
        return contact_sheet(rows, cell=cell, title=title, font=font)

    def undrawable(self, title: str, font: Path | None = None) -> str | None:
        """A note on the labels' and the title's characters that no font has; None where all can be written.

        Raises `InputError` for a `font` that cannot be read.
        """
        columns, captions = self._labels()
        return missing([title, *columns, *captions], font)

    def _labels(self) -> tuple[list[str], list[str]]:
        """What is written under each column's pictures and over each row."""
        columns, *others = (axis.labels() for axis in self.axes)
        return columns, [", ".join(labels) for labels in product(*reversed(others))]

    def parameters(self, first: str) -> str:
        """The parameters text of the sheet: that of its first cell, and the axes as A1111 names them."""
        parsed = parse_parameters(first)
        axes = [
            (f"{letter} {kind}", text)
            for letter, axis in zip("XYZ", self.axes, strict=False)
            for kind, text in (("Type", axis.title), ("Values", ", ".join(map(str, axis.values))))
        ]
        return format_parameters(replace(parsed, extra=(*parsed.extra, *axes)))


class GridRun:
    """A grid on its way: iterate for its steps, then ask for its `sheet()`; `together` cells share a run.

    An option `font` names the font of the labels. Raises `InputError` for all that can be known to be wrong before a
    model runs.
    """

    def __init__(
        self,
        model: Model,
        picture: Picture,
        prompt: str,
        axes: Mapping[str, Sequence[Any]],
        options: Mapping[str, Any],
        together: int = 8,
        cell: int = 256,
    ) -> None:
        self._grid, self._prompt, self._cell = Grid.of(axes), prompt, cell
        given = {name: value for name, value in options.items() if value is not None}
        self._font = Path(given.pop("font")) if "font" in given else None
        if "seed" in given:
            given["seed"] = drawn(given["seed"])  # of all cells
        self._grid.check(cell)
        self._note = self._grid.undrawable(prompt, self._font)
        negative = given.pop("negative_prompt", "")
        self.requests = self._grid.requests(picture, prompt, negative, named(given, OFFER, ("image", "prompt")))
        parts = [self.requests[start : start + together] for start in range(0, len(self.requests), together)]
        self._runs = [Run(model, part, paced=False) for part in parts]
        self._images: list[Image.Image] = []

    @property
    def evaluations(self) -> int:
        """How many steps there are to iterate over."""
        return sum(run.evaluations for run in self._runs)

    @property
    def parameters(self) -> str:
        """The parameters text of the sheet."""
        return self._grid.parameters(self._runs[0].prepared[0].parameters)

    def __iter__(self) -> Generator[Step]:
        """Do the work, once."""
        for run in self._runs:
            yield from run
            self._images += [thumbnail(image, self._cell) for image in run.result().images]

    def sheet(self) -> Image.Image:
        """The sheet of a grid that was iterated to its end; its `info["notes"]` name what no font has of the labels."""
        sheet = self._grid.sheet(self._images, self._prompt, self._cell, self._font)
        sheet.info["notes"] = () if self._note is None else (self._note,)
        return sheet


def paint(
    model: Model,
    picture: Picture,
    prompt: str,
    axes: Mapping[str, Sequence[Any]],
    options: Mapping[str, Any],
    together: int = 8,
    cell: int = 256,
) -> Image.Image:
    """The sheet of a grid, see `GridRun`."""
    run = GridRun(model, picture, prompt, axes, options, together, cell)
    for _ in run:
        pass
    return run.sheet()


def thumbnail(image: Image.Image, cell: int) -> Image.Image:
    """The image scaled down into a square of `cell` pixels, so that a grid needs only its sheet's memory."""
    small = image.copy()
    small.thumbnail((cell, cell), Image.Resampling.LANCZOS)
    return small
