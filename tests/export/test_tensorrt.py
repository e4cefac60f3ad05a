"""Engines of the shipped model, built by TensorRT-RTX, which needs no GPU for that."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from overpaint import EngineError, InputError
from overpaint.bundles.graph import Range
from overpaint.bundles.manifest import Bundle
from overpaint.bundles.sizes import Sizes
from overpaint.bundles.store import Store
from overpaint.cli import main
from overpaint.engines.tensorrt.built import profiles_of
from overpaint.export import memory
from overpaint.export.tensorrt import Made, Target, build, target
from overpaint.runtime.model.load import find
from tests.support.signals import hearing

pytest.importorskip("tensorrt_rtx", reason="needs tensorrt_rtx")

ONE = Range(1, 1, 1)
SMALL = Sizes((16, 16), (16, 16))
# The smallest graph, in a process of its own that says when the build has begun, and then waits to be dealt with.
SCRIPT = """
import sys, time
from pathlib import Path
from overpaint.bundles.graph import Range
from overpaint.bundles.manifest import Bundle
from overpaint.bundles.sizes import Sizes
from overpaint.export.tensorrt import build, target

def report(name, done):
    print("begun", flush=True)
    while not Path(sys.argv[2]).exists():
        time.sleep(0.02)
    return True

bundle = Bundle.read(Path(sys.argv[1]), verify=False)
sizes = Sizes((16, 16), (16, 16))
(made,) = build(bundle, target("tensorrt_rtx"), [sizes], Range(1, 1, 1), ["text_encoder"], report=report)
print(made.seconds > 0, made.path, flush=True)
"""


@pytest.fixture(scope="session")
def tiny() -> Bundle:
    return Bundle.read(find("tiny"), verify=False)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("OVERPAINT_ENGINES", str(tmp_path / "engines"))
    return Store.of(tmp_path)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, int, str]:
    """All graphs of the shipped model built by the command: the store, the exit code and what was printed."""
    folder = tmp_path_factory.mktemp("engines")
    command = [sys.executable, "-m", "overpaint", "build", "tiny", "--engine", "tensorrt_rtx", "--profile", "64-128"]
    environment = os.environ | {"OVERPAINT_ENGINES": str(folder)}
    done = subprocess.run([*command, "--batch", "1-2"], env=environment, capture_output=True, text=True, check=False)
    return Store(folder), done.returncode, done.stdout + done.stderr


def make(bundle: Bundle, sizes: Sizes = SMALL, aim: Target | None = None, **options: object) -> Made:
    (made,) = build(bundle, aim or target("tensorrt_rtx"), [sizes], ONE, ["text_encoder"], **options)  # type: ignore
    return made


def test_the_command_builds_every_graph(built: tuple[Store, int, str], tiny: Bundle) -> None:
    store, code, printed = built
    assert code == 0, printed
    keys = {key.graph: key for key in tuple(store.built())}
    assert keys.keys() == tiny.graphs.keys()
    for name, key in keys.items():
        path = store.find(key)
        assert path is not None
        assert path.stat().st_size > 1e6
        assert f"{name}: {path.stat().st_size / 1e6:.1f} MB, built in " in printed
        assert key.onnx == tiny.graph(name).sha256
    shapes = {*str(profiles_of(keys["unet"])[0]).split(", ")}
    assert shapes >= {"height 16:16:32", "rows 1:2:4", "tokens 77:77:231", "width 16:16:32"}
    assert shapes >= {"control_mid_channels 1:1:192", "control_mid_height 1:1:8", "image_tokens 1:1:512"}
    assert {key.architecture for key in keys.values()} == {"sm_120 sm_121 sm_80 sm_86 sm_89"}


def test_what_is_there_is_not_built_again(
    built: tuple[Store, int, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("OVERPAINT_ENGINES", str(built[0].folder))
    words = ["--profile", "64-128", "--batch", "1-2", "--graph", "unet", "text_encoder"]
    assert main(["build", "tiny", "--engine", "tensorrt_rtx", *words]) == 0
    assert capsys.readouterr().out.count("was there") == 2


def test_other_profiles_processors_or_content_are_other_engines(tiny: Bundle, store: Store) -> None:
    first = make(tiny)
    assert first.seconds > 0
    assert make(tiny).path == first.path
    assert make(tiny, Sizes((16, 16), (32, 32))).path != first.path
    assert make(tiny, aim=target("tensorrt_rtx", processors=["sm_89"])).path != first.path
    graph = tiny.graph("text_encoder")
    other = replace(tiny, graphs={"text_encoder": replace(graph, file=replace(graph.file, sha256="0" * 64))})
    assert make(other).path != first.path
    assert len(list(store.built())) == 4


def test_a_graph_of_an_unknown_role_is_left_out_and_refused_by_name(tiny: Bundle, store: Store) -> None:
    strange = replace(tiny.graph("text_encoder"), role="oracle")
    bundle = replace(tiny, graphs={"vae_decoder": tiny.graph("vae_decoder"), "strange": strange})
    aim = target("tensorrt_rtx", processors=["sm_89"])
    assert [made.graph for made in build(bundle, aim, [SMALL], ONE)] == ["vae_decoder"]
    with pytest.raises(InputError, match="strange: its role 'oracle' is unknown here"):
        next(build(bundle, aim, [SMALL], ONE, ["strange"]))


def test_progress_rises_to_its_end(tiny: Bundle, store: Store) -> None:
    told: list[float] = []
    make(tiny, report=lambda name, done: told.append(done) or name == "text_encoder")
    assert told == sorted(told)
    assert 0 <= told[0] < 0.5 < told[-1] <= 1


def test_a_build_that_is_cancelled_leaves_nothing(tiny: Bundle, store: Store) -> None:
    with pytest.raises(EngineError, match="text_encoder: the build was cancelled"):
        make(tiny, report=lambda name, done: done < 0.3)
    assert list(store.folder.glob("[!.]*")) == []
    assert make(tiny).seconds > 0


def test_what_the_receiver_raises_ends_the_build(tiny: Bundle, store: Store) -> None:
    def fail(name: str, done: float) -> bool:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        make(tiny, report=fail)
    assert list(store.built()) == []


@pytest.fixture
def other(tiny: Bundle, store: Store, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process in the midst of a build, which goes on when the file "go" appears."""
    command = [sys.executable, "-c", SCRIPT, str(tiny.folder), str(tmp_path / "go")]
    with hearing(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == "begun\n"
        yield process
        process.kill()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_build_that_is_killed_leaves_no_engine_and_holds_up_nobody(
    other: subprocess.Popen[str], tiny: Bundle, store: Store, how: signal.Signals
) -> None:
    other.send_signal(how)
    other.wait()
    assert list(store.built()) == []
    assert make(tiny).seconds > 0
    assert list(store.folder.glob(".*.partial")) == []


def test_an_interrupt_ends_the_build_and_leaves_nothing(
    other: subprocess.Popen[str], store: Store, tmp_path: Path
) -> None:
    other.send_signal(signal.SIGINT)
    time.sleep(0.3)  # it is in its main thread before the build goes on
    (tmp_path / "go").touch()
    _, errors = other.communicate()
    assert "KeyboardInterrupt" in errors
    assert list(store.folder.glob("[!.]*")) == []
    assert list(store.folder.glob(".*.partial")) == []


def test_of_two_processes_one_builds_and_the_other_waits(
    other: subprocess.Popen[str], tiny: Bundle, store: Store, tmp_path: Path
) -> None:
    waited: list[str] = []

    def waiting(name: str) -> None:
        waited.append(name)
        (tmp_path / "go").touch()

    made = make(tiny, waiting=waiting)
    printed, _ = other.communicate()
    assert waited == ["text_encoder"]
    assert made.seconds == 0
    assert printed.splitlines()[-1] == f"True {made.path}"


def test_a_file_that_is_no_graph(tiny: Bundle, store: Store, tmp_path: Path) -> None:
    (tmp_path / "text_encoder.onnx").write_bytes(b"no graph")
    with pytest.raises(EngineError, match=r"text_encoder\.onnx: tensorrt_rtx .* cannot read the graph"):
        make(replace(tiny, folder=tmp_path))
    assert list(store.built()) == []


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("option", ["refittable", "weightless"])
def test_engines_whose_weights_can_change_need_a_gpu(tiny: Bundle, option: str) -> None:
    try:
        make(tiny, aim=target("tensorrt_rtx", **{option: True}))  # type: ignore[arg-type]
    except EngineError as exc:
        assert "need a GPU to be built" in str(exc)  # noqa: PT017 where there is one it works


def test_memory_that_would_not_suffice(tiny: Bundle, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "memory_free", lambda: 2**29)
    with pytest.raises(EngineError, match=r"text_encoder: building takes about 0\.6 GB of memory, 0\.5 GB are free"):
        make(tiny)
    assert list(store.built()) == []


def test_memory_that_is_unknown_is_taken_to_suffice(tiny: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "memory_free", lambda: None)
    memory.check_memory("unet", tiny.graph("unet"), 3)


def test_free_memory_is_read() -> None:
    free = memory.memory_free()
    assert free is not None
    assert 0 < free < 2**50


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--profile", "17"], "17 pixels are no multiple of 4"),
        (["--profile", "huge"], "no size in pixels"),
        (["--batch", "0"], "batch '0'"),
        (["--graph", "unett"], "did you mean 'unet'"),
        (["--processor", "sm_98"], "did you mean 'sm_89'"),
        (["--refittable", "--weightless"], "leave out refittable"),
    ],
)
def test_bad_usage_ends_with_2_before_anything_is_built(
    store: Store, arguments: list[str], reason: str, capsys: pytest.CaptureFixture
) -> None:
    assert main(["build", "tiny", "--engine", "tensorrt_rtx", *arguments]) == 2
    assert reason in capsys.readouterr().err
    assert not store.folder.exists()


def test_a_folder_that_cannot_be_written_ends_with_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("OVERPAINT_ENGINES", str(tmp_path / "file"))
    assert main(["build", "tiny", "--engine", "tensorrt_rtx", "--profile", "16", "--graph", "text_encoder"]) == 1
    assert "name another folder in OVERPAINT_ENGINES" in capsys.readouterr().err
