"""Full-size configurations with random weights: external data, bounded memory, one run."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest

from overpaint.bundles.manifest import Bundle
from overpaint.engines.compare import random_feeds
from overpaint.engines.registry import EngineOptions, open_engine
from overpaint.export import export_bundle
from tests.support.checkpoints import sd15_checkpoint
from tests.support.full_size import export_apart, full_size

onnxruntime = pytest.importorskip("onnxruntime")

UNET_BYTES = 859_520_964 * 4
WRITING = 1.5e9
RUNNING = 2.75e9
# What exporting SDXL may take in all, with the pages of mapped files.
XL = 4e9


@contextmanager
def peak_memory() -> Iterator[dict[str, int]]:
    """The peak of this process's own memory by stage, in bytes: without pages that merely mirror a file on disk.

    A stage begins where its name is set to 0; they are in order of beginning.
    """
    process, stop = psutil.Process(), threading.Event()
    peaks = {"": 0}

    def watch() -> None:
        while not stop.wait(0.05):
            memory, stage = process.memory_info(), list(peaks)[-1]
            peaks[stage] = max(peaks[stage], memory.rss - memory.shared)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peaks
    finally:
        stop.set()
        watcher.join()


@pytest.mark.slow
def test_full_size_export(tmp_path: Path) -> None:
    checkpoint = sd15_checkpoint(tmp_path / "checkpoint")
    with peak_memory() as peaks:
        bundle = export_bundle(checkpoint, tmp_path / "bundle", report=lambda stage: peaks.update({stage: 0}))
    # The checkpoint's float32 weights are mapped from disk, so writing them takes no copy; ONNX Runtime holds one.
    assert max(peak for stage, peak in peaks.items() if not stage.endswith("verifying")) < WRITING
    assert max(peaks.values()) < UNET_BYTES + RUNNING
    assert bundle.model.multiple == 8
    unet = bundle.graphs["unet"]
    assert [file.path for file in unet.data] == ["unet.data"]
    assert unet.file.size < 50e6
    assert unet.size > UNET_BYTES
    session = onnxruntime.InferenceSession(bundle.folder / unet.file.path, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    feeds = {
        "sample": rng.standard_normal((2, 4, 33, 41)).astype(np.float32),
        "timestep": np.array([981, 1], np.float32),
        "encoder_hidden_states": rng.standard_normal((2, 77, 768)).astype(np.float32),
    }
    (output,) = session.run(None, feeds)
    assert output.shape == (2, 4, 33, 41)
    assert np.isfinite(output).all()
    shutil.rmtree(tmp_path)


@pytest.mark.slow
def test_full_size_sdxl(tmp_path: Path) -> None:
    """Most of an hour of two cores, 14 GB of disk, and up to 15 GB of memory for ONNX Runtime."""
    checkpoint = full_size(tmp_path / "checkpoint", "sdxl")
    assert export_apart(checkpoint, tmp_path / "bundle") < XL
    shutil.rmtree(checkpoint)
    bundle = Bundle.read(tmp_path / "bundle", verify=False)
    graph = bundle.by_role("denoiser")
    assert graph.weights == "float16"
    assert graph.size < 5.3e9
    feeds = random_feeds(graph.inputs, {"rows": 1, "height": 16, "width": 16, "tokens": 77})
    for backend in ("openvino", "onnxruntime"):
        engine = open_engine(backend, "unet", graph, bundle.folder, EngineOptions(shapes="dynamic"))
        output = engine(feeds)["model_output"]
        engine.close()
        del engine
        assert output.shape == (1, 4, 16, 16)
        assert np.isfinite(output).all()
    shutil.rmtree(tmp_path)
