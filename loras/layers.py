"""The layers of a graph that takes LoRAs, by the names that LoRA files have for them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Protocol

from ..bundles.graph import LowRankLayer

_RESNET = {
    "norm1": "in_layers_0",
    "conv1": "in_layers_2",
    "time_emb_proj": "emb_layers_1",
    "norm2": "out_layers_0",
    "conv2": "out_layers_3",
    "conv_shortcut": "skip_connection",
}
_WHOLE = {
    "time_embedding.linear_1": "time_embed_0",
    "time_embedding.linear_2": "time_embed_2",
    "conv_in": "input_blocks_0_0",
    "conv_out": "out_2",
    "add_embedding.linear_1": "label_emb_0_0",
    "add_embedding.linear_2": "label_emb_0_2",
}
_MIDDLE = {("resnets", 0): 0, ("attentions", 0): 1, ("resnets", 1): 2}
_BLOCK = re.compile(r"(down|up)_blocks\.(\d+)\.(resnets|attentions)\.(\d+)\.(.+)")
_MID_BLOCK = re.compile(r"mid_block\.(resnets|attentions)\.(\d+)\.(.+)")
Table = Mapping[str, Sequence[LowRankLayer]]


class Named(Protocol):
    """A layer by its name in diffusers' model."""

    @property
    def name(self) -> str: ...  # noqa: D102


def layer_table(layers: Sequence[LowRankLayer]) -> Table:
    """Where the LoRAs of each layer lie, by its names with "_" for ".": diffusers' and, of a U-Net, that of the
    original code (Rombach et al.; kohya's files for SDXL have those). GEGLU's one layer is two of a graph's."""
    table: dict[str, list[LowRankLayer]] = defaultdict(list)
    names = aliases([layer.name for layer in layers])
    for layer in layers:
        for name in names[layer.name]:
            table[name].append(layer)
    return table


def aliases(names: Sequence[str]) -> dict[str, set[str]]:
    """What LoRA files call the layers of one model, by their names in diffusers' model."""
    count = _resnets_per_block(names)
    own = {name: name.replace(".", "_").removeprefix("text_model_") for name in names}
    return {name: {own[name], original_name(name, count) or own[name]} for name in names}


def blocks(layers: Sequence[Named]) -> dict[str, str]:
    """The block of each layer as A1111's extension for block weights calls it, such as "IN04", "M00" and "OUT11"; ""
    for a layer outside of all."""
    count = _resnets_per_block([layer.name for layer in layers])
    kinds = {"input": "IN", "middle": "M", "output": "OUT"}
    made = {}
    for layer in layers:
        found = re.match(r"(input|middle|output)_blocks?_(\d+)", original_name(layer.name, count) or "")
        made[layer.name] = f"{kinds[found[1]]}{0 if found[1] == 'middle' else int(found[2]):02}" if found else ""
    return made


def original_name(name: str, resnets: int) -> str | None:
    """The name that the original U-Net has for one of diffusers' layers, with "_" for "."; None for none.

    `resnets` is how many a block on the way down has; on the way up there is one more.
    """
    if name in _WHOLE:
        return _WHOLE[name]
    if found := _MID_BLOCK.fullmatch(name):
        kind, index, rest = found[1], int(found[2]), found[3]
        return f"middle_block_{_MIDDLE[kind, index]}_{_inner(kind, rest)}" if (kind, index) in _MIDDLE else None
    if not (found := _BLOCK.fullmatch(name)):
        return None
    way, level, kind, index, rest = found[1], int(found[2]), found[3], int(found[4]), found[5]
    place = 1 + level * (resnets + 1) + index if way == "down" else level * (resnets + 1) + index
    side = "input" if way == "down" else "output"
    return f"{side}_blocks_{place}_{int(kind == 'attentions')}_{_inner(kind, rest)}"


def _inner(kind: str, rest: str) -> str:
    return _RESNET.get(rest, rest.replace(".", "_")) if kind == "resnets" else rest.replace(".", "_")


def _resnets_per_block(names: Sequence[str]) -> int:
    found = map(_BLOCK.fullmatch, names)
    return max((int(one[4]) + 1 for one in found if one and one[1] == "down"), default=0)
