"""What is asked for: one picture, and how it is repainted."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import TypeVar

from ...errors import InputError, counted
from ..sampling.strength import from_noise
from .sections import Adapters, Canvas, Micro, Noise, Prompting, Sampling, Section, Subject

Part = TypeVar("Part", bound=Section)


@dataclass(frozen=True)
class Request(Micro, Adapters, Canvas, Noise, Sampling, Prompting, Subject):
    """One picture to repaint: the fields of all sections (`requests.sections`), each by its own name.

    A section by itself is `sampling`, `prompting`, `adapters`, `noising`, `canvas` or `micro`. `strength`, `steps` and
    `guidance_scale` are the model's own where nothing is said, and may be `defaults.Times`. The options table says what
    each field is, see docs/options.md.
    """

    def check(self) -> None:
        """Raise `InputError` for fields that do not go together."""
        super().check()
        self._check_passes()
        self._check_places()

    def _check_passes(self) -> None:
        if self.drift_correction and self.from_noise:
            raise InputError(
                "a first pass of strength 1 has no original to drift from; leave out the correction",
                "drift_correction",
            )
        if self.pass_prompts and len(self.pass_prompts) != len(self.passes):
            cause = f"{counted(len(self.pass_prompts), 'prompt')} for {counted(len(self.passes), 'pass', 'passes')}"
            raise InputError(f"{cause}; give one a pass, or only a prompt", "pass_prompts")
        if self.inpaint_mask and self.inpaint_mask.differential and self.passes:
            raise InputError("strengths by pixel are of one pass; leave out the passes or the levels between", "passes")

    def _check_places(self) -> None:
        width, height = self.image.size
        regions = ((f"region {n}", region, "regions") for n, region in enumerate(self.regions, 1))
        if self.depth is not None and self.depth.levels.shape != (height, width):
            found = "x".join(map(str, self.depth.levels.shape[::-1]))
            raise InputError(
                f"the depth map is {found}, the picture is {width}x{height}; give one of its size", "depth"
            )
        images = ((f"image prompt {n}'s mask", image, "image_prompts") for n, image in enumerate(self.image_prompts, 1))
        for name, place, field in (("inpaint_mask", self.inpaint_mask, "inpaint_mask"), *regions, *images):
            if place is not None and place.mask is not None and place.mask.shape != (height, width):
                found = "x".join(map(str, place.mask.shape[::-1]))
                raise InputError(f"the {name} is {found}, the picture is {width}x{height}; give one of its size", field)

    @cached_property
    def sampling(self) -> Sampling:
        """How far the picture is noised, and by which steps it comes back."""
        return self._part(Sampling)

    @cached_property
    def prompting(self) -> Prompting:
        """What the model is asked for."""
        return self._part(Prompting)

    @cached_property
    def adapters(self) -> Adapters:
        """What steers the model beside the prompt."""
        return self._part(Adapters)

    @cached_property
    def noising(self) -> Noise:
        """Where noise and latents come from; `noise` is its kind."""
        return self._part(Noise)

    @cached_property
    def canvas(self) -> Canvas:
        """Which size the result has, and what of it may change."""
        return self._part(Canvas)

    @cached_property
    def micro(self) -> Micro:
        """What SDXL is given of the picture's size."""
        return self._part(Micro)

    def _part(self, kind: type[Part]) -> Part:
        return kind(**{field.name: getattr(self, field.name) for field in fields(kind)})

    @property
    def syntax(self) -> str:
        """The prompt syntax that applies: that of the convention where none is asked for."""
        return self.prompt_syntax or self.habit.prompt_syntax

    @property
    def emphasis(self) -> str:
        """The weighting that applies."""
        return self.weighting or ("comfy" if self.syntax in ("comfy", "comfy-exact") else "a1111")

    @property
    def truncates(self) -> bool:
        """Whether levels are rounded down to 8 bits, as the convention's program does, instead of to nearest."""
        return self.habit.eight_bits == "cut"

    @property
    def noise_kind(self) -> str:
        """The noise that applies."""
        return self.noise or self.habit.noise

    @property
    def latents_from(self) -> str:
        """The posterior that applies."""
        return self.posterior or self.habit.posterior

    @property
    def zero_negative(self) -> bool | None:
        """Whether zeros stand for the negative prompt where it is empty; None: as the model has it."""
        if self.negative_prompt.strip():
            return False
        if self.empty_negative is not None:
            return self.empty_negative == "zeros"
        return None if self.habit.zero_negative else False

    @property
    def from_noise(self) -> bool:
        """Whether it begins with noise alone."""
        first = self.passes[0] if self.passes else self.strength
        return from_noise(self.convention, first, self.inpaint_mask is not None)
