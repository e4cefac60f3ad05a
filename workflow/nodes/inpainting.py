"""Nodes that paint a part of a picture anew."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ...bundles.tensor import Array
from ..context import Context
from ..node import node, outputs
from ..scaling import scaled_masks
from ..sockets import flag, integer, link
from ..values import Conditioned, Latents, Vae
from .latents import cut, encoded


@node(
    "SetLatentNoiseMask",
    needed={"samples": link("LATENT"), "mask": link("MASK")},
    outputs=outputs("LATENT"),
    display="Set Latent Noise Mask",
    category="latent/inpaint",
)
def set_latent_noise_mask(context: Context, samples: Latents, mask: Array) -> Latents:
    """Latents that are painted anew where the mask is 1."""
    return replace(samples, mask=mask.reshape(-1, *mask.shape[-2:]))


@node(
    "VAEEncodeForInpaint",
    needed={
        "pixels": link("IMAGE"),
        "vae": link("VAE"),
        "mask": link("MASK"),
        "grow_mask_by": integer(6, 0, 64),
    },
    outputs=outputs("LATENT"),
    display="VAE Encode (for Inpainting)",
    category="latent/inpaint",
)
def vae_encode_for_inpaint(context: Context, pixels: Array, vae: Vae, mask: Array, grow_mask_by: int) -> Latents:
    """A picture that is grey under the mask, as latents, with the mask grown."""
    shown, masks = greyed(pixels, mask, vae)
    return replace(encoded(vae, shown), mask=np.rint(grown(masks, grow_mask_by)))


def greyed(pixels: Array, mask: Array, vae: Vae) -> tuple[Array, Array]:
    """Pictures with 0.5 where a mask, scaled to them, is at least half; and that mask."""
    downscale = vae.model.bundle.model.downscale
    masks = scaled_masks(mask.reshape(-1, *mask.shape[-2:]), pixels.shape[2], pixels.shape[1])
    shown, masks = cut(pixels[..., :3], downscale), cut(masks, downscale)
    keep = 1 - np.rint(masks)[..., None]
    return ((shown - 0.5) * keep + 0.5).astype(np.float32), masks


def grown(masks: Array, by: int) -> Array:
    """Masks spread by a square of `by` pixels, which leans down and to the right where it is even."""
    if by < 2:
        return masks
    before = by - 1 - -(-(by - 1) // 2)
    after = by - 1 - before
    height, width = masks.shape[-2:]
    # A place takes what lies `after` above and left of it: the kernel is turned round in a sum.
    padded = np.pad(np.rint(masks), ((0, 0), (after, before), (after, before)))
    sums = np.lib.stride_tricks.sliding_window_view(padded, (by, by), axis=(1, 2)).max(axis=(-1, -2))
    return np.asarray(np.clip(sums[:, :height, :width], 0, 1), np.float32)


@node(
    "InpaintModelConditioning",
    needed={
        "positive": link("CONDITIONING"),
        "negative": link("CONDITIONING"),
        "vae": link("VAE"),
        "pixels": link("IMAGE"),
        "mask": link("MASK"),
        "noise_mask": flag(True),
    },
    outputs=outputs(("CONDITIONING", "positive"), ("CONDITIONING", "negative"), ("LATENT", "latent")),
    category="conditioning/inpaint",
)
def inpaint_model_conditioning(
    context: Context,
    positive: Conditioned,
    negative: Conditioned,
    vae: Vae,
    pixels: Array,
    mask: Array,
    noise_mask: bool = True,
) -> tuple[Conditioned, Conditioned, Latents]:
    """What an inpainting model is shown: the mask, and the picture that is grey under it."""
    shown, masks = greyed(pixels, mask, vae)
    hidden, whole = encoded(vae, shown), encoded(vae, pixels)
    height, width = hidden.samples.shape[-2:]
    small = np.rint(scaled_masks(masks, width, height))[np.arange(len(hidden.samples)) % len(masks)]
    concat = np.concatenate([small[:, None], hidden.samples], axis=1).astype(np.float32)

    def showing(side: Conditioned) -> Conditioned:
        return tuple(replace(entry, concat=concat) for entry in side)

    return showing(positive), showing(negative), replace(whole, mask=masks if noise_mask else None)


@node(
    "ImagePadForOutpaint",
    needed={
        "image": link("IMAGE"),
        "left": integer(0, 0, 16384, 8),
        "top": integer(0, 0, 16384, 8),
        "right": integer(0, 0, 16384, 8),
        "bottom": integer(0, 0, 16384, 8),
        "feathering": integer(40, 0, 16384),
    },
    outputs=outputs("IMAGE", "MASK"),
    display="Pad Image for Outpainting",
    category="image",
)
def image_pad_for_outpaint(
    context: Context, image: Array, left: int, top: int, right: int, bottom: int, feathering: int
) -> tuple[Array, Array]:
    """A picture with grey around it, and a mask of that, which fades into the picture."""
    height, width = image.shape[1:3]
    sides = (top, bottom), (left, right)
    padded = np.pad(image, ((0, 0), *sides, (0, 0)), constant_values=0.5)
    inner = np.zeros((height, width), np.float32)
    if feathering and 2 * feathering < height and 2 * feathering < width:
        far = np.full((height, width), np.inf)
        for (before, after), length, axis in zip(sides, (height, width), (0, 1), strict=True):
            place = np.arange(length, dtype=float)
            nearest = np.minimum(place + (0 if before else np.inf), length - place + (0 if after else np.inf))
            far = np.minimum(far, np.expand_dims(nearest, 1 - axis))
        inner = np.where(far < feathering, ((feathering - np.minimum(far, feathering)) / feathering) ** 2, 0)
    mask = np.pad(inner.astype(np.float32), sides, constant_values=1)
    return padded.astype(np.float32), mask[None]
