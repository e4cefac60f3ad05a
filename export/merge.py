"""LoRAs merged into a checkpoint's weights: what is exported then has them for good."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from ..errors import InputError
from ..loras.deltas import Tensors, delta
from ..loras.file import LoraFile, read_lora
from ..loras.keys import DENOISER, TEXT, parse
from ..loras.layers import aliases
from ..loras.merging import BIAS, by_layer
from ..loras.weights import LoraUse, parse_use
from .checkpoints.checkpoint import SECOND, Checkpoint, State

_PARTS = {(DENOISER, 0): "unet", (TEXT, 0): "text_encoder", (TEXT, 1): SECOND}
_SUFFIX, _WEIGHT = ".safetensors", ".weight"


def read_use(text: str) -> tuple[Path, LoraUse]:
    """A file and how much it counts, of a text such as "ink.safetensors:0.8" or "ink.safetensors:te:unet".

    Raises `InputError` for another, and for block weights, which merged LoRAs have not.
    """
    path, suffix, weights = text.partition(_SUFFIX)
    use = parse_use(f"{Path(path).name}{weights}")
    if not suffix or use.blocks:
        raise InputError(f"{text}: write FILE.safetensors:0.8, or FILE.safetensors:te:unet", "merge_lora")
    return Path(path + suffix), use


def with_loras(source: Checkpoint, texts: Sequence[str]) -> Checkpoint:
    """The checkpoint with LoRAs of any kind that `loras.deltas` knows merged into its weights.

    W + strength · difference, computed in float32 and stored as the weights were (Hu et al., arXiv:2106.09685, section
    4.1). Raises `InputError` for a LoRA that does not fit the checkpoint, and for tensors that belong to no layer.
    """
    read = [(read_lora(path), use) for path, use in map(read_use, texts)]
    names = {place: _layers(source.state(part)) for place, part in _PARTS.items() if part in source.configs}
    own = [by_layer(file, parse(file.tensors), names, "merge_lora") for file, _ in read]
    named = ", ".join(f"{use} ({file.short_hash})" for file, use in read)
    places = {part: place for place, part in _PARTS.items()}

    def state(part: str) -> State:
        made = dict(source.state(part))
        for (file, use), layers in zip(read, own, strict=True):
            _merge(made, file, use.unet if part == "unet" else use.text, layers.get(places.get(part, ("", 0)), {}))
        return made

    return replace(source, state=state, origin={**source.origin, "merged": named})


def _layers(state: State) -> dict[str, str]:
    """The layers of a part by the names that LoRA files have for them."""
    stems = [name.removesuffix(_WEIGHT) for name in state if name.endswith(_WEIGHT)]
    return {alias: name for name, own in aliases(stems).items() for alias in own}


def _merge(state: State, file: LoraFile, strength: float, layers: Mapping[str, Tensors]) -> None:
    for layer, tensors in layers.items():
        try:
            if tensors.keys() - {BIAS}:
                _add(state, layer + _WEIGHT, delta(tensors, state[layer + _WEIGHT].shape) * strength)
            if BIAS in tensors:
                _add(state, f"{layer}.bias", tensors[BIAS] * strength)
        except (KeyError, ValueError) as exc:
            raise InputError(
                f"LoRA {file.name!r} does not fit {layer} of this checkpoint ({exc}); use one that was trained for it",
                "merge_lora",
            ) from exc


def _add(state: State, name: str, difference: object) -> None:
    weight = state[name]
    state[name] = (weight.float() + torch.as_tensor(difference, dtype=torch.float32)).to(weight.dtype)
