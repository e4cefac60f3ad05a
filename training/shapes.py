"""The sizes of the models that are trained here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """How large the parts of a model are.

    Attributes:
        size: pixels a side of the pictures; latents have a quarter of it.
        vae, vae_layers: channels of the autoencoder by resolution, and residual blocks at each.
        unet, unet_layers: the same of the U-Net, whose first resolution has no attention.
        width, text_layers: of the text encoder.
        vocabulary: tokens.
        batches: pictures a step of the autoencoder and of the U-Net, on a GPU for `small`.
    """

    size: int
    vae: tuple[int, ...]
    vae_layers: int
    unet: tuple[int, ...]
    unet_layers: int
    width: int
    text_layers: int
    vocabulary: int
    batches: tuple[int, int]


SHAPES = {
    "tiny": Shape(64, (24, 64, 128), 1, (64, 128, 192), 1, 128, 2, 1536, (16, 64)),
    # All of it in float16 is about 37 MB.
    "small": Shape(128, (40, 80, 136), 2, (64, 128, 160, 160), 1, 160, 3, 2048, (64, 256)),
}
