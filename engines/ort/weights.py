"""Other weights in place of a graph's own, before ONNX Runtime opens it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ...bundles.graph import StoredWeight
from ...bundles.tensor import Array
from ...errors import EngineError


def replaced(
    path: Path, stored: Sequence[StoredWeight], arrays: Mapping[str, Array]
) -> tuple[bytes | None, Mapping[str, Array]]:
    """The graph at `path` with those of its own tensors replaced that lie within it, None where none does; and those to
    be replaced that lie outside.

    ONNX Runtime 1.32 replaces tensors of other files alone (`add_external_initializers`); within the graph's they are
    written over in memory. Raises `EngineError` for a tensor that the graph has not.
    """
    places = {place.tensor: place for place in stored}
    if unknown := arrays.keys() - places.keys():
        raise EngineError(f"{path.name}: has no weights {', '.join(sorted(unknown))}; export the bundle again")
    within = {name: array for name, array in arrays.items() if places[name].file == path.name}
    outside = {name: array for name, array in arrays.items() if name not in within}
    if not within:
        return None, outside
    data = bytearray(path.read_bytes())
    for name, array in within.items():
        raw = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
        data[places[name].offset : places[name].offset + len(raw)] = raw
    return bytes(data), outside
