"""The shapes an engine is built for: ranges of the lengths of a graph's dynamic axes."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..errors import EngineError
from .graph import Range
from .tensor import Array, TensorSpec

_AXIS = re.compile(r"(\w+) ([0-9]+):([0-9]+):([0-9]+)")


@dataclass(frozen=True)
class Profile:
    """The lengths of a graph's dynamic axes that an engine is built for; it is tuned for the usual ones."""

    axes: Mapping[str, Range]

    @classmethod
    def parse(cls, text: str) -> Profile:
        """Read what `str` wrote; raises `ValueError` for anything else."""
        matches = [_AXIS.fullmatch(part) for part in text.split(", ")]
        if not all(matches):
            raise ValueError(f"{text!r} is no profile")
        groups = [match.groups() for match in matches if match]
        return cls({axis: Range(int(least), int(usual), int(most)) for axis, least, usual, most in groups})

    def __str__(self) -> str:
        """The canonical text: every axis with its least, usual and greatest length, in the order of the names."""
        return ", ".join(f"{axis} {span.least}:{span.usual}:{span.most}" for axis, span in sorted(self.axes.items()))

    @property
    def volume(self) -> int:
        """How many shapes it holds."""
        return math.prod(span.most - span.least + 1 for span in self.axes.values())

    def covers(self, lengths: Mapping[str, int]) -> bool:
        """Whether every axis has a length it is built for."""
        return lengths.keys() >= self.axes.keys() and self.fits(lengths)

    def fits(self, lengths: Mapping[str, int]) -> bool:
        """Whether those axes that are given have."""
        return all(self.axes[axis].least <= length <= self.axes[axis].most for axis, length in lengths.items())

    def corners(self) -> tuple[dict[str, int], ...]:
        """The least, the usual and the greatest lengths."""
        return tuple(
            {axis: getattr(span, end) for axis, span in self.axes.items()} for end in ("least", "usual", "most")
        )

    def shapes(self, spec: TensorSpec) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """The least, the usual and the greatest shape of an input."""
        spans = [Range(axis, axis, axis) if isinstance(axis, int) else self.axes[axis] for axis in spec.axes]
        return (
            tuple(span.least for span in spans),
            tuple(span.usual for span in spans),
            tuple(span.most for span in spans),
        )


def most_rows(built: Iterable[Profile], lengths: Mapping[str, int]) -> int | None:
    """The most rows of a call with these lengths of the other axes; None where no profile bounds them."""
    return max((profile.axes["rows"].most for profile in built if profile.fits(lengths)), default=None)


def lengths_of(name: str, specs: Iterable[TensorSpec], feeds: Mapping[str, Array]) -> dict[str, int]:
    """The length of every dynamic axis; raises `EngineError` where two inputs disagree."""
    lengths: dict[str, int] = {}
    for spec in specs:
        for axis, length in zip(spec.axes, feeds[spec.name].shape, strict=True):
            if isinstance(axis, str) and lengths.setdefault(axis, length) != length:
                raise EngineError(f"{name}: {spec.name} has {length} {axis}, another input has {lengths[axis]}")
    return lengths
