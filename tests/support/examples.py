"""Pictures for tests: those that ship with the package, by name (what else lies in their folder is somebody's own), and
noise."""

from pathlib import Path

import numpy as np
from PIL import Image

from overpaint.runtime.model.shipped import MODELS

NAMES = ("cat", "fox", "hamburger-sketch", "house-sketch", "octopus", "pizza", "rocket", "strawberry")
EXAMPLES = [MODELS / f"examples/{name}.png" for name in NAMES]


def noise_file(folder: Path, width: int, height: int) -> Path:
    """A PNG of random pixels in a folder, the same ones each time."""
    path = folder / "in.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)).save(path)
    return path
