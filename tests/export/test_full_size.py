"""The full-size Stable Diffusion 1.5 configuration with random weights: external data, bounded memory, one run."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest

from overpaint.export import export_bundle
from tests.checkpoints import sd15_checkpoint

onnxruntime = pytest.importorskip("onnxruntime")

UNET_BYTES = 859_520_964 * 4
SPARE = 1.5e9


@contextmanager
def peak_memory() -> Iterator[list[int]]:
    """The peak of this process's own memory meanwhile, in bytes: without pages that merely mirror a file on disk."""
    process, stop = psutil.Process(), threading.Event()
    peak = [0]

    def watch() -> None:
        while not stop.wait(0.05):
            memory = process.memory_info()
            peak[0] = max(peak[0], memory.rss - memory.shared)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        stop.set()
        watcher.join()


@pytest.mark.slow
def test_full_size_export(tmp_path: Path) -> None:
    checkpoint = sd15_checkpoint(tmp_path / "checkpoint")
    stages: list[str] = []
    with peak_memory() as peak:
        bundle = export_bundle(checkpoint, tmp_path / "bundle", report=stages.append)
    assert peak[0] < UNET_BYTES + SPARE
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
