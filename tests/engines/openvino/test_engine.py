"""OpenVINO on the shipped model: what it computes, when it compiles, what it keeps."""

import json
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import wait
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from overpaint import EngineError, InputError
from overpaint.bundles.graph import File
from overpaint.bundles.manifest import Bundle
from overpaint.bundles.store import Store
from overpaint.bundles.tensor import Array
from overpaint.engines.base import ROW_BUCKETS, Engine
from overpaint.engines.compare import random_feeds
from overpaint.engines.openvino import engine as engine_module
from overpaint.engines.openvino.compiler import Compiled, Compiler
from overpaint.engines.registry import EngineOptions, open_engine
from overpaint.errors import OutOfMemoryError
from overpaint.runtime.model.shipped import MODELS

NAME = "vae_decoder"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The shipped model without what this checkout has built of it."""
    folder = tmp_path_factory.mktemp("openvino") / "tiny"
    return Bundle.read(Path(shutil.copytree(MODELS / "tiny", folder, ignore=shutil.ignore_patterns("engines"))))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OVERPAINT_ENGINES", str(tmp_path / "store"))
    return tmp_path / "store"


def opened(bundle: Bundle, name: str = NAME, **options: object) -> engine_module.OpenVinoEngine:
    engine = open_engine("openvino", name, bundle.graph(name), bundle.folder, EngineOptions(**options))
    assert isinstance(engine, engine_module.OpenVinoEngine)
    return engine


@pytest.fixture
def auto(bundle: Bundle) -> Iterator[engine_module.OpenVinoEngine]:
    engine = opened(bundle, precision="float32")
    yield engine
    engine.close()


def latents(height: int = 8, width: int = 6) -> Array:
    return np.random.default_rng(0).standard_normal((1, 4, height, width)).astype(np.float32)


def serving(engine: engine_module.OpenVinoEngine) -> bool:
    """Whether graphs for one shape alone serve the run."""
    return engine._dynamic not in engine._now.values()


def built(engine: engine_module.OpenVinoEngine) -> None:
    wait(engine._building.values())


@pytest.mark.parametrize("name", ["text_encoder", "unet", "vae_encoder", "vae_decoder"])
@pytest.mark.parametrize("shapes", ["static", "dynamic"])
def test_it_computes_what_onnx_runtime_computes(bundle: Bundle, name: str, shapes: str) -> None:
    graph = bundle.graph(name)
    lengths = {"rows": 2, "tokens": 77, "height": 16, "width": 24, "h": 8, "w": 6}
    given = random_feeds(graph.inputs, lengths)
    peer: Engine = open_engine("onnxruntime", name, graph, bundle.folder, EngineOptions())
    made, wanted = opened(bundle, name, shapes=shapes, precision="float32")(given), peer(given)
    assert made.keys() == wanted.keys()
    for key, values in wanted.items():
        assert np.linalg.norm(made[key] - values) <= 1e-4 * np.linalg.norm(values)


@pytest.mark.parametrize("side", [4, 5, 8])
@pytest.mark.parametrize("shapes", ["static", "dynamic"])
def test_attention_over_few_tokens(bundle: Bundle, side: int, shapes: str) -> None:
    graph = bundle.graph("unet")
    given = random_feeds(graph.inputs, {"rows": 1, "height": side, "width": side, "tokens": 77})
    peer: Engine = open_engine("onnxruntime", "unet", graph, bundle.folder, EngineOptions())
    made, wanted = opened(bundle, "unet", shapes=shapes)(given)["model_output"], peer(given)["model_output"]
    assert np.linalg.norm(made - wanted) <= 4e-2 * np.linalg.norm(wanted)


def test_outputs_are_the_callers_own(bundle: Bundle) -> None:
    engine = opened(bundle, shapes="static")
    first = engine({"latents": latents()})["pixels"]
    kept = first.copy()
    engine({"latents": -latents()})
    assert np.array_equal(first, kept)


def test_feeds_need_not_be_contiguous(bundle: Bundle) -> None:
    engine, turned = opened(bundle, shapes="static"), latents().swapaxes(2, 3)
    assert np.array_equal(
        engine({"latents": turned})["pixels"], engine({"latents": np.ascontiguousarray(turned)})["pixels"]
    )


def comes(engine: engine_module.OpenVinoEngine, *heights: int) -> Array:
    """Work on these heights between two idle moments; what the last gave."""
    engine.poll(idle=True)
    return [engine({"latents": latents(height)})["pixels"] for height in heights or (8,)][-1]


class TestSpecialisation:
    def test_a_shape_that_comes_back_gets_a_static_graph_at_a_poll(self, auto: engine_module.OpenVinoEngine) -> None:
        made = [comes(auto)]
        built(auto)
        assert not auto._building
        made.append(comes(auto))
        built(auto)
        made.append(auto({"latents": latents()})["pixels"])
        assert not serving(auto)  # what was built meanwhile waits for a poll
        auto.poll()
        made.append(auto({"latents": latents()})["pixels"])
        assert serving(auto)
        assert auto.label.endswith("dynamic")
        assert {array.tobytes() for array in made} == {made[0].tobytes()}

    def test_a_shape_that_comes_often_needs_no_idle_moment(
        self, auto: engine_module.OpenVinoEngine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(engine_module, "OFTEN", 3)
        for calls in range(1, 4):
            auto({"latents": latents()})
            assert bool(auto._building) == (calls == 3)
            if calls < 3:
                auto.poll()
        built(auto)
        auto.poll()
        auto({"latents": latents()})
        assert serving(auto)

    def test_a_graph_in_use_is_not_dropped_for_another(
        self, auto: engine_module.OpenVinoEngine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        auto._most_kept = 2
        for _ in range(3):
            comes(auto, 2, 4, 6)
            built(auto)
        assert [shapes[0][2] for shapes in auto._static] == [2, 4]
        comes(auto, 6)
        built(auto)
        auto.poll()
        assert [shapes[0][2] for shapes in auto._static] == [4, 6]

    @pytest.mark.parametrize("name", ["text_encoder", "unet", "vae_encoder", "vae_decoder"])
    @pytest.mark.parametrize("precision", ["float32", None])
    def test_it_takes_over_where_it_rounds_alike(self, bundle: Bundle, name: str, precision: str | None) -> None:
        engine = opened(bundle, name, precision=precision)
        feeds = random_feeds(engine.inputs, {"rows": 2, "tokens": 77, "height": 16, "width": 24, "h": 8, "w": 6})
        made = []
        for _ in range(3):
            engine.poll(idle=True)
            made.append(b"".join(array.tobytes() for array in engine(feeds).values()))
            built(engine)
        assert serving(engine)
        assert len(set(made)) == 1

    def test_one_that_rounds_otherwise_is_dropped(
        self, auto: engine_module.OpenVinoEngine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        infer = auto._infer

        def other(compiled: Compiled, feeds: dict[str, Array]) -> dict[str, Array]:
            return {
                name: array if compiled is auto._dynamic else np.nextafter(array, 9)
                for name, array in infer(compiled, feeds).items()
            }

        monkeypatch.setattr(auto, "_infer", other)
        for _ in range(4):
            comes(auto)
            assert not serving(auto)
            built(auto)
        assert not auto._building

    def test_shapes_that_do_not_come_back_are_not_built(self, auto: engine_module.OpenVinoEngine) -> None:
        for height in (2, 4, 6):
            comes(auto, height)
            auto.poll()
        assert not auto._building

    @pytest.mark.parametrize("shapes", ["static", "tuned"])
    def test_only_the_last_few_are_kept(self, bundle: Bundle, shapes: str) -> None:
        engine = opened(bundle, shapes=shapes)
        engine._most_kept = 2
        for height in (2, 4, 6, 2):
            comes(engine, height)
        assert [shapes[0][2] for shapes in engine._static] == [6, 2]

    def test_a_large_graph_is_compiled_for_the_first_shapes(
        self, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(engine_module, "LARGE", 0)
        engine, labels = opened(bundle), []
        for heights in ((2,), (4, 2), (2, 4, 6), (6,)):
            comes(engine, *heights)
            labels.append(engine.label.rpartition(", ")[2])
        assert labels == ["static", "static", "dynamic and static", "static"]
        assert not engine._building

    def test_what_serves_a_shape_of_a_large_graph_changes_only_when_idle(
        self, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(engine_module, "LARGE", 0)
        engine = opened(bundle)
        comes(engine, 2, 4, 6)
        (shapes,) = (shapes for shapes, compiled in engine._now.items() if compiled is engine._dynamic)
        for _ in range(3):
            engine.poll()
            engine({"latents": latents(6)})
            assert engine._now[shapes] is engine._dynamic
        comes(engine, 6)
        assert engine._now[shapes] is not engine._dynamic
        assert engine.label.endswith("static")

    def test_over_many_positions_a_large_graph_is_compiled_for_each_shape_and_few_are_held(
        self, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(engine_module, "LARGE", 0)
        monkeypatch.setattr(Compiler, "only_static", lambda _, shapes: shapes[0][2] > 2)
        engine = opened(bundle)
        comes(engine, 2, 4, 6, 8, 4)
        assert engine.label.endswith("static")
        assert engine._dynamic is None
        assert sorted(shapes[0][2] for shapes in engine._now) == [2, 4, 8]

    def test_a_failed_build_is_told_and_the_dynamic_graph_goes_on(
        self, auto: engine_module.OpenVinoEngine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object) -> None:
            raise EngineError("no memory left")

        monkeypatch.setattr(Compiler, "compile", refuse)
        for _ in range(3):
            comes(auto)
            built(auto)
        assert auto.label.endswith("dynamic, no static graph (no memory left)")


@pytest.mark.parametrize(
    ("shapes", "large", "buckets"),
    [("auto", False, ROW_BUCKETS), ("static", False, ROW_BUCKETS), ("dynamic", False, ()), ("auto", True, ())],
)
def test_rows_are_padded_where_a_graph_is_kept_for_each_shape(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, shapes: str, large: bool, buckets: tuple[int, ...]
) -> None:
    if large:
        monkeypatch.setattr(engine_module, "LARGE", 0)
    assert opened(bundle, shapes=shapes).row_buckets == buckets


def test_memory_that_does_not_suffice(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError("std::bad_alloc")

    engine = opened(bundle, shapes="dynamic")
    monkeypatch.setattr(engine, "_infer", fail)
    with pytest.raises(OutOfMemoryError, match=r"vae_decoder: the memory does not suffice .*max_rows"):
        engine({"latents": latents()})


class TestStore:
    def test_a_compiled_graph_is_kept_and_used_again(
        self, bundle: Bundle, store: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = opened(bundle)({"latents": latents()})["pixels"]
        assert len(list(store.glob("vae_decoder.openvino.*/engine"))) == 1
        monkeypatch.setattr(Compiler, "read", lambda *_: pytest.fail("compiled again"))
        assert np.array_equal(opened(bundle)({"latents": latents()})["pixels"], first)

    @pytest.mark.parametrize("spoil", [lambda data: data[:-9], lambda data: data[:99] + b"?" + data[100:]])
    def test_an_altered_blob_is_dropped_and_made_anew(
        self, bundle: Bundle, store: Path, spoil: object, caplog: pytest.LogCaptureFixture
    ) -> None:
        first = opened(bundle)({"latents": latents()})["pixels"]
        blob = next(store.glob("*/engine"))
        blob.write_bytes(spoil(blob.read_bytes()))
        assert np.array_equal(opened(bundle)({"latents": latents()})["pixels"], first)
        assert re.search("damaged and is made anew .*altered or cut short", caplog.text)
        opened(bundle)

    def test_a_blob_that_cannot_be_loaded_is_made_anew(
        self, bundle: Bundle, store: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        opened(bundle)
        folder = next(store.glob("vae_decoder.*"))
        (folder / "engine").write_bytes(b"of another build")
        record = json.loads((folder / "key.json").read_text())
        record["file"] = asdict(File.of(folder, "engine"))
        (folder / "key.json").write_text(json.dumps(record))
        assert opened(bundle)({"latents": latents()})
        assert re.search("made anew .*cannot load", caplog.text)

    def test_an_altered_one_that_cannot_be_removed_is_done_without(
        self, bundle: Bundle, store: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        opened(bundle)
        next(store.glob("*/engine")).write_bytes(b"")
        monkeypatch.setattr(Store, "remove", lambda *_: None)
        assert opened(bundle)({"latents": latents()})
        assert re.search("compiled anew each time", caplog.text)

    def test_a_folder_that_cannot_be_written_is_told_and_done_without(
        self, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "file").write_bytes(b"")
        monkeypatch.setenv("OVERPAINT_ENGINES", str(tmp_path / "file" / "engines"))
        engine = opened(bundle)
        assert re.search("compiled anew each time", caplog.text)
        assert engine({"latents": latents()})["pixels"].shape == (1, 3, 32, 24)
        assert str(tmp_path) not in engine.label

    def test_another_precision_is_another_engine(self, bundle: Bundle, store: Path) -> None:
        opened(bundle, precision="float32", threads=1)
        opened(bundle, precision="float32", threads=2)
        assert len(list(store.glob("*/engine"))) == 2


class TestRefusals:
    def test_unknown_device(self, bundle: Bundle) -> None:
        with pytest.raises(InputError, match="unknown OpenVINO device 'tpu'"):
            opened(bundle, device="tpu")

    def test_unknown_precision(self, bundle: Bundle) -> None:
        with pytest.raises(InputError, match="did you mean 'bfloat16'"):
            opened(bundle, precision="bfloat")

    def test_unknown_shapes(self, bundle: Bundle) -> None:
        with pytest.raises(InputError, match="unknown kind of shapes"):
            opened(bundle, shapes="square")

    def test_a_shape_that_the_graph_has_not(self, bundle: Bundle) -> None:
        with pytest.raises(EngineError, match="latents has shape"):
            opened(bundle)({"latents": np.zeros((1, 3, 8, 8), np.float32)})

    def test_a_closed_engine(self, bundle: Bundle) -> None:
        engine = opened(bundle)
        engine.close()
        with pytest.raises(EngineError, match="closed; load the pipeline again"):
            engine({"latents": latents()})

    def test_a_graph_that_is_none(self, bundle: Bundle, store: Path, tmp_path: Path) -> None:
        (tmp_path / "vae_decoder.onnx").write_bytes(b"nothing")
        with pytest.raises(EngineError, match="vae_decoder: cannot compile the graph"):
            open_engine("openvino", NAME, bundle.graph(NAME), tmp_path, EngineOptions())


@pytest.mark.parametrize(
    ("role", "rows", "side", "only"),
    [
        ("denoiser", 2, 64, False),
        ("denoiser", 3, 64, True),
        ("controlnet", 1, 96, True),
        ("vae_decoder", 2, 128, False),
    ],
)
def test_attention_over_many_positions_is_for_static_graphs(
    bundle: Bundle, role: str, rows: int, side: int, only: bool
) -> None:
    graph = replace(bundle.graph("unet"), role=role)
    compiler = Compiler("unet", graph, bundle.folder / graph.file.path, "CPU", "float32", 0, Store(bundle.folder))
    assert compiler.only_static(((rows, 4, side, side),)) is only
