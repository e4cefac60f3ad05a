"""A torch module becomes an ONNX file: captured once at one shape, with every named axis kept dynamic."""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from onnxscript import ir
from onnxscript import opset18 as op
from torch.export import Dim

from ..errors import ExportError
from .adapters import TRANSLATIONS
from .components import Component
from .stored import named_tensors, turn_weights
from .streamed import FakeWeights

# A protobuf message ends at 2 GB, and one in memory is a second copy of the weights: large graphs keep them outside.
EXTERNAL_ABOVE = 256 * 2**20
INLINE_BELOW = 1024


def write_graph(
    module: torch.nn.Module,
    component: Component,
    path: Path,
    *,
    opset: int,
    weights: str,
    streamed: torch.dtype | None = None,
) -> list[str]:
    """Write `module` as ONNX to `path`; give the names of the files of external data beside it.

    The weights are written tensor by tensor from the module's own memory, and let go afterwards. With `weights`
    "float16" those that are exact in float16 are stored so, followed by a cast which runtimes fold at load. A
    `streamed` module is captured with fake weights of that precision, see `streamed.FakeWeights`.

    Raises `ExportError` where the module cannot be captured or an axis would become fixed.
    """
    fake = None if streamed is None else FakeWeights(module, streamed)
    model = _capture(module, component, opset, fake)
    _strip(model)
    data = save(model, path, weights)
    _release(model.graph)
    return data


def save(model: ir.Model, path: Path, weights: str) -> list[str]:
    """Write a model, its weights stored as `write_graph` describes; give the names of the files beside it."""
    if weights == "float16":
        _halve(model.graph)
    data = path.with_suffix(".data").name if _bytes(model.graph) > EXTERNAL_ABOVE else None
    ir.save(model, path, external_data=data, size_threshold_bytes=INLINE_BELOW)
    return [data] if data else []


def _capture(module: torch.nn.Module, component: Component, opset: int, fake: FakeWeights | None) -> ir.Model:
    args = tuple(torch.from_numpy(array) for array in component.feeds(component.traced, seed=0).values())
    if fake is not None:
        args = fake.inputs(args)
    names = {
        spec.name: {index: axis for index, axis in enumerate(spec.axes) if isinstance(axis, str)}
        for spec in component.inputs
    }
    dynamic = {
        name: {index: Dim.DYNAMIC(max=component.ranges[axis].most) for index, axis in axes.items()}
        for name, axes in names.items()
    }
    try:
        with _quiet(), torch.no_grad():
            program = torch.export.export(module, args, dynamic_shapes=_by_parameter(module, dynamic), strict=False)
            exported = torch.onnx.export(
                program,
                input_names=[spec.name for spec in component.inputs],
                output_names=[spec.name for spec in component.outputs],
                dynamic_shapes=_by_parameter(module, names),
                opset_version=opset,
                custom_translation_table={torch.ops.aten.group_norm.default: _group_norm, **TRANSLATIONS},
                verbose=False,
                optimize=False,  # it reads weights, which fake ones have not yet
            )
    except RuntimeError as exc:
        raise ExportError(f"{component.name}: torch cannot export it: {exc}") from exc
    assert exported is not None
    if fake is not None:
        fake.attach(exported.model.graph)
    else:
        turn_weights(exported.model.graph, dict(named_tensors(module)))
    with _quiet():
        exported.optimize()
    _check_signature(exported.model.graph, component)
    return exported.model


def _by_parameter(module: torch.nn.Module, axes: Mapping[str, Any]) -> dict[str, Any]:
    """The axes of inputs by the parameters of the module's `forward`: what is left goes to its `*others`."""
    parameters = inspect.signature(module.forward).parameters
    others = tuple(own for name, own in axes.items() if name not in parameters)
    return {name: own for name, own in axes.items() if name in parameters} | ({"others": others} if others else {})


def _group_norm(
    x: Any, groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5, cudnn_enabled: bool = True
) -> Any:
    """Group normalisation by way of instances: ONNX Runtime has no kernel of opset 21's GroupNormalization."""
    shaped = op.Reshape(x, [0, groups, -1])
    ones, zeros = op.Constant(value_floats=[1.0] * groups), op.Constant(value_floats=[0.0] * groups)
    flat = op.InstanceNormalization(shaped, op.CastLike(ones, x), op.CastLike(zeros, x), epsilon=eps)
    axes = op.Constant(value_ints=list(range(1, len(x.shape) - 1)))
    normal = op.Reshape(flat, op.Shape(x))
    return op.Add(op.Mul(normal, op.Unsqueeze(weight, axes)), op.Unsqueeze(bias, axes))


def _check_signature(graph: ir.Graph, component: Component) -> None:
    for value, spec in zip(graph.inputs, component.inputs, strict=True):
        fixed = [isinstance(length, int) for length in value.shape]
        if value.name != spec.name or fixed != [isinstance(axis, int) for axis in spec.axes]:
            raise ExportError(f"{component.name}: the exporter made {value.name} {value.shape} of {spec}")


def _halve(graph: ir.Graph) -> None:
    """Store each float32 weight that is exact in float16 as that, and cast it back inside the graph."""
    for value in list(graph.initializers.values()):
        if value.dtype != ir.DataType.FLOAT or value.const_value.nbytes < INLINE_BELOW:
            continue
        own = value.const_value
        full = torch.from_numpy(own.numpy())
        if not torch.equal(full.half().float(), full):
            continue
        # One that is read from a file is not to be held meanwhile.
        read = partial(_half, own) if isinstance(own, ir.LazyTensor) else partial(_half, ir.tensor(own.numpy()))
        halved = ir.LazyTensor(read, ir.DataType.FLOAT16, own.shape)
        stored = ir.Value(name=f"{value.name}.float16", const_value=halved)
        stored.shape, stored.dtype = value.shape, ir.DataType.FLOAT16
        cast = ir.node("Cast", [stored], {"to": ir.DataType.FLOAT})
        name, value.const_value = value.name, None
        ir.convenience.replace_all_uses_with(value, cast.outputs[0])
        del graph.initializers[name]
        graph.initializers[stored.name] = stored
        cast.outputs[0].name, cast.outputs[0].shape, cast.outputs[0].dtype = name, value.shape, ir.DataType.FLOAT
        graph.insert_before(graph[0], cast)


def _half(full: ir.TensorProtocol) -> ir.Tensor:
    return ir.tensor(torch.from_numpy(full.numpy()).half().numpy())


def _strip(model: ir.Model) -> None:
    """Drop the exporter's notes (stack traces with paths of this machine): they say nothing at run time."""
    model.metadata_props.clear()
    model.graph.metadata_props.clear()
    for value in (*model.graph.inputs, *model.graph.initializers.values()):
        value.metadata_props.clear()
    for node in model.graph:
        node.metadata_props.clear()
        node.doc_string = None
        for value in node.outputs:
            value.metadata_props.clear()


def _release(graph: ir.Graph) -> None:
    """Let the weights go: onnxscript's rewrite rules hold on to the last graph that they saw."""
    for value in graph.initializers.values():
        value.const_value = None


def _bytes(graph: ir.Graph) -> int:
    return sum(value.const_value.nbytes for value in graph.initializers.values())


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's warnings from the terminal: what matters of them is checked after it."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.utils._sympy", "torch.fx")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
