"""OpenVINO on the shipped model: what it computes, when it compiles, what it keeps."""

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import wait
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from overpaint import EngineError, InputError
from overpaint.bundles.graph import File
from overpaint.bundles.manifest import Bundle
from overpaint.bundles.store import Store
from overpaint.bundles.tensor import Array
from overpaint.engines.base import Engine
from overpaint.engines.compare import random_feeds
from overpaint.engines.openvino import engine as engine_module
from overpaint.engines.registry import EngineOptions, open_engine
from overpaint.runtime.model.load import MODELS

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


class TestSpecialisation:
    def test_a_shape_that_comes_back_gets_a_static_graph_between_runs(self, auto: engine_module.OpenVinoEngine) -> None:
        static, made = [], []
        for _ in range(3):
            auto.begin_run()
            made.append(auto({"latents": latents()})["pixels"])
            static.append(serving(auto))
            built(auto)
            made.append(auto({"latents": latents()})["pixels"])  # what was built meanwhile waits for the next run
            assert serving(auto) == static[-1]
            assert auto.label.endswith("dynamic")
            auto.end_run()
        assert static == [False, False, True]
        assert {array.tobytes() for array in made} == {made[0].tobytes()}

    @pytest.mark.parametrize("name", ["text_encoder", "unet", "vae_encoder", "vae_decoder"])
    @pytest.mark.parametrize("precision", ["float32", None])
    def test_it_takes_over_where_it_rounds_alike(self, bundle: Bundle, name: str, precision: str | None) -> None:
        engine = opened(bundle, name, precision=precision)
        feeds = random_feeds(engine.inputs, {"rows": 2, "tokens": 77, "height": 16, "width": 24, "h": 8, "w": 6})
        made = []
        for _ in range(3):
            engine.begin_run()
            made.append(b"".join(array.tobytes() for array in engine(feeds).values()))
            built(engine)
            engine.end_run()
        assert serving(engine)
        assert len(set(made)) == 1

    def test_one_that_rounds_otherwise_is_dropped(
        self, auto: engine_module.OpenVinoEngine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        infer = auto._infer

        def other(compiled: engine_module.Compiled, feeds: dict[str, Array]) -> dict[str, Array]:
            return {
                name: array if compiled is auto._dynamic else np.nextafter(array, 9)
                for name, array in infer(compiled, feeds).items()
            }

        monkeypatch.setattr(auto, "_infer", other)
        for _ in range(4):
            auto.begin_run()
            auto({"latents": latents()})
            assert not serving(auto)
            built(auto)
            auto.end_run()
        assert not auto._building

    def test_shapes_that_do_not_come_back_are_not_built(self, auto: engine_module.OpenVinoEngine) -> None:
        for height in (2, 4, 6):
            auto.begin_run()
            auto({"latents": latents(height)})
            auto.end_run()
        assert not auto._building

    def test_nothing_changes_while_another_run_goes_on(self, auto: engine_module.OpenVinoEngine) -> None:
        auto.begin_run()
        for _ in range(3):
            auto.begin_run()
            auto({"latents": latents()})
            built(auto)
            assert not serving(auto)
            auto.end_run()

    @pytest.mark.parametrize("shapes", ["static", "tuned"])
    def test_only_the_last_few_are_kept(self, bundle: Bundle, shapes: str) -> None:
        engine = opened(bundle, shapes=shapes)
        for height in (2, 4, 6, 2):
            engine.begin_run()
            engine({"latents": latents(height)})
            engine.end_run()
        assert [shapes[0][2] for shapes in engine._static] == [6, 2]

    def test_a_large_graph_is_compiled_for_a_runs_first_shapes(
        self, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(engine_module, "LARGE", 0)
        engine, labels = opened(bundle), []
        for heights in ((2,), (4, 2), (2, 4, 6), (6,)):
            engine.begin_run()
            for height in heights:
                engine({"latents": latents(height)})
            labels.append(engine.label.rpartition(", ")[2])
            engine.end_run()
        assert labels == ["static", "static", "dynamic and static", "static"]
        assert not engine._building

    def test_a_failed_build_is_told_and_the_dynamic_graph_goes_on(
        self, auto: engine_module.OpenVinoEngine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object) -> None:
            raise EngineError("no memory left")

        monkeypatch.setattr(engine_module.Compiler, "compile", refuse)
        for _ in range(3):
            auto.begin_run()
            auto({"latents": latents()})
            built(auto)
            auto.end_run()
        assert auto.label.endswith("dynamic, no static graph (no memory left)")


class TestStore:
    def test_a_compiled_graph_is_kept_and_used_again(
        self, bundle: Bundle, store: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = opened(bundle)({"latents": latents()})["pixels"]
        assert len(list(store.glob("vae_decoder.openvino.*/engine"))) == 1
        monkeypatch.setattr(engine_module.Compiler, "read", lambda *_: pytest.fail("compiled again"))
        assert np.array_equal(opened(bundle)({"latents": latents()})["pixels"], first)

    @pytest.mark.parametrize("spoil", [lambda data: data[:-9], lambda data: data[:99] + b"?" + data[100:]])
    def test_an_altered_blob_is_dropped_and_made_anew(self, bundle: Bundle, store: Path, spoil: object) -> None:
        first = opened(bundle)({"latents": latents()})["pixels"]
        blob = next(store.glob("*/engine"))
        blob.write_bytes(spoil(blob.read_bytes()))
        with pytest.warns(UserWarning, match="damaged and is made anew .*altered or cut short"):
            assert np.array_equal(opened(bundle)({"latents": latents()})["pixels"], first)
        opened(bundle)

    def test_a_blob_that_cannot_be_loaded_is_made_anew(self, bundle: Bundle, store: Path) -> None:
        opened(bundle)
        folder = next(store.glob("vae_decoder.*"))
        (folder / "engine").write_bytes(b"of another build")
        record = json.loads((folder / "key.json").read_text())
        record["file"] = asdict(File.of(folder, "engine"))
        (folder / "key.json").write_text(json.dumps(record))
        with pytest.warns(UserWarning, match="made anew .*cannot load"):
            assert opened(bundle)({"latents": latents()})

    def test_an_altered_one_that_cannot_be_removed_is_done_without(
        self, bundle: Bundle, store: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        opened(bundle)
        next(store.glob("*/engine")).write_bytes(b"")
        monkeypatch.setattr(Store, "remove", lambda *_: None)
        with pytest.warns(UserWarning, match="compiled anew each time"):
            assert opened(bundle)({"latents": latents()})

    def test_a_folder_that_cannot_be_written_is_told_and_done_without(
        self, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "file").write_bytes(b"")
        monkeypatch.setenv("OVERPAINT_ENGINES", str(tmp_path / "file" / "engines"))
        with pytest.warns(UserWarning, match="compiled anew each time"):
            engine = opened(bundle)
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


def test_float32_has_no_tiles() -> None:
    assert not engine_module._has_tiles("CPU", "f32")
