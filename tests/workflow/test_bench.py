"""What a workbench loads."""

from pathlib import Path

import pytest

import overpaint
from overpaint.workflow.bench import Workbench
from tests.support.bundles import fake_bundle


def test_names_of_one_bundle_share_its_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fake_bundle(tmp_path / "bundle").folder
    handed = overpaint.load(folder, engine="fake").model
    bench = Workbench({"unet": folder, "vae": str(folder), "mine": handed}, loading={"engine": "fake"})
    assert bench.model("unet") is bench.model("vae")
    assert bench.model("mine") is handed
    closed = []
    for model in (bench.model("unet"), handed):
        monkeypatch.setattr(model, "close", lambda model=model: closed.append(model))
    bench.close()
    assert closed == [bench.model("unet")], "what was handed in is its owner's"
