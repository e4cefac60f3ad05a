"""What a request has where its user says nothing: steps, guidance and strength of the model's own, or so many times."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ...bundles.facts import Defaults, ModelFacts
from ..conventions.convention import convention as convention_of
from ..sampling.names import find_schedule, resolve


@dataclass(frozen=True)
class Times:
    """So many times the model's own value: of a preset, which does not know the model.

    Of guidance what is above 1 counts, for 1 is none: 1 + (own - 1) * factor. A strength stays at most 1.
    """

    factor: float

    def __str__(self) -> str:
        return f"{self.factor:g} times the model's own"

    def of(self, name: str, own: float) -> float:
        """The value of the field `name`; steps are a whole number of at least 1."""
        if name == "guidance_scale":
            return round(1 + max(own - 1, 0) * self.factor, 1) if own > 1 else own
        if name == "steps":
            return max(1, round(own * self.factor))
        return min(1.0, round(own * self.factor, 2))


def values(given: Mapping[str, Any], own: Defaults) -> dict[str, Any]:
    """`given` by the names of fields, with the model's own where they are None, missing or `Times`.

    A strength of the model's is raised to what one of so many steps needs.
    """
    made = dict(given)
    for name, value in asdict(own).items():
        if made.get(name) is None:
            made[name] = value
        elif isinstance(made[name], Times):
            made[name] = made[name].of(name, value)
    if made["strength"] != given.get("strength") and made["strength"] and isinstance(made["steps"], int):
        made["strength"] = max(made["strength"], math.ceil(100 / max(made["steps"], 1)) / 100)
    return made


def sampling(
    facts: ModelFacts, sampler: str | None, schedule: str | None, convention: str = "contract"
) -> tuple[str, str | None]:
    """The sampler and the schedule that a request means; the model's own schedule goes with its own sampler.

    Under the conventions of programs that know no schedule of a model's, theirs go before it.
    """
    if convention_of(convention).grid != "diffusers":
        return sampler or facts.default_sampler, schedule
    if find_schedule(schedule) is None and facts.default_schedule is not None:
        own = sampler is None or resolve(sampler, None) == (facts.default_sampler, None)
        schedule = facts.default_schedule if own else None
    return sampler or facts.default_sampler, schedule
