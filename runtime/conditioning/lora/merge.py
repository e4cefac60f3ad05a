"""LoRAs of any kind merged into a graph's weights when it is opened: what fits, and the weights that it comes to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ....bundles.graph import StoredWeight
from ....bundles.tensor import Array
from ....errors import InputError
from ....loras.deltas import Tensors, delta, fits
from ....loras.file import LoraFile
from ....loras.keys import DENOISER, TEXT, parse
from ....loras.layers import aliases
from ....loras.merging import BIAS, by_layer
from ....loras.weights import LoraUse
from ..low_rank import RowLora
from .fit import CheckedLora, Fitted

Stored = Mapping[str, Sequence[StoredWeight]]
"""The weights of each layer: GEGLU's one layer is two of a graph's."""


@dataclass(frozen=True, eq=False)
class MergedLora(RowLora):
    """A LoRA that is merged into a graph: its tensors by the graph's layers, and how much each layer counts."""

    layers: Mapping[str, Tensors]
    factors: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class MergeableLora:
    """What a LoRA's file has for one graph; `key` is what it was read from."""

    layers: Mapping[str, Tensors]
    factors: Mapping[str, float]
    key: str
    rank: int = 0

    def low_rank(self, weight: float, device: str) -> MergedLora:
        """The LoRA as rows have it."""
        return MergedLora(weight, self.key, self.layers, self.factors)


class StoredLayers:
    """The layers of a bundle that LoRAs can be merged into: of the denoiser, and of each text encoder."""

    def __init__(self, denoiser: Sequence[StoredWeight], encoders: Sequence[Sequence[StoredWeight]]) -> None:
        graphs = {(DENOISER, 0): denoiser, **{(TEXT, number): own for number, own in enumerate(encoders)}}
        self._stored = {place: of_layers(own) for place, own in graphs.items()}
        self._names = {
            place: {alias: name for name, those in aliases(list(own)).items() for alias in those}
            for place, own in self._stored.items()
        }

    def check(self, file: LoraFile, lora_partial: bool) -> CheckedLora:
        """A LoRA's tensors sorted by layers; raises `InputError` as `merging.by_layer`, and for those that do not
        fit, and for differences of biases."""
        sorted_ = by_layer(file, parse(file.tensors), self._names, "loras", lora_partial)
        for place, own in sorted_.items():
            for name, tensors in own.items():
                _check(file, name, tensors, self._stored[place][name])
        if not any(sorted_.values()):
            raise InputError(
                f"LoRA {file.name!r} changes no layer of this model; use one that was trained for it", "loras"
            )
        return CheckedLora(file, partial(self._fit, file, sorted_))

    def _fit(
        self, file: LoraFile, layers: Mapping[tuple[str, int], Mapping[str, Tensors]], use: LoraUse
    ) -> tuple[Fitted | None, tuple[Fitted | None, ...]]:
        stored = [weight for own in self._stored[DENOISER, 0].values() for weight in own]
        factors = dict(zip((weight.name for weight in stored), use.factors(stored), strict=True))
        own = {name: tensors for name, tensors in layers[DENOISER, 0].items() if factors[name]}
        texts = [layers[place] for place in sorted(layers) if place[0] == TEXT]
        return (
            MergeableLora(own, factors, f"{file.sha256} {use.blocks}") if own else None,
            tuple(MergeableLora(text, dict.fromkeys(text, 1.0), file.sha256) if text else None for text in texts),
        )


def of_layers(stored: Sequence[StoredWeight]) -> Stored:
    """The weights of a graph by their layers."""
    made: dict[str, list[StoredWeight]] = defaultdict(list)
    for weight in stored:
        made[weight.name].append(weight)
    return made


def merged_weights(folder: Path, stored: Sequence[StoredWeight], loras: Sequence[MergedLora]) -> dict[str, Array]:
    """Tensors by their names in a graph, W + Σ weight · difference for each layer that `loras` change.

    Summed in float32 and rounded to what the graph stores (Hu et al., arXiv:2106.09685, section 4.1). LoRAs are summed
    in the order of their keys, so that the order in which a request names them changes no bit.
    """
    made = {}
    by_key = sorted(loras, key=lambda each: (each.key, each.weight))
    for name, places in of_layers(stored).items():
        changing = [lora for lora in by_key if name in lora.layers]
        if not changing:
            continue
        shape = _shape(places)
        difference = np.zeros(shape, np.float32)
        for lora in changing:
            difference += np.float32(lora.weight * lora.factors[name]) * delta(lora.layers[name], shape)
        for place in places:
            made[place.tensor] = _merged(folder, place, difference[place.first : place.first + place.outputs])
    return made


def _merged(folder: Path, place: StoredWeight, difference: Array) -> Array:
    own = np.memmap(folder / place.file, np.dtype(place.dtype).newbyteorder("<"), "r", place.offset, place.shape)
    added = difference.T if place.turned else difference
    merged: Array = np.ascontiguousarray((own.astype(np.float32) + added).astype(place.dtype))
    return merged


def _shape(places: Sequence[StoredWeight]) -> tuple[int, ...]:
    """The shape of a layer's weights in diffusers' model, outputs first."""
    one = places[0]
    rest = one.shape[:1] if one.turned else one.shape[1:]
    return max(place.first + place.outputs for place in places), *rest


def _check(file: LoraFile, name: str, tensors: Tensors, places: Sequence[StoredWeight]) -> None:
    if BIAS in tensors:
        raise InputError(
            f"LoRA {file.name!r} changes the bias of {name}, which is not merged at load; export the bundle with it, "
            "by overpaint export --merge-lora FILE:0.8",
            "loras",
        )
    shape = _shape(places)
    if not fits(tensors, shape):
        sizes = ", ".join(f"{key} {list(tensor.shape)}" for key, tensor in tensors.items())
        raise InputError(
            f"LoRA {file.name!r} changes {name} by {sizes}, which gives no weights {list(shape)}; use one that was "
            "trained for this model",
            "loras",
        )
