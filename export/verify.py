"""Compares a graph with the module it was made from, at shapes it was not traced at, and writes the receipt."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import diffusers
import onnxruntime
import torch
import transformers
from onnxruntime.capi import onnxruntime_pybind11_state as state

from ..bundles.graph import Check, Receipt
from ..bundles.tensor import Array
from ..engines.compare import Outputs, worst
from ..errors import ExportError
from .components import Component

ORT_ERRORS = (
    state.Fail,
    state.InvalidArgument,
    state.InvalidGraph,
    state.InvalidProtobuf,
    state.NotImplemented,
    state.RuntimeException,
)
# What made the outputs that graphs are held against.
LIBRARIES = (torch, diffusers, transformers)
TOLERANCE = {"float32": 1e-4, "float16": 1e-2}


def reference(module: torch.nn.Module, component: Component) -> list[Outputs]:
    """What the module gives at each of the component's checked shapes, computed in float32.

    Taken before the export, so that the module can be let go before the graph's own copy of the weights is loaded.
    """
    with torch.no_grad():
        return [
            [
                output.numpy()
                for output in module(*(torch.from_numpy(array) for array in component.feeds(lengths, seed).values()))
            ]
            for seed, lengths in enumerate(component.checked, 1)
        ]


def compare(
    path: Path,
    component: Component,
    expected: Sequence[Outputs],
    precision: str,
    weights: str,
    libraries: Sequence[ModuleType] = LIBRARIES,
    lean: bool = False,
) -> Receipt:
    """Run the graph at `path` on ONNX Runtime's CPU and hold it against `expected` (from `reference`, by `libraries`).

    The relative error is ‖graph - source‖₂ / ‖source‖₂, the worst over the outputs. Raises `ExportError` naming the
    graph, the shape and the error where it exceeds the tolerance of the precision.
    """
    tolerance = TOLERANCE[precision]
    session = open_session(path, component.name, lean)
    checks = []
    for seed, (lengths, sources) in enumerate(zip(component.checked, expected, strict=True), 1):
        outputs = _run(session, component, component.feeds(lengths, seed), lengths)
        error = worst(outputs, sources)
        if not error <= tolerance:
            shape = ", ".join(f"{axis} {length}" for axis, length in lengths.items())
            raise ExportError(
                f"{component.name}: differs from torch by {error:.3g} (relative) at {shape}, allowed is {tolerance:g}; "
                + ("export with precision float32" if precision == "float16" else "this checkpoint cannot be exported")
            )
        checks.append(Check(dict(lengths), error))
    rounded = ", weights rounded to float16" if (precision, weights) == ("float32", "float16") else ""
    source = ", ".join(f"{library.__name__} {library.__version__}" for library in libraries)
    return Receipt(f"{source}, float32{rounded}", tolerance, tuple(checks))


def open_session(path: Path, name: str, lean: bool = False) -> onnxruntime.InferenceSession:
    """A session on ONNX Runtime's CPU; raises `ExportError` naming the graph where it cannot be loaded.

    A `lean` one copies no weights: they stay mapped from the file, and are cast where they are used, which is slow.
    """
    options = onnxruntime.SessionOptions()
    if lean:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.enable_cpu_mem_arena = options.enable_mem_pattern = False
        options.add_session_config_entry("session.disable_prepacking", "1")
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except ORT_ERRORS as exc:
        raise ExportError(f"{name}: ONNX Runtime cannot load the exported graph: {exc}") from exc


def _run(
    session: onnxruntime.InferenceSession, component: Component, feeds: dict[str, Array], lengths: object
) -> Outputs:
    try:
        return session.run([spec.name for spec in component.outputs], feeds)  # type: ignore[no-any-return]
    except ORT_ERRORS as exc:
        raise ExportError(f"{component.name}: ONNX Runtime cannot run the exported graph at {lengths}: {exc}") from exc
