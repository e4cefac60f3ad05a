"""How masks are read and what is done under them: inpainting's options, and what they make of a mask."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from ...bundles.tensor import Array
from ...errors import InputError
from ..conventions.masks import OURS, MaskRule
from ..imaging import mask_shape
from ..imaging.feather import GROWTH, feather
from ..imaging.soft import Soft
from ..requests import checks
from ..requests.options import default, fields_of
from ..requests.places import InpaintMask

# The share of the strength from which pixels count in full.
FULL = 4

# Options that only say how masks are read.
READING = ("channel", "invert", "resize_mask")


@dataclass(frozen=True)
class Inpainting:
    """How masks are read and what is done under them; white is repainted.

    Reading: `channel`, `invert` and `resize_mask` are those of `imaging.mask.read`. The mask is then grown by `grow`
    pixels (shrunk where that is negative) and blurred by `blur`, a sigma or one for x and one for y, of `blur_kind`;
    parts that are smaller than their blur are grown first, so that they are repainted, too ("cover").

    `levels` says what lies between black and white: "hard" repaints the latents from level 128 on and only pastes by
    it, as diffusers and A1111 do; "soft" keeps the less of the original the further the steps are, as A1111's soft
    inpainting; "strength" takes them as shares of the strength, as differential diffusion does. `content` is what
    masked pixels begin as: the original, colours spread from around ("fill"), noise, or nothing. `latent_mask` is how
    a hard mask comes to latents: "cover" misses no pixel that was painted, as it was before the blur; "diffusers" and
    "a1111" are theirs, which see the blurred mask, and refuse one that the blur leaves nothing of.

    With `only_masked` the model works on the mask's rectangle and `padding` pixels around it, at its own size. `ring`
    pixels around the mask tell the colour shift that is taken out, as a `ring_field`; 0 leaves it.

    "soft" keeps the more of the original the greater `soft_preservation` is. The other `soft_` fields are A1111's
    (schedule bias, transition contrast boost, mask influence, difference threshold and contrast, see `imaging.soft`),
    under its convention.

    The peers' own: diffusers' pipeline is latent_mask="diffusers", blur=0, ring=0 and
    convention="diffusers", and `only_masked` its `padding_mask_crop`. The convention "a1111" is A1111's way: where they
    are not given, latent_mask is "a1111" and ring 0; the original is put back into the model's predictions, not into
    the latents; and "soft" is pasted by how far latents moved (`imaging.soft`), so that some pixels beside the mask
    can change.
    """

    channel: str = default("channel", "inpainting")
    invert: bool = default("invert", "inpainting")
    resize_mask: bool = default("resize_mask", "inpainting")
    grow: int = default("grow", "inpainting")
    blur: float | tuple[float, float] = default("blur", "inpainting")
    blur_kind: str = default("blur_kind", "inpainting")
    levels: str = default("levels", "inpainting")
    content: str = default("content", "inpainting")
    latent_mask: str = default("latent_mask", "inpainting")
    only_masked: bool = default("only_masked", "inpainting")
    padding: int = default("padding", "inpainting")
    ring: int = default("ring", "inpainting")
    ring_field: str = default("ring_field", "inpainting")
    soft_preservation: float = default("soft_preservation", "inpainting")
    soft_bias: float = default("soft_bias", "inpainting")
    soft_boost: float = default("soft_boost", "inpainting")
    soft_influence: float = default("soft_influence", "inpainting")
    soft_threshold: float = default("soft_threshold", "inpainting")
    soft_contrast: float = default("soft_contrast", "inpainting")

    def __post_init__(self) -> None:
        """Raise `InputError` for the first field that cannot be used."""
        checks.check(self, fields_of("inpainting"))
        for name in self.soft_changes:
            if self.levels != "soft":
                raise InputError(f"{name} is of soft inpainting; choose levels 'soft', or leave it out", name)
        if not self.soft_preservation:
            raise InputError(
                "soft_preservation 0 keeps nothing that is partly masked; give more, or levels 'hard'",
                "soft_preservation",
            )

    @property
    def soft_changes(self) -> list[str]:
        """The options of soft inpainting that are not as they come."""
        own = [field for field in fields(self) if field.name.startswith("soft_")]
        return [field.name for field in own if getattr(self, field.name) != field.default]

    @property
    def soft(self) -> Soft:
        """A1111's settings."""
        return Soft(self.soft_bias, self.soft_boost, self.soft_influence, self.soft_threshold, self.soft_contrast)

    @property
    def sigmas(self) -> tuple[float, float]:
        """The blur along x and along y."""
        return self.blur if isinstance(self.blur, tuple) else (self.blur, self.blur)

    @property
    def reach(self) -> int:
        """How far beyond a mask's pixels its shape can tell or be changed, at least 1."""
        # Pillow's three boxes reach about as far as A1111's kernel: 3 sigma is beyond both.
        return abs(self.grow) + int((3 + GROWTH) * max(self.sigmas)) + 5

    def shaped(self, levels: Array) -> Array:
        """A mask uint8 [height, width], grown and blurred."""
        x, y = self.sigmas
        grown, soften = self.grown(levels), feather if self.latent_mask == "cover" else mask_shape.blur
        return soften(grown, x, y, self.blur_kind) if x or y else grown

    def grown(self, levels: Array) -> Array:
        """A mask uint8 [height, width], grown."""
        return mask_shape.grow(levels, self.grow) if self.grow else levels

    @property
    def covers(self) -> bool:
        """Do latents go by what was painted before the blur?"""
        return self.levels == "hard" and self.latent_mask == "cover"

    def pasted(self, levels: Array, rule: MaskRule = OURS) -> Array:
        """How much of the result counts at each pixel, uint8: strengths are none, and soon count in full. A1111 doubles
        a hard mask that works on the whole picture (`processing.py`, its mask for the overlay)."""
        doubles = rule.doubles and self.levels == "hard" and not self.only_masked
        gain = FULL if self.levels == "strength" else 2 if doubles else 1
        return np.minimum(levels.astype(np.uint16) * gain, 255).astype(np.uint8) if gain > 1 else levels

    def inpaint_mask(self, levels: Array) -> InpaintMask:
        """The mask that a request has."""
        return InpaintMask(
            levels,
            differential=self.levels == "strength",
            soft=self.soft_preservation if self.levels == "soft" else 0.0,
            content="original" if self.content == "fill" else self.content,
            latent_mask=self.latent_mask,
            soft_settings=self.soft if self.levels == "soft" else None,
        )
