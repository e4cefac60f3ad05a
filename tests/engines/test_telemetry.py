"""Nothing of ours, nor of the libraries below, looks up a host, opens a connection or writes into the home folder.

A child process is watched twice: Python's own sockets by an audit hook, and those of native code, as ONNX Runtime's
telemetry is, by a library that is preloaded in place of libc's functions. What makes system calls without libc, and
what waits for longer than the child lives, is not seen.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from overpaint.runtime.model.shipped import MODELS

AUDIT = """
import os, sys
def hook(event, args):
    outside = event == "socket.connect" and isinstance(args[1], tuple)
    if outside or event in ("socket.getaddrinfo", "socket.gethostbyname"):
        with open(os.environ["OVERPAINT_TEST_LOOKUPS"], "a") as log:
            print(event, args[1:] if outside else args[0], file=log)
sys.addaudithook(hook)
"""
PAINT = """
import numpy as np, overpaint
for engine in ("onnxruntime", "openvino"):
    with overpaint.load({model!r}, engine=engine) as pipe:
        pipe(np.zeros((64, 64, 3), np.uint8), "a fox", steps=2, seed=1)
"""
EXPORT = """
import logging
from pathlib import Path
from overpaint.export import export_bundle
from tests.support.checkpoints import tiny_checkpoint
folder = Path({folder!r})
export_bundle(tiny_checkpoint(folder / "checkpoint"), folder / "bundle")
"""
IMPORTS = "import overpaint.export.bundle, overpaint.export.int8.quantize, overpaint.export.int8.graph"


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is preloaded, compiled."""
    compiler = shutil.which("cc")
    if sys.platform != "linux" or not compiler:
        pytest.skip("native code is watched on Linux, and where there is a C compiler, cc")
    built = tmp_path_factory.mktemp("network") / "network.so"
    source = Path(__file__).parent / "network.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", built, source, "-ldl"], check=True)
    return built


def watched(code: str, folder: Path, library: Path, **variables: str) -> tuple[list[str], list[str]]:
    """What a process of the code looks up or connects to, and the files it leaves in its home folder."""
    home, log = folder / "home", folder / "lookups"
    home.mkdir(parents=True)
    unset = ("OVERPAINT_TELEMETRY", "ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY", "CI", "XDG_CACHE_HOME")
    clean = {name: value for name, value in os.environ.items() if name not in unset}
    watch = {"HOME": str(home), "LD_PRELOAD": str(library), "OVERPAINT_TEST_LOOKUPS": str(log)}
    subprocess.run([sys.executable, "-c", AUDIT + code], check=True, env={**clean, **watch, **variables})
    written = sorted(path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file())
    return log.read_text().splitlines() if log.exists() else [], written


def test_loading_and_running(tmp_path: Path, library: Path) -> None:
    assert watched(PAINT.format(model=str(MODELS / "tiny")), tmp_path, library) == ([], [])


@pytest.mark.slow
def test_exporting(tmp_path: Path, library: Path) -> None:
    assert watched(EXPORT.format(folder=str(tmp_path)), tmp_path, library) == ([], [])


def test_what_exports_and_quantises_is_imported(tmp_path: Path, library: Path) -> None:
    assert watched(IMPORTS, tmp_path, library) == ([], [])


def test_it_can_be_turned_on_again_and_is_seen(tmp_path: Path, library: Path) -> None:
    code = "import overpaint.engines.openvino.engine, overpaint.engines.ort.cpu"
    lookups, written = watched(code, tmp_path, library, OVERPAINT_TELEMETRY="1")
    assert any("google-analytics" in line for line in lookups)
    assert any(path.startswith("intel/") for path in written)


def test_a_value_that_the_user_has_set_stays(tmp_path: Path, library: Path) -> None:
    code = "import os, overpaint.engines.ort.cpu; assert os.environ['ORT_DISABLE_TELEMETRY'] == '0'"
    assert watched(code, tmp_path, library, ORT_DISABLE_TELEMETRY="0")[0] == []


@pytest.mark.slow
def test_the_watch_sees_onnx_runtimes_look_up(tmp_path: Path, library: Path) -> None:
    code = f"""
import time, onnxruntime
session = onnxruntime.InferenceSession({str(MODELS / "tiny/vae_decoder.onnx")!r})
time.sleep(30)
"""
    lookups, written = watched(code, tmp_path, library)
    assert any("events.data" in line for line in lookups)
    assert any("onnxruntime" in path for path in written)
