"""Which built engine runs, and what is said where none can: no GPU is needed, but the library where it is named."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from overpaint import EngineError, InputError
from overpaint.bundles.graph import Check, File, Graph, Range, Receipt
from overpaint.bundles.manifest import Bundle
from overpaint.bundles.profile import Profile
from overpaint.bundles.store import Key, Store
from overpaint.engines import arrays
from overpaint.engines.registry import EngineOptions, open_engine
from overpaint.engines.tensorrt import library as library_module
from overpaint.engines.tensorrt.built import REFITTABLE, WEIGHTLESS, WHOLE, choose, engine_key
from overpaint.engines.tensorrt.engine import Built, TensorRTEngine
from overpaint.engines.tensorrt.library import Messages, check_processor, library
from overpaint.engines.tensorrt.loaded import load
from overpaint.errors import OutOfMemoryError
from overpaint.runtime.model.load import find
from tests.support.tensorrt_stand_in import PROFILES, SCALE, StandInContext, StandInDevice, StandInLibrary, X, Y

GRAPH = Graph(
    "denoiser",
    File("g.onnx", 1, "0"),
    (X, SCALE),
    (Y,),
    {},
    "float16",
    "float16",
    Receipt("test", 1.0, (Check({}, 0.0),)),
)
WIDE, NARROW = PROFILES
WANTED = engine_key("unet", GRAPH, (), "tensorrt_rtx", "1.7.1", "sm_89", WHOLE)
THERE = replace(WANTED, profile=str(WIDE), architecture="sm_86 sm_89")


def advise(lengths: Sequence[Mapping[str, Range]]) -> str:
    return f"run: overpaint build {' '.join(str(dict(axes)['rows'].most) for axes in lengths)}"


class StandInLoaded:
    def __init__(self, device: StandInDevice, profiles: list[Profile]) -> None:
        self.make: Callable[[], StandInContext] = lambda: StandInContext(device, profiles)
        self.contexts = self.saves = 0

    def context(self) -> StandInContext:
        self.contexts += 1
        return self.make()

    def save(self) -> None:
        self.saves += 1


def opened(*engines: list[Profile]) -> tuple[TensorRTEngine, list[StandInLoaded], list[int], StandInDevice]:
    """An engine on these built ones, what each loads, and the numbers of those that were loaded."""
    device, loads = StandInDevice(), list[int]()
    there = [StandInLoaded(device, profiles) for profiles in engines]

    def built(number: int) -> Built:
        def load() -> StandInLoaded:
            loads.append(number)
            return there[number]

        return Built(tuple(engines[number]), load)

    engine = TensorRTEngine(
        "unet", GRAPH, [built(number) for number in range(len(engines))], device, label="it", graphs=True, advice=advise
    )
    return engine, there, loads, device


def feeds(rows: int, width: int) -> dict[str, np.ndarray]:
    return {"x": np.ones((rows, 2, width), np.float32), "scale": np.array(2, np.int64)}


def test_the_narrowest_profile_runs_and_each_has_one_context() -> None:
    engine, (loaded,), _, device = opened(PROFILES)
    assert engine.profiles == (NARROW, WIDE)
    for _ in range(3):
        assert np.all(engine(feeds(2, 4))["y"] == 2)
        assert engine(feeds(2, 5))["y"].shape == (2, 2, 5)
    assert loaded.contexts == 2
    assert device.captures == 2


def test_other_engines_are_loaded_when_their_shapes_come() -> None:
    engine, _, loads, _ = opened([WIDE], [NARROW])
    engine(feeds(1, 4))
    assert loads == [0]
    engine(feeds(2, 4))
    engine(feeds(2, 4))
    assert loads == [0, 1]


def test_a_call_from_outside_a_run_waits_for_its_turn_and_holds_up_nobody() -> None:
    engine, *_ = opened(PROFILES)
    with ThreadPoolExecutor(1) as another:
        with arrays.device_lock("cuda"):  # as a run has it
            waiting = another.submit(engine, feeds(1, 4))
            assert engine(feeds(1, 4))["y"].shape == (1, 2, 4)
            assert not waiting.done()
        assert waiting.result(timeout=10)["y"].shape == (1, 2, 4)


def test_a_shape_outside_every_profile() -> None:
    engine, *_ = opened(PROFILES)
    with pytest.raises(
        EngineError,
        match=r"unet: no engine is built for rows 3, width 4, only for .*rows 2:2:2, width 4:4:4; rows 1:1:2, "
        r"width 4:4:8; run: overpaint build 3",
    ):
        engine(feeds(3, 4))
    engine(feeds(2, 4))


def test_feeds_that_do_not_fit() -> None:
    engine, *_ = opened(PROFILES)
    with pytest.raises(EngineError, match="no value for scale"):
        engine({"x": np.ones((1, 2, 4), np.float32)})


def test_memory_that_does_not_suffice_is_freed_and_the_next_call_works() -> None:
    engine, (loaded,), _, device = opened(PROFILES)
    make = loaded.make

    def fail() -> StandInContext:
        raise OutOfMemoryError("the GPU's memory does not suffice")

    loaded.make = fail
    with pytest.raises(OutOfMemoryError, match="unet: the GPU's memory"):
        engine(feeds(2, 4))
    assert device.trims == 1
    loaded.make = make
    engine(feeds(2, 4))


def test_compiled_kernels_are_kept_when_idle_and_at_the_end() -> None:
    engine, (loaded,), _, _ = opened(PROFILES)
    for _ in range(3):
        engine(feeds(2, 4))
        engine(feeds(1, 4))
        engine.poll()
    assert loaded.saves == 0
    for _ in range(3):
        engine.poll(idle=True)
    assert loaded.saves == 1
    engine.close()
    assert loaded.saves == 2
    with pytest.raises(EngineError, match="unet: the engine is closed"):
        engine(feeds(2, 4))


@pytest.mark.parametrize(("architecture", "runs"), [("sm_89", True), ("sm_90", False), ("sm_130", True)])
def test_a_processor_that_the_library_passes_over(architecture: str, runs: bool) -> None:
    members = {"CURRENT": 0, "SM89": 1, "SM120": 2}
    trt = SimpleNamespace(__version__="1", ComputeCapability=SimpleNamespace(__members__=members))
    expected = nullcontext() if runs else pytest.raises(EngineError, match=r"it is sm_90, .* knows sm_89, sm_120 and")
    with expected:
        check_processor(trt, "tensorrt_rtx", architecture)
    check_processor(SimpleNamespace(__version__="10"), "tensorrt", architecture)


def test_an_engine_for_several_processors_serves_each() -> None:
    assert choose([THERE], WANTED, advise) == [THERE]


def test_engines_that_hold_their_weights_come_first() -> None:
    keys = [replace(THERE, precision=GRAPH.precision + kind) for kind in (WEIGHTLESS, WHOLE, REFITTABLE)]
    assert [key.precision for key in choose(keys, WANTED, advise)] == [
        "float16",
        "float16, refittable",
        "float16, weightless",
    ]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("onnx", "1"),
        ("precision", "float32"),
        ("library", "tensorrt"),
        ("version", "1.6.0"),
        ("architecture", "sm_86 sm_120"),
    ],
)
def test_a_stale_or_foreign_engine_is_refused_with_the_reason_and_the_command(field: str, value: str) -> None:
    with pytest.raises(EngineError, match=rf"unet: .* \({field} is {value}, not .*\); run: overpaint build 2"):
        choose([replace(THERE, **{field: value})], WANTED, advise)


def test_the_nearest_engine_is_the_one_spoken_of() -> None:
    far = replace(THERE, onnx="1", version="1.6.0")
    with pytest.raises(EngineError, match=r"\(version is 1.6.0, not 1.7.1\)"):
        choose([far, replace(THERE, version="1.6.0")], WANTED, advise)


def test_no_engine_of_the_graph() -> None:
    with pytest.raises(EngineError, match="unet: tensorrt_rtx has built no engine of it; run: overpaint build"):
        choose([replace(THERE, graph="vae_decoder")], WANTED, advise)


def test_engines_of_other_kinds_are_not_looked_at() -> None:
    with pytest.raises(EngineError, match="tensorrt_rtx has built no engine"):
        choose([replace(THERE, library="openvino", profile="2x4x64x64")], WANTED, advise)


def test_a_library_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    with pytest.raises(EngineError, match=r"tensorrt_rtx is not installed.*pip install --upgrade 'overpaint\[rtx\]'"):
        library("tensorrt_rtx")


def test_a_library_that_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", SimpleNamespace(__version__="10.3.0.26"))
    with pytest.raises(EngineError, match=r"tensorrt 10\.3\.0\.26 is too old, 10\.14 is the least"):
        library("tensorrt")


def test_a_library_that_does_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise OSError("libcudart.so.13: cannot open shared object file")

    monkeypatch.setattr(library_module, "import_module", fail)
    with pytest.raises(EngineError, match=r"tensorrt cannot be loaded .*libcudart"):
        library("tensorrt")


def test_unknown_libraries() -> None:
    with pytest.raises(InputError, match="did you mean 'tensorrt"):
        library("tensort")


@pytest.mark.parametrize("backend", ["tensorrt", "tensorrt_rtx"])
def test_another_device(backend: str) -> None:
    bundle = Bundle.read(find("tiny"), verify=False)
    with pytest.raises(InputError, match=f"{backend} runs on device 'cuda', not 'cpu'"):
        open_engine(backend, "unet", bundle.graph("unet"), bundle.folder, EngineOptions())


@pytest.mark.parametrize("backend", ["tensorrt", "tensorrt_rtx", "onnxruntime"])
def test_a_precision_that_the_graph_does_not_have(backend: str) -> None:
    bundle = Bundle.read(find("tiny"), verify=False)
    options = EngineOptions("cuda", precision="float16")
    with pytest.raises(InputError, match=f"{backend} computes unet in float32"):
        open_engine(backend, "unet", bundle.graph("unet"), bundle.folder, options)


def test_the_cause_is_told_before_complaints_of_no_gpu() -> None:
    messages = Messages()
    messages.note("no driver (cudaError 35)")
    messages.note("the cause")
    messages.note("the consequence")
    assert messages.first() == "the cause"
    messages.forget()
    assert messages.first() == "the library gives no reason"


def stored(folder: Path, content: bytes, weights: str = WHOLE) -> tuple[Store, Key]:
    store, key = Store(folder), replace(THERE, precision=GRAPH.precision + weights)

    def make(path: Path) -> None:
        path.write_bytes(content)

    store.build(key, make)
    return store, key


def test_compiled_kernels_are_read_again_the_next_time(tmp_path: Path) -> None:
    trt, (store, key) = StandInLibrary(), stored(tmp_path, b"engine")
    first = load(trt, store, key, tmp_path / "g.onnx", "sm_89", advise)
    first.save()
    assert list(tmp_path.glob("*.kernels")) == []
    trt.kernels = b"compiled"
    first.save()
    second = load(trt, store, key, tmp_path / "g.onnx", "sm_89", advise)
    assert trt.calls == ["kernels compiled"]
    assert second.context() == "context"
    assert [path.name for path in tmp_path.glob("*.kernels")] == [f"{key.name}.sm_89.kernels"]
    assert list(Store(tmp_path).built()) == [key]


def test_a_folder_that_cannot_be_written_keeps_no_kernels(tmp_path: Path) -> None:
    trt, (store, key) = StandInLibrary(), stored(tmp_path, b"engine")
    loaded, trt.kernels = load(trt, store, key, tmp_path / "g.onnx", "sm_89", advise), b"compiled"
    shutil.rmtree(tmp_path)
    loaded.save()
    assert not tmp_path.exists()


def test_a_weightless_engine_takes_its_weights_from_the_graph(tmp_path: Path) -> None:
    trt, (store, key) = StandInLibrary(), stored(tmp_path, b"stripped", WEIGHTLESS)
    assert load(trt, store, key, tmp_path / "g.onnx", "sm_89", advise).context() == "context"
    assert trt.calls == [f"weights of {tmp_path / 'g.onnx'}"]


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    trt, (store, key) = StandInLibrary(), stored(tmp_path, b"stripped", WEIGHTLESS)
    trt.fits = False
    with pytest.raises(EngineError, match=r"unet: the weights of .*g\.onnx do not fit the engine \(a weight has"):
        load(trt, store, key, tmp_path / "g.onnx", "sm_89", advise)


def test_memory_for_a_context_that_does_not_suffice(tmp_path: Path) -> None:
    trt, (store, key) = StandInLibrary(), stored(tmp_path, b"engine")
    loaded, trt.memory = load(trt, store, key, tmp_path / "g.onnx", "sm_89", advise), False
    with pytest.raises(EngineError, match=r"memory does not suffice, 3\.0 GB are needed .*\(out of memory\)"):
        loaded.context()
    trt.memory = True
    assert loaded.context() == "context"


@pytest.mark.parametrize("name", ["tensorrt_rtx", "stand-in"])
def test_content_that_is_no_engine(tmp_path: Path, name: str) -> None:
    trt = StandInLibrary() if name == "stand-in" else pytest.importorskip(name, reason=f"needs {name}")
    store, key = stored(tmp_path, b"not an engine" * 100)
    with pytest.raises(
        EngineError, match=r"unet: .* the library refuses the engine \(.*\); to build it again, run: overpaint build 2"
    ):
        load(trt, store, key, tmp_path / "g.onnx", "sm_89", advise)


@pytest.mark.parametrize("content", [b"", b"engin", b"Engine"])
def test_an_engine_that_is_cut_short_or_altered(tmp_path: Path, content: bytes) -> None:
    store, key = stored(tmp_path, b"engine")
    (tmp_path / key.name / "engine").write_bytes(content)
    with pytest.raises(
        EngineError, match=r"altered or cut short; .* build again; to build it again, run: overpaint build 2"
    ):
        load(None, store, key, tmp_path / "g.onnx", "sm_89", advise)


def test_an_engine_that_was_removed(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="unet: the engine was removed"):
        load(None, Store(tmp_path), THERE, tmp_path / "g.onnx", "sm_89", advise)
