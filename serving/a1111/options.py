"""A1111's fields as the options of a request: sampler and schedule, seeds, sizes, what a caller prefers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...errors import InputError, RefusedError
from ...runtime.conventions.convention import A1111
from ...runtime.requests import checks
from ...runtime.requests.option import Option
from ...runtime.requests.options import of_tool
from ...runtime.sampling.names import find_a1111_sampler, find_schedule
from ...runtime.sampling.noise import drawn
from ...runtime.sampling.samplers import SAMPLERS
from .fields import Call
from .preferences import CLIP_SKIP, DELTA, NOISE, SOURCES

Size = tuple[int, int]

RESIZE_MODES = ("stretch", "crop", "pad")
_DEFAULT_SAMPLER = "Euler"


@dataclass
class Reading:
    """A call on its way to an order: its fields with seeds drawn, what its caller prefers, and notes so far on what is
    not followed."""

    call: Call
    preferences: Mapping[str, Any]
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Draw the seeds, which the answer names."""
        for name in ("seed", "subseed"):
            self.call[name] = drawn(-1) if self.call[name] < 0 else self.call[name]
        if self.call["save_images"]:
            self.notes.append("save_images: pictures are sent, and none is kept here")
        if self.call["comments"]:
            self.notes.append("comments are not written into the pictures")
        if self.call["disable_extra_networks"]:
            self.notes.append("disable_extra_networks: embeddings are used all the same")

    @property
    def count(self) -> int:
        """How many pictures are wanted; raises `InputError` for none."""
        for name in ("batch_size", "n_iter"):
            if self.call[name] < 1:
                raise InputError(f"{name} is {self.call[name]}; ask for 1 at least", name)
        return int(self.call["batch_size"] * self.call["n_iter"])

    @property
    def size(self) -> Size:
        """(width, height); raises `InputError` for sides that no picture has."""
        size: Size = _option("size", (self.call["width"], self.call["height"]), "width")
        return size

    def options(self) -> dict[str, Any]:
        """The options that all verbs have, with the seed."""
        call = self.call
        made = {
            "convention": A1111.name,
            "noise": SOURCES[self.preferences[NOISE]],
            "seed": call["seed"],
            "negative_prompt": call["negative_prompt"],
            **self.sampling(call["sampler_name"] or call["sampler_index"] or _DEFAULT_SAMPLER, call["scheduler"]),
            "steps": _option("steps", call["steps"]),
            "guidance_scale": _option("guidance_scale", call["cfg_scale"], "cfg_scale"),
            "strength": _option("strength", call["denoising_strength"], "denoising_strength"),
            "clip_skip": self.preferences[CLIP_SKIP] - 1,
            "eta_noise_seed_delta": self.preferences[DELTA],
        }
        if call["subseed_strength"]:
            made["variation_seed"] = call["subseed"]
            made["variation_strength"] = _option("variation_strength", call["subseed_strength"], "subseed_strength")
        resized = call["seed_resize_from_w"], call["seed_resize_from_h"]
        if min(resized) > 0:
            made["seed_resize_from"] = _option("seed_resize_from", resized, "seed_resize_from_w")
        return made

    def sampling(self, name: str, scheduler: str | None) -> dict[str, Any]:
        """The options of a sampler and a scheduler by A1111's names: a schedule in the sampler's name wins.

        Raises `RefusedError` (400) for a sampler that there is not, and `InputError` for such a scheduler.
        """
        try:
            sampler, carried = find_a1111_sampler(name)
        except InputError as exc:
            raise RefusedError(f"Sampler not found: {exc}", 400, "invalid_input") from None
        schedule = carried or find_schedule(scheduler or None)
        made: dict[str, Any] = {"sampler": sampler}
        if schedule and sampler in A1111.by_timesteps:
            self.notes.append(f"scheduler: {name} has none in A1111, so that {schedule} is not followed")
        elif schedule:
            made["schedule"] = schedule
        if self.call["eta"] is not None and SAMPLERS[sampler].eta is not None:
            made["eta"] = _option("eta", self.call["eta"])
        return made


def _option(name: str, value: Any, shown: str = "") -> Any:
    """A value checked by its row in the options table; an error names A1111's field."""
    row: Option = of_tool("img2img")[name]
    try:
        return checks.option(row, value)
    except InputError as exc:
        exc.field = shown or name
        if shown:
            raise InputError(f"{shown}: {exc}", shown) from None
        raise
