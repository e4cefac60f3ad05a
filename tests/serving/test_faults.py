"""Faults of engines, files and the disk, seen by clients: named, the job's own, and over when their cause is."""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from starlette.testclient import TestClient

from overpaint import EngineError
from overpaint.cli import main
from overpaint.engines.wrapper import Wrapper
from overpaint.errors import OutOfMemoryError
from overpaint.runtime.model.model import Model
from overpaint.serving.app import create_app
from overpaint.serving.service import Service
from tests.serving.conftest import png
from tests.serving.test_api import document
from tests.support.bundles import edit_manifest

Serve = Callable[..., Service]
STAGES = ("text encoder", "encoder", "denoiser", "decoder")


class Faulty(Wrapper):
    """An engine that does what `fault` does with its outputs."""

    fault: Callable[[dict[str, Any]], dict[str, Any]] = staticmethod(lambda outputs: outputs)

    def __call__(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        return self.fault(super().__call__(feeds))


def faulty(model: Model, stage: str) -> Faulty:
    """The engine of a stage, which may be made to fail."""
    stages = model.stages
    place, name = {
        "text encoder": (stages.text, "engine"),
        "encoder": (stages.vae, "encoder"),
        "denoiser": (stages.denoiser, "engine"),
        "decoder": (stages.vae, "decoder"),
    }[stage]
    made = Faulty(getattr(place, name))
    setattr(place, name, made)
    return made


def raising(error: Exception) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def fail(outputs: dict[str, Any]) -> dict[str, Any]:
        raise error

    return fail


def nan(outputs: dict[str, Any]) -> dict[str, Any]:
    return {name: np.full_like(array, np.nan) for name, array in outputs.items()}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(
    ("fault", "status", "kind"),
    [
        (nan, 500, "model_output"),
        (raising(OutOfMemoryError("no memory is left")), 503, "out_of_memory"),
        (raising(EngineError("the driver is gone")), 500, "engine"),
        (raising(RuntimeError("/a/secret/path")), 500, "server"),
    ],
)
def test_a_fault_at_any_stage_is_named_and_makes_no_picture(
    stage: str, fault: Any, status: int, kind: str, serve: Serve, model: Model, file: bytes
) -> None:
    engine = faulty(model, stage)
    client = TestClient(create_app(serve()), raise_server_exceptions=False)
    engine.fault = fault
    for verb in ({}, {"verb": "outpaint", "right": 16}):
        answer = client.post("/v1/jobs?wait=true", json=document(file, strength=0.5, steps=8, **verb))
        assert (answer.status_code, answer.json()["error"]["type"]) == (status, kind), answer.text
        assert "secret" not in answer.text
    engine.fault = Faulty.fault
    after = client.post("/v1/jobs?wait=true", json=document(file))
    assert after.status_code == 200, after.text  # nothing of it is kept, such as an encoding
    assert client.get("/healthz").status_code == 200


def test_a_full_disk_fails_no_call(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any, **options: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    for name in ("TemporaryFile", "NamedTemporaryFile", "mkstemp"):
        monkeypatch.setattr(tempfile, name, full)
    client = TestClient(create_app(serve()), raise_server_exceptions=False)
    large = png(np.random.default_rng(0).integers(0, 256, (800, 800, 3), np.uint8))
    assert len(large) > 2**20  # which a form's reader writes to a file
    fields = {"prompt": "a", "steps": "2", "strength": "0.5", "size": "[64, 64]"}
    answer = client.post("/v1/jobs?wait=true", data=fields, files={"image": ("in.png", large)})
    assert answer.status_code == 200, answer.text


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of tiny, to be spoilt."""
    shutil.copytree(Path(__file__).parents[2] / "models/tiny", tmp_path / "tiny")
    return tmp_path / "tiny"


def refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What the server says instead of serving a bundle."""
    assert main(["serve", "--port", "0", "--models", f"it={folder}", "--engine", "onnxruntime"]) in (1, 2)
    return capsys.readouterr().err


def test_a_bundle_that_was_altered_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = max(folder.glob("*.onnx*"), key=lambda each: each.stat().st_size)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert path.name in refused(folder, capsys)
    path.write_bytes(data[: len(data) // 2])
    assert path.name in refused(folder, capsys)
    path.unlink()
    assert path.name in refused(folder, capsys)


@pytest.mark.parametrize("name", ["../outside.onnx", "/etc/passwd", "a/../../outside.onnx"])
def test_a_bundle_that_names_files_outside_it_is_refused(
    name: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = json.loads((folder / "bundle.json").read_text())
    graphs = manifest["graphs"]
    first = next(iter(graphs.values()))
    first["file"]["path"] = name
    edit_manifest(folder, graphs=graphs)
    said = refused(folder, capsys)
    assert name in said
    assert "Traceback" not in said


def test_external_data_outside_a_bundle_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = json.loads((folder / "bundle.json").read_text())
    entry = next(iter(manifest["graphs"].values()))["file"]
    path = folder / entry["path"]
    secret = folder.parent / "secret"
    secret.write_bytes(bytes(10_000))
    graph = onnx.load(path, load_external_data=False)
    tensor = max(graph.graph.initializer, key=lambda each: len(each.raw_data))
    size = len(tensor.raw_data)
    secret.write_bytes(bytes(size))
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", "../secret"), ("offset", "0"), ("length", str(size))):
        tensor.external_data.add(key=key, value=value)
    path.write_bytes(graph.SerializeToString())
    data = path.read_bytes()
    entry["sha256"], entry["size"] = hashlib.sha256(data).hexdigest(), len(data)
    edit_manifest(folder, graphs=manifest["graphs"])
    shutil.rmtree(folder / "engines", ignore_errors=True)
    said = refused(folder, capsys)
    assert "secret" in said or "external" in said, said


def test_pickles_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "evil.pt"
    path.write_bytes(b"\x80\x04cos\nsystem\n(S'touch " + str(tmp_path / "ran").encode() + b"'\ntR.")
    for flags in (["--embeddings", str(path)], ["--models", str(path)], ["--upscalers", f"x={path}"]):
        assert main(["serve", "--port", "0", "--engine", "onnxruntime", *flags]) in (1, 2)
        assert capsys.readouterr().err
    assert not (tmp_path / "ran").exists()
