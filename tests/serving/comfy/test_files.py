"""Files over ComfyUI's interface: pictures, settings, the page's own files, and no way to others."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from overpaint.errors import InputError
from overpaint.serving.comfy.frontend import page_folder
from overpaint.serving.settings import Settings
from tests.serving.comfy.conftest import Comfy
from tests.serving.conftest import png

OUTSIDE = (
    "../secret.txt",
    "..%2fsecret.txt",
    "/etc/passwd",
    "a/../../secret.txt",
    "....//secret.txt",
    "\\\\..\\secret.txt",
)


def upload(
    comfy: Comfy, data: bytes, name: str = "a.png", status: int = 200, /, path: str = "image", **fields: Any
) -> Any:
    response = comfy.client.post(f"/upload/{path}", files={"image": (name, data)}, data=fields)
    assert response.status_code == status, response.text
    return response.json()


def test_pictures_are_uploaded_and_seen(comfy: Comfy, file: bytes, mask_file: bytes) -> None:
    assert upload(comfy, file) == {"name": "a.png", "subfolder": "", "type": "input"}
    assert upload(comfy, file)["name"] == "a.png"
    assert upload(comfy, mask_file)["name"] == "a (1).png"
    assert upload(comfy, mask_file, overwrite="true")["name"] == "a.png"
    assert upload(comfy, file, subfolder="deep/er", type="temp")["subfolder"] == "deep/er"
    assert comfy.client.get("/view?filename=a.png&type=input").content == mask_file
    assert comfy.client.get("/view", params={"filename": "a.png [input]", "rand": "1"}).content == mask_file
    assert comfy.client.get("/view?filename=a.png&type=temp&subfolder=deep/er").content == file
    assert "a (1).png [input]" in comfy.get("/internal/files/input")
    upload(comfy, b"", "a.png", 400)
    assert comfy.client.post("/upload/image", data={"image": "text"}).status_code == 400


def test_previews_and_channels(comfy: Comfy) -> None:
    pixels = np.full((4, 6, 4), (10, 20, 30, 128), np.uint8)
    upload(comfy, png(pixels))
    seen = {kind: _seen(comfy, preview=f"{kind};80") for kind in ("webp", "jpeg")}
    assert {kind: image.format for kind, image in seen.items()} == {"webp": "WEBP", "jpeg": "JPEG"}
    assert _seen(comfy, channel="rgb").mode == "RGB"
    assert np.asarray(_seen(comfy, channel="a"))[0, 0].tolist() == [0, 0, 0, 128]


def test_a_mask_is_a_pictures_alpha(comfy: Comfy) -> None:
    upload(comfy, png(np.full((4, 6, 3), 200, np.uint8)))
    mask = png(np.full((4, 6, 4), (0, 0, 0, 7), np.uint8))
    reference = json.dumps({"filename": "a.png", "subfolder": "", "type": "input"})
    assert upload(comfy, mask, "m.png", path="mask", original_ref=reference)["name"] == "m.png"
    image = Image.open(BytesIO(comfy.client.get("/view?filename=m.png&type=input").content))
    assert np.asarray(image)[0, 0].tolist() == [200, 200, 200, 7]
    upload(comfy, mask, "m.png", 400, path="mask", original_ref="odd")
    upload(comfy, mask, "m.png", 404, path="mask", original_ref=reference.replace("a.png", "b.png"))
    upload(comfy, mask, "m.png", 400, path="mask", original_ref=reference.replace("a.png", "../b.png"))


@pytest.mark.parametrize("name", OUTSIDE)
def test_no_path_leads_out(comfy: Comfy, tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "comfy/secret.txt").write_text("secret")
    for kind in ("input", "output", "temp", "user", "odd"):
        answer = comfy.client.get("/view", params={"filename": name, "type": kind})
        assert answer.status_code in (400, 403, 404)
        answer = comfy.client.get("/view", params={"filename": "secret.txt", "type": kind, "subfolder": name[:-10]})
        assert answer.status_code in (400, 403, 404)
    for path in (f"/userdata/{name}", f"/userdata?dir={name}", f"/v2/userdata?path={name}", f"/templates/{name}"):
        assert comfy.client.get(path).status_code in (400, 403, 404)
    assert comfy.client.post(f"/userdata/{name}", content=b"x").status_code in (200, 400, 403, 404)
    for fields in ({"subfolder": name}, {"subfolder": "..", "type": "temp"}):
        comfy.client.post("/upload/image", files={"image": (name, b"data")}, data=fields)
    assert (tmp_path / "secret.txt").read_text() == "secret"
    assert (tmp_path / "comfy/secret.txt").read_text() == "secret"
    assert {path.name for path in tmp_path.iterdir()} <= {"secret.txt", "comfy"}
    assert {path.name for path in (tmp_path / "comfy").iterdir()} == {"input", "output", "temp", "user", "secret.txt"}


def test_links_lead_nowhere(comfy: Comfy, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "comfy/output/link").symlink_to(tmp_path)
    assert comfy.client.get("/view?filename=secret.txt&subfolder=link").status_code == 403
    (tmp_path / "comfy/user/default/link").symlink_to(tmp_path)
    assert comfy.client.get("/userdata/link%2Fsecret.txt").status_code == 403


def test_what_a_browser_would_run_is_sent_as_bytes(comfy: Comfy) -> None:
    for name in ("a.html", "a.svg", "a.js", "a.css", "a.xhtml"):
        upload(comfy, b"<script>", name)
        answer = comfy.client.get("/view", params={"filename": name, "type": "input"})
        assert answer.headers["content-type"] == "application/octet-stream"


def test_settings_are_kept(comfy: Comfy) -> None:
    assert comfy.get("/api/settings/Comfy.Odd") is None
    comfy.post("/settings", **{"Comfy.A": 1, "Comfy.B": {"c": [2]}})
    assert comfy.client.post("/settings/Comfy.A", content='"text"', headers={"content-type": "text/plain"}).is_success
    assert comfy.get("/settings")["Comfy.B"] == {"c": [2]}
    assert comfy.get("/settings/Comfy.A") == "text"
    assert comfy.client.post("/settings/Comfy.A", content="{").status_code == 400


def test_userdata(comfy: Comfy) -> None:
    assert comfy.get("/users") == {"storage": "server", "migrated": True}
    path = "/api/userdata/workflows%2Fmine.json"
    assert comfy.client.post(f"{path}?overwrite=false", content=b"{}").json() == "workflows/mine.json"
    assert comfy.client.post(f"{path}?overwrite=false", content=b"{}").status_code == 409
    about = comfy.client.post(f"{path}?full_info=true", content=b"{ }").json()
    assert (about["path"], about["size"]) == ("workflows/mine.json", 3)
    assert comfy.client.get(path).content == b"{ }"
    assert comfy.get("/userdata", dir="workflows") == ["mine.json"]
    assert comfy.get("/userdata", dir="workflows", full_info="true", recurse="true")[0]["path"] == "mine.json"
    assert {entry["name"] for entry in comfy.get("/v2/userdata", path="")} >= {"workflows", "subgraphs"}
    assert comfy.client.post(f"{path}/move/workflows%2Fyours.json").json() == "workflows/yours.json"
    assert comfy.client.delete("/userdata/workflows%2Fyours.json").status_code == 204
    assert comfy.client.get("/userdata/workflows%2Fyours.json").status_code == 404
    assert comfy.client.get("/userdata").status_code == 400
    assert comfy.client.get("/userdata?dir=none").status_code == 404


def test_what_there_is(comfy: Comfy) -> None:
    for prefix in ("", "/api"):
        info = comfy.get(f"{prefix}/object_info")
        assert info["Work"]["input"]["required"]["how"][0] == ["well", "badly"]
        assert comfy.get(f"{prefix}/object_info/Begin") == {"Begin": info["Begin"]}
        assert comfy.get(f"{prefix}/object_info/Odd") == {}
        assert comfy.get(f"{prefix}/features")["supports_preview_metadata"] is True
        stats = comfy.get(f"{prefix}/system_stats")
        assert stats["system"]["ram_total"] >= stats["system"]["ram_free"] > 0
        assert stats["devices"][0]["type"] == "cpu"
        assert "checkpoints" in comfy.get(f"{prefix}/models")
        assert comfy.get(f"{prefix}/embeddings") == comfy.get(f"{prefix}/extensions") == []
        assert comfy.get(f"{prefix}/i18n") == comfy.get(f"{prefix}/global_subgraphs") == {}
        assert comfy.get(f"{prefix}/experiment/models")[0] == {"name": "checkpoints", "folders": ["checkpoints"]}
    assert comfy.client.get("/models/odd").status_code == 404
    assert comfy.get("/models/embeddings") == []
    assert comfy.client.get("/user.css").headers["content-type"].startswith("text/css")
    assert comfy.get("/templates/index.json")[0]["moduleName"] == "default"
    assert comfy.client.get("/templates/none.json").status_code == 404
    assert comfy.client.post("/free", json={"free_memory": True}).content == b""


def test_the_page_is_served_from_where_it_is(
    connect: Callable[..., Comfy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site/comfyui_frontend_package"
    (package / "static/assets").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "static/index.html").write_text("<p>page</p>")
    (package / "static/assets/a.js").write_text("1")
    with pytest.raises(InputError, match="pip install comfyui-frontend-package"):
        page_folder("installed")
    with pytest.raises(InputError, match=r"no index\.html"):
        page_folder(str(tmp_path))
    monkeypatch.syspath_prepend(package.parent)
    comfy = connect(comfy_frontend="installed")
    assert comfy.client.get("/").text == "<p>page</p>"
    assert comfy.client.get("/").headers["cache-control"] == "no-cache"
    assert "cache-control" not in comfy.client.get("/assets/a.js").headers
    assert comfy.client.get("/..%2f__init__.py").status_code == 404
    assert comfy.get("/queue")["queue_running"] == []


def test_settings_of_the_server() -> None:
    assert Settings(comfy_frontend="installed").comfy_port == 8189
    assert Settings(comfy_frontend="installed", comfy_port=0).comfy_port == 0
    assert Settings().comfy_port is None
    with pytest.raises(InputError, match="comfy_port"):
        Settings(port=8189, comfy_port=8189)
    with pytest.raises(InputError, match="comfy_port"):
        Settings(comfy_port=70000)


def _seen(comfy: Comfy, **query: str) -> Image.Image:
    answer = comfy.client.get("/view", params={"filename": "a.png", "type": "input", **query})
    return Image.open(BytesIO(answer.content))
