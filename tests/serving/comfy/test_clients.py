"""Unmodified clients of ComfyUI from PyPI: comfy-api-simplified and comfy-toolkit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from tests.serving.comfy.conftest import Comfy, listening, workflow


@pytest.fixture
def address(connect: Callable[..., Comfy]) -> Iterator[str]:
    """Where ComfyUI's interface listens, on the fake engine."""
    comfy = connect(hosts=())
    comfy.runs().gate.set()
    with listening(comfy.app) as found:
        yield found


def test_comfy_api_simplified(address: str, file: bytes, tmp_path: Path) -> None:
    simplified = pytest.importorskip("comfy_api_simplified", reason="comfy-api-simplified is not installed")
    api = simplified.ComfyApiWrapper(address)
    document = simplified.ComfyWorkflowWrapper(workflow())
    document.set_node_param("Shown", "images", ["2", 0])
    pictures = api.queue_and_wait_images(document, "Shown")
    assert [Image.open(BytesIO(data)).size for data in pictures.values()] == [(8, 8)]
    (tmp_path / "mine.png").write_bytes(file)
    assert api.upload_image(tmp_path / "mine.png")["subfolder"] == "default_upload_folder"
    assert api.get_image("mine.png", "default_upload_folder", "input") == file
    assert set(api.get_object_info()) == {"Begin", "Work", "Show"}
    assert api.get_system_stats()["system"]["comfyui_version"]
    assert api.get_embeddings() == []
    assert api.get_queue()["queue_running"] == []
    api.interrupt()
    document = workflow(value=99)
    with pytest.raises(simplified.exceptions.ComfyApiError):
        api.queue_prompt(document)


def test_comfy_toolkit(address: str) -> None:
    toolkit = pytest.importorskip("comfy_toolkit", reason="comfy-toolkit is not installed")
    client = toolkit.ComfyClient(address)
    assert client.is_online()
    assert client.vram_stats()["name"]
    id = client.submit(workflow())
    assert client.wait(id)["status"] == "completed"
    (picture,) = client.wait_for_images(id)
    assert Image.open(BytesIO(client.download(picture))).size == (8, 8)
    assert client.queue_status() == {"running": 0, "pending": 0}
    with pytest.raises(toolkit.ComfySubmitError, match="node_errors"):
        client.submit(workflow(value=99))


def test_comfy_toolkit_follows_progress(address: str) -> None:
    toolkit = pytest.importorskip("comfy_toolkit", reason="comfy-toolkit is not installed")
    pytest.importorskip("websocket", reason="websocket-client is not installed")
    client = toolkit.ComfyClient(address)
    result = client.submit_and_track(workflow())
    assert result["status"] == "completed"
    document = workflow()
    document["2"]["inputs"]["how"] = "badly"
    with pytest.raises(toolkit.ComfyExecutionError):
        client.submit_and_track(document)
