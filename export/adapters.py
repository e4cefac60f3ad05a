"""The denoiser's inputs for adapters: ControlNets' residuals, the keys and values of image prompts, and how far
attention is left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from onnxscript import opset18 as op
from torch import Tensor
from torch.nn import functional

from ..bundles.graph import Range
from ..bundles.tensor import TensorSpec

CONTROL, IMAGE, PERTURBED = "control", "image", "perturbed"
KEYS, VALUES = "image_keys", "image_values"
MOST_IMAGE_TOKENS = 512

Config = Mapping[str, Any]


@dataclass(frozen=True)
class Residual:
    """What a ControlNet adds to one skip connection, or to the middle: its channels, and how many latents a position
    is along an edge."""

    name: str
    channels: int
    divisor: int

    @property
    def axes(self) -> tuple[str, str, str]:
        """Its dynamic axes after the rows: each 1 long where the residual is absent."""
        return f"{self.name}_channels", f"{self.name}_height", f"{self.name}_width"

    @property
    def spec(self) -> TensorSpec:
        """The denoiser's input."""
        return TensorSpec(self.name, "float32", ("rows", *self.axes))

    def ranges(self, height: Range, width: Range) -> dict[str, Range]:
        """The lengths of its axes."""
        spans = (
            Range(1, 1, self.channels),
            *(
                Range(1, 1, -(-side.most // self.divisor), follows=name, divisor=self.divisor)
                for name, side in (("height", height), ("width", width))
            ),
        )
        return dict(zip(self.axes, spans, strict=True))

    def lengths(self, height: int, width: int) -> dict[str, int]:
        """The lengths of its axes where it is there, for latents of these sides."""
        lengths = (self.channels, -(-height // self.divisor), -(-width // self.divisor))
        return dict(zip(self.axes, lengths, strict=True))

    @property
    def absent(self) -> dict[str, int]:
        """The lengths of its axes where it is not."""
        return dict.fromkeys(self.axes, 1)


def residuals(config: Config) -> tuple[Residual, ...]:
    """The residuals of a ControlNet for `unet/config.json`, in its outputs' order: the skip connections', the middle's
    (Zhang et al., "Adding Conditional Control to Text-to-Image Diffusion Models", 2023, section 3.2)."""
    widths = config["block_out_channels"]
    layers = config["layers_per_block"]
    layers = [layers] * len(widths) if isinstance(layers, int) else layers
    places = [(widths[0], 1)]
    for level, (width, count) in enumerate(zip(widths, layers, strict=True)):
        places += [(width, 2**level)] * count
        if level < len(widths) - 1:
            places.append((width, 2 ** (level + 1)))
    names = [f"control_down_{index}" for index in range(len(places))]
    places.append((widths[-1], 2 ** (len(widths) - 1)))
    return tuple(Residual(name, *place) for name, place in zip([*names, "control_mid"], places, strict=True))


@torch.library.custom_op("overpaint::add_residual", mutates_args=())
def add_residual(states: Tensor, residual: Tensor) -> Tensor:
    """The states and a residual that broadcasts to their shape: for a capture an operator whose result has that shape,
    whatever the residual's axes are."""
    return states + residual


@add_residual.register_fake
def _shape_of_states(states: Tensor, residual: Tensor) -> Tensor:
    return torch.empty_like(states)


def _add(states: Any, residual: Any) -> Any:
    return op.Add(states, residual)


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {torch.ops.overpaint.add_residual.default: _add}
"""How the operators of this file are written as ONNX."""


class Addend:
    """A residual that diffusers adds to its skip connections, as `states + residual`."""

    def __init__(self, residual: Tensor) -> None:
        self._residual = residual

    def __radd__(self, states: Tensor) -> Tensor:
        summed: Tensor = add_residual(states, self._residual.to(states.dtype))
        return summed


class ImageAttention:
    """An attention processor for texts and image prompts: to what a layer attends of the text it adds what it attends
    of the image tokens (Ye et al., "IP-Adapter", arXiv:2308.06721, equation 5).

    `keys` and `values` are set before each evaluation, [rows, tokens, width of all layers]; `place` are the layer's own
    columns. How much an image prompt counts is a factor of its values.
    """

    def __init__(self, place: slice) -> None:
        self._place = place
        self.keys: Tensor | None = None
        self.values: Tensor | None = None

    def __call__(
        self, attn: Attention, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, *_: Any, **__: Any
    ) -> Tensor:
        """Attend; the layers' own biases and dropouts are diffusers'."""
        assert encoder_hidden_states is not None
        assert self.keys is not None
        assert self.values is not None
        query = attn.to_q(hidden_states)
        states = _attended(query, attn.to_k(encoder_hidden_states), attn.to_v(encoder_hidden_states), attn.heads)
        keys, values = (each[:, :, self._place].to(states.dtype) for each in (self.keys, self.values))
        # Twice the query and half the scale are the same to the bit, and no tensor that both attentions read:
        # TensorRT-RTX 1.7 crashes over two attentions of one query.
        half = (query.shape[-1] // attn.heads) ** -0.5 / 2
        output: Tensor = attn.to_out[0](states + _attended(query * 2, keys, values, attn.heads, half))
        return output


class PerturbedAttention:
    """A self-attention processor that leaves out attention as far as a row's gate says: with 1 each position attends to
    itself alone, so that its values are what it gives (Ahn et al., arXiv:2403.17377, section 4.2).

    `gate` [rows] is set before each evaluation; with 0 nothing is altered.
    """

    def __init__(self) -> None:
        self.gate: Tensor | None = None

    def __call__(self, attn: Attention, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        """Attend; the layer's own biases are diffusers'."""
        assert self.gate is not None
        value = attn.to_v(hidden_states)
        states = _attended(attn.to_q(hidden_states), attn.to_k(hidden_states), value, attn.heads)
        gate = self.gate.to(states.dtype)[:, None, None]
        output: Tensor = attn.to_out[0](states + gate * (value - states))
        return output


def _attended(query: Tensor, key: Tensor, value: Tensor, heads: int, scale: float | None = None) -> Tensor:
    query, key, value = (each.view(*each.shape[:2], heads, -1).transpose(1, 2) for each in (query, key, value))
    return functional.scaled_dot_product_attention(query, key, value, scale=scale).transpose(1, 2).flatten(2)


def cross_attentions(model: UNet2DConditionModel) -> Iterator[tuple[str, Attention]]:
    """The layers that attend to the text, in the order of diffusers' attention processors, with their names."""
    for name, module in model.named_modules():
        if isinstance(module, Attention) and name.endswith("attn2"):
            yield name, module


def attend_to_images(model: UNet2DConditionModel) -> list[ImageAttention]:
    """Have a U-Net attend to image tokens; gives the processors, whose keys and values are to be set."""
    processors, start = [], 0
    for _, attention in cross_attentions(model):
        width = attention.to_k.out_features
        processor = ImageAttention(slice(start, start + width))
        attention.set_processor(processor)
        processors.append(processor)
        start += width
    return processors


def perturb_attention(model: UNet2DConditionModel) -> list[PerturbedAttention]:
    """Have the self-attention in a U-Net's middle be left out by rows; gives the processors, whose gates are to be
    set."""
    processors = []
    for name, module in model.mid_block.named_modules():
        if isinstance(module, Attention) and name.endswith("attn1"):
            processors.append(PerturbedAttention())
            module.set_processor(processors[-1])
    return processors


def image_width(config: Config) -> int:
    """The width of the keys of all layers that attend to image prompts, of `unet/config.json`."""
    with torch.device("meta"):
        model = UNet2DConditionModel.from_config(dict(config))
    return sum(attention.to_k.out_features for _, attention in cross_attentions(model))
