"""FreeU: a U-Net's own features against its skip connections, weighed anew without training, baked into a graph."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from ..errors import InputError

MOST = 4.0


@dataclass(frozen=True)
class FreeU:
    """The factors of the first two up blocks: `backbone` of half of the features' channels (b1, b2), `skip` of the
    skip connections' lowest frequencies (s1, s2)."""

    backbone: tuple[float, float]
    skip: tuple[float, float]

    def __str__(self) -> str:
        return ",".join(f"{factor:g}" for factor in (*self.backbone, *self.skip))


def parse_freeu(factors: Sequence[float]) -> FreeU:
    """The factors (b1, b2, s1, s2); raises `InputError` for others than four numbers from 0 to `MOST`."""
    if len(factors) != 4 or not all(0 <= factor <= MOST for factor in factors):
        given = ",".join(map(str, factors))
        raise InputError(
            f"freeu is b1,b2,s1,s2, each from 0 to {MOST:g}, such as 1.5,1.6,0.9,0.2; not {given}", "freeu"
        )
    b1, b2, s1, s2 = map(float, factors)
    return FreeU((b1, b2), (s1, s2))


def bake(model: UNet2DConditionModel, freeu: FreeU) -> None:
    """Have a U-Net's first two up blocks compute as FreeU has them (Si et al., arXiv:2309.11497, section 3.2).

    The features are scaled by a factor alone, as its published code and diffusers' `enable_freeu` do for Stable
    Diffusion. Raises `InputError` for a U-Net with fewer than two up blocks.
    """
    if len(model.up_blocks) < 2:
        raise InputError("FreeU is of the first two up blocks, and this U-Net has one; leave it out", "freeu")
    width = model.config.block_out_channels[-1]
    for block, backbone, skip in zip(model.up_blocks, freeu.backbone, freeu.skip, strict=False):
        for resnet in block.resnets:
            resnet.register_forward_pre_hook(_Reweigh(width, backbone, skip))
            width = resnet.out_channels


class _Reweigh:
    """Weighs the features, the first `width` channels of a layer's input, against its skip connection, the others."""

    def __init__(self, width: int, backbone: float, skip: float) -> None:
        self._width = width
        self._backbone = backbone
        self._skip = skip

    def __call__(self, _module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        states, *others = inputs
        half = self._width // 2
        features, same, skip = states[:, :half], states[:, half : self._width], states[:, self._width :]
        skip = skip + (self._skip - 1) * low_frequencies(skip)
        return (torch.cat([features * self._backbone, same, skip], dim=1), *others)


def low_frequencies(states: Tensor) -> Tensor:
    """What the frequencies 0 and -1 along both axes make of states [rows, channels, height, width].

    These are the four that FreeU's filter of radius 1 scales in the shifted Fourier transform. As sums over cosines
    and sines they need no transform, which engines lack or run slowly.
    """
    height, width = states.shape[-2:]
    down = torch.arange(height, dtype=torch.float32) * (2 * math.pi / height)
    across = torch.arange(width, dtype=torch.float32) * (2 * math.pi / width)
    zero = torch.zeros(height, width)
    angles = torch.stack([zero, zero + down[:, None], zero + across, down[:, None] + across])
    waves = torch.cat([torch.cos(angles), torch.sin(angles)]).flatten(1)
    values = states.float().flatten(2)
    amplitudes = values @ waves.T / (height * width)
    made: Tensor = (amplitudes @ waves).reshape(states.shape)
    return made.to(states.dtype)
