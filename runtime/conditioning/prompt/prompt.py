"""Prompts over the steps of a run: parsed from text in one of the syntaxes, or put together from stages."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from ....errors import InputError, unknown
from . import a1111, comfy
from .a1111_edits import Clock, Script, script
from .grammar import parse_a1111, parse_comfy
from .scan import fault
from .tree import Body, Moment, Phrase, Text, check_weight, heaviest, resolve

EXACT = {"a1111-exact": "a1111", "comfy-exact": "comfy"}
"""The syntaxes that read as the programs do, oddities included, and ours, which refuses what is broken, of each."""
SYNTAXES = ("a1111", "comfy", "plain", *EXACT)
BROKEN = ("error", "literal")


@dataclass(frozen=True)
class Evaluations:
    """The model evaluations of one pass, by which a prompt's edits count.

    `step` is the step of each, counted from 0 within the pass, of `steps`. A1111 counts evaluations: `total` in the
    whole schedule, and as many in each of the `index` passes before.
    """

    step: tuple[int, ...]
    steps: int
    total: int
    index: int = 0


class Operand(ABC):
    """One of the texts that AND composes; `weight` is its share of the guidance."""

    weight: float

    @abstractmethod
    def phrases(self, evaluations: Evaluations) -> list[Phrase]:
        """What it says at each evaluation."""

    def check_weights(self) -> None:  # noqa: B027  (most find out as they read)
        """Raise `InputError` for a weight that is too great."""

    def timeline(self, steps: int) -> list[Phrase]:
        """What it says at every step of a pass that evaluates the model once a step."""
        return self.phrases(Evaluations(tuple(range(steps)), steps, steps))


@dataclass(frozen=True)
class Part(Operand):
    """An operand as the grammars read it."""

    body: Body
    syntax: str = "plain"
    weight: float = 1.0

    def at(self, step: int, steps: int) -> Phrase:
        """What it says at a step, counted from 0, of `steps`; raises `InputError` for a step outside of them."""
        if not 0 <= step < steps:
            raise InputError(f"step {step} is none of {steps}; steps count from 0")
        return resolve(self.body, step, steps, self.syntax)

    def phrases(self, evaluations: Evaluations) -> list[Phrase]:
        """What it says at each evaluation; equal phrases are the same object."""
        seen: dict[Phrase, Phrase] = {}
        phrases = (self.at(step, evaluations.steps) for step in evaluations.step)
        return [seen.setdefault(phrase, phrase) for phrase in phrases]

    def check_weights(self) -> None:
        """Raise `InputError` for a weight that is too great at any step."""
        check_weight(heaviest(self.body))


@dataclass(frozen=True)
class Scripted(Operand):
    """An operand as A1111 reads it."""

    script: Script
    weight: float = 1.0

    def phrases(self, evaluations: Evaluations) -> list[Phrase]:
        """What it says at each evaluation."""
        clock = Clock(evaluations.total, evaluations.index * evaluations.total, evaluations.index)
        return a1111.phrases(self.script, clock, len(evaluations.step))


@dataclass(frozen=True)
class Constant(Operand):
    """A prompt that says the same at every evaluation."""

    phrase: Phrase
    weight: float = 1.0

    def phrases(self, evaluations: Evaluations) -> list[Phrase]:
        """What it says at each evaluation."""
        return [self.phrase] * len(evaluations.step)


@dataclass(frozen=True)
class Staged(Operand):
    """Parts that follow one another, each from a fraction of the steps on; the first begins at 0."""

    parts: tuple[Operand, ...]
    starts: tuple[float, ...]
    weight: float = 1.0

    def phrases(self, evaluations: Evaluations) -> list[Phrase]:
        """What they say at each evaluation."""
        said = [part.phrases(evaluations) for part in self.parts]
        return [said[self._begun(step, evaluations.steps)][i] for i, step in enumerate(evaluations.step)]

    def _begun(self, step: int, steps: int) -> int:
        return sum(Moment(start, True).step(steps) <= step for start in self.starts) - 1


@dataclass(frozen=True)
class Prompt:
    """A parsed prompt: one part, or several that AND composes."""

    parts: tuple[Operand, ...]

    def check_weights(self) -> None:
        """Raise `InputError` for a weight with which the model's arithmetic in float32 would overflow."""
        for part in self.parts:
            check_weight(part.weight)
            part.check_weights()


def parse(text: str, syntax: str = "a1111", broken: str | None = None, *, composed: bool = True) -> Prompt:
    """Parse a prompt.

    `syntax` is "a1111" (all of its grammar), "comfy" (weights in round brackets) or "plain" (no grammar: literal
    text), see `grammar`; "a1111-exact" and "comfy-exact" read a prompt as those programs do. `broken` says what becomes
    of an unbalanced bracket or a bad number: "error" raises `InputError` with a caret under the place, "literal" takes
    it for text (brackets that are never closed go on to the end); None is "error", but "literal" where the syntax is
    exact. Where a prompt is not `composed`, as a negative one, A1111 takes AND for text.
    """
    if not isinstance(text, str):
        raise InputError(f"a prompt is text, not {text!r}")
    if half := re.search(r"[\ud800-\udfff]", text):
        raise fault(text, half.start(), f"{half[0]!r} is half a character; write the prompt anew")
    if syntax not in SYNTAXES:
        raise unknown("prompt syntax", str(syntax), SYNTAXES)
    if broken not in (None, *BROKEN):
        raise unknown("way with broken prompts", str(broken), BROKEN)
    if syntax in EXACT:
        if broken == "error":
            parse(text, EXACT[syntax], broken)
        return Prompt(_exact(text, syntax, composed))
    literal = broken == "literal"
    if syntax == "a1111":
        return Prompt(tuple(Part(body, syntax, weight) for body, weight in parse_a1111(text, literal)))
    return Prompt((Part(parse_comfy(text, literal) if syntax == "comfy" else (Text(text),), syntax),))


def _exact(text: str, syntax: str, composed: bool) -> tuple[Operand, ...]:
    if syntax == "comfy-exact":
        return (Constant(comfy.weigh(text)),)
    text = a1111.without_comments(text)
    operands = a1111.operands(text) if composed else [(text, 1.0)]
    return tuple(Scripted(script(operand), weight) for operand, weight in operands)


def from_steps(stages: Sequence[tuple[float, str]], syntax: str = "a1111", broken: str | None = None) -> Prompt:
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
    return Prompt((Staged(tuple(prompt.parts[0] for prompt in prompts), tuple(fractions)),))


def _fraction(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
        raise InputError(f"a text begins at a fraction of the steps from 0 to below 1, not {value!r}")
    return float(value)
