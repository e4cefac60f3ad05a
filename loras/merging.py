"""LoRA files of any kind that can be merged, sorted by the layers of a model whose weights they change."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import InputError
from .deltas import Tensors
from .file import LoraFile
from .keys import Parsed, Target, listed

BIAS = "diff_b"
_NEVER = {"DoRA", "OFT", "IA3"}
Place = tuple[str, int]
"""A part of a model, and its number, as `keys.Target` has them."""


def by_layer(
    file: LoraFile, parsed: Parsed, layers: Mapping[Place, Mapping[str, str]], field: str, partial: bool = False
) -> dict[Place, dict[str, Tensors]]:
    """The tensors of each part by its layers; `layers` are their names by those that LoRA files have for them.

    Raises `InputError` with the option's name `field` for kinds that are not merged, and for tensors that belong to no
    layer, unless it may be `partial`, which leaves these out.
    """
    if kinds := parsed.others.keys() & _NEVER:
        raise InputError(f"LoRA {file.name!r} is of kind {' and '.join(sorted(kinds))}, which is not merged", field)
    made: dict[Place, dict[str, Tensors]] = {place: {} for place in layers}
    lost = list(parsed.unknown)
    for target, tensors in parsed.merged.items():
        name = layers.get(_place(target), {}).get(target.name)
        if name is None:
            lost.append(f"{target.name} ({', '.join(sorted(tensors))})")
        else:
            made[_place(target)][name] = tensors
    if lost and not partial:
        raise InputError(
            f"LoRA {file.name!r} has tensors that belong to no layer of this checkpoint: {listed(lost)}; it is for "
            "another",
            field,
        )
    return made


def _place(target: Target) -> Place:
    return target.part, target.number
