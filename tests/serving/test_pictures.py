"""Pictures of every kind, sent to the server: each is read as it looks, or refused by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from starlette.testclient import TestClient

from overpaint.serving.app import create_app
from overpaint.serving.service import Service
from tests.serving.conftest import text
from tests.serving.test_api import document, pixels

Serve = Callable[..., Service]
ORIENTATION = 0x0112
TURNS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""What turns an upright picture into one that an orientation of EXIF turns back."""
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "I;16")


@pytest.fixture
def client(serve: Serve) -> TestClient:
    return TestClient(create_app(serve(max_pixels=1_000_000)), raise_server_exceptions=False)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize("orientation", TURNS)
def test_a_picture_is_upright_whatever_its_orientation(orientation: int, client: TestClient, picture: Any) -> None:
    exif, turn = Image.Exif(), TURNS[orientation]
    exif[ORIENTATION] = orientation
    upright = Image.fromarray(picture)
    sent = saved(upright if turn is None else upright.transpose(turn), "PNG", exif=exif)
    made = client.post("/v1/jobs?wait=true", json=document(sent, strength=0))
    assert np.array_equal(pixels(made.content), picture)


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_is_read(mode: str, client: TestClient, picture: Any) -> None:
    small = Image.fromarray(picture).convert("RGBA" if mode == "PA" else "L" if mode in ("I;16", "F") else "RGB")
    image = small.convert(mode) if mode not in ("LAB", "PA") else small.convert("P")
    kind = "TIFF" if mode in ("CMYK", "YCbCr", "LAB", "F", "I") else "PNG"
    sent = saved(image if mode != "HSV" else image.convert("RGB"), kind)
    made = client.post("/v1/jobs?wait=true", json=document(sent, steps=2))
    assert made.status_code == 200, made.text
    assert pixels(made.content).shape[:2] == picture.shape[:2]


def test_bombs_are_refused_before_they_are_unpacked(client: TestClient) -> None:
    stream = BytesIO()
    Image.new("1", (30_000, 30_000)).save(stream, "PNG")  # 900 million pixels in a hundred kilobytes
    frames = [Image.new("L", (10, 10), level) for level in range(50)]
    bombs = {
        "png": stream.getvalue(),
        "webp": saved(Image.new("L", (2000, 2000)), "WEBP"),
    }
    for name, sent in bombs.items():
        made = client.post("/v1/jobs?wait=true", json=document(sent))
        assert made.status_code == 400, name
        assert made.json()["error"]["field"] == "image", name
    noted = PngInfo()
    noted.add_text("parameters", "a" * 20_000_000, zip=True)
    for sent in (
        saved(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        saved(frames[0], "PNG", pnginfo=noted),  # which is left where it is
    ):
        assert client.post("/v1/jobs?wait=true", json=document(sent)).status_code == 200


def originals(picture: Any) -> list[bytes]:
    image = Image.fromarray(picture)
    made = [saved(image, kind) for kind in ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "AVIF")]
    return [*made, saved(image.convert("RGBA"), "PNG"), saved(image.convert("P"), "PNG")]


def mutated(files: list[bytes], count: int) -> list[bytes]:
    """Files with bytes changed, cut out, doubled, and cut off."""
    random = np.random.default_rng(11)
    made = []
    for index in range(count):
        data = bytearray(files[index % len(files)])
        for _ in range(int(random.integers(1, 6))):
            place = (
                int(random.integers(len(data))) if random.random() < 0.5 else int(random.integers(min(64, len(data))))
            )
            match int(random.integers(4)):
                case 0:
                    data[place] = int(random.integers(256))
                case 1:
                    data[place] ^= 1 << int(random.integers(8))
                case 2:
                    del data[place : place + int(random.integers(1, 9))]
                case _:
                    data[place:place] = data[place : place + 8]
            if not data:
                break
        if random.random() < 0.1:
            del data[int(random.integers(1, max(2, len(data)))) :]
        made.append(bytes(data))
    return made


def answered(client: TestClient, files: list[bytes]) -> Counter[int]:
    seen = Counter[int]()
    for sent in files:
        options = {"steps": 1, "strength": 1.0, "timeout": 20, "size": [16, 16], "guidance_scale": 1.0}
        made = client.post("/v1/jobs?wait=true", json={**document(sent), **options})
        assert made.status_code in (200, 400), (made.status_code, made.text, text(sent)[:200])
        seen[made.status_code] += 1
    return seen


def test_a_damaged_file_is_read_or_refused(client: TestClient, picture: Any) -> None:
    assert answered(client, mutated(originals(picture), 150)).total() == 150


@pytest.mark.slow
def test_ten_thousand_damaged_files_are_read_or_refused(client: TestClient, picture: Any) -> None:
    print(dict(answered(client, mutated(originals(picture), 10_000))))
    assert client.post("/v1/jobs?wait=true", json=document(originals(picture)[0])).status_code == 200
