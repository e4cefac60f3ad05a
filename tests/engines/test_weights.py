"""Weights in place of a graph's own: within the file and beside it, and again from the file afterwards."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from overpaint import EngineError, InputError
from overpaint.bundles.graph import DENOISER, Check, File, Graph, Range, Receipt, StoredWeight
from overpaint.bundles.tensor import Array, TensorSpec
from overpaint.engines.registry import EngineOptions, open_engine, takes_weights

WIDTH = 64
OWN = np.random.default_rng(0).standard_normal((WIDTH, WIDTH)).astype(np.float16)
X = np.random.default_rng(1).standard_normal((3, WIDTH)).astype(np.float32)


def graph_in(folder: Path, outside: bool) -> Graph:
    """y = x @ w, the weights within the file or `outside` of it."""
    folder.mkdir()
    nodes = [
        helper.make_node("Cast", ["w.float16"], ["w"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", WIDTH]) for name in ("x", "y")]
    made = helper.make_graph(nodes, "g", ports[:1], ports[1:], [numpy_helper.from_array(OWN, "w.float16")])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)
    onnx.save(model, folder / "g.onnx", save_as_external_data=outside, location="g.data", size_threshold=0)
    file = "g.data" if outside else "g.onnx"
    offset = (folder / file).read_bytes().index(OWN.tobytes())
    return Graph(
        DENOISER, File.of(folder, "g.onnx"), (TensorSpec("x", "float32", ("rows", WIDTH)),),
        (TensorSpec("y", "float32", ("rows", WIDTH)),), {"rows": Range(1, 2, 16)}, "float32", "float16",
        Receipt("test", 1e-4, (Check({"rows": 1}, 0.0),)), (File.of(folder, "g.data"),) if outside else (),
        stored=(StoredWeight("layer", "w.float16", file, offset, "float16", (WIDTH, WIDTH), turned=True),),
    )  # fmt: skip


@pytest.mark.parametrize("outside", [False, True])
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_other_weights_and_the_own_again(backend: str, outside: bool, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    graph = graph_in(folder, outside)

    def outputs(weights: Array | None) -> Array:
        other = None if weights is None else lambda: {"w.float16": weights.copy()}
        options = EngineOptions(precision="float32", shapes="dynamic", weights=other)
        engine = open_engine(backend, "g", graph, folder, options)
        gc.collect()  # nobody else holds the arrays
        made = engine({"x": X})["y"].copy()
        engine.close()
        return made

    first, doubled, again = outputs(None), outputs(OWN * 2), outputs(None)
    assert np.allclose(first, X @ OWN.astype(np.float32), atol=1e-4)
    assert np.array_equal(doubled, 2 * first)
    assert np.array_equal(again, first)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_weights_that_are_not_there_are_refused(backend: str, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    graph = graph_in(folder, True)
    options = EngineOptions(precision="float32", shapes="dynamic", weights=lambda: {"v": OWN})
    with pytest.raises(EngineError, match="has no weights v"):
        open_engine(backend, "g", graph, folder, options)


def test_backends_say_whether_they_take_any() -> None:
    assert all(map(takes_weights, ("onnxruntime", "openvino", "fake")))
    with pytest.raises(InputError, match="engine"):
        takes_weights("none")
