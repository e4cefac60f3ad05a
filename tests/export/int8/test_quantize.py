"""A bundle in int8: what its graph holds, how far it is from its source, what the manifest tells, what is refused."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.numpy_helper import to_array

import overpaint
from overpaint.bundles.manifest import Bundle
from overpaint.cli import main
from overpaint.engines.compare import psnr, random_feeds, relative_error
from overpaint.engines.ort.cpu import OrtEngine
from overpaint.engines.registry import EngineOptions
from overpaint.errors import ExportError, InputError
from overpaint.export.fusion.fuse import TOLERANCE, fuse
from overpaint.export.int8.graph import Feeds, Quantised
from overpaint.export.int8.quantize import LIMITS, Calibration, quantizable, quantize_bundle
from overpaint.export.int8.sensitivity import Block, _enough, _ranked, _work, choose, outputs, pooled_error
from overpaint.runtime.diagnostics.calibration import LOADING, PROMPTS, read_prompts, record
from tests.support.examples import EXAMPLES

LIMIT = 0.05
FOX = next(path for path in EXAMPLES if path.stem == "fox")
PICTURES = [overpaint.read(path) for path in EXAMPLES]


@pytest.fixture(scope="module")
def calibration(bundle: Bundle) -> Calibration:
    fed = record(overpaint.load(bundle.folder, **LOADING), PICTURES, PROMPTS, count=12, seed=3)
    return Calibration.split(fed, 4 / 12, "a test")


@pytest.fixture(scope="module")
def held_out(calibration: Calibration) -> Sequence[Feeds]:
    return calibration.held_out["unet"]


@pytest.fixture(scope="module")
def int8(bundle: Bundle, calibration: Calibration, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return quantize_bundle(bundle.folder, tmp_path_factory.mktemp("int8") / "tiny", lambda: calibration, limit=LIMIT)


@pytest.fixture(scope="module")
def quantised(bundle: Bundle, calibration: Calibration, tmp_path_factory: pytest.TempPathFactory) -> Quantised:
    """Made of a single step, to measure on."""
    return Quantised(bundle.folder / "unet.onnx", tmp_path_factory.mktemp("work"), calibration.fitted["unet"][:1])


@pytest.fixture(scope="module")
def graph(int8: Bundle) -> onnx.GraphProto:
    return onnx.load(int8.folder / "unet.onnx").graph


def refuse() -> Calibration:
    raise AssertionError("nothing may be recorded")


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def test_the_bundle_is_whole(bundle: Bundle, int8: Bundle) -> None:
    again = Bundle.read(int8.folder)
    assert again == int8
    assert [path.name for path in int8.folder.parent.iterdir()] == ["tiny"]
    assert sorted(quantizable(int8)) == ["unet", "vae_decoder", "vae_encoder"]
    assert int8.graphs["text_encoder"] == bundle.graphs["text_encoder"]
    for name in quantizable(int8):
        graph = int8.graphs[name]
        assert (graph.precision, graph.weights) == ("int8", "int8")
        assert (graph.inputs, graph.outputs) == (bundle.graphs[name].inputs, bundle.graphs[name].outputs)


def test_weights_are_stored_as_int8(bundle: Bundle, graph: onnx.GraphProto) -> None:
    constants = {constant.name: constant for constant in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    users = Counter(
        node.op_type
        for node in graph.node
        if node.op_type in ("Conv", "MatMul", "Gemm", "Attention")
        and all(makers.get(name) and makers[name].op_type == "DequantizeLinear" for name in node.input[:2])
    )
    assert users["Conv"] > 10
    assert users["MatMul"] > 10
    assert users["Attention"] > 10
    assert not users["Gemm"]
    stored = dict.fromkeys((onnx.TensorProto.INT8, onnx.TensorProto.FLOAT), 0)
    for constant in constants.values():
        if constant.data_type in stored:
            stored[constant.data_type] += to_array(constant).size
    assert stored[onnx.TensorProto.INT8] > 3 * stored[onnx.TensorProto.FLOAT]
    assert sum(len(constant.raw_data) for constant in constants.values()) < 0.6 * bundle.graphs["unet"].size


def test_no_zero_point_is_other_than_0(graph: onnx.GraphProto) -> None:
    constants = {constant.name: constant for constant in graph.initializer}
    points = [to_array(constants[node.input[2]]) for node in graph.node if node.op_type.endswith("eLinear")]
    assert len(points) > 50
    assert all(point.dtype == np.int8 and not point.any() for point in points)


@pytest.mark.parametrize(
    ("name", "axes"),
    [
        ("unet", {"rows": 1, "height": 16, "width": 16, "tokens": 77}),
        ("vae_encoder", {"rows": 1, "height": 64, "width": 64}),
        ("vae_decoder", {"rows": 1, "h": 16, "w": 16}),
    ],
)
def test_the_error_is_what_the_receipt_says(
    bundle: Bundle, int8: Bundle, calibration: Calibration, name: str, axes: dict[str, int]
) -> None:
    receipt = int8.graphs[name].receipt
    assert receipt.tolerance == LIMIT
    assert bundle.graphs[name].sha256[:10] in receipt.source
    graph, (check,) = int8.graphs[name], receipt.checks
    absent = {axis for spec in graph.inputs if spec.name in graph.optional for axis in spec.axes[1:]}
    assert {axis: length for axis, length in check.axes.items() if axis not in absent} == axes
    assert 1e-4 < receipt.checks[0].error <= LIMIT
    both = [outputs(made.folder / f"{name}.onnx", calibration.held_out[name]) for made in (int8, bundle)]
    assert pooled_error(*both) == pytest.approx(receipt.checks[0].error, rel=0.5)


def test_the_manifest_tells_what_was_done(int8: Bundle) -> None:
    origin = int8.model.origin
    assert origin["checkpoint"]
    assert "nncf" in origin["int8"]
    assert "a test" in origin["int8"]
    for name in quantizable(int8):
        assert "kept out" in origin[f"int8 {name}"]
    assert "int8" in int8.describe()


def test_other_sizes_run(bundle: Bundle, int8: Bundle) -> None:
    graph = bundle.graphs["unet"]
    feeds = random_feeds(graph.inputs, {"rows": 3, "height": 9, "width": 7, "tokens": 154})
    feeds |= {name: np.zeros_like(feeds[name]) for name in graph.optional}
    both = [outputs(made.folder / "unet.onnx", [feeds]) for made in (int8, bundle)]
    assert pooled_error(*both) < 0.1


def test_pictures_are_nearly_the_same(bundle: Bundle, int8: Bundle) -> None:
    made = [
        overpaint.load(one.folder, **LOADING)(FOX, "fox", seed=1, guidance_scale=3).images[0] for one in (bundle, int8)
    ]
    assert psnr(*made) > 30


def test_no_prompt_is_recorded_again_before_each_has_been(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe, asked = overpaint.load(bundle.folder, **LOADING), list[str]()
    start = pipe.start
    monkeypatch.setattr(pipe, "start", lambda picture, prompt, **k: asked.append(prompt) or start(picture, prompt, **k))
    record(pipe, PICTURES, ["a", "b", "c"], count=12, seed=0)
    assert len(asked) >= 6
    assert set(asked[:3]) == set(asked[3:6]) == {"a", "b", "c"}


def test_the_optimized_graph_onnxruntime_reads_the_same_int8(int8: Bundle, tmp_path: Path) -> None:
    graph, folder = int8.graph("unet"), int8.folder
    wanted = sum(node.op_type == "Attention" for node in onnx.load(folder / graph.file.path).graph.node)
    assert fuse(folder / graph.file.path, tmp_path / "variant.onnx").attentions == wanted > 10
    feeds = random_feeds(graph.inputs, {axis: lengths.usual for axis, lengths in graph.ranges.items()})
    paths = (folder / graph.file.path, tmp_path / "variant.onnx")
    plain, fused = (OrtEngine("unet", graph, path, folder, EngineOptions())(feeds)["model_output"] for path in paths)
    assert relative_error(fused, plain) < TOLERANCE["int8"]


def test_recording_depends_on_the_seed_alone(bundle: Bundle) -> None:
    pipes = [overpaint.load(bundle.folder, **LOADING) for _ in range(3)]
    engines = dict(pipes[0].engines)
    made = [record(pipe, PICTURES, PROMPTS, count=3, seed=seed) for pipe, seed in zip(pipes, (1, 1, 2), strict=True)]
    assert all(pipes[0].engines[name] is engine for name, engine in engines.items())
    one, two, other = made
    assert {name: len(feeds) for name, feeds in one.items()} == {"unet": 3, "vae_encoder": 2, "vae_decoder": 2}
    for name, feeds in one.items():
        for first, second in zip(feeds, two[name], strict=True):
            assert all(np.array_equal(first[name], second[name]) for name in first)
    assert one["unet"][0]["sample"].shape == (2, 4, 16, 16)
    assert one["vae_encoder"][0]["pixels"].shape == (1, 3, 64, 64)
    assert one["vae_decoder"][0]["latents"].shape == (1, 4, 16, 16)
    assert not np.array_equal(one["unet"][0]["sample"], other["unet"][0]["sample"])


def test_the_last_feeds_are_held_out_and_at_least_one() -> None:
    feeds = [{"latents": np.full(1, index)} for index in range(10)]
    split = Calibration.split({"unet": feeds, "vae_decoder": feeds[:2]}, 0.2, "a test")
    assert [len(one) for one in (*split.fitted.values(), *split.held_out.values())] == [8, 1, 2, 1]
    assert split.held_out["unet"] == feeds[8:]
    with pytest.raises(InputError, match="vae_encoder: int8 takes two pictures or more"):
        Calibration.split({"unet": feeds, "vae_encoder": feeds[:1]}, 0.2, "a test")


def test_one_graph_alone(bundle: Bundle, calibration: Calibration, tmp_path: Path) -> None:
    made = quantize_bundle(bundle.folder, tmp_path / "made", lambda: calibration, graphs=["vae_decoder"])
    assert [name for name, graph in made.graphs.items() if graph.precision == "int8"] == ["vae_decoder"]
    assert made.graphs["vae_decoder"].receipt.checks[0].error <= LIMITS["vae_decoder"]
    assert made.graphs["unet"] == bundle.graphs["unet"]


def test_a_graph_that_int8_is_not_made_of(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown graph for int8 'text_encoder'"):
        quantize_bundle(bundle.folder, tmp_path / "made", refuse, graphs=["text_encoder"])
    assert run("quantize", bundle.folder, tmp_path / "made", "--graph", "vae") == 2


def test_a_limit_keeps_the_worst_for_their_work_out() -> None:
    blocks = [Block("cheap", (), 0.03, 0.01), Block("heavy", (), 0.04, 0.9), Block("good", (), 0.01, 0.09)]
    ranked = _ranked(blocks)
    assert [block.name for block in ranked] == ["cheap", "heavy", "good"]
    whole = np.sqrt(0.03**2 + 0.04**2 + 0.01**2)
    assert [_enough(ranked, limit, whole) for limit in (0.06, 0.045, 0.02, 0.001)] == [0, 1, 2, 3]


def test_what_is_kept_out_are_modules_not_blocks(quantised: Quantised, held_out: Sequence[Feeds]) -> None:
    choice = choose(quantised, held_out[:1], 0.03)
    assert len(choice.kept_out) > 1
    assert all(block.modules == 1 for block in choice.kept_out)
    assert choice.error <= 0.03 < choice.full_error


def test_layers_have_the_names_of_their_modules(quantised: Quantised) -> None:
    layers = {layer.module: layer for layer in quantised.layers}
    assert {"conv_in", "conv_out", "mid_block.resnets.0.conv1"} <= set(layers)
    assert not [name for name in layers if "time_emb" in name]
    inner = layers["down_blocks.0.attentions.0.transformer_blocks.0.ff.net.2"]
    assert inner.block == "down_blocks.0.attentions.0"
    assert layers["conv_in"].products == 4 * 9
    attentions = [name for name, layer in layers.items() if layer.keys]
    assert len(attentions) == 14
    assert all(re.fullmatch(r".*transformer_blocks\.0\.attn[12]", name) for name in attentions)


def test_an_attention_makes_a_product_of_each_query_with_each_key(
    quantised: Quantised, held_out: Sequence[Feeds]
) -> None:
    feeds = {name: array[:1] for name, array in held_out[0].items()}
    work = {layer.module: count for layer, count in _work(quantised, feeds).items()}
    block = "down_blocks.1.attentions.0.transformer_blocks.0"
    width, tokens, prompt = 32, 8 * 8, 77
    assert work[f"{block}.attn1"] == tokens * tokens * width
    assert work[f"{block}.attn2"] == tokens * prompt * width


def test_an_attention_in_float_reads_what_it_read(quantised: Quantised) -> None:
    modules = {layer.module: layer for layer in quantised.layers}
    out = modules["mid_block.attentions.0.transformer_blocks.0.attn1"]
    graph = onnx.load(quantised.write([layer for layer in quantised.layers if layer != out])).graph
    makers = {name: node.op_type for node in graph.node for name in node.output}
    kinds = {node.name: [makers[name] for name in node.input] for node in graph.node if node.op_type == "Attention"}
    assert kinds.pop(out.name) == ["Transpose"] * 3
    assert set(map(tuple, kinds.values())) == {("DequantizeLinear", "DequantizeLinear", "Transpose")}


def test_without_a_layer_in_int8_the_graph_is_its_source(
    bundle: Bundle, quantised: Quantised, held_out: Sequence[Feeds]
) -> None:
    source = outputs(bundle.folder / "unet.onnx", held_out)
    assert pooled_error(outputs(quantised.write([]), held_out), source) < 1e-5
    whole = pooled_error(outputs(quantised.write(quantised.layers), held_out), source)
    assert 1e-3 < whole < 0.5


def test_a_limit_that_cannot_be_met(quantised: Quantised, held_out: Sequence[Feeds]) -> None:
    with pytest.raises(ExportError, match="no layer can be in int8 within a relative error of 1e-09"):
        choose(quantised, held_out[:1], 1e-9)


@pytest.mark.parametrize("limit", [0.0, -1.0, float("nan"), float("inf")])
def test_a_limit_that_is_none(bundle: Bundle, tmp_path: Path, limit: float) -> None:
    with pytest.raises(InputError, match="limit"):
        quantize_bundle(bundle.folder, tmp_path / "target", refuse, limit=limit)


def test_int8_is_not_quantised_again(int8: Bundle, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="int8 already"):
        quantize_bundle(int8.folder, tmp_path / "target", refuse)


def test_half_precision_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    half = replace(bundle.graphs["unet"], precision="float16")
    folder = Path(shutil.copytree(bundle.folder, tmp_path / "half"))
    replace(bundle, folder=folder, graphs={**bundle.graphs, "unet": half}).write_manifest()
    with pytest.raises(InputError, match="--precision float32"):
        quantize_bundle(folder, tmp_path / "target", refuse)


def test_an_existing_target_is_kept(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        quantize_bundle(bundle.folder, tmp_path, refuse)


def test_an_interrupt_leaves_nothing(bundle: Bundle, calibration: Calibration, tmp_path: Path) -> None:
    def report(stage: str) -> None:
        if "finding scales" in stage:
            assert len(list(tmp_path.iterdir())) == 2
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quantize_bundle(bundle.folder, tmp_path / "target", lambda: calibration, report=report)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_library_is_named_with_the_command_that_installs_it(tmp_path: Path) -> None:
    program = "import sys; sys.modules['nncf'] = None; from overpaint.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", program, "quantize", "tiny", str(tmp_path / "target")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "pip install 'overpaint[int8]'" in ended.stderr


def test_pictures_and_prompts_that_cannot_be_used(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    empty, broken = tmp_path / "empty", tmp_path / "broken"
    for folder in (empty, broken):
        folder.mkdir()
    (broken / "picture.png").write_bytes(b"no picture")
    (tmp_path / "prompts.txt").write_text("\n  \n")
    cases = {
        ("--pictures", empty): "no picture is there",
        ("--pictures", tmp_path / "nowhere"): "no picture is there",
        ("--pictures", broken): "picture.png",
        ("--prompts", tmp_path / "prompts.txt"): "has no prompt",
        ("--prompts", tmp_path / "nowhere.txt"): "cannot be read",
        ("--seed", -2): "seed",
    }
    for options, cause in cases.items():
        assert run("quantize", "tiny", tmp_path / "target", *options) == 2
        assert cause in capsys.readouterr().err
    assert not (tmp_path / "target").exists()


def test_prompts_are_lines(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("a fox\n\n  ein Fuchs, süß \n", encoding="utf-8")
    assert read_prompts(tmp_path / "prompts.txt") == ["a fox", "ein Fuchs, süß"]


def test_export_with_int8_makes_the_same_of_the_same_seed(
    checkpoint: Path, int8: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    options = ("--int8", "--samples", 8, "--held-out", 4, "--limit", LIMIT, "--seed", 3)
    assert run("export", checkpoint, tmp_path / "made", *options) == 0
    assert "seed 3" in capsys.readouterr().out
    bundle = Bundle.read(tmp_path / "made")
    assert bundle.model.name == "made"
    assert bundle.graphs == int8.graphs
    assert [path.name for path in tmp_path.iterdir()] == ["made"]
    assert run("export", checkpoint, tmp_path / "made", "--int8") == 2
    assert "exists already" in capsys.readouterr().err
