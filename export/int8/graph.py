"""A float32 graph becomes one with quantised layers: NNCF finds the scales, and any block can stay as it was."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxscript import ir

from ...bundles.tensor import Array
from ...errors import ExportError

# NNCF reports its use to its makers, unless it runs in tests.
os.environ.setdefault("NNCF_CI", "1")
try:
    import nncf
    from nncf.common.quantization.structs import QuantizationScheme
    from nncf.onnx.quantization.backend_parameters import BackendParameters
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, QuantizationParameters
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet
except ImportError as exc:
    raise ExportError("nncf is not installed; run: pip install 'overpaint[int8]'") from exc

Feeds = Mapping[str, Array]

# What holds the arithmetic. Their inputs are quantised and nothing else: sums, norms and softmax stay in float. So do
# an attention's product with the values, whose other side is a softmax over thousands, and what sees the timestep
# alone (`Gemm`): its error is the same at every pixel, and it takes no time.
WEIGHTED = ("Conv", "MatMul")
ATTENTION = "Attention"
FLOAT, INT8 = "float.onnx", "int8.onnx"
MIXED = "mixed.onnx"
# A constant of the float32 graph may have another value in the int8 one, under the same name.
RESTORED = ".float32"
BLOCK = re.compile(r"((en|de)coder\.)?((down|up)_blocks\.\d+\.|mid_block\.)?\w+(\.\d+)?")


@dataclass(frozen=True)
class Layer:
    """A convolution, a product with a constant matrix, or an attention's of queries and keys: its node's name and
    output's, the module it is part of, and how many multiplications an element of its output takes.

    That is the number of keys for an attention, which has the name of its `keys` in place of it.
    """

    name: str
    output: str
    module: str
    products: int
    keys: str = ""

    @property
    def block(self) -> str:
        """The part of the model that the module is in, such as up_blocks.1.resnets.0, or the module."""
        match = BLOCK.match(self.module)
        return match[0] if match else self.module


class Quantised:
    """A graph twice in a working folder, in float32 and in int8, with their weights beside them.

    Variants that take some layers from the one and some from the other only refer to the weights.
    """

    def __init__(self, source: Path, folder: Path, feeds: Sequence[Feeds]) -> None:
        self.name = source.stem
        self.folder = folder
        unfold(source, folder / FLOAT)
        _quantise(folder / FLOAT, folder / INT8, feeds)
        self.layers = find_layers(ir.load(folder / FLOAT).graph)

    def write(self, int8: Collection[Layer]) -> Path:
        """Write the graph with the layers `int8` quantised and all others as they were; it may be run where it is."""
        model, source = (onnx.load(self.folder / name, load_external_data=False) for name in (INT8, FLOAT))
        graph, originals = model.graph, {node.name: node for node in source.graph.node}
        for layer in int8:
            del originals[layer.name]
        known = {name for node in graph.node for name in node.output} | {value.name for value in graph.input}
        needed, kept = {value.name for value in graph.output}, []
        for node in reversed(graph.node):
            if needed.isdisjoint(node.output):
                continue
            if node.name in originals:
                names = originals[node.name].input
                node.input[:] = [name if name in known or not name else f"{name}{RESTORED}" for name in names]
            needed.update(node.input)
            kept.append(node)
        constants = [tensor for tensor in graph.initializer if tensor.name in needed]
        for tensor in source.graph.initializer:
            tensor.name += RESTORED
            if tensor.name in needed:
                constants.append(tensor)
        for field, values in ((graph.node, kept[::-1]), (graph.initializer, constants)):
            del field[:]
            field.extend(values)
        onnx.save(model, self.folder / MIXED)
        return self.folder / MIXED

    def probed(self) -> Path:
        """Write the float32 graph with every layer's output, and keys, among its own into the working folder."""
        model = ir.load(self.folder / FLOAT)
        names = {name for layer in self.layers for name in (layer.output, layer.keys)}
        outputs = {value for node in model.graph for value in node.outputs if value.name in names}
        model.graph.outputs.extend(outputs - set(model.graph.outputs))
        ir.save(model, self.folder / MIXED)
        return self.folder / MIXED


def unfold(source: Path, target: Path) -> None:
    """Write a graph with every weight as float32 in one file of external data: stored float16 is cast beforehand."""
    model = ir.load(source)
    graph = model.graph
    for node in list(graph):
        stored = node.inputs[0] if node.op_type == "Cast" else None
        if stored is None or stored.const_value is None:
            continue
        cast = node.outputs[0]
        full = ir.LazyTensor(
            lambda tensor=stored.const_value: ir.tensor(tensor.numpy().astype(np.float32)),
            ir.DataType.FLOAT,
            stored.const_value.shape,
        )
        value = ir.Value(name=cast.name, shape=stored.shape, type=ir.TensorType(ir.DataType.FLOAT), const_value=full)
        ir.convenience.replace_all_uses_with(cast, value)
        graph.remove(node, safe=True)
        del graph.initializers[stored.name]
        graph.register_initializer(value)
    ir.save(model, target, external_data=target.with_suffix(".data").name)


def find_layers(graph: ir.Graph) -> list[Layer]:
    """The layers of a graph, in its order.

    The exporter names weights and biases by the module that owns them, but for a matrix without a bias: that belongs
    to the norm before it. An attention is named by the product that it goes into.
    """
    layers, module = [], ""
    for node in graph:
        module = next(filter(None, map(_owner, node.inputs)), module)
        if node.op_type == ATTENTION:
            if _is_adapters(node):
                continue  # whose keys no picture was recorded with
            keys = node.inputs[1].name
            layers.append(Layer(node.name, node.outputs[0].name, _attention_owner(node) or module, 0, keys))
            continue
        weight = node.inputs[1] if node.op_type in WEIGHTED else None
        if weight is not None and weight.is_initializer():
            owner = _bias_owner(node) or module
            channels = weight.shape[1] if node.op_type == "MatMul" else weight.shape[0]
            layers.append(Layer(node.name, node.outputs[0].name, owner, weight.const_value.size // channels))
    return layers


def _is_adapters(node: Any) -> bool:
    """Whether an attention's keys are an input of the graph, and no layer's: those of image prompts."""
    value = node.inputs[1]
    while (maker := value.producer()) is not None:
        if maker.op_type in WEIGHTED:
            return False
        value = maker.inputs[0]
    return bool(value.is_graph_input())


def _owner(value: Any) -> str:
    """The module that owns a constant, which is named "model.MODULE.PARAMETER"; otherwise nothing."""
    if value is None or not value.is_initializer() or value.name.count(".") < 2:
        return ""
    return str(value.name.partition(".")[2].rpartition(".")[0])


def _bias_owner(node: Any) -> str:
    """The module of the bias that is added to what a node gives."""
    added = [value for user in node.outputs[0].consumers() if user.op_type == "Add" for value in user.inputs]
    return next(filter(None, map(_owner, added)), "")


def _attention_owner(node: Any) -> str:
    """The module of an attention: the one whose projection its result goes into."""
    while node.op_type != "MatMul":
        users = node.outputs[0].consumers()
        if len(users) != 1:
            return ""
        (node,) = users
    return _bias_owner(node).partition(".to_out")[0]


def _quantise(source: Path, target: Path, feeds: Sequence[Feeds]) -> None:
    """Quantise every layer of the graph at `source` to int8 without zero points, the only kind that TensorRT reads."""
    model = onnx.load(source, load_external_data=False)
    others = sorted({node.op_type for node in model.graph.node} - {*WEIGHTED, ATTENTION})
    symmetric = QuantizationParameters(mode=QuantizationScheme.SYMMETRIC)
    # Not nncf.set_log_level: it sets handlers too, and others' handlers may hang there.
    logging.getLogger("nncf").setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            quantised = nncf.quantize(
                model,
                nncf.Dataset(feeds),
                subset_size=len(feeds),
                model_type=nncf.ModelType.TRANSFORMER,
                ignored_scope=nncf.IgnoredScope(types=others, validate=False),
                advanced_parameters=AdvancedQuantizationParameters(
                    activations_quantization_params=symmetric,
                    # Not the mean of the steps' extremes: one that is rare would saturate, at every step of its run.
                    activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
                    backend_params={BackendParameters.EXTERNAL_DATA_DIR: str(source.parent.absolute())},
                ),
            )
    except (RuntimeError, ValueError) as exc:
        raise ExportError(f"{source.stem}: NNCF cannot quantise it: {exc}") from exc
    onnx.save(quantised, target, save_as_external_data=True, location=target.with_suffix(".data").name)
