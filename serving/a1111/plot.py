"""A1111's "X/Y/Z plot": its axes by index or name, their values, and the grid that comes of them."""

from __future__ import annotations

import csv
import re
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any

from ...errors import InputError, unknown
from ...runtime.denoising.loop import Step
from ...runtime.execution.run import Run
from ...runtime.imaging.picture import Picture
from ...runtime.model.model import Model
from ...runtime.requests.result import Output
from ...runtime.sampling.noise import drawn
from ...runtime.tools.grid import REPLACE, Grid
from ..made import Made, MadePicture

NOTHING = "Nothing"
TOGETHER = 8
# In A1111's order, the first of which index 0 stands for; those of one tab alone are named with it.
_ORDER = (
    NOTHING,
    "Seed",
    "Var. seed",
    "Var. strength",
    "Steps",
    "txt2img:Hires steps",
    "CFG Scale",
    "img2img:Image CFG Scale",
    "Prompt S/R",
    "Prompt order",
    "Sampler",
    "txt2img:Hires sampler",
    "Checkpoint name",
    "Negative Guidance minimum sigma",
    "Sigma Churn",
    "Sigma min",
    "Sigma max",
    "Sigma noise",
    "Schedule type",
)
_SERVED: Mapping[str, tuple[str, type]] = {
    "Seed": ("seed", int),
    "Var. seed": ("variation_seed", int),
    "Var. strength": ("variation_strength", float),
    "Steps": ("steps", int),
    "CFG Scale": ("guidance_scale", float),
    "Prompt S/R": (REPLACE, str),
    "Sampler": ("sampler", str),
    "Schedule type": ("schedule", str),
    "Eta": ("eta", float),
    "Clip skip": ("clip_skip", int),
    "Denoising": ("strength", float),
    "RNG source": ("noise", str),
}
"""The axes that there are here: the field of a request, and what its values are."""
_RANGE = re.compile(r"\s*([+-]?[\d.]+)\s*-\s*([+-]?[\d.]+)(?:\s*\(([+-][\d.]+)\s*\)|\s*\[(\d+)\s*\])?\s*")
_MOST = 1000


def axis_names(tab: str) -> list[str]:
    """The axes of "img2img" or "txt2img" in the order of their indices."""
    return [name.removeprefix(f"{tab}:") for name in _ORDER if ":" not in name or name.startswith(f"{tab}:")]


def axis_of(kind: Any, tab: str) -> str:
    """The name of an axis that is given by its index or its name; raises `InputError` for one that is not served."""
    names = axis_names(tab)
    if isinstance(kind, int) and not isinstance(kind, bool):
        if not 0 <= kind < len(names):
            raise InputError(f"X/Y/Z plot: axes beyond {len(names) - 1} are given by name here, such as 'Denoising'")
        kind = names[kind]
    found = next((name for name in (NOTHING, *_SERVED) if name.lower() == str(kind).strip().lower()), None)
    if found is None:
        raise unknown("axis of the X/Y/Z plot", str(kind)[:64], _SERVED, "script_args")
    return found


def axis_values(name: str, text: Any, chosen: Any, fixed: bool) -> tuple[str, tuple[Any, ...]]:
    """The field of an axis and its values; `chosen` are those of a list of choices, where the text has none.

    Seeds of -1 are drawn where they are `fixed`. Raises `InputError` for values of another kind.
    """
    field, kind = _SERVED[name]
    listed = [str(each) for each in chosen] if isinstance(chosen, list) and not str(text or "").strip() else None
    parts = listed if listed is not None else _parts(str(text or ""))
    values: list[Any] = []
    for part in parts:
        values += [part] if kind is str else _numbers(part, kind, name)
    if not values:
        raise InputError(f"X/Y/Z plot: the axis {name} has no values", "script_args")
    if kind is int and field.endswith("seed"):
        values = [drawn(-1) if value < 0 else value for value in values]
    if field == "clip_skip":
        values = [value - 1 for value in values]
    if field == "noise":
        values = ["cpu" if value.strip().upper() == "CPU" else "gpu" for value in values]
    return field, tuple(values)


def _parts(text: str) -> list[str]:
    return [part.strip() for row in csv.reader(StringIO(text), skipinitialspace=True) for part in row if part.strip()]


def _numbers(part: str, kind: type, name: str) -> list[Any]:
    """A number, or a range of them: "1-5", "1-5 (+2)", "0-1 [3]"."""
    try:
        return [kind(part)]
    except ValueError:
        pass
    match = _RANGE.fullmatch(part)
    if match is None:
        raise InputError(
            f"X/Y/Z plot: {part[:64]!r} is no value of {name}; write 1, or a range as 1-5 (+2)", "script_args"
        )
    return list(_range(match, kind))


def _range(match: re.Match[str], kind: type) -> Iterator[Any]:
    begin, end = float(match[1]), float(match[2])
    if match[4]:
        count = min(int(match[4]), _MOST)
        for index in range(count):
            yield kind(begin + (end - begin) * index / max(count - 1, 1))
        return
    step = float(match[3]) if match[3] else 1.0 if end >= begin else -1.0
    count = int((end - begin) / step + 1e-9) + 1 if step else 1
    for index in range(max(0, min(count, _MOST))):
        value = begin + index * step
        yield kind(round(value, 8)) if kind is float else kind(value)


@dataclass(frozen=True)
class Looks:
    """How a plot comes back: the side of a cell in pixels, and whether its pictures come, too."""

    cell: int
    lone: bool


class Plot:
    """A grid on its way, whose pictures are kept: iterate for its steps."""

    def __init__(
        self,
        model: Model,
        picture: Picture,
        prompt: str,
        axes: Mapping[str, Sequence[Any]],
        options: Mapping[str, Any],
        looks: Looks,
    ) -> None:
        self._grid, self._looks, self._prompt = Grid.of(axes), looks, prompt
        self._grid.check(looks.cell)
        given = dict(options)
        requests = self._grid.requests(picture, prompt, given.pop("negative_prompt", ""), given)
        parts = [requests[start : start + TOGETHER] for start in range(0, len(requests), TOGETHER)]
        self._runs = [Run(model, part, paced=False) for part in parts]
        self._outputs: list[Output] = []
        self.evaluations = sum(run.evaluations for run in self._runs)

    def __iter__(self) -> Generator[Step]:
        """Do the work."""
        for run in self._runs:
            yield from run
            self._outputs += run.result().outputs

    def made(self) -> Made:
        """The sheet, and the pictures where they are wanted."""
        images = [output.image for output in self._outputs]
        first = self._outputs[0]
        sheet = self._grid.sheet(images, self._prompt, self._looks.cell)
        text = self._grid.parameters(first.parameters)
        return Made((MadePicture(sheet, text, first.request.seed), *self.so_far().pictures), {}, {})

    def so_far(self) -> Made:
        """The pictures that are finished, where they are wanted."""
        outputs = self._outputs if self._looks.lone else []
        return Made(tuple(map(MadePicture.of, outputs)), {}, {})
