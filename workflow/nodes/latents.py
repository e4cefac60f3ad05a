"""Nodes between pictures and latents, and of latents' places."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np

from ...bundles.tensor import Array
from ...engines.arrays import to_host
from ..context import Context
from ..node import node, outputs
from ..pixels import composed
from ..scaling import resized
from ..sockets import choice, decimal, flag, integer, link
from ..tiling import Tiling
from ..values import PIXELS, Latents, Vae

LATENT = link("LATENT")
GIVES = outputs("LATENT")
_TILES = {
    "tile_size": integer(512, 64, 4096, 32, advanced=True),
    "overlap": integer(64, 0, 4096, 32, advanced=True),
    "temporal_size": integer(64, 8, 4096, 4, advanced=True),
    "temporal_overlap": integer(8, 4, 4096, 4, advanced=True),
}


def encoded(vae: Vae, pixels: Array) -> Latents:
    """The mean latents of pictures, their sides cut to the model's multiple around the middle."""
    model = vae.model
    pictures = cut(pixels[..., :3], model.bundle.model.downscale)
    levels = pictures * np.float32(255)
    if (levels == np.rint(levels)).all():  # what was read from a file, and has its latents in the cache
        levels = levels.astype(np.uint8)
    samples = np.stack([to_host(model.encode_image(np.ascontiguousarray(each))) for each in levels])
    return Latents(samples, unit=model.bundle.model.downscale)


def cut(pictures: Array, multiple: int) -> Array:
    """Pictures or masks [n, height, width, ...] with sides of a multiple, the middle of what they were."""
    slices = [
        slice(side % multiple // 2, side % multiple // 2 + side // multiple * multiple) for side in pictures.shape[1:3]
    ]
    return pictures[:, slices[0], slices[1]]


@node(
    "VAEEncode",
    needed={"pixels": link("IMAGE"), "vae": link("VAE")},
    outputs=GIVES,
    display="VAE Encode",
    category="latent",
)
def vae_encode(context: Context, pixels: Array, vae: Vae) -> Latents:
    """Pictures as latents, the mean of what the VAE gives."""
    return encoded(vae, pixels)


@node(
    "VAEEncodeTiled",
    needed={"pixels": link("IMAGE"), "vae": link("VAE"), **_TILES},
    outputs=GIVES,
    display="VAE Encode (Tiled)",
    category="_for_testing",
)
def vae_encode_tiled(
    context: Context, pixels: Array, vae: Vae, tile_size: int, overlap: int, temporal_size: int, temporal_overlap: int
) -> Latents:
    """As VAEEncode, in tiles of these sides in pixels, which fade into one another."""
    unit = vae.model.bundle.model.downscale
    tiling = Tiling(tile_size, overlap, Fraction(1, unit))

    def encode(tile: Array) -> Array:
        made: Array = encoded(vae, tile[None]).samples[0]
        return made.transpose(1, 2, 0)

    pictures = cut(pixels[..., :3], unit)
    samples = np.stack([tiling.run(each, encode).transpose(2, 0, 1) for each in pictures])
    return Latents(samples, unit=unit)


@node(
    "VAEDecode",
    needed={"samples": LATENT, "vae": link("VAE")},
    outputs=outputs("IMAGE"),
    display="VAE Decode",
    category="latent",
)
def vae_decode(context: Context, samples: Latents, vae: Vae) -> Array:
    """Latents as pictures, not rounded."""
    pictures = [vae.model.decode(np.ascontiguousarray(each), floats=True) for each in samples.samples]
    return np.stack(pictures).clip(0, 1)


@node(
    "VAEDecodeTiled",
    needed={"samples": LATENT, "vae": link("VAE"), **_TILES},
    outputs=outputs("IMAGE"),
    display="VAE Decode (Tiled)",
    category="_for_testing",
)
def vae_decode_tiled(
    context: Context,
    samples: Latents,
    vae: Vae,
    tile_size: int,
    overlap: int,
    temporal_size: int,
    temporal_overlap: int,
) -> Array:
    """As VAEDecode, in tiles of these sides in pixels, which fade into one another."""
    unit = vae.model.bundle.model.downscale
    tiling = Tiling(tile_size // unit, min(overlap, tile_size // 4) // unit, Fraction(unit))

    def decode(tile: Array) -> Array:
        return vae.model.decode(np.ascontiguousarray(tile.transpose(2, 0, 1)), floats=True)

    return np.stack([tiling.run(each.transpose(1, 2, 0), decode) for each in samples.samples]).clip(0, 1)


@node(
    "EmptyLatentImage",
    needed={
        "width": integer(512, 16, 16384, 8),
        "height": integer(512, 16, 16384, 8),
        "batch_size": integer(1, 1, 4096),
    },
    outputs=GIVES,
    display="Empty Latent Image",
    category="latent",
)
def empty_latent_image(context: Context, width: int, height: int, batch_size: int) -> Latents:
    """Blank latents of a size in pixels, whatever the model."""
    return Latents(np.zeros((batch_size, 4, height // PIXELS, width // PIXELS), np.float32), blank=True)


@node(
    "EmptySD3LatentImage",
    needed={
        "width": integer(1024, 16, 16384, 16),
        "height": integer(1024, 16, 16384, 16),
        "batch_size": integer(1, 1, 4096),
    },
    outputs=GIVES,
    category="latent/sd3",
)
def empty_sd3_latent_image(context: Context, width: int, height: int, batch_size: int) -> Latents:
    """Blank latents of a size in pixels, of 16 channels."""
    return Latents(np.zeros((batch_size, 16, height // PIXELS, width // PIXELS), np.float32), blank=True)


@node(
    "LatentFlip",
    needed={"samples": LATENT, "flip_method": choice(("x-axis: vertically", "y-axis: horizontally"))},
    outputs=GIVES,
    display="Flip Latent",
    category="latent/transform",
)
def latent_flip(context: Context, samples: Latents, flip_method: str) -> Latents:
    """Latents mirrored."""
    return replace(samples, samples=np.flip(samples.samples, 2 if flip_method.startswith("x") else 3).copy())


@node(
    "LatentRotate",
    needed={"samples": LATENT, "rotation": choice(("none", "90 degrees", "180 degrees", "270 degrees"))},
    outputs=GIVES,
    display="Rotate Latent",
    category="latent/transform",
)
def latent_rotate(context: Context, samples: Latents, rotation: str) -> Latents:
    """Latents turned clockwise."""
    turns = {"n": 0, "9": 1, "1": 2, "2": 3}[rotation[0]]
    return replace(samples, samples=np.rot90(samples.samples, turns, (3, 2)).copy())


@node(
    "LatentCrop",
    needed={
        "samples": LATENT,
        "width": integer(512, 64, 16384, 8),
        "height": integer(512, 64, 16384, 8),
        "x": integer(0, 0, 16384, 8),
        "y": integer(0, 0, 16384, 8),
    },
    outputs=GIVES,
    display="Crop Latent",
    category="latent/transform",
)
def latent_crop(context: Context, samples: Latents, width: int, height: int, x: int, y: int) -> Latents:
    """A rectangle in pixels, of which at least 64 lie inside."""
    unit, (high, wide) = samples.unit, samples.samples.shape[-2:]
    left, top = (max(min(place // unit, side - PIXELS), 0) for place, side in ((x, wide), (y, high)))
    return replace(
        samples, samples=samples.samples[..., top : top + height // unit, left : left + width // unit].copy()
    )


@node(
    "LatentComposite",
    needed={
        "samples_to": LATENT,
        "samples_from": LATENT,
        "x": integer(0, 0, 16384, 8),
        "y": integer(0, 0, 16384, 8),
        "feather": integer(0, 0, 16384, 8),
    },
    outputs=GIVES,
    display="Latent Composite",
    category="latent",
)
def latent_composite(
    context: Context, samples_to: Latents, samples_from: Latents, x: int, y: int, feather: int
) -> Latents:
    """Latents pasted into others, with soft edges inside the picture."""
    unit = samples_to.unit
    target, source = samples_to.samples, samples_from.samples
    height, width = target.shape[-2:]
    high, wide = source.shape[-2:]
    top, left = y // unit, x // unit
    mask = np.ones((1, min(high, height - top), min(wide, width - left)), np.float32)
    for step in range(feather // unit):
        share = np.float32((step + 1) / (feather // unit))
        mask[:, step : step + 1] *= share if top else 1
        mask[:, mask.shape[1] - 1 - step : mask.shape[1] - step] *= share if top + high < height else 1
        mask[:, :, step : step + 1] *= share if left else 1
        mask[:, :, mask.shape[2] - 1 - step : mask.shape[2] - step] *= share if left + wide < width else 1
    source = source[..., : mask.shape[1], : mask.shape[2]]
    return replace(samples_to, samples=composed(target, source, x, y, mask, unit=unit))


@node(
    "LatentCompositeMasked",
    needed={
        "destination": LATENT,
        "source": LATENT,
        "x": integer(0, 0, 16384, 8),
        "y": integer(0, 0, 16384, 8),
        "resize_source": flag(),
    },
    optional={"mask": link("MASK")},
    outputs=GIVES,
    category="latent",
)
def latent_composite_masked(
    context: Context,
    destination: Latents,
    source: Latents,
    x: int,
    y: int,
    resize_source: bool,
    mask: Array | None = None,
) -> Latents:
    """Latents pasted into others, as much as a mask says."""
    made = composed(destination.samples, source.samples, x, y, mask, resize_source, destination.unit)
    return replace(destination, samples=made)


@node(
    "LatentBlend",
    needed={"samples1": LATENT, "samples2": LATENT, "blend_factor": decimal(0.5, 0.0, 1.0)},
    outputs=GIVES,
    category="_for_testing",
)
def latent_blend(context: Context, samples1: Latents, samples2: Latents, blend_factor: float) -> Latents:
    """As much of the first as the factor says, the rest of the second."""
    first, second = samples1.samples, samples2.samples
    second = resized(second, first.shape[-1], first.shape[-2], "bicubic", "center")
    return replace(samples1, samples=(first * blend_factor + second * (1 - blend_factor)).astype(np.float32))
