"""What every test may use."""

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import overpaint
from overpaint.bundles.manifest import Bundle
from overpaint.bundles.upscaler import UpscalerBundle
from tests.support.bundles import fake_bundle
from tests.support.device import cupy as cupy


@pytest.fixture(scope="session", autouse=True)
def built_engines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where engines are built to, instead of into the shipped bundle."""
    folder = tmp_path_factory.mktemp("engines")
    os.environ["OVERPAINT_ENGINES"] = str(folder)
    return folder


@pytest.fixture(scope="session")
def fake_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle for the fake engine."""
    return fake_bundle(tmp_path_factory.mktemp("bundles") / "fake").folder


@pytest.fixture(scope="session")
def inpainting_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny diffusers checkpoint whose U-Net takes 9 channels: latents, mask, latents of the masked picture."""
    from tests.support.checkpoints import conditioned_checkpoint, tiny_checkpoint

    folder = tmp_path_factory.mktemp("inpainting")
    return conditioned_checkpoint(tiny_checkpoint(folder / "base", seed=1), folder / "checkpoint")


@pytest.fixture(scope="session")
def inpainting_bundle(inpainting_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The bundle of `inpainting_checkpoint`."""
    from overpaint.export import export_bundle

    return export_bundle(inpainting_checkpoint, tmp_path_factory.mktemp("inpainting") / "bundle", adapters=())


@pytest.fixture(scope="session")
def upscaler(tmp_path_factory: pytest.TempPathFactory) -> UpscalerBundle:
    """A small Real-ESRGAN x2: its sides are multiples of 2; `tests.support.upscalers.rrdb("realesrgan", 2, 2)`."""
    from overpaint.export.upscaler import export_upscaler
    from tests.support.upscalers import rrdb, write

    folder = tmp_path_factory.mktemp("upscaler")
    return export_upscaler(write(rrdb("realesrgan", 2, 2), folder / "net.pth", "params_ema"), folder / "bundle")


@pytest.fixture
def fake(fake_folder: Path) -> overpaint.Pipeline:
    """A fresh pipeline on the fake engine."""
    return overpaint.load(fake_folder, engine="fake")


@pytest.fixture
def picture() -> NDArray[np.uint8]:
    """Some pixels, uint8 [40, 56, 3]."""
    return np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)
