"""A workbench with the shipped model."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from overpaint.runtime.model.model import Model
from overpaint.runtime.model.shipped import MODELS
from overpaint.runtime.pipeline import Pipeline, load
from overpaint.workflow.bench import Workbench

WORKFLOWS = MODELS / "examples/workflows"


@pytest.fixture(scope="session")
def tiny() -> Pipeline:
    return load("tiny")


def fill(folder: Path) -> Path:
    """Give a folder the pictures that the examples load."""
    (folder / "input").mkdir()
    for name in ("cat", "fox", "strawberry", "octopus", "rocket"):
        shutil.copy(MODELS / f"examples/{name}.png", folder / "input")
    hole = np.zeros((64, 64, 4), np.uint8)
    hole[..., :3] = np.asarray(Image.open(MODELS / "examples/fox.png").convert("RGB").resize((64, 64)))
    hole[..., 3] = 255
    hole[16:48, 20:52, 3] = 0
    Image.fromarray(hole).save(folder / "input/hole.png")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return fill(tmp_path)


@pytest.fixture
def bench(tiny: Pipeline, folder: Path) -> Workbench:
    model: Model = tiny.model
    return Workbench({"tiny": model}, folder=folder)
