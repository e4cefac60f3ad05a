"""A real interrupt, as a terminal sends it."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.signals import hearing


@pytest.mark.parametrize("parent", [signal.SIG_IGN, signal.default_int_handler], ids=["deaf", "hearing"])
def test_ctrl_c_ends_with_130_and_leaves_no_file(tmp_path: Path, parent: signal.Handlers) -> None:
    source, out, preview = (tmp_path / f"{name}.png" for name in ("in", "out", "preview"))
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(source)
    options = ["-o", str(out), "--steps", "1000", "--strength", "1", "--engine", "onnxruntime"]
    following = ["--preview", str(preview), "--preview-every", "1"]
    words = [sys.executable, "-m", "overpaint", "img2img", str(source), "fox", *options, *following]
    before = signal.signal(signal.SIGINT, parent)
    try:
        process = hearing(words, stderr=subprocess.PIPE)
    finally:
        signal.signal(signal.SIGINT, before)
    while not preview.exists() and process.poll() is None:  # it is at work, however busy the machine is
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, message = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "interrupted" in message
    assert "Traceback" not in message
    assert set(tmp_path.iterdir()) == {source, preview}
