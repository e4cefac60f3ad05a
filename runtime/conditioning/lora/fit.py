"""A LoRA's file in the layout of a graph: which layers it changes, and the matrix of them all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import numpy as np

from ....bundles.facts import TEXT_FAMILIES
from ....bundles.graph import LowRankLayer
from ....bundles.tensor import Array
from ....engines.arrays import to_device
from ....errors import InputError, counted
from ....loras.file import LoraFile
from ....loras.keys import ALPHA, DENOISER, DOWN, TEXT, UP, Factors, Parsed, Target, listed, parse
from ....loras.layers import Table, layer_table
from ....loras.weights import LoraUse
from ..low_rank import MOST_RANK, LowRank, RowLora, padded_rank

_TEXT_LAYERS = ("attn2_to_k", "attn2_to_v")
MERGE = "export the bundle with it, by overpaint export --merge-lora FILE:0.8"


class Fitted(Protocol):
    """What a LoRA adds to one graph."""

    @property
    def rank(self) -> int:
        """How much of a call's rank it takes."""
        ...

    def low_rank(self, weight: float, device: str) -> RowLora:
        """The LoRA as rows on a device have it."""
        ...


@dataclass(frozen=True, eq=False)
class CheckedLora:
    """A LoRA's file that fits the bundle; `fit` gives what a use of it adds to the denoiser and each text encoder."""

    file: LoraFile
    fit: Callable[[LoraUse], tuple[Fitted | None, tuple[Fitted | None, ...]]]


@dataclass(frozen=True, eq=False)
class LoraLayers:
    """The layers of a bundle that take LoRAs: of the denoiser, and of each text encoder, None where one takes none."""

    denoiser: Sequence[LowRankLayer]
    encoders: Sequence[Sequence[LowRankLayer] | None]

    def check(self, file: LoraFile, lora_partial: bool) -> CheckedLora:
        """A LoRA's file, checked; raises `InputError` as `check_lora`."""
        return CheckedLora(file, partial(self._fit, check_lora(file, self, lora_partial)))

    def _fit(self, lora: ParsedLora, use: LoraUse) -> tuple[Fitted | None, tuple[Fitted | None, ...]]:
        encoders = (fit_encoder(lora, number, own) if own else None for number, own in enumerate(self.encoders))
        return fit_denoiser(lora, self.denoiser, use), tuple(encoders)


@dataclass(frozen=True, eq=False)
class FittedLora:
    """The matrix of a LoRA for one graph, float32 [rows of all layers, rank]; `key` is what it was made of."""

    matrix: Array
    key: str
    _on: dict[str, Array] = field(default_factory=dict)

    def low_rank(self, weight: float, device: str) -> LowRank:
        """The LoRA as rows have it, on a device; each device has one copy."""
        if device not in self._on:
            self._on[device] = to_device(self.matrix, device)
        return LowRank(weight, self.key, self._on[device])

    @property
    def rank(self) -> int:
        """The columns of its matrix."""
        return int(self.matrix.shape[1])


@dataclass(frozen=True, eq=False)
class ParsedLora:
    """A LoRA's file and its tensors by the layers of a bundle, checked."""

    file: LoraFile
    denoiser: dict[str, Factors]
    encoders: Sequence[dict[str, Factors]]


def check_lora(file: LoraFile, layers: LoraLayers, lora_partial: bool = False) -> ParsedLora:
    """Sort a LoRA's tensors by the layers of a bundle.

    Raises `InputError` for one of another family or width, for other kinds of adapters, and for tensors that belong to
    no layer, unless it may be partial, which leaves these out.
    """
    parsed = parse(file.tensors)
    denoiser = layer_table(layers.denoiser)
    encoders = [layer_table(own) if own else {} for own in layers.encoders]
    tables = {(DENOISER, 0): denoiser, **{(TEXT, number): table for number, table in enumerate(encoders)}}
    _check_family(file, parsed, denoiser)
    _check_kind(file, parsed, lora_partial)
    _check_text(file, parsed, layers)
    known: dict[tuple[str, int], dict[str, Factors]] = {place: {} for place in tables}
    unknown: list[str] = list(parsed.unknown)
    convolutions: list[str] = []
    for target, factors in parsed.layers.items():
        place = target.part, target.number
        if target.name not in tables.get(place, {}):
            wide = factors.tensors[DOWN].ndim == 4 and max(factors.tensors[DOWN].shape[2:]) > 1
            (convolutions if wide else unknown).extend(factors.names)
            continue
        _check_shapes(file, target, factors, tables[place][target.name])
        known[place][target.name] = factors
    if convolutions and not lora_partial:
        raise InputError(
            f"LoRA {file.name!r} changes convolutions of more than a pixel (LoCon): {listed(convolutions)}; {MERGE}, "
            "or leave these out with lora_partial",
            "loras",
        )
    if unknown and not lora_partial:
        raise InputError(
            f"LoRA {file.name!r} has tensors that belong to no layer of this model: {listed(unknown)}; it may be for "
            "another; leave them out with lora_partial",
            "loras",
        )
    if not any(known.values()):
        raise InputError(f"LoRA {file.name!r} changes no layer of this model{_is_for(file)}", "loras")
    return ParsedLora(file, known[DENOISER, 0], [known[TEXT, number] for number in range(len(encoders))])


def fit_denoiser(lora: ParsedLora, layers: Sequence[LowRankLayer], use: LoraUse) -> FittedLora | None:
    """The matrix for the denoiser with the block weights of a use; None for one that changes nothing."""
    factors = use.factors(layers)
    return _fitted(lora.file, lora.denoiser, layers, factors, f"{lora.file.sha256} {use.blocks}")


def fit_encoder(lora: ParsedLora, number: int, layers: Sequence[LowRankLayer]) -> FittedLora | None:
    """The matrix for a text encoder; None for one that changes nothing."""
    return _fitted(lora.file, lora.encoders[number], layers, [1.0] * len(layers), lora.file.sha256)


def _fitted(
    file: LoraFile, own: dict[str, Factors], layers: Sequence[LowRankLayer], weights: Sequence[float], key: str
) -> FittedLora | None:
    weight_of = {id(layer): weight for layer, weight in zip(layers, weights, strict=True)}
    table = layer_table(layers)
    places = [(factors, layer) for name, factors in own.items() for layer in table[name] if weight_of[id(layer)]]
    if not places:
        return None
    rank = max(len(factors.tensors[DOWN]) for factors, _ in places)
    if rank > MOST_RANK:
        raise InputError(f"LoRA {file.name!r} has rank {rank}, at most {MOST_RANK} is taken; {MERGE}", "loras")
    last = layers[-1]
    matrix = np.zeros((last.start + last.inputs + last.outputs, padded_rank(rank)), np.float32)
    for factors, layer in places:
        down, up = _flat(factors.tensors[DOWN]), _flat(factors.tensors[UP])
        middle, end = layer.start + layer.inputs, layer.start + layer.inputs + layer.outputs
        matrix[layer.start : middle, : len(down)] = down.T
        scale = scale_of(factors) * weight_of[id(layer)]
        matrix[middle:end, : len(down)] = up[layer.first : layer.first + layer.outputs] * np.float32(scale)
    return FittedLora(matrix, key)


def scale_of(factors: Factors) -> float:
    """alpha / rank, 1 where a file says no alpha."""
    rank = len(factors.tensors[DOWN])
    return float(factors.tensors[ALPHA].reshape(())) / rank if ALPHA in factors.tensors else 1.0


def _flat(factor: Array) -> Array:
    """A factor without the axes of a convolution's pixel."""
    return factor.reshape(factor.shape[:2])


def _check_family(file: LoraFile, parsed: Parsed, table: Table) -> None:
    """Raise `InputError` for a LoRA whose U-Net reads texts of another width."""
    own = next((places[0].inputs for name, places in table.items() if _reads_text(name)), None)
    for target, factors in parsed.layers.items():
        width = factors.tensors[DOWN].shape[1]
        if target.part == DENOISER and _reads_text(target.name) and own is not None and width != own:
            family, ours = TEXT_FAMILIES.get(width, "another family"), TEXT_FAMILIES.get(own, "another")
            raise InputError(
                f"LoRA {file.name!r} is for {family}, whose texts are {width} wide; this model's are {own} "
                f"({ours}){_is_for(file)}; use one that was trained for it",
                "loras",
            )


def _reads_text(name: str) -> bool:
    return name.endswith(_TEXT_LAYERS)


def _is_for(file: LoraFile) -> str:
    """What the file says that it is for."""
    says = file.metadata.get("modelspec.architecture") or file.metadata.get("ss_base_model_version")
    return f"; its file says that it is for {says}" if says else ""


def _check_kind(file: LoraFile, parsed: Parsed, lora_partial: bool) -> None:
    if parsed.others and not lora_partial:
        kinds = "; ".join(f"{kind} ({counted(len(names), 'tensor')})" for kind, names in parsed.others.items())
        raise InputError(f"LoRA {file.name!r} has {kinds}, which rows cannot have for themselves; {MERGE}", "loras")


def _check_text(file: LoraFile, parsed: Parsed, layers: LoraLayers) -> None:
    """Raise `InputError` where a text encoder is changed that takes no LoRAs."""
    numbers = {target.number for target in parsed.layers if target.part == TEXT}
    if any(number < len(layers.encoders) and layers.encoders[number] is None for number in numbers):
        raise InputError(
            f"LoRA {file.name!r} changes the text encoder, of which this bundle takes no LoRAs; export its checkpoint "
            "again with --lora",
            "loras",
        )


def _check_shapes(file: LoraFile, target: Target, factors: Factors, places: Sequence[LowRankLayer]) -> None:
    down, up = factors.tensors[DOWN], factors.tensors[UP]
    inputs, outputs = places[0].inputs, max(layer.first + layer.outputs for layer in places)
    fits = down.ndim in (2, 4) and up.ndim in (2, 4) and down.shape[0] == up.shape[1]
    if not fits or (down.shape[1], up.shape[0]) != (inputs, outputs) or down[0, 0].size * up[0, 0].size != 1:
        raise InputError(
            f"LoRA {file.name!r} changes {target.name} by {list(up.shape)} times {list(down.shape)}, which takes "
            f"{inputs} and gives {outputs}{_is_for(file)}; use one that was trained for this model",
            "loras",
        )
