"""Group normalisation by whole-array operations: torch's own is scalar code for bfloat16, channels last, on a CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class Normalise(torch.autograd.Function):
    """Group normalisation (Wu and He 2018) of x [n, positions, channels] with its gradient; sums are in float32."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, groups: int, eps: float
    ) -> torch.Tensor:
        wide = x.float()
        n, positions, channels = x.shape
        size = channels // groups
        count = positions * size
        mean = wide.sum(1).view(n, groups, size).sum(2) / count
        square = (wide * wide).sum(1).view(n, groups, size).sum(2) / count
        spread = (square - mean * mean).clamp_min(0).add(eps).rsqrt()
        mean, spread = (v.repeat_interleave(size, 1) for v in (mean, spread))
        ctx.save_for_backward(x, weight, mean, spread)
        ctx.groups = groups
        scale = spread * weight
        return torch.addcmul((bias - mean * scale).unsqueeze(1), wide, scale.unsqueeze(1)).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, mean, spread = ctx.saved_tensors
        wide, dy = x.float(), gradients[0].float()
        n, positions, channels = x.shape
        size = channels // ctx.groups
        total = dy.sum(1)
        along = ((dy * wide).sum(1) - total * mean) * spread  # sum of dy times the normalised x, [n, channels]
        inner, outer = (
            ((v * weight).view(n, ctx.groups, size).sum(2) / (positions * size)).repeat_interleave(size, 1)
            for v in (along, total)
        )
        # dx = spread (weight dy - outer - normalised x inner)
        slope = -spread * spread * inner
        dx = torch.addcmul((-spread * outer - slope * mean).unsqueeze(1), wide, slope.unsqueeze(1))
        dx.addcmul_(dy, (spread * weight).unsqueeze(1))
        return dx.to(x.dtype), along.sum(0), total.sum(0), None, None


class GroupNorm(nn.GroupNorm):
    """A drop-in for `nn.GroupNorm` on channels-last tensors."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, channels = x.shape[:2]
        last = x.movedim(1, -1)
        y = Normalise.apply(last.reshape(n, -1, channels), self.weight, self.bias, self.num_groups, self.eps)
        return y.view(last.shape).movedim(-1, 1)


def replace(model: nn.Module) -> None:
    """Let every group normalisation of the model compute this way, with the weights it has."""
    for module in model.modules():
        if type(module) is nn.GroupNorm:
            module.__class__ = GroupNorm
