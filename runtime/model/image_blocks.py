"""Which of a denoiser's layers make style and which composition, and so what an image prompt counts in each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from ...bundles.tensor import Array
from ...errors import InputError


@dataclass(frozen=True)
class Layout:
    """Layers by place: of the deepest level, those of the last block on the way down and those of the second on the
    way up; each a slice of all layers."""

    composition: slice
    style: slice


def layer_weights(layers: Sequence[int], blocks: str | tuple[float, ...]) -> Array | None:
    """What the columns of keys and values of all layers count, float32 [their width]; None for 1 everywhere.

    `layers` are their widths, as `ImagePromptFacts` has them. Raises `InputError` for another number of weights than
    of layers, and for a name where the layers' places cannot be told.
    """
    if blocks == "all":
        return None
    if isinstance(blocks, str):
        layout = _layout(layers)
        if layout is None:
            raise InputError(f"which layers make {blocks} is not known of this model; give a weight for each layer")
        weights = np.zeros(len(layers), np.float32)
        weights[getattr(layout, blocks)] = 1
    elif len(blocks) != len(layers):
        raise InputError(f"{len(blocks)} weights of blocks are given, the adapter has {len(layers)} layers; match them")
    else:
        weights = np.asarray(blocks, np.float32)
    return np.repeat(weights, layers)


def _layout(layers: Sequence[int]) -> Layout | None:
    """The places of the deepest level's layers, from the widths: they rise on the way down, fall on the way up, and
    those of the middle come last. None where that leaves them open.

    A level has n blocks on the way down and n + 1 on the way up, each of as many layers; what the first and the last
    run of a width have apart is therefore one block. InstantStyle has composition in SDXL's down_blocks.2.attentions.1
    and style in its up_blocks.0.attentions.1: the last block down and the second up.
    """
    runs = [(width, len(list(same))) for width, same in groupby(layers)]
    deepest = max(layers)
    top = next(place for place, (width, _) in enumerate(runs) if width == deepest)
    last = 2 * top
    if not top or last >= len(runs) or runs[last][0] != runs[0][0]:
        return None
    block = runs[last][1] - runs[0][1]
    if block <= 0 or runs[0][1] % block:
        return None
    blocks = runs[0][1] // block
    depth, rest = divmod(runs[top][1], 2 * blocks + 1)
    if rest or not depth:
        return None
    first = sum(count for _, count in runs[:top])
    up = first + blocks * depth
    return Layout(slice(up - depth, up), slice(up + depth, up + 2 * depth))
