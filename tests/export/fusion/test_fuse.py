"""The optimized graphs of a bundle for ONNX Runtime: the same results, all attentions fused, weights not copied."""

import shutil
from collections import Counter
from math import erf
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from overpaint.bundles.manifest import Bundle
from overpaint.bundles.store import Store
from overpaint.engines.compare import random_feeds
from overpaint.engines.ort.engine import optimized_graph, optimized_key
from overpaint.engines.registry import EngineOptions, open_engine
from overpaint.engines.select import Candidate
from overpaint.errors import EngineError, ExportError
from overpaint.export.fusion.fuse import Fused, build_onnxruntime, fuse
from overpaint.export.fusion.geglu import count_geglus
from overpaint.export.fusion.skip_norm import count_bias_adds
from overpaint.runtime.model.shipped import MODELS

TINY = MODELS / "tiny"
FLOAT = onnx.TensorProto.FLOAT


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    """The shipped bundle without its optimized graphs, a store without any, and no GPU."""
    monkeypatch.setenv("OVERPAINT_ENGINES", str(tmp_path / "engines"))
    here = [Candidate("onnxruntime", "cpu", None), Candidate("onnxruntime", "cuda", "no GPU")]
    monkeypatch.setitem(build_onnxruntime.__globals__, "candidates", lambda bundle: here)
    folder = shutil.copytree(TINY, tmp_path / "tiny", ignore=shutil.ignore_patterns("engines"))
    return Bundle.read(folder, verify=False)


def attention(path: Path, **attributes: object) -> Path:
    """A graph that is an attention whose heads nothing parts or joins."""
    names = ("query", "key", "value", "out")
    values = [helper.make_tensor_value_info(name, FLOAT, [1, 2, 3, 4]) for name in names]
    node = helper.make_node("Attention", names[:3], names[3:], **attributes)
    opsets = [helper.make_opsetid("", 23)]
    graph = helper.make_graph([node], "graph", values[:3], values[3:])
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return path


def test_a_bundle_gains_an_optimized_graph_with_the_same_results(bundle: Bundle) -> None:
    graph, options, stages = bundle.graph("unet"), EngineOptions(), list[str]()
    feeds = random_feeds(graph.inputs, {"rows": 2, "height": 9, "width": 11, "tokens": 77})
    plain = open_engine("onnxruntime", "unet", graph, bundle.folder, options)
    built = build_onnxruntime(bundle, stages.append)
    fused = open_engine("onnxruntime", "unet", graph, bundle.folder, options)
    assert (plain.label.endswith("float32"), fused.label.endswith("float32, fused")) == (True, True)
    wanted, made = plain(feeds)["model_output"], fused(feeds)["model_output"]
    assert np.linalg.norm(made - wanted) <= 1e-5 * np.linalg.norm(wanted)
    none = "0 group norms, 0 geglus, 0 skip norms, 0 bias adds, 0 merged matmuls, 0 nhwc resizes"
    assert f"unet: 21 attentions, {none} fused for cpu; comparing" in stages
    some = "30 group norms, 0 geglus, 35 skip norms, 0 bias adds, 19 merged matmuls, 0 nhwc resizes"
    assert f"unet: 21 attentions, {some} fused for cuda; comparing" in stages
    assert "unet: not compared, for want of a GPU here: no GPU" in stages
    names = [path.parent.name.split(".")[0] for path in built]
    assert names == ["text_encoder", "unet", "unet", "vae_encoder", "vae_decoder"]
    assert all(path.stat().st_size < graph.size / 20 for path in built[1:3])


def test_every_attention_of_the_unet_is_fused_and_none_of_a_mask(bundle: Bundle, tmp_path: Path) -> None:
    counts = {}
    for name in ("unet", "text_encoder"):
        source = bundle.folder / bundle.graph(name).file.path
        assert fuse(source, tmp_path / "optimized") == Fused(21 if name == "unet" else 0)
        nodes = onnx.load(tmp_path / "optimized", load_external_data=False).graph.node
        counts[name] = Counter(node.op_type for node in nodes)
    assert (counts["unet"]["MultiHeadAttention"], counts["unet"]["Attention"]) == (21, 0)
    assert (counts["text_encoder"]["MultiHeadAttention"], counts["text_encoder"]["Attention"]) == (0, 2)


def test_an_attention_that_cannot_be_fused_fails_the_build(tmp_path: Path) -> None:
    none = "0 group norms, 0 geglus, 0 skip norms, 0 bias adds, 0 merged matmuls, 0 nhwc resizes"
    with pytest.raises(ExportError, match=f"of 1 attentions, {none}, 0 attentions, {none} can be fused"):
        fuse(attention(tmp_path / "open.onnx"), tmp_path / "optimized")
    assert fuse(attention(tmp_path / "causal.onnx", is_causal=1), tmp_path / "optimized") == Fused(0)


class GroupNorm(OpRun):  # type: ignore[misc]
    """What ONNX Runtime's CUDA provider does: channels last, statistics in float32, SiLU where it is asked for."""

    op_domain = "com.microsoft"

    def _run(self, x: Any, scale: Any, offset: Any, activation: int, epsilon: float, groups: int) -> tuple[Any, ...]:
        assert {scale.dtype, offset.dtype} == {np.dtype(np.float32)}
        parted = x.astype(np.float32).reshape(len(x), -1, groups, x.shape[-1] // groups)
        mean, variance = (part(parted, axis=(1, 3), keepdims=True) for part in (np.mean, np.var))
        normed = ((parted - mean) / np.sqrt(variance + epsilon)).reshape(x.shape) * scale + offset
        return ((normed / (1 + np.exp(-normed)) if activation else normed).astype(x.dtype),)


class SkipGroupNorm(GroupNorm):
    """The same of a sum, which may be of one value a row and channel and a bias too, and the sum."""

    def _run(self, x: Any, scale: Any, offset: Any, skip: Any, bias: Any = None, **settings: Any) -> tuple[Any, ...]:
        assert skip.shape in (x.shape, (len(x), x.shape[-1]))
        total = (
            x + skip.reshape(len(x), *x.shape[1:3] if skip.ndim == 4 else (1, 1), -1) + (0 if bias is None else bias)
        )
        return (*super()._run(total, scale, offset, **settings), total)


class SkipLayerNormalization(OpRun):  # type: ignore[misc]
    """A layer norm of a sum, statistics that only training asks for, and the sum."""

    op_domain = "com.microsoft"

    def _run(
        self, x: Any, skip: Any, scale: Any, offset: Any, bias: Any = None, epsilon: float = 1e-12
    ) -> tuple[Any, ...]:
        total = x + skip + (0 if bias is None else bias)
        centred = total - total.mean(axis=-1, keepdims=True)
        normed = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + epsilon) * scale + offset
        return normed, np.empty(0), np.empty(0), total


class BiasAdd(OpRun):  # type: ignore[misc]
    """A sum of three."""

    op_domain = "com.microsoft"

    def _run(self, x: Any, bias: Any, skip: Any) -> tuple[Any]:
        assert (x.shape, bias.shape) == (skip.shape, x.shape[-1:])
        return (x + bias + skip,)


class BiasSplitGelu(OpRun):  # type: ignore[misc]
    """One half of a sum times the GELU of the other."""

    op_domain = "com.microsoft"

    def _run(self, x: Any, bias: Any) -> tuple[Any]:
        kept, opened = np.split(x + bias, 2, axis=-1)
        return ((kept * opened * (1 + np.vectorize(erf)(opened / np.sqrt(2))) / 2).astype(x.dtype),)


class MultiHeadAttention(OpRun):  # type: ignore[misc]
    """What ONNX Runtime's operator does with arrays [rows, tokens, heads side by side]."""

    op_domain = "com.microsoft"

    def _run(
        self, query: Any, key: Any, value: Any, num_heads: int, scale: float | None = None, unidirectional: int = 0
    ) -> tuple[Any]:
        apart = [array.reshape(*array.shape[:2], num_heads, -1).swapaxes(1, 2) for array in (query, key, value)]
        scores = apart[0] @ apart[1].swapaxes(2, 3) * (scale or apart[0].shape[-1] ** -0.5)
        if unidirectional:
            scores += np.triu(np.full(scores.shape[2:], -np.inf, scores.dtype), 1)
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        joined = (weights / weights.sum(axis=-1, keepdims=True) @ apart[2]).swapaxes(1, 2)
        return (joined.reshape(query.shape[0], query.shape[1], -1),)


def check_for_gpu(bundle: Bundle, name: str, optimized: Path, wanted: Fused) -> onnx.ModelProto:
    """Write a graph's optimized form for a GPU, see that it gives what the graph does at odd sizes, and read it."""
    graph = bundle.graph(name)
    source = bundle.folder / graph.file.path
    assert fuse(source, optimized, "cuda") == wanted
    shutil.copy(source, optimized.parent)  # where the optimized graph finds the weights
    others = dict.fromkeys(graph.ranges.keys() - graph.optional_axes, 7)
    feeds = random_feeds(graph.inputs, others | {"rows": 2, "width": 10, "w": 10})
    expected = open_engine("onnxruntime", name, graph, bundle.folder, EngineOptions())(feeds)
    operators = [GroupNorm, SkipGroupNorm, SkipLayerNormalization, BiasAdd, BiasSplitGelu, MultiHeadAttention]
    evaluator = ReferenceEvaluator(str(optimized), new_ops=operators)
    for spec, array in zip(graph.outputs, evaluator.run(None, dict(feeds)), strict=True):
        assert np.linalg.norm(array - expected[spec.name]) <= 1e-5 * np.linalg.norm(array)
    model = onnx.load(optimized, load_external_data=False)
    read = {given for node in model.graph.node for given in node.input} | {spec.name for spec in graph.outputs}
    assert all(read & set(node.output) for node in model.graph.node)
    makers = {output: node.op_type for node in model.graph.node for output in node.output}
    assert {makers[node.input[0]] for node in model.graph.node if node.op_type == "Resize"} <= {"Transpose"}
    return model


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("text_encoder", Fused(2, skip_norms=4)),
        ("unet", Fused(21, 30, skip_norms=35, merged_matmuls=19)),
        ("vae_encoder", Fused(0, 8, skip_norms=3)),
        ("vae_decoder", Fused(0, 13, skip_norms=4, nhwc_resizes=2)),
    ],
)
def test_the_norms_of_a_gpu_give_the_same(bundle: Bundle, tmp_path: Path, name: str, wanted: Fused) -> None:
    check_for_gpu(bundle, name, tmp_path / "optimized.onnx", wanted)


def test_geglus_and_bias_adds_give_the_same_where_a_gpu_has_their_width(
    inpainting_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for counting in (count_geglus, count_bias_adds):
        monkeypatch.setitem(counting.__globals__, "WIDTHS", range(1, 1024))
    check_for_gpu(inpainting_bundle, "unet", tmp_path / "optimized.onnx", Fused(14, 30, 7, 35, 7, 22))


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("unet", Fused(14, 30, skip_norms=35, merged_matmuls=22)),
        ("vae_encoder", Fused(1, 12, skip_norms=3)),
        ("vae_decoder", Fused(1, 18, skip_norms=6, nhwc_resizes=2)),
    ],
)
def test_a_gpu_has_no_arithmetic_of_shapes(inpainting_bundle: Bundle, tmp_path: Path, name: str, wanted: Fused) -> None:
    model = check_for_gpu(inpainting_bundle, name, tmp_path / "optimized.onnx", wanted)
    makers = {output: node.op_type for node in model.graph.node for output in node.output}
    lengths = [node.input[-1] for node in model.graph.node if node.op_type in ("Reshape", "Resize", "Expand")]
    assert {makers.get(given, "constant") for given in lengths} <= {"constant", "Shape"}
    shaped = {makers[node.input[0]] for node in model.graph.node if node.op_type == "Shape"}
    assert {maker.removeprefix("Skip") for maker in shaped} == {"GroupNorm"}
    assert "InstanceNormalization" not in makers.values()


@pytest.mark.parametrize("name", ["text_encoder", "unet"])
def test_a_gpu_needs_no_processor(bundle: Bundle, tmp_path: Path, name: str) -> None:
    fuse(bundle.folder / bundle.graph(name).file.path, tmp_path / "optimized", "cuda")
    nodes = onnx.load(tmp_path / "optimized", load_external_data=False).graph.node
    assert not {"Range", "LessOrEqual", "Expand", "Attention", "InstanceNormalization"} & {
        node.op_type for node in nodes
    }
    makers = {output: node.op_type for node in nodes for output in node.output}
    assert {makers[node.input[0]] for node in nodes if node.op_type == "ArgMax"} <= {"Cast"}


def test_a_mask_that_hides_what_comes_earlier_stays(bundle: Bundle, tmp_path: Path) -> None:
    source = bundle.folder / bundle.graph("text_encoder").file.path
    assert fuse(source, tmp_path / "optimized", "cuda") == Fused(2, skip_norms=4)
    model = onnx.load(source)
    (node,) = (node for node in model.graph.node if node.op_type == "LessOrEqual")
    node.input[:] = node.input[::-1]
    onnx.save(model, source)
    assert fuse(source, tmp_path / "optimized", "cuda") == Fused(0, skip_norms=4)


def test_an_optimized_graph_that_differs_is_not_kept(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(build_onnxruntime.__globals__, "TOLERANCE", {"float32": 0.0})
    with pytest.raises(ExportError, match=r"unet: the optimized graph differs .* allowed is 0"):
        build_onnxruntime(bundle)
    assert [key.graph for key in Store.of(bundle.folder).built()] == ["text_encoder"]


def test_an_altered_optimized_graph_is_refused(bundle: Bundle) -> None:
    build_onnxruntime(bundle)
    built = optimized_graph("unet", bundle.graph("unet"), bundle.folder, "cpu")
    assert built
    built.write_bytes(b"")
    with pytest.raises(EngineError, match="altered or cut short"):
        open_engine("onnxruntime", "unet", bundle.graph("unet"), bundle.folder, EngineOptions())


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_shipped_optimized_graphs_are_those_of_this_version(tmp_path: Path, device: str) -> None:
    bundle, found = Bundle.read(TINY, verify=False), []
    for name, graph in bundle.graphs.items():
        if shipped := Store(TINY / "engines").find(optimized_key(name, graph, device)):
            fuse(TINY / graph.file.path, tmp_path / "optimized", device)
            assert shipped.read_bytes() == (tmp_path / "optimized").read_bytes()
            found.append(name)
    assert found == (["unet"] if device == "cpu" else list(bundle.graphs))


def test_the_shipped_optimized_graph_is_of_the_shipped_graph_wherever_engines_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OVERPAINT_ENGINES", str(tmp_path))
    graph = Bundle.read(TINY, verify=False).graph("unet")
    assert Store(TINY / "engines").find(optimized_key("unet", graph, "cpu"))
    assert open_engine("onnxruntime", "unet", graph, TINY, EngineOptions()).label.endswith("cpu, float32, fused")
