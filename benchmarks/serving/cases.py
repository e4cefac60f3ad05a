"""The models that are measured: on the fake engine at another device's cost, or on engines that run here."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from overpaint.runtime.model.load import load_model
from overpaint.runtime.model.model import Model
from tests.support.bundles import fake_bundle

from .meter import Cost, Costly

H200_UNET = Cost(4.9e-3, 1.7e-3)
"""Measured are 4.9 ms of one row and 6.6 of two; what more rows take is supposed to go on in this line."""
H200_REST = {"text": Cost(0.69e-3, 0.69e-3), "encode": Cost(5.3e-3, 5.3e-3), "decode": Cost(10.2e-3, 10.2e-3)}
"""The text encoder and the VAE, a prompt and a picture each."""


def fake(rows: int, rest: bool) -> Model:
    """A fake model at the cost of SD 1.5's U-Net on an H200, at most so many rows a call; with the `rest` also of its
    text encoder and VAE."""
    folder = Path(tempfile.mkdtemp(prefix="overpaint-serving-"))
    model = load_model(fake_bundle(folder / "fake").folder, engine="fake")
    stages = model.stages
    stages.denoiser.engine = Costly(stages.denoiser.engine, H200_UNET)
    stages.denoiser.max_rows = rows
    if rest:
        stages.text.engine = Costly(stages.text.engine, H200_REST["text"])
        stages.vae.encoder = Costly(stages.vae.encoder, H200_REST["encode"])
        stages.vae.decoder = Costly(stages.vae.decoder, H200_REST["decode"])
    return model


def real(path: str, options: Mapping[str, Any]) -> Model:
    """A bundle on an engine that runs here."""
    return load_model(path, **options)
