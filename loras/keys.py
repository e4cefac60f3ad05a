"""The names of a LoRA's tensors: which part of the model, which layer of it, and which factor."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ..bundles.tensor import Array

DOWN, UP, ALPHA = "down", "up", "alpha"
DENOISER, TEXT = "denoiser", "text_encoder"
"""The parts of a model; text encoders are numbered, see `Target`."""

_FACTORS = {
    ".lora_down.weight": DOWN,
    ".lora_up.weight": UP,
    ".lora_A.weight": DOWN,
    ".lora_B.weight": UP,
    ".lora_A.default.weight": DOWN,
    ".lora_B.default.weight": UP,
    ".lora.down.weight": DOWN,
    ".lora.up.weight": UP,
    ".lora_linear_layer.down.weight": DOWN,
    ".lora_linear_layer.up.weight": UP,
    "_lora.down.weight": DOWN,
    "_lora.up.weight": UP,
    ".alpha": ALPHA,
}
# Other kinds of adapters by how a tensor's last name begins.
_OTHERS = {
    "hada_": "LoHa",
    "lokr_": "LoKr",
    "lora_mid": "LoCon of three factors",
    "diff": "full differences",
    "dora_scale": "DoRA",
    "lora_magnitude_vector": "DoRA",
    "oft_": "OFT",
    "on_input": "IA3",
}
# How names begin, of the parts that they are then of.
_PARTS = {
    "lora_unet_": (DENOISER, 0),
    "lora_te_": (TEXT, 0),
    "lora_te1_": (TEXT, 0),
    "lora_te2_": (TEXT, 1),
    "unet.": (DENOISER, 0),
    "text_encoder.": (TEXT, 0),
    "text_encoder_2.": (TEXT, 1),
    "base_model.model.": (DENOISER, 0),
    "diffusion_model.": (DENOISER, 0),
}
# diffusers' names of before 0.18: "attn1.processor.to_q_lora", in text encoders "self_attn.to_q_lora".
_PROCESSOR = re.compile(r"\.processor\.(to_[a-z]+)$")
_OLD_TEXT = re.compile(r"self_attn\.to_(q|k|v|out)$")


@dataclass(frozen=True)
class Target:
    """A layer: the `part` of the model, of text encoders the `number`, and the layer's `name` with "_" for "."."""

    part: str
    number: int
    name: str


@dataclass
class Factors:
    """What a LoRA has for one layer: the factors by kind, and the names of the tensors."""

    tensors: dict[str, Array] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)


@dataclass
class Parsed:
    """A LoRA's tensors by layer; `others` are the names of those of other kinds of adapters, by kind, and `unknown`
    those that belong to nothing. `merged` are those of all kinds by layer and the last part of their names, for
    `deltas.delta`."""

    layers: dict[Target, Factors] = field(default_factory=dict)
    others: dict[str, list[str]] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    merged: dict[Target, dict[str, Array]] = field(default_factory=dict)


def parse(tensors: Mapping[str, Array]) -> Parsed:
    """Sort the tensors of a file by layer and factor."""
    parsed = Parsed()
    for name, tensor in tensors.items():
        suffix = next((suffix for suffix in _FACTORS if name.endswith(suffix)), None)
        if suffix is not None:
            factors = parsed.layers.setdefault(_target(name.removesuffix(suffix)), Factors())
            factors.tensors[_FACTORS[suffix]] = tensor
            factors.names.append(name)
            parsed.merged.setdefault(_target(name.removesuffix(suffix)), {})[_FACTORS[suffix]] = tensor
        elif kind := _other(name):
            stem, _, last = name.removesuffix(".weight").rpartition(".")
            parsed.merged.setdefault(_target(stem), {})[last] = tensor
            parsed.others.setdefault(kind, []).append(name)
        else:
            parsed.unknown.append(name)
    _settle(parsed)
    return parsed


def _settle(parsed: Parsed) -> None:
    """Take out layers without both factors: what is left of another kind of adapter, or of nothing."""
    strange = {target for target, own in parsed.layers.items() if not {DOWN, UP} <= own.tensors.keys()}
    stems = {name.rpartition(".")[0] for names in parsed.others.values() for name in names}
    for target in strange:
        names = parsed.layers.pop(target).names
        if not any(name.rpartition(".")[0] in stems for name in names):
            parsed.unknown += names


def _other(name: str) -> str | None:
    words = name.split(".")
    last = next((word for word in reversed(words) if word != "weight"), "")
    return next((kind for start, kind in _OTHERS.items() if last.startswith(start)), None)


def _target(name: str) -> Target:
    prefix = next((prefix for prefix in _PARTS if name.startswith(prefix)), "")
    part, number = _PARTS.get(prefix, (DENOISER, 0))
    layer = name.removeprefix(prefix).removeprefix("base_model.model.")
    if found := _PROCESSOR.search(layer):
        layer = f"{layer[: found.start()]}.{'to_out.0' if found[1] == 'to_out' else found[1]}"
    layer = _OLD_TEXT.sub(r"self_attn.\1_proj", layer)
    plain = layer.replace(".", "_")
    return Target(part, number, plain.removeprefix("text_model_") if part == TEXT else plain)


def listed(names: Iterable[str], most: int = 6) -> str:
    """Names for a message, the first few of many."""
    names = sorted(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
