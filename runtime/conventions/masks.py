"""What programs do under a mask: a field of `conventions.Convention`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MaskRule:
    """A program's habits under a mask; what a request gives explicitly wins."""

    latent_mask: str = "cover"
    """How a hard mask comes to latents, see `imaging.mask.to_latents`."""
    soft_mask: str = "area"
    """How a soft mask comes to latents."""
    concat_mask: str | None = None
    """How `latent_mask` comes to an inpainting U-Net, where another way; a soft mask then is soft there, too."""
    ring: int = 16
    """The pixels around the mask that tell a colour shift, which is taken out; 0 leaves it."""
    doubles: bool = False
    """Is the whole picture pasted by twice its blurred mask?"""
    predictions: bool = False
    """Is the original put back into the model's predictions (see `blend.Blend`), rather than into the latents?"""


OURS = MaskRule()

# modules/processing.py, StableDiffusionProcessingImg2Img.init; modules/sd_samplers_cfg_denoiser.py
A1111 = MaskRule(
    latent_mask="a1111", soft_mask="a1111-soft", concat_mask="diffusers", ring=0, doubles=True, predictions=True
)
