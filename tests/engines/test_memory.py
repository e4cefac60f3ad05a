"""Memory stays bounded over many sizes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from overpaint.bundles.manifest import Bundle
from overpaint.engines.openvino import engine as engine_module
from overpaint.engines.registry import EngineOptions, open_engine
from overpaint.runtime.model.shipped import MODELS

ROOT = Path(__file__).parents[2]
RUNS = """
import overpaint
from benchmarks.memory import growth, resident
with overpaint.load("tiny", engine="openvino") as pipe:
    print(growth(resident(pipe, 350, (32, 96), 1)))
"""


@pytest.mark.parametrize("name", ["text_encoder", "unet", "vae_encoder", "vae_decoder"])
def test_the_kernels_that_a_graph_for_all_sizes_keeps_are_bounded(name: str) -> None:
    bundle = Bundle.read(MODELS / "tiny", verify=False)
    engine = open_engine("openvino", name, bundle.graph(name), bundle.folder, EngineOptions(shapes="dynamic"))
    assert isinstance(engine, engine_module.OpenVinoEngine)
    assert engine._compiler is not None
    assert engine._compiler._settings(None)["CPU_RUNTIME_CACHE_CAPACITY"] <= 100
    engine.close()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the resident memory from /proc")
def test_it_is_flat_after_the_first_runs() -> None:
    done = subprocess.run(
        [sys.executable, "-c", RUNS], cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 100
