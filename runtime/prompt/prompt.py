"""Prompts over the steps of a run: parsed from text in one of three syntaxes, or put together from stages."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from ...engines.base import InputError, unknown
from .grammar import parse_a1111, parse_comfy
from .scan import fault
from .tree import Body, Moment, Phrase, Stages, Text, heaviest, resolve

SYNTAXES = ("a1111", "comfy", "plain")
BROKEN = ("error", "literal")
# The model's norms square what the weights multiply: far below the square root of float32's greatest number.
MOST_WEIGHT = 1e9


@dataclass(frozen=True)
class Part:
    """One operand of a composed prompt; `weight` is its share of the guidance."""

    body: Body
    syntax: str = "plain"
    weight: float = 1.0

    def at(self, step: int, steps: int) -> Phrase:
        """What it says at a step, counted from 0, of `steps`; raises `InputError` for a step outside of them."""
        if not 0 <= step < steps:
            raise InputError(f"step {step} is none of {steps}; steps count from 0")
        return resolve(self.body, step, steps, self.syntax)

    def timeline(self, steps: int) -> list[Phrase]:
        """What it says at every step; equal phrases are the same object."""
        seen: dict[Phrase, Phrase] = {}
        phrases = (self.at(step, steps) for step in range(steps))
        return [seen.setdefault(phrase, phrase) for phrase in phrases]


@dataclass(frozen=True)
class Prompt:
    """A parsed prompt: one part, or several that AND composes."""

    parts: tuple[Part, ...]

    def check_weights(self) -> None:
        """Raise `InputError` for a weight with which the model's arithmetic in float32 would overflow."""
        for weight in (number for part in self.parts for number in (abs(part.weight), heaviest(part.body))):
            if not weight <= MOST_WEIGHT:
                raise InputError(f"a weight of the prompt comes to {weight:g}; give weights of at most {MOST_WEIGHT:g}")


def parse(text: str, syntax: str = "a1111", broken: str = "error") -> Prompt:
    """Parse a prompt.

    `syntax` is "a1111" (all of its grammar), "comfy" (weights in round brackets) or "plain" (no grammar: literal
    text); see `grammar`. `broken` says what becomes of an unbalanced bracket or a bad number: "error" raises
    `InputError` with a caret under the place, "literal" takes it for text as A1111 does (whose unclosed brackets go
    on to the end).
    """
    if not isinstance(text, str):
        raise InputError(f"a prompt is text, not {text!r}")
    if half := re.search(r"[\ud800-\udfff]", text):
        raise fault(text, half.start(), f"{half[0]!r} is half a character; write the prompt anew")
    if syntax not in SYNTAXES:
        raise unknown("prompt syntax", str(syntax), SYNTAXES)
    if broken not in BROKEN:
        raise unknown("way with broken prompts", str(broken), BROKEN)
    literal = broken == "literal"
    if syntax == "a1111":
        return Prompt(tuple(Part(body, syntax, weight) for body, weight in parse_a1111(text, literal)))
    return Prompt((Part(parse_comfy(text, literal) if syntax == "comfy" else (Text(text),), syntax),))


def from_steps(stages: Sequence[tuple[float, str]], syntax: str = "a1111", broken: str = "error") -> Prompt:
    """A prompt of several texts, each from a fraction of the steps on: `[(0, "a house"), (0.4, "a gouache house")]`.

    Raises `InputError` where the fractions do not rise from 0 to below 1, for a text that composes prompts with AND,
    and as `parse`.
    """
    pairs = list(stages)
    if not pairs or any(not isinstance(pair, (tuple, list)) or len(pair) != 2 for pair in pairs):
        raise InputError(f"a prompt by steps is a list of (fraction, text), not {stages!r}")
    fractions = [_fraction(fraction) for fraction, _ in pairs]
    if fractions[0] != 0:
        raise InputError(f"the first text begins at {fractions[0]:g} of the steps; begin one at 0")
    if any(later <= earlier for earlier, later in pairwise(fractions)):
        raise InputError(f"the fractions {', '.join(f'{f:g}' for f in fractions)} do not rise; sort the texts by them")
    prompts = [parse(text, syntax, broken) for _, text in pairs]
    if any(len(prompt.parts) > 1 for prompt in prompts):
        raise InputError("AND goes with no list of steps; write [from:to:when] inside the prompts that it joins")
    bodies = tuple(prompt.parts[0].body for prompt in prompts)
    return Prompt((Part((Stages(bodies, tuple(Moment(f, True) for f in fractions[1:])),), syntax),))


def _fraction(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
        raise InputError(f"a text begins at a fraction of the steps from 0 to below 1, not {value!r}")
    return float(value)
