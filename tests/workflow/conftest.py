"""A workbench with the shipped model."""

import shutil
from pathlib import Path

import pytest

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
    for name in ("cat", "fox", "masks/hole", "strawberry", "octopus", "rocket"):
        shutil.copy(MODELS / f"examples/{name}.png", folder / "input")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return fill(tmp_path)


@pytest.fixture
def bench(tiny: Pipeline, folder: Path) -> Workbench:
    model: Model = tiny.model
    return Workbench({"tiny": model}, folder=folder)
