"""Weights that two graphs of a bundle have alike, kept in one file."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping
from dataclasses import replace
from pathlib import Path

from onnxscript import ir

from ..bundles.graph import File, Graph
from ..engines.memory import unloading


def share_data(folder: Path, graphs: Mapping[str, Graph]) -> dict[str, Graph]:
    """Have graphs that stand in for another, their `base`, read from its file what both have, bit for bit.

    A bundle that takes LoRAs is so hardly larger than one that does not, and who maps the files has their pages once.
    """
    return {name: _sharing(folder, graph, graphs.get(graph.base)) for name, graph in graphs.items()}


def _sharing(folder: Path, graph: Graph, base: Graph | None) -> Graph:
    if base is None or not (graph.data and base.data):
        return graph
    with unloading([folder / file.path for file in (*graph.data, *base.data)]):
        names = _shared(folder / graph.file.path, folder / base.file.path)
    return replace(graph, file=File.of(folder, graph.file.path), data=tuple(File.of(folder, name) for name in names))


def _shared(path: Path, base: Path) -> list[str]:
    """Write the graph at `path` anew; gives the names of its files of data."""
    model = ir.load(path)
    there = {_content(tensor): tensor for _, tensor in _outside(ir.load(base).graph)}
    own = []
    for value, tensor in list(_outside(model.graph)):
        if (other := there.get(_content(tensor))) is not None:
            value.const_value = _at(other, tensor, str(other.location), path.parent)
        else:
            own.append((value, tensor))
    data, written = path.with_suffix(".data"), path.with_suffix(".new")
    moved = ir.external_data.convert_tensors_to_external([tensor for _, tensor in own], path.parent, written.name)
    for (value, tensor), place in zip(own, moved, strict=True):
        assert isinstance(place, ir.ExternalTensor)
        value.const_value = _at(place, tensor, data.name, path.parent)
    ir.save(model, path)
    data.unlink()
    if own:
        written.rename(data)
    written.unlink(missing_ok=True)
    return sorted({str(tensor.location) for _, tensor in _outside(model.graph)})


def _outside(graph: ir.Graph) -> list[tuple[ir.Value, ir.ExternalTensor]]:
    """The initializers that lie in files of their own."""
    pairs = ((value, value.const_value) for value in graph.initializers.values())
    return [(value, tensor) for value, tensor in pairs if isinstance(tensor, ir.ExternalTensor)]


def _content(tensor: ir.ExternalTensor) -> Hashable:
    return tensor.dtype, tuple(tensor.shape), hashlib.blake2b(tensor.tobytes(), digest_size=32).digest()


def _at(place: ir.ExternalTensor, tensor: ir.ExternalTensor, file: str, folder: Path) -> ir.ExternalTensor:
    """A tensor at another's place, in a file."""
    return ir.ExternalTensor(
        file, place.offset, place.length, tensor.dtype, shape=tensor.shape, name=tensor.name, base_dir=folder
    )
