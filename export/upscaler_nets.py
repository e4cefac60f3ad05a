"""The networks of the ESRGAN family: their layers, and the weights' names in the code that people train them with."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, leaky_relu, pixel_shuffle, pixel_unshuffle

from .checkpoints.checkpoint import State

SLOPE = 0.2
SHRINK = 0.2
# BasicSR's names (Real-ESRGAN) are those used here, but for the upsampling convolutions. BSRGAN's, and those of the
# original ESRGAN, whose layers after the trunk are numbered through.
NAMES: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (r"RRDB_trunk\.(\d+)\.RDB", r"body.\1.rdb"),
    (r"trunk_conv\.", "conv_body."),
    (r"HRconv\.", "conv_hr."),
    (r"(?:upconv|conv_up)(\d)\.", lambda match: f"ups.{int(match[1]) - 1}."),
    (r"model\.0\.", "conv_first."),
    (r"model\.1\.sub\.(\d+)\.RDB(\d)\.conv(\d)\.0\.", r"body.\1.rdb\2.conv\3."),
    (r"model\.1\.sub\.\d+\.(weight|bias)$", r"conv_body.\1"),
)


class DenseBlock(nn.Module):
    """Five convolutions, each of all that came before it."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        for index in range(5):
            channels_out = features if index == 4 else growth
            self.add_module(f"conv{index + 1}", _conv(features + index * growth, channels_out))

    def forward(self, x: Tensor) -> Tensor:
        """Add to features what the convolutions make of them."""
        *convolutions, last = self.children()
        seen = x
        for convolution in convolutions:
            seen = torch.cat([seen, leaky_relu(convolution(seen), SLOPE)], 1)
        pixels: Tensor = last(seen)
        return x + SHRINK * pixels


class ResidualBlock(nn.Module):
    """Three dense blocks (RRDB)."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.rdb1, self.rdb2, self.rdb3 = (DenseBlock(features, growth) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        """Add to features what the blocks make of them."""
        pixels: Tensor = self.rdb3(self.rdb2(self.rdb1(x)))
        return x + SHRINK * pixels


class RRDBNet(nn.Module):
    """ESRGAN's generator (Wang et al. 2018, arXiv:1809.00219, fig. 4); `ups` times 2.

    Real-ESRGAN (arXiv:2107.10833) first folds squares of `multiple` pixels into channels, for the lesser scales.
    """

    def __init__(self, features: int, growth: int, blocks: int, ups: int, multiple: int) -> None:
        super().__init__()
        self.multiple = multiple
        self.scale = 2**ups // multiple
        self.conv_first = _conv(3 * multiple**2, features)
        self.body = nn.Sequential(*(ResidualBlock(features, growth) for _ in range(blocks)))
        self.conv_body = _conv(features, features)
        self.ups = nn.ModuleList(_conv(features, features) for _ in range(ups))
        self.conv_hr = _conv(features, features)
        self.conv_last = _conv(features, 3)

    @classmethod
    def of(cls, state: State) -> RRDBNet:
        """The network that weights are of; raises `KeyError` or `ValueError` where they are of another."""
        features, channels = state["conv_first.weight"].shape[:2]
        ups, multiple = _count(state, "ups"), math.isqrt(channels // 3)
        if 3 * multiple**2 != channels or len(state["conv_last.weight"]) != 3 or 2**ups % multiple:
            raise ValueError(f"{channels} channels in, {len(state['conv_last.weight'])} out, {ups} upsamplings")
        return cls(features, len(state["body.0.rdb1.conv1.weight"]), _count(state, "body"), ups, multiple)

    def forward(self, x: Tensor) -> Tensor:
        """Enlarge pictures [rows, 3, height, width]."""
        folded = pixel_unshuffle(x, self.multiple) if self.multiple > 1 else x
        first = self.conv_first(folded)
        features = first + self.conv_body(self.body(first))
        for up in self.ups:
            features = leaky_relu(up(interpolate(features, scale_factor=2.0)), SLOPE)
        pixels: Tensor = self.conv_last(leaky_relu(self.conv_hr(features), SLOPE))
        return pixels


class SRVGGNetCompact(nn.Module):
    """Real-ESRGAN's small generator: plain convolutions at the input's size, added to the input enlarged."""

    multiple = 1

    def __init__(self, features: int, convolutions: int, scale: int) -> None:
        super().__init__()
        self.scale = scale
        layers: list[nn.Module] = []
        for index in range(convolutions):
            layers += [_conv(features if index else 3, features), nn.PReLU(features)]
        self.body = nn.Sequential(*layers, _conv(features, 3 * scale**2))

    @classmethod
    def of(cls, state: State) -> SRVGGNetCompact:
        """The network that weights are of; raises `KeyError` or `ValueError` where they are of another."""
        features, channels = state["body.0.weight"].shape[:2]
        layers = _count(state, "body")
        channels_out = len(state[f"body.{layers - 1}.weight"])
        scale = math.isqrt(channels_out // 3)
        if channels != 3 or 3 * scale**2 != channels_out or layers % 2 == 0:
            raise ValueError(f"{channels} channels in, {channels_out} out, {layers} layers")
        return cls(features, layers // 2, scale)

    def forward(self, x: Tensor) -> Tensor:
        """Enlarge pictures [rows, 3, height, width]."""
        enlarged = interpolate(x, scale_factor=float(self.scale))
        return pixel_shuffle(self.body(x), self.scale) + enlarged


Net = RRDBNet | SRVGGNetCompact
# By the tensors that tell them.
NETS: dict[str, type[RRDBNet] | type[SRVGGNetCompact]] = {
    "body.0.rdb1.conv1.weight": RRDBNet,
    "body.1.weight": SRVGGNetCompact,
}


def renamed(state: State) -> State:
    """Weights under the names that the networks have here."""
    tail = sorted({int(match[1]) for name in state if (match := re.match(r"model\.(\d+)\.", name))})[2:]
    places = [*(f"ups.{index}." for index in range(len(tail) - 2)), "conv_hr.", "conv_last."]
    tails = {f"model.{number}.": place for number, place in zip(tail, places[-len(tail) :], strict=False)}

    def rename(name: str) -> str:
        for pattern, there in NAMES:
            name = re.sub(f"^{pattern}", there, name)
        head = re.match(r"model\.\d+\.", name)
        return tails.get(head[0], head[0]) + name[head.end() :] if head else name

    return {rename(name): tensor for name, tensor in state.items()}


def _count(state: State, part: str) -> int:
    numbers = [int(match[1]) for name in state if (match := re.match(rf"{part}\.(\d+)\.", name))]
    return 1 + max(numbers, default=-1)


def _conv(taken: int, channels_out: int) -> nn.Conv2d:
    return nn.Conv2d(taken, channels_out, 3, padding=1)
