"""Nodes that scale pictures and latents."""

from __future__ import annotations

import math
from dataclasses import replace

from ...bundles.tensor import Array
from ..context import Context
from ..node import node, outputs
from ..scaling import CROPS, LATENT_METHODS, PICTURE_METHODS, resized, scaled_pictures
from ..sockets import choice, decimal, integer, link
from ..values import Latents

_PICTURE_METHOD = choice(PICTURE_METHODS)
_LATENT_METHOD = choice(LATENT_METHODS)
_LEAST = 64


@node(
    "ImageScale",
    needed={
        "image": link("IMAGE"),
        "upscale_method": _PICTURE_METHOD,
        "width": integer(512, 0, 16384),
        "height": integer(512, 0, 16384),
        "crop": choice(CROPS),
    },
    outputs=outputs("IMAGE"),
    display="Upscale Image",
    category="image/upscaling",
)
def image_scale(context: Context, image: Array, upscale_method: str, width: int, height: int, crop: str) -> Array:
    """Pictures of a size; a side of 0 follows the other."""
    if not width and not height:
        return image
    high, wide = image.shape[1:3]
    width = width or max(1, round(wide * height / high))
    height = height or max(1, round(high * width / wide))
    return scaled_pictures(image, width, height, upscale_method, crop)


@node(
    "ImageScaleBy",
    needed={"image": link("IMAGE"), "upscale_method": _PICTURE_METHOD, "scale_by": decimal(1.0, 0.01, 8.0)},
    outputs=outputs("IMAGE"),
    display="Upscale Image By",
    category="image/upscaling",
)
def image_scale_by(context: Context, image: Array, upscale_method: str, scale_by: float) -> Array:
    """Pictures some times as large."""
    high, wide = image.shape[1:3]
    return scaled_pictures(image, max(round(wide * scale_by), 1), max(round(high * scale_by), 1), upscale_method)


@node(
    "ImageScaleToTotalPixels",
    needed={"image": link("IMAGE"), "upscale_method": _PICTURE_METHOD, "megapixels": decimal(1.0, 0.01, 16.0)},
    outputs=outputs("IMAGE"),
    category="image/upscaling",
)
def image_scale_to_total_pixels(context: Context, image: Array, upscale_method: str, megapixels: float) -> Array:
    """Pictures of so many pixels, in units of 1024 x 1024."""
    high, wide = image.shape[1:3]
    scale = math.sqrt(megapixels * 1024 * 1024 / (wide * high))
    return scaled_pictures(image, round(wide * scale), round(high * scale), upscale_method)


@node(
    "LatentUpscale",
    needed={
        "samples": link("LATENT"),
        "upscale_method": _LATENT_METHOD,
        "width": integer(512, 0, 16384, 8),
        "height": integer(512, 0, 16384, 8),
        "crop": choice(CROPS),
    },
    outputs=outputs("LATENT"),
    display="Upscale Latent",
    category="latent",
)
def latent_upscale(
    context: Context, samples: Latents, upscale_method: str, width: int, height: int, crop: str
) -> Latents:
    """Latents of a size in pixels; a side of 0 follows the other."""
    if not width and not height:
        return samples
    unit = samples.unit
    high, wide = samples.samples.shape[-2:]
    width, height = (max(_LEAST, side) if side else 0 for side in (width, height))
    width = width or max(_LEAST, round(wide * unit * height / (high * unit)))
    height = height or max(_LEAST, round(high * unit * width / (wide * unit)))
    return replace(samples, samples=resized(samples.samples, width // unit, height // unit, upscale_method, crop))


@node(
    "LatentUpscaleBy",
    needed={"samples": link("LATENT"), "upscale_method": _LATENT_METHOD, "scale_by": decimal(1.5, 0.01, 8.0)},
    outputs=outputs("LATENT"),
    display="Upscale Latent By",
    category="latent",
)
def latent_upscale_by(context: Context, samples: Latents, upscale_method: str, scale_by: float) -> Latents:
    """Latents some times as large."""
    high, wide = samples.samples.shape[-2:]
    scaled = resized(samples.samples, max(round(wide * scale_by), 1), max(round(high * scale_by), 1), upscale_method)
    return replace(samples, samples=scaled)
