"""What is fused for a GPU of small graphs, and what is left as it is: the numbers stay, and nothing fails a build."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from overpaint.export.fusion.fuse import fuse
from overpaint.export.fusion.geglu import count_geglus
from overpaint.export.fusion.skip_norm import count_bias_adds
from tests.export.fusion.test_fuse import BiasAdd, BiasSplitGelu, SkipLayerNormalization

ROWS, TOKENS, WIDTH = 2, 3, 8
Shapes = Mapping[str, Sequence[int]]


@pytest.fixture(autouse=True)
def widths(monkeypatch: pytest.MonkeyPatch) -> None:
    """The operators of a GPU have the widths of these graphs."""
    for counting in (count_geglus, count_bias_adds):
        monkeypatch.setitem(counting.__globals__, "WIDTHS", (WIDTH,))


def weight(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(sum(shape)).standard_normal(shape, np.float32)


def node(kind: str, given: str, made: str, **attributes: Any) -> NodeProto:
    return helper.make_node(kind, given.split(), made.split(), **attributes)


def counts(
    path: Path, nodes: Sequence[NodeProto], inputs: Shapes, outputs: Sequence[str], weights: Mapping[str, NDArray[Any]]
) -> Counter[str]:
    """The operators that are left of a graph once it is fused, after a look at whether it gives the same."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()]
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    stored = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(list(nodes), "graph", values, made, stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)
    onnx.save(onnx.shape_inference.infer_shapes(model), path)
    fuse(path, path.with_suffix(".optimized"), "cuda")
    optimized = onnx.load(path.with_suffix(".optimized"))
    rng = np.random.default_rng(0)
    feeds = {name: rng.standard_normal(shape, np.float32) for name, shape in inputs.items()}
    fused = ReferenceEvaluator(optimized, new_ops=[BiasAdd, BiasSplitGelu, SkipLayerNormalization])
    for ours, theirs in zip(fused.run(None, feeds), ReferenceEvaluator(str(path)).run(None, feeds), strict=True):
        assert np.allclose(ours, theirs, atol=1e-4)
    return Counter(each.op_type for each in optimized.graph.node)


X: Shapes = {"x": (ROWS, TOKENS, 4)}
HALF = {"w": weight(4, WIDTH), "b": weight(WIDTH), "v": weight(4, WIDTH) + 1, "c": weight(WIDTH) + 1}
LAYERS = [
    node("MatMul", "x w", "xw"),
    node("Add", "xw b", "kept"),
    node("MatMul", "x v", "xv"),
    node("Add", "c xv", "opened"),
    node("Gelu", "opened", "gate"),
]


@pytest.mark.parametrize("product", ["kept gate", "gate kept"])
def test_a_gate_is_fused_in_either_order(tmp_path: Path, product: str) -> None:
    nodes = [*LAYERS, node("Mul", product, "y"), node("Identity", "y", "z")]
    assert counts(tmp_path / "g", nodes, X, ["z"], HALF) == {
        "Concat": 2,
        "MatMul": 1,
        "BiasSplitGelu": 1,
        "Identity": 1,
    }


@pytest.mark.parametrize(
    ("nodes", "outputs"),
    [
        ([*LAYERS[2:]], ["gate"]),  # no gate, but a layer and its activation
        ([*LAYERS, node("Mul", "kept gate", "y")], ["y"]),  # an output of the graph's
        ([*LAYERS, node("Mul", "kept gate", "y"), node("Identity", "y", "z")], ["z", "kept"]),
        ([*LAYERS[:3], node("Gelu", "xv", "gate"), node("Mul", "kept gate", "y"), node("Identity", "y", "z")], ["z"]),
    ],
    ids=["alone", "an output", "read elsewhere", "without a bias"],
)
def test_what_is_no_gate_stays(tmp_path: Path, nodes: list[NodeProto], outputs: list[str]) -> None:
    left = counts(tmp_path / "g", nodes, X, outputs, HALF)
    assert left["BiasSplitGelu"] == ("kept" in outputs)
    assert left["Gelu"] == (not left["BiasSplitGelu"])


def test_a_gate_half_of_which_is_int8_stays(tmp_path: Path) -> None:
    weights = HALF | {"q": np.arange(4 * WIDTH, dtype=np.int8).reshape(4, WIDTH), "s": np.float32(0.1)}
    nodes = [
        node("DequantizeLinear", "q s", "w8"),
        node("MatMul", "x w8", "xw"),
        *LAYERS[1:],
        node("Mul", "kept gate", "y"),
        node("Identity", "y", "z"),
    ]
    assert counts(tmp_path / "g", nodes, X, ["z"], weights)["BiasSplitGelu"] == 0


def test_matmuls_are_merged_in_parts_of_one_kernel(tmp_path: Path) -> None:
    nodes, weights = [], {}
    for index in range(40):
        nodes += [node("MatMul", f"x w{index}", f"p{index}"), node("Identity", f"p{index}", f"y{index}")]
        weights[f"w{index}"] = weight(4, 5) * (index + 1)
    left = counts(tmp_path / "g", nodes, X, [f"y{index}" for index in range(40)], weights)
    assert (left["MatMul"], left["Split"]) == (2, 2)


@pytest.mark.parametrize(
    ("bias", "left"), [((5,), 1), ((1, 5), 4), ((1,), 4), ((), 1)], ids=["columns", "row", "one", "none"]
)
def test_matmuls_are_merged_with_biases_of_their_columns(tmp_path: Path, bias: tuple[int, ...], left: int) -> None:
    nodes, weights = [], {"c": weight(*bias)} if bias else {}
    for index in range(4):
        nodes += [node("Gemm", f"x w{index} c" if bias else f"x w{index}", f"p{index}", transB=1)]
        nodes += [node("Identity", f"p{index}", f"y{index}")]
        weights[f"w{index}"] = weight(5, 4) * (index + 1)
    made = counts(tmp_path / "g", nodes, {"x": (3, 4)}, [f"y{index}" for index in range(4)], weights)
    assert made["Gemm"] == left


def test_outputs_of_the_graph_stay(tmp_path: Path) -> None:
    products = [node("MatMul", f"x w{index}", f"p{index}") for index in range(4)]
    weights = {f"w{index}": weight(4, WIDTH) * (index + 1) for index in range(4)} | {
        "b": weight(WIDTH),
        "s": weight(WIDTH),
    }
    nodes = [
        *products,
        node("Add", "p0 b", "layer"),
        node("Add", "layer r", "residual"),
        node("Add", "p1 r", "sum"),
        node("LayerNormalization", "sum s b", "norm", axis=-1),
    ]
    outputs = ["p2", "p3", "residual", "sum", "norm"]
    left = counts(tmp_path / "g", nodes, {**X, "r": (ROWS, TOKENS, WIDTH)}, outputs, weights)
    assert left == Counter(each.op_type for each in nodes)


@pytest.mark.parametrize(
    ("given", "attributes", "output", "turned"),
    [
        (["p", "", "factors"], {}, "z", True),
        (["p", "", "factors"], {}, "y", False),
        (["p", "", "factors"], {"mode": "linear"}, "z", False),
        (["p", "", "two"], {"axes": (2, 3)}, "z", False),
        (["p", "", "", "lengths"], {}, "z", False),
    ],
    ids=["factors", "an output", "linear", "two factors", "lengths"],
)
def test_what_repeats_pixels_by_factors_has_its_channels_last(
    tmp_path: Path, given: list[str], attributes: dict[str, Any], output: str, turned: bool
) -> None:
    weights = {"two": np.float32([2, 2]), "factors": np.float32([1, 1, 2, 2]), "lengths": np.array([1, 4, 6, 8])}
    resize = helper.make_node("Resize", given, ["y"], **{"mode": "nearest", "nearest_mode": "floor"} | attributes)
    nodes = [resize, node("Identity", "y", "z")]
    left = counts(
        tmp_path / "g", nodes, {"p": (1, 4, 3, 4)}, [output], {name: weights[name] for name in given[2:] if name}
    )
    assert left["Transpose"] == 2 * turned
