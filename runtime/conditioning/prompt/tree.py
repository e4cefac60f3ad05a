"""A parsed prompt: what its text is at every step of a run."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from ....errors import InputError

# The model's norms square what the weights multiply: far below the square root of float32's greatest number.
MOST_WEIGHT = 1e9

Fragment = tuple[str, float]
"""A run of text and its weight."""


@dataclass(frozen=True)
class Phrase:
    """A prompt at one step: chunks, each of them fragments of text with their weights.

    A chunk begins the text encoder's window anew, as BREAK asks; `syntax` is the grammar that it was written in, which
    also settles how tokens are laid out over several windows.
    """

    chunks: tuple[tuple[Fragment, ...], ...]
    syntax: str = "plain"

    @classmethod
    def plain(cls, text: str) -> Phrase:
        """The text as it stands, with the weight 1."""
        return cls((((text, 1.0),) if text else (),))

    def __str__(self) -> str:
        """For people: `(text:weight)` where the weight is not 1."""
        chunks = ("".join(t if w == 1 else f"({t}:{w:g})" for t, w in chunk) for chunk in self.chunks)
        return " BREAK ".join(chunks)


@dataclass(frozen=True)
class Text:
    """Literal text."""

    text: str


@dataclass(frozen=True)
class Break:
    """The end of a chunk."""


@dataclass(frozen=True)
class Weighted:
    """A body whose weight is multiplied; an `absolute` factor stands for those of the brackets around it, too."""

    body: Body
    factor: float
    absolute: bool = False


@dataclass(frozen=True)
class Moment:
    """A number of steps, or a fraction of all of them."""

    value: float
    is_fraction: bool

    def step(self, steps: int) -> int:
        """The step that it is, counted from 0, rounded down; at most `steps`."""
        return int(min(self.value * steps if self.is_fraction else self.value, steps))


@dataclass(frozen=True)
class Stages:
    """Bodies that follow one another, each from its moment on; the first is there from the beginning."""

    bodies: tuple[Body, ...]
    changes: tuple[Moment, ...]

    def at(self, step: int, steps: int) -> Body:
        """The body of a step, counted from 0."""
        begun = (i for i, change in enumerate(self.changes, 1) if change.step(steps) <= step)
        return self.bodies[max(begun, default=0)]


@dataclass(frozen=True)
class Alternation:
    """Bodies that take turns, step by step."""

    bodies: tuple[Body, ...]

    def at(self, step: int, _steps: int) -> Body:
        """The body of a step, counted from 0."""
        return self.bodies[step % len(self.bodies)]


Node = Text | Break | Weighted | Stages | Alternation
Body = tuple[Node, ...]


def resolve(body: Body, step: int, steps: int, syntax: str) -> Phrase:
    """The phrase of a step, counted from 0 of `steps`; neighbours of the same weight are one fragment."""
    chunks: list[list[Fragment]] = [[]]
    for item in _leaves(body, step, steps, ()):
        if item is None:
            chunks.append([])
        elif item[0]:
            chunks[-1].append(item)
    return Phrase(tuple(tuple(_merged(chunk)) for chunk in chunks), syntax)


def check_weight(weight: float) -> None:
    """Raise `InputError` for a weight with which the model's arithmetic in float32 would overflow."""
    if not abs(weight) <= MOST_WEIGHT:
        raise InputError(f"a weight of the prompt comes to {weight:g}; give weights of at most {MOST_WEIGHT:g}")


def heaviest(body: Body, around: tuple[Weighted, ...] = ()) -> float:
    """The greatest weight that any of its texts has at any step, without its sign; NaN where one has none."""
    weights = [0.0]
    for node in body:
        match node:
            case Text():
                weights.append(abs(_product(around)))
            case Weighted(inner):
                weights.append(heaviest(inner, (*around, node)))
            case Stages(bodies) | Alternation(bodies):
                weights += [heaviest(inner, around) for inner in bodies]
    return max(weights, key=lambda weight: math.inf if math.isnan(weight) else weight)


def _leaves(body: Body, step: int, steps: int, around: tuple[Weighted, ...]) -> Iterator[Fragment | None]:
    """Texts with their weights, and None for a break; `around` are the brackets, outermost first."""
    for node in body:
        match node:
            case Text(text):
                yield text, _product(around)
            case Break():
                yield None
            case Weighted(inner):
                yield from _leaves(inner, step, steps, (*around, node))
            case _:
                yield from _leaves(node.at(step, steps), step, steps, around)


def _product(around: tuple[Weighted, ...]) -> float:
    weight = 1.0
    for bracket in reversed(around):
        weight *= bracket.factor
        if bracket.absolute:
            break
    return weight


def _merged(fragments: list[Fragment]) -> Iterator[Fragment]:
    for weight, run in groupby(fragments, key=lambda fragment: fragment[1]):
        yield "".join(text for text, _ in run), weight
