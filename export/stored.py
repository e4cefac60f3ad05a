"""Weights under the names of their layers, and where they lie in a graph's files, so that others can replace them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from onnxscript import ir
from torch import Tensor, nn

from ..bundles.graph import StoredWeight
from ..errors import ExportError
from .lazy import lazy
from .lora import layers_of, original

Layers = Mapping[str, tuple[str, int]]
"""By the name of a weight in a graph: its layer's name in diffusers' model, and the first of that one's outputs."""
_NAME = re.compile(r"(?P<weight>.+?)(?P<turned>\.1_0)?(\.float16)?")


def named_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The parameters and buffers of a module, by the names that a graph has for them."""
    for named in (module.named_parameters, module.named_buffers):
        yield from named(remove_duplicate=False)


def turn_weights(
    graph: ir.Graph, own: Mapping[str, Tensor], stored: Callable[[Tensor], torch.dtype] = lambda tensor: tensor.dtype
) -> None:
    """Store weights the way round that their layers read them, rather than have the graph turn them; they keep their
    names, with the order of the axes at the end."""
    for node in list(graph):
        if node.op_type == "Transpose" and (source := node.inputs[0]) is not None and source.name in own:
            _turn(graph, node, source, own[source.name], stored)


def _turn(
    graph: ir.Graph, node: ir.Node, source: ir.Value, own: Tensor, stored: Callable[[Tensor], torch.dtype]
) -> None:
    order = tuple(node.attributes["perm"].as_ints())
    name = f"{source.name}.{'_'.join(map(str, order))}"
    if name not in graph.initializers:
        turned = lazy(own.permute(order), stored(own))
        graph.register_initializer(
            ir.Value(name=name, const_value=turned, shape=turned.shape, type=ir.TensorType(turned.dtype))
        )
    ir.convenience.replace_all_uses_with(node.outputs[0], graph.initializers[name])
    graph.remove(node, safe=True)
    if not source.uses():
        del graph.initializers[source.name or ""]


def layer_names(module: nn.Module) -> Layers:
    """The linear layers and convolutions of the `model` in a module of `wrappers`, by their weights' names."""
    assert isinstance(module.model, nn.Module)
    made = {}
    for name, parent, child, layer in layers_of(module.model):
        made[f"model.{name}.weight"] = original(name, parent, child, layer.weight.shape[0])
    return made


def stored_weights(path: Path, layers: Layers) -> tuple[StoredWeight, ...]:
    """Where the weights of layers lie in the files of the graph at `path`."""
    found, data, place = [], path.read_bytes(), 0
    for name, value in ir.load(path).graph.initializers.items():
        if (tensor := value.const_value) is None:
            continue
        if isinstance(tensor, ir.ExternalTensor):
            file, offset = str(tensor.location), tensor.offset or 0
        else:
            # They follow one another in this order, so that two of equal numbers are told apart.
            raw = tensor.tobytes()
            file, offset = path.name, data.find(raw, place)
            place = max(place, offset + len(raw))
        match = _NAME.fullmatch(name)
        if match is None or match["weight"] not in layers:
            continue
        if offset < 0:
            raise ExportError(f"{path.name}: does not hold the numbers of {name} as they are; report this")
        layer, first = layers[match["weight"]]
        shape = tuple(map(int, tensor.shape))
        dtype = tensor.dtype.numpy().name
        found.append(StoredWeight(layer, name, file, offset, dtype, shape, bool(match["turned"]), first))
    return tuple(found)
