"""A real interrupt, as a terminal sends it."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image


def test_ctrl_c_ends_with_130_and_leaves_no_file(tmp_path: Path) -> None:
    source, out = tmp_path / "in.png", tmp_path / "out.png"
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(source)
    command = ["img2img", str(source), "fox", "-o", str(out), "--steps", "1000", "--strength", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "overpaint", *command],
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts its background jobs deaf to interrupts, and the tests may be one.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    _, message = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in message
    assert "Traceback" not in message
    assert set(tmp_path.iterdir()) == {source}
