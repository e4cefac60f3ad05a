"""A ControlNet's module with the flat signature of its bundle's graph: tensors in, a tuple of tensors out, float32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import ControlNetModel, ControlNetUnionModel
from torch import Tensor, nn

from .adapters import Addend, add_residual
from .wrappers import as_linear

HINT, TYPE = "hint", "control_type"


class ControlNet(nn.Module):
    """A denoiser's inputs and `hint` [rows, 3, height, width] in [0, 1], in pixels -> the residuals of
    `adapters.residuals`, each [rows, channels, h, w].

    `others` names the inputs after the text: SDXL's `text_embeds` and `time_ids`, `hint`, and a union model's
    `control_type` [rows, types], 1 for the hint's and 0 for the others. With global pooling a residual is its mean
    everywhere.
    """

    widened = False
    """Do its layers compute in float32, whatever their weights are? See `streamed.in_float32`."""

    def __init__(self, model: ControlNetModel | ControlNetUnionModel, others: Sequence[str] = (HINT,)) -> None:
        super().__init__()
        self.model = model
        self._others = tuple(others)
        self._union = TYPE in others
        self._pools = model.config.global_pool_conditions
        model.register_to_config(global_pool_conditions=False)
        self.embed = model.controlnet_cond_embedding
        model.controlnet_cond_embedding = _Fitted(self.embed) if self._union else _Embedded(self.embed)
        for block in model.transformer_layes if self._union else ():
            block.attn = _Alone(block.attn)

    def forward(
        self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor, *others: Tensor
    ) -> tuple[Tensor, ...]:
        """Evaluate the ControlNet once for each row."""
        dtype = torch.float32 if self.widened else self.model.dtype
        given = dict(zip(self._others, others, strict=True))
        down, middle = self.model(
            sample.to(dtype),
            timestep,
            encoder_hidden_states.to(dtype),
            **self._steering(given, sample.to(dtype)),
            added_cond_kwargs=given,
            return_dict=False,
        )
        residuals = (each.float() for each in (*down, middle))
        return tuple(_mean(each) if self._pools else each for each in residuals)

    def _steering(self, given: dict[str, Tensor], sample: Tensor) -> dict[str, Any]:
        hint = given[HINT].to(sample.dtype)
        if not self._union:
            return {"controlnet_cond": hint}
        kind = given[TYPE]
        self.model.controlnet_cond_embedding.sample = sample
        return {"controlnet_cond": [hint], "control_type": kind, "control_type_idx": [kind.argmax(1)]}


class _Embedded(nn.Module):
    """What diffusers adds to the latents: for a capture a sum of the latents' shape, whatever the hint's is."""

    def __init__(self, embed: nn.Module) -> None:
        super().__init__()
        self._embed = [embed]  # its weights are the model's already

    def forward(self, hint: Tensor) -> Addend:
        return Addend(self._embed[0](hint))


class _Fitted(_Embedded):
    """The same as a tensor, which a union model does more with; `sample` are the latents [rows, channels, h, w]."""

    sample: Tensor

    def forward(self, hint: Tensor) -> Tensor:  # type: ignore[override]
        embedded = self._embed[0](hint)
        zeros = torch.zeros_like(self.sample[:, :1]).expand(-1, embedded.shape[1], -1, -1)
        fitted: Tensor = add_residual(zeros, embedded)
        return fitted


class _Alone(nn.Module):
    """A union model's attention for each row by itself, which then attends to one place: the value there.

    Its `MultiheadAttention` takes rows for places, so that those of a call would mix. In a call of one picture, whose
    rows show it the same, this gives the same.
    """

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        super().__init__()
        last = len(attention.in_proj_weight) * 2 // 3
        self.value = as_linear(attention.in_proj_weight[last:], attention.in_proj_bias[last:])
        self.out = attention.out_proj

    def forward(self, states: Tensor, *_: Tensor, **__: Any) -> tuple[Tensor]:
        return (self.out(self.value(states)),)


def _mean(residual: Tensor) -> Tensor:
    return residual.mean((2, 3), keepdim=True).expand_as(residual)
