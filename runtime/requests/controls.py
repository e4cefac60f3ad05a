"""ControlNets in a request: which, of what picture, how much, and when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InputError
from ..imaging.picture import Picture, read
from ..imaging.preprocessors import PREPROCESSORS, find_preprocessor
from ..sampling.plan import Plan
from . import checks

MODES = ("balanced", "prompt", "control", "guess")
FITS = ("crop", "stretch", "pad")
ONNX = "onnx:"
"""How a preprocessor begins that is a file of a network."""
# What each residual before the last counts of the next, as A1111's modes have it; and the first's share in guess mode.
SOFT, FIRST = 0.825, 0.1
MOST_WEIGHT, MOST_RESOLUTION = 2, 4096

Weights = tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Control:
    """One ControlNet of a request.

    `net` is the name of one that the model was loaded with or that ships, or a bundle's path. `image` is what its hint
    comes from, None for the picture that is repainted; a path and whatever else `overpaint.read` takes become a
    `Picture`. `weight` in [0, 2] is how much it counts, from `start` to `end`, shares of the steps that run. `mode`
    says for what: "balanced" for the prompt and the negative prompt alike, "prompt" less in the fine residuals so that
    the prompt matters more, "control" the same for the prompt alone, "guess" for the prompt alone with weights that
    grow from the fine to the coarse, as diffusers' guess mode has it. `preprocessor` turns the image into a hint; ""
    is the ControlNet's own for the picture that is repainted, and none for an image of its own. `thresholds` are the
    preprocessor's numbers. It works at `resolution` pixels along the shorter side, 0 for those of the model. `fit` is
    how an image of another shape gets the picture's. `control_type` is what a union model is to take the hint for.
    """

    net: str
    image: Picture | None = None
    weight: float = 1.0
    start: float = 0.0
    end: float = 1.0
    mode: str = "balanced"
    preprocessor: str = ""
    thresholds: tuple[float, ...] = ()
    resolution: int = 0
    fit: str = "crop"
    control_type: str = ""

    def __post_init__(self) -> None:
        """Raise `InputError` for a field that cannot be used."""
        with checks.of("controls"):
            self._settle()
            for name, value in {"weight": self.weight, "start": self.start, "end": self.end}.items():
                checks.number(f"a control's {name}", value, 0, MOST_WEIGHT if name == "weight" else 1)
            if self.start > self.end:
                raise InputError(
                    f"a control begins at {self.start:g} and ends at {self.end:g} of the steps; put the start first"
                )
            checks.choice("control mode", self.mode, MODES)
            checks.choice("fit of a control's image", self.fit, FITS)
            checks.whole("a control's resolution", self.resolution, 0, MOST_RESOLUTION)
            checks.text("a control's type", self.control_type)
            self._check_preprocessor()

    def _settle(self) -> None:
        """Bring what may be said in several ways to one."""
        given: dict[str, Any] = {name: getattr(self, name) for name in ("net", "image", "thresholds")}
        if isinstance(given["net"], Path):
            object.__setattr__(self, "net", str(given["net"]))
        checks.text("a control's net", self.net)
        if not self.net.strip():
            raise InputError("a control names no ControlNet; give one's name or path")
        if isinstance(given["thresholds"], list):
            object.__setattr__(self, "thresholds", tuple(given["thresholds"]))
        if given["image"] is not None and not isinstance(given["image"], Picture):
            object.__setattr__(self, "image", read(given["image"]))

    def _check_preprocessor(self) -> None:
        checks.text("a preprocessor", self.preprocessor)
        for number in checks.several("thresholds", self.thresholds):
            checks.number("a threshold", number, 0, MOST_RESOLUTION)
        if self.preprocessor and not self.preprocessor.startswith(ONNX):
            own = find_preprocessor(self.preprocessor)
            object.__setattr__(self, "preprocessor", own)
            if own in PREPROCESSORS:
                PREPROCESSORS[own].usual(self.thresholds)

    def residual_weights(
        self, plan: Plan, conditionings: Sequence[Sequence[float]], count: int, global_pool: bool = False
    ) -> list[list[Weights | None]]:
        """What each of `count` residuals counts in each evaluation of a plan, for each of its conditionings, whose
        weights are given; None where the ControlNet does not count at all. One of `global_pool` counts for the prompt
        alone, each residual alike, as in diffusers."""
        scales = self._scales(count, global_pool)
        prompt_alone = global_pool or self.mode in ("control", "guess")
        made: list[list[Weights | None]] = []
        for counts, weights in zip(self._counting(plan), conditionings, strict=True):
            made.append([scales if counts and (weight > 0 or not prompt_alone) else None for weight in weights])
        return made

    def _scales(self, count: int, global_pool: bool) -> Weights | None:
        if not self.weight:
            return None
        shares = np.ones(count)
        if self.mode in ("prompt", "control"):
            shares = SOFT ** np.arange(count - 1, -1, -1.0)
        elif self.mode == "guess" and not global_pool:
            shares = np.logspace(np.log10(FIRST), 0, count)
        return tuple(map(float, shares * self.weight))

    def _counting(self, plan: Plan) -> list[bool]:
        """In which evaluations it counts: those that begin and end between start and end, as diffusers'
        `control_guidance_start` and `control_guidance_end` have it; anew in every pass."""
        counts = [int(np.count_nonzero(plan.pass_index == index)) for index in range(plan.passes)]
        return [
            self.start <= place / count and (place + 1) / count <= self.end
            for count in counts
            for place in range(count)
        ]
