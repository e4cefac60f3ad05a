"""Two graphs with weights alike, of which one reads the other's file."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from overpaint.bundles.graph import DENOISER, Check, File, Graph, Range, Receipt
from overpaint.bundles.tensor import Array, TensorSpec
from overpaint.engines.registry import EngineOptions, open_engine
from overpaint.export.shared_data import share_data

FIRST, SECOND = np.random.default_rng(0).standard_normal((2, 64, 64)).astype(np.float32)
X = np.random.default_rng(1).standard_normal((3, 64)).astype(np.float32)


def product(folder: Path, name: str, **weights: Array) -> Graph:
    """y = x @ w @ ..., the weights outside."""
    order = ["x", *(f"{name}_{each}" for each in range(len(weights) - 1)), "y"]
    nodes = [
        helper.make_node("MatMul", [before, w], [after])
        for before, w, after in zip(order, weights, order[1:], strict=False)
    ]
    ports = [helper.make_tensor_value_info(port, TensorProto.FLOAT, ["rows", 64]) for port in ("x", "y")]
    tensors = [numpy_helper.from_array(array, key) for key, array in weights.items()]
    made = helper.make_graph(nodes, name, ports[:1], ports[1:], tensors)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)
    onnx.save(model, folder / f"{name}.onnx", save_as_external_data=True, location=f"{name}.data", size_threshold=0)
    specs = [(TensorSpec(port, "float32", ("rows", 64)),) for port in ("x", "y")]
    receipt = Receipt("test", 1e-4, (Check({"rows": 1}, 0.0),))
    file, data = (File.of(folder, f"{name}.{suffix}") for suffix in ("onnx", "data"))
    return Graph(DENOISER, file, *specs, {"rows": Range(1, 2, 16)}, "float32", "float32", receipt, (data,))


def outputs(folder: Path, name: str, graph: Graph, backend: str) -> Array:
    engine = open_engine(backend, name, graph, folder, EngineOptions(precision="float32", shapes="dynamic"))
    made: Array = engine({"x": X})["y"].copy()
    engine.close()
    return made


def test_a_stand_in_reads_its_bases_file(tmp_path: Path) -> None:
    base = product(tmp_path, "base", a=FIRST)
    more = replace(product(tmp_path, "more", b=FIRST, c=SECOND), base="base")
    same = replace(product(tmp_path, "same", d=FIRST), base="base")
    graphs = {"base": base, "more": more, "same": same}
    before = {name: outputs(tmp_path, name, graph, "onnxruntime") for name, graph in graphs.items()}
    shared = share_data(tmp_path, graphs)
    assert shared["base"] is base
    assert [[file.path for file in graph.data] for graph in shared.values()] == [
        ["base.data"], ["base.data", "more.data"], ["base.data"],
    ]  # fmt: skip
    assert sum(path.stat().st_size for path in tmp_path.glob("*.data")) < 2.5 * FIRST.nbytes
    assert not (tmp_path / "same.data").exists()
    for name, graph in shared.items():
        assert np.array_equal(outputs(tmp_path, name, graph, "onnxruntime"), before[name])
        assert np.allclose(outputs(tmp_path, name, graph, "openvino"), before[name], rtol=1e-4, atol=1e-3)
