"""Weighted sums of arrays as values, so that a sampler is written as in its paper and its matrix falls out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from ...bundles.tensor import Array
from ...errors import InputError
from .levels import Level


class Sum:
    """An immutable weighted sum of named arrays: `0.5 * X + MODEL - X / 3`. A weight of 0 drops the array."""

    __slots__ = ("weights",)

    def __init__(self, weights: Mapping[str, float]) -> None:
        self.weights = {name: float(weight) for name, weight in weights.items() if weight}

    def __add__(self, other: Sum) -> Sum:
        names = self.weights | other.weights
        return Sum({name: self.weights.get(name, 0.0) + other.weights.get(name, 0.0) for name in names})

    def __mul__(self, factor: float) -> Sum:
        return Sum({name: weight * factor for name, weight in self.weights.items()})

    __rmul__ = __mul__

    def __sub__(self, other: Sum) -> Sum:
        return self + other * -1.0

    def __truediv__(self, divisor: float) -> Sum:
        return self * (1.0 / divisor)

    def __repr__(self) -> str:
        return " ".join(f"{weight:+.6g} {name}" for name, weight in self.weights.items()) or "0"


def array(name: str) -> Sum:
    """The array `name` itself."""
    return Sum({name: 1.0})


def total(weights: Iterable[float], arrays: Iterable[Sum]) -> Sum:
    """The sum of `arrays` under `weights`, as many as there are of both."""
    result = Sum({})
    for weight, term in zip(weights, arrays, strict=False):
        result = result + weight * term
    return result


X, MODEL, NOISE = array("x"), array("model"), array("noise")


FRESH = (0.0, 0.0)
"""The increment of a line whose noise is a draw of its own."""


class Line(NamedTuple):
    """One evaluation: the user's step it belongs to, the level it happens at, and what every slot becomes.

    A slot that is not named is dropped; slot "x" is always named. `increment` are the sigmas, (from, to), between which
    a Brownian motion gives its noise; where they are equal, the noise is drawn afresh.
    """

    step: int
    level: Level
    slots: Mapping[str, Sum]
    increment: tuple[float, float] = FRESH


def checked(lines: Iterable[Line]) -> list[Line]:
    """The lines of a sampler; raises `InputError` for one without "x", and for one that reads what no line sets."""
    made = list(lines)
    for number, line in enumerate(made, 1):
        if "x" not in line.slots:
            raise InputError(f"line {number} of the sampler does not say what x becomes; name 'x' among its slots")
    known = {*slot_names(made), "model", "noise"}
    for number, line in enumerate(made, 1):
        if unset := {name for new in line.slots.values() for name in new.weights} - known:
            cause = f"line {number} of the sampler reads {min(unset)!r}, which no line sets; name it among the slots"
            raise InputError(cause)
    return made


def slot_names(lines: Iterable[Line]) -> tuple[str, ...]:
    """The slots that `lines` use, "x" first."""
    return tuple(dict.fromkeys(["x", *(name for line in lines for name in line.slots)]))


def matrix(lines: list[Line], names: tuple[str, ...]) -> Array:
    """[lines, slots, slots + 2] float64: row s of a line weighs (slots..., model output, fresh noise)."""
    table = np.zeros((len(lines), len(names), len(names) + 2))
    column = {name: i for i, name in enumerate((*names, "model", "noise"))}
    for i, line in enumerate(lines):
        for name, new in line.slots.items():
            for source, weight in new.weights.items():
                table[i, column[name], column[source]] = weight
    return table
