"""What is said of a picture's pixels: which may change, which have a prompt of their own, how near they are."""

from __future__ import annotations

from dataclasses import dataclass

from ...bundles.tensor import Array
from ...errors import InputError
from ..imaging.mask import LATENT_MODES
from ..imaging.soft import Soft
from . import checks

CONTENTS = ("original", "noise", "nothing")


@dataclass(frozen=True, eq=False)
class InpaintMask:
    """Which of a picture's pixels may change: `mask` uint8 [height, width], 255 where they may, 0 where not.

    With `differential` the levels between are strengths of their own: 128 is half the request's. With `soft` above 0
    they are how much of the new latents counts, less where there is much noise and more towards the end (see
    `step_hooks.Keep`, and under A1111's convention `blend.Blend`, whose other settings are `soft_settings`). With
    neither, 128 and more is all. `content` is what the latents begin with there: the original's, noise alone, or
    nothing (zeros). `latent_mask` is how the mask comes to the latents' size, see `imaging.mask.to_latents`; levels
    between always as means, or as A1111 scales them.
    """

    mask: Array
    differential: bool = False
    soft: float = 0.0
    content: str = "original"
    latent_mask: str = "diffusers"
    soft_settings: Soft | None = None

    def __post_init__(self) -> None:
        """Raise `InputError` for a mask of another kind, an unknown content, and levels that are to mean two things."""
        checks.mask("an inpaint mask", self.mask)
        checks.number("soft", self.soft, 0, 8)
        if self.differential and self.soft:
            raise InputError(
                "the levels of a mask are strengths or a soft edge, not both; leave out differential or soft"
            )
        checks.choice("masked content", self.content, CONTENTS)
        checks.choice("latent mask", self.latent_mask, LATENT_MODES)


@dataclass(frozen=True, eq=False)
class DepthMap:
    """How near a picture's pixels are: `levels` uint8 [height, width], the nearest the brightest."""

    levels: Array

    def __post_init__(self) -> None:
        """Raise `InputError` for levels of another kind."""
        with checks.of("depth"):
            checks.mask("a depth map", self.levels)


@dataclass(frozen=True, eq=False)
class Region:
    """A part of a picture with a prompt of its own: `mask` uint8 [height, width] says how much of it counts where."""

    prompt: str
    mask: Array

    def __post_init__(self) -> None:
        """Raise `InputError` for a mask of another kind and a prompt that is no text."""
        checks.text("a region's prompt", self.prompt)
        checks.mask("a region's mask", self.mask)
