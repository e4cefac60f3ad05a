"""DeepCache: a denoiser that also gives the deep features of its last level, and a shallow one that takes them (Ma et
al., "DeepCache: Accelerating Diffusion Models for Free", arXiv:2312.00858)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from ..bundles.graph import DEEP_FEATURES, DENOISER_SHALLOW
from ..bundles.tensor import TensorSpec
from ..errors import InputError
from .adapters import CONTROL, IMAGE, PERTURBED, add_residual
from .components import Component, Config, Lengths, normal
from .wrappers import UNet

TEXT = "encoder_hidden_states"
# What the shallow part has of the skip connections, and so of a ControlNet's residuals: the first two.
SKIPS = 2
CROSSED, PLAIN = "CrossAttnDownBlock2D", "DownBlock2D"


class CachingUNet(UNet):
    """A `UNet` that also gives the deep features: what the last but one layer of the last level goes on from."""

    def __init__(self, model: UNet2DConditionModel, others: Sequence[str] = ()) -> None:
        super().__init__(model, others)
        self._channels = deep_channels(model.config)
        self._features: Tensor | None = None
        # Before what else alters a layer's input, as the shallow part has that too.
        model.up_blocks[-1].resnets[-SKIPS].register_forward_pre_hook(self._catch, prepend=True)

    def _catch(self, _module: nn.Module, inputs: tuple[Any, ...]) -> None:
        self._features = inputs[0][:, : self._channels]

    def forward(  # type: ignore[override]
        self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor, *others: Tensor
    ) -> tuple[Tensor, ...]:
        """Evaluate the denoiser once for each row."""
        (output,) = super().forward(sample, timestep, encoder_hidden_states, *others)
        assert self._features is not None
        return output, self._features.float()


class ShallowUNet(UNet):
    """A U-Net's first and last layers: what `others` names after latents and timestep, `deep_features` [rows, channels,
    height, width] among them -> `model_output`, as if all between had given these features."""

    def __init__(self, model: UNet2DConditionModel, others: Sequence[str]) -> None:
        super().__init__(model, others)
        model.mid_block = None
        model.down_blocks = model.down_blocks[:1]
        model.up_blocks = model.up_blocks[-1:]

    def forward(self, sample: Tensor, timestep: Tensor, *others: Tensor) -> tuple[Tensor]:
        """Evaluate the layers once for each row."""
        dtype, model, given = self.dtype, self.model, dict(zip(self._others, others, strict=True))
        self.show(given)
        text = given[TEXT].to(dtype) if TEXT in given else None
        embedded = self._embedded(sample.to(dtype), timestep, given)
        first = model.conv_in(sample.to(dtype))
        skips = [first, _layer(model.down_blocks[0], 0, first, embedded, text)]
        if residuals := [array.to(dtype) for name, array in given.items() if name.startswith(CONTROL)]:
            skips = [add_residual(*pair) for pair in zip(skips, residuals, strict=True)]
        states = given[DEEP_FEATURES].to(dtype)
        for place, skip in zip((-2, -1), reversed(skips), strict=True):
            states = _layer(model.up_blocks[-1], place, torch.cat([states, skip], dim=1), embedded, text)
        return (model.conv_out(model.conv_act(model.conv_norm_out(states))).float(),)

    def _embedded(self, sample: Tensor, timestep: Tensor, given: Mapping[str, Tensor]) -> Tensor:
        """The timestep's embedding, with what a model takes besides."""
        model, guidance = self.model, self.guidance(given, sample.dtype)
        embedded = model.time_embedding(model.get_time_embed(sample=sample, timestep=timestep), guidance)
        others = model.get_aug_embed(emb=embedded, encoder_hidden_states=None, added_cond_kwargs=given)
        summed: Tensor = embedded if others is None else embedded + others
        return summed if model.time_embed_act is None else model.time_embed_act(summed)


def _layer(block: Any, place: int, states: Tensor, embedded: Tensor, text: Tensor | None) -> Tensor:
    states = block.resnets[place](states, embedded)
    if hasattr(block, "attentions"):
        states = block.attentions[place](states, encoder_hidden_states=text, return_dict=False)[0]
    return states


def deep_channels(config: Config) -> int:
    """The channels of the deep features; raises `InputError` for a U-Net that has none."""
    widths, layers, kinds = (config[name] for name in ("block_out_channels", "layers_per_block", "down_block_types"))
    if len(widths) < 2 or not isinstance(layers, int) or kinds[0] not in (CROSSED, PLAIN):
        raise InputError(
            f"the U-Net's first of {len(widths)} levels is {layers} layers of {kinds[0]}; deep features are of "
            f"{CROSSED} or {PLAIN}, and of two levels or more: leave out deep_cache",
            "deep_cache",
        )
    return int(widths[0] if layers > 1 else widths[1])


def caching(denoiser: Component, config: Config) -> Component:
    """A denoiser that also gives its deep features."""
    return replace(denoiser, outputs=(*denoiser.outputs, _features(config)))


def shallow(denoiser: Component, config: Config) -> Component:
    """The graph beside a denoiser that takes its deep features, and of its other inputs those that it needs."""
    features, crossed = _features(config), config["down_block_types"][0] == CROSSED
    adapters = {kind: names[:SKIPS] if kind == CONTROL else names for kind, names in denoiser.adapters.items()}
    for kind in (PERTURBED, *(() if crossed else (IMAGE,))):
        adapters.pop(kind, None)
    unused = {name for names in denoiser.adapters.values() for name in names}
    unused -= {name for names in adapters.values() for name in names}
    unused |= set() if crossed else {TEXT}
    inputs = (*(spec for spec in denoiser.inputs if spec.name not in unused), features)
    axes = {axis for spec in inputs for axis in spec.axes if isinstance(axis, str)}

    def own(lengths: Lengths) -> Lengths:
        return {axis: length for axis, length in lengths.items() if axis in axes}

    return replace(
        denoiser,
        name=f"{denoiser.name}_shallow",
        role=DENOISER_SHALLOW,
        inputs=inputs,
        ranges={axis: span for axis, span in denoiser.ranges.items() if axis in axes},
        traced=own(denoiser.traced),
        checked=tuple(map(own, denoiser.checked)),
        draws={**denoiser.draws, DEEP_FEATURES: normal},
        adapters=adapters,
        base=denoiser.name,
    )


def _features(config: Config) -> TensorSpec:
    return TensorSpec(DEEP_FEATURES, "float32", ("rows", deep_channels(config), "height", "width"))
