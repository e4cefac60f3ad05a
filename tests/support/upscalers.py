"""Small upscalers with seeded random weights, under the names of the codes that train them, and what they compute."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as fn

State = dict[str, Tensor]

FEATURES, GROWTH, BLOCKS = 8, 4, 2
# Names of the trunk's first convolution, a block's convolution, the trunk's last, the upsampling ones and both last.
STYLES = {
    "realesrgan": ("conv_first", "body.{}.rdb{}.conv{}", "conv_body", "conv_up{}", "conv_hr", "conv_last"),
    "bsrgan": ("conv_first", "RRDB_trunk.{}.RDB{}.conv{}", "trunk_conv", "upconv{}", "HRconv", "conv_last"),
}


def rrdb(style: str, ups: int = 2, fold: int = 1, seed: int = 0) -> State:
    """An RRDBNet of 2 blocks; `fold` pixels along an edge become channels first."""
    torch.manual_seed(seed)
    first, inner, trunk, up, high, last = _names(style, ups)
    state = _conv(first, 3 * fold**2, FEATURES)
    for block in range(BLOCKS):
        for dense in range(1, 4):
            for index in range(1, 6):
                made = FEATURES if index == 5 else GROWTH
                state |= _conv(inner.format(block, dense, index), FEATURES + (index - 1) * GROWTH, made)
    for name in (trunk, *(up.format(index) for index in _upsamplings(style, ups)), high):
        state |= _conv(name, FEATURES, FEATURES)
    return state | _conv(last, FEATURES, 3)


def run_rrdb(style: str, state: State, x: Tensor, ups: int = 2, fold: int = 1) -> Tensor:
    """What an RRDBNet of `rrdb` makes of pictures [n, 3, h, w], written from its paper's figure."""
    first, inner, trunk, up, high, last = _names(style, ups)

    def conv(name: str, x: Tensor) -> Tensor:
        return fn.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=1)

    start = features = conv(first, fn.pixel_unshuffle(x, fold))
    for block in range(BLOCKS):
        before = features
        for dense in range(1, 4):
            seen = [features]
            for index in range(1, 5):
                seen.append(fn.leaky_relu(conv(inner.format(block, dense, index), torch.cat(seen, 1)), 0.2))
            features = features + 0.2 * conv(inner.format(block, dense, 5), torch.cat(seen, 1))
        features = before + 0.2 * features
    features = start + conv(trunk, features)
    for index in _upsamplings(style, ups):
        doubled = features.repeat_interleave(2, 2).repeat_interleave(2, 3)
        features = fn.leaky_relu(conv(up.format(index), doubled), 0.2)
    return conv(last, fn.leaky_relu(conv(high, features), 0.2))


def compact(scale: int = 4, layers: int = 3, seed: int = 0) -> State:
    """An SRVGGNetCompact."""
    torch.manual_seed(seed)
    state: State = {}
    for index in range(layers):
        state |= _conv(f"body.{2 * index}", FEATURES if index else 3, FEATURES)
        state[f"body.{2 * index + 1}.weight"] = torch.rand(FEATURES) / 2
    return state | _conv(f"body.{2 * layers}", FEATURES, 3 * scale**2)


def run_compact(state: State, x: Tensor, scale: int = 4) -> Tensor:
    """What an SRVGGNetCompact of `compact` makes of pictures [n, 3, h, w]."""
    made = x
    for index in range(0, len(state) // 3 * 2, 2):
        made = fn.conv2d(made, state[f"body.{index}.weight"], state[f"body.{index}.bias"], padding=1)
        made = fn.prelu(made, state[f"body.{index + 1}.weight"])
    last = 2 * (len(state) // 3)
    made = fn.conv2d(made, state[f"body.{last}.weight"], state[f"body.{last}.bias"], padding=1)
    return fn.pixel_shuffle(made, scale) + x.repeat_interleave(scale, 2).repeat_interleave(scale, 3)


def write(state: State, path: Path, place: str | None = None) -> Path:
    """Write weights to a .safetensors or a .pth file, in the latter under `place`."""
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save({place: state} if place else state, path)
    return path


def _names(style: str, ups: int) -> tuple[str, str, str, str, str, str]:
    if style in STYLES:
        return STYLES[style]
    end = 3 * ups
    inner = "model.1.sub.{}.RDB{}.conv{}.0"
    return "model.0", inner, f"model.1.sub.{BLOCKS}", "model.{}", f"model.{end + 2}", f"model.{end + 4}"


def _upsamplings(style: str, ups: int) -> range:
    return range(1, ups + 1) if style in STYLES else range(3, 3 * ups + 1, 3)


def _conv(name: str, taken: int, made: int) -> State:
    deviation = 0.7 / math.sqrt(9 * taken)
    return {
        f"{name}.weight": torch.randn(made, taken, 3, 3) * deviation,
        f"{name}.bias": torch.randn(made) * 0.05,
    }
