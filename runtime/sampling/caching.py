"""Which evaluations of a plan are computed, and how the others follow from them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ...bundles.tensor import Array
from ...errors import InputError, unknown
from .plan import Plan

FORECAST, DEEP = "forecast", "deep"
USUAL = {FORECAST: 2, DEEP: 3}
"""The ways of caching, with the interval of each where none is given."""
MOST_EVERY = 10
LEAD = 2
"""So many evaluations are computed before the first forecast; of deep features one is enough."""


@dataclass(frozen=True)
class Caching:
    """A way of caching, and its interval: every so many evaluations one is computed whole."""

    kind: str
    every: int


def parse_caching(text: str) -> Caching:
    """The caching that a text such as "forecast", "forecast:3" or "deep:3" asks for; raises `InputError`."""
    kind, colon, every = text.partition(":")
    if kind not in USUAL:
        raise unknown("way of caching", kind, USUAL, "cache")
    if not colon:
        return Caching(kind, USUAL[kind])
    if not every.isascii() or not every.isdigit() or not 2 <= int(every) <= MOST_EVERY:
        raise InputError(
            f"cache {text!r}: after the colon comes the interval, 2 to {MOST_EVERY}; every so many evaluations one is "
            "computed whole",
            "cache",
        )
    return Caching(kind, int(every))


def segments(plan: Plan) -> list[range]:
    """The evaluations between which the model's outputs follow a curve: those of a pass in which noise only falls."""
    rises = (np.diff(plan.sigmas) > 0) | (np.diff(plan.pass_index) != 0)
    cuts = [0, *(np.flatnonzero(rises) + 1), len(plan)]
    return [range(int(first), int(last)) for first, last in pairwise(cuts)]


def computed(plan: Plan, caching: Caching) -> Array:
    """[n] bool: is evaluation i computed whole? Of each segment every so many after the first; for forecasts the first
    `LEAD` and the last as well.

    Raises `InputError` for a plan all of whose evaluations are.
    """
    forecasts = caching.kind == FORECAST
    lead = LEAD if forecasts else 1
    made = np.zeros(len(plan), bool)
    for segment in segments(plan):
        for place, evaluation in enumerate(segment):
            last = forecasts and evaluation == segment[-1]
            made[evaluation] = place < lead or (place - lead + 1) % caching.every == 0 or last
    if len(plan) and made.all():
        always = f"the first {lead} and the last are" if forecasts else "the first is"
        raise InputError(
            f"{len(plan)} evaluations are too few to cache any: {always} always computed; take more steps, or leave "
            "out the cache",
            "cache",
        )
    return made


def draws_between(plan: Plan) -> bool:
    """Whether fresh noise lies between two evaluations of a segment."""
    return any(plan.noisy[segment[:-1]].any() for segment in map(np.asarray, segments(plan)))


def weights(nodes: Array, target: float) -> Array:
    """The weights, float64, of values at `nodes` that give the value at `target` of the polynomial through them.

    Lagrange's form of Newton's divided differences, on nodes that need not be equidistant: a Taylor series by finite
    differences (Liu et al., "From Reusing to Forecasting", arXiv:2503.06923, equation 7), with exact steps.
    """
    made = np.ones(len(nodes))
    for place, node in enumerate(nodes):
        others = np.delete(nodes, place)
        made[place] = np.prod((target - others) / (node - others))
    return made
