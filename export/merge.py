"""LoRAs merged into a checkpoint's weights: what is exported then has them for good."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from ..errors import InputError
from ..loras.deltas import delta
from ..loras.file import LoraFile, read_lora
from ..loras.keys import DENOISER, Parsed, Target, listed, parse
from ..loras.layers import aliases
from ..loras.weights import LoraUse, parse_use
from .checkpoints.checkpoint import SECOND, Checkpoint, State

_PARTS = {(DENOISER, 0): "unet", ("text_encoder", 0): "text_encoder", ("text_encoder", 1): SECOND}
_SUFFIX, _WEIGHT, _BIAS = ".safetensors", ".weight", "diff_b"


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
    parsed = [(file, use, parse(file.tensors)) for file, use in read]
    for file, _, own in parsed:
        _check(source, file, own)
    named = ", ".join(f"{use} ({file.short_hash})" for file, use, _ in parsed)

    def state(part: str) -> State:
        made = dict(source.state(part))
        for file, use, own in parsed:
            _merge(made, part, file, use, own)
        return made

    return replace(source, state=state, origin={**source.origin, "merged": named})


def _check(source: Checkpoint, file: LoraFile, own: Parsed) -> None:
    names = {part: _layers(source.state(part)) for part in _PARTS.values() if part in source.configs}
    lost = [
        f"{target.name} ({', '.join(sorted(tensors))})"
        for target, tensors in own.merged.items()
        if target.name not in names.get(_part(target), {})
    ]
    if dora := own.others.keys() & {"DoRA", "OFT", "IA3"}:
        raise InputError(
            f"LoRA {file.name!r} is of kind {' and '.join(sorted(dora))}, which is not merged", "merge_lora"
        )
    if lost or own.unknown:
        raise InputError(
            f"LoRA {file.name!r} has tensors that belong to no layer of this checkpoint: "
            f"{listed([*lost, *own.unknown])}; it is for another",
            "merge_lora",
        )


def _part(target: Target) -> str:
    return _PARTS.get((target.part, target.number), "")


def _layers(state: State) -> dict[str, str]:
    """The layers of a part by the names that LoRA files have for them."""
    stems = [name.removesuffix(_WEIGHT) for name in state if name.endswith(_WEIGHT)]
    return {alias: name for name, own in aliases(stems).items() for alias in own}


def _merge(state: State, part: str, file: LoraFile, use: LoraUse, own: Parsed) -> None:
    names, strength = _layers(state), use.unet if part == "unet" else use.text
    for target, tensors in own.merged.items():
        if _part(target) != part:
            continue
        layer = names[target.name]
        try:
            if tensors.keys() - {_BIAS}:
                _add(state, layer + _WEIGHT, delta(tensors, state[layer + _WEIGHT].shape) * strength)
            if _BIAS in tensors:
                _add(state, f"{layer}.bias", tensors[_BIAS] * strength)
        except (KeyError, ValueError) as exc:
            raise InputError(
                f"LoRA {file.name!r} does not fit {layer} of this checkpoint ({exc}); use one that was trained for it",
                "merge_lora",
            ) from exc


def _add(state: State, name: str, difference: object) -> None:
    weight = state[name]
    state[name] = (weight.float() + torch.as_tensor(difference, dtype=torch.float32)).to(weight.dtype)
