"""What tests of the scheduler and its clients begin with."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import overpaint
from overpaint import Pipeline, Request
from overpaint.runtime.model.scheduler import Scheduler
from tests.support.engines import Counting


@pytest.fixture
def request_of(picture: NDArray[np.uint8]) -> Request:
    """Ten steps, two rows each."""
    return Request(overpaint.read(picture), "a", seed=1, steps=10, strength=1.0, sampler="euler_a")


@pytest.fixture
def scheduler(fake: Pipeline) -> Scheduler:
    """That of `fake`; its denoiser is counted."""
    fake.denoiser.engine = Counting(fake.denoiser.engine)
    return fake.model.scheduler


@pytest.fixture
def lone(fake_folder: Path) -> Pipeline:
    """A pipeline beside `fake`, for what is made alone."""
    return overpaint.load(fake_folder, engine="fake")
