"""The bundle of a ControlNet: one graph whose outputs a base model's denoiser adds to its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import InputError, unknown
from .graph import CONTROLNET
from .single import SingleBundle, check_counts


@dataclass(frozen=True)
class ControlNetFacts:
    """What the runtime has to know of a ControlNet.

    The base model has to have its `latent_channels`, `downscale` and `text_width`, and residuals of its `channels`.
    Its hints are blue, green, red where it is `bgr`, which its graph sees to. `preprocessor` makes them of a picture
    where a request names no other. `control_types` are what a union model tells hints apart by, in the order of its
    input, each with its other names after a slash. With `global_pool` its residuals are the same all over the picture,
    and count for the prompt alone.
    """

    name: str
    latent_channels: int
    downscale: int
    text_width: int
    channels: tuple[int, ...]
    bgr: bool = False
    preprocessor: str = "none"
    control_types: tuple[str, ...] = ()
    global_pool: bool = False
    origin: Mapping[str, str] = field(default_factory=dict)

    def control_type(self, name: str) -> int | None:
        """The number of a control type; None for a model that is no union of several.

        Raises `InputError` for one that it has not, or does not need, and where it needs one.
        """
        own = {each: number for number, names in enumerate(self.control_types) for each in names.split("/")}
        if not own and name:
            raise InputError(f"the ControlNet {self.name} is no union model; leave out the control type {name!r}")
        if own and not name:
            raise InputError(f"the ControlNet {self.name} is a union model; say its hint's type, of {', '.join(own)}")
        if own and name not in own:
            raise unknown(f"control type of {self.name}", name, own)
        return own.get(name)

    @property
    def multiple(self) -> int:
        """What the sides of a hint are multiples of, in pixels."""
        return self.downscale

    @property
    def default_size(self) -> tuple[int, int]:
        """The usual (width, height) of a hint."""
        return 64 * self.downscale, 64 * self.downscale


@dataclass(frozen=True)
class ControlNetBundle(SingleBundle[ControlNetFacts]):
    """The manifest of a ControlNet and the folder it was read from.

    Its graph of the role "controlnet" takes what a denoiser takes, and `hint` float32 [rows, 3, height, width] in
    [0, 1], in pixels, of a union model `control_type` float32 [rows, types], which is 1 for the hint's and 0 for the
    others; its outputs have the names of the denoiser's inputs for them.
    """

    kind = "controlnet"
    title = "ControlNet"

    @classmethod
    def parse_facts(cls, record: dict[str, Any]) -> ControlNetFacts:
        """The facts of a manifest."""
        return ControlNetFacts(**{**record, **{name: tuple(record[name]) for name in ("channels", "control_types")}})

    def check(self) -> None:
        """Raise `ValueError` for facts that no ControlNet has, and for a graph that does not go with them."""
        facts = self.model
        check_counts({name: getattr(facts, name) for name in ("latent_channels", "downscale", "text_width")})
        outputs = self.by_role(CONTROLNET).outputs
        if tuple(spec.axes[1] for spec in outputs) != facts.channels:
            raise ValueError(f"the graph gives {', '.join(map(str, outputs))}, not residuals of {facts.channels}")
