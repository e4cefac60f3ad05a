"""Formats that Pillow reads with another library: read where it is there, else named with what to install."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from PIL import Image, features

from overpaint.cli import main
from overpaint.errors import InputError
from overpaint.runtime.imaging import formats
from overpaint.runtime.imaging.picture import read
from tests.support.pictures import encoded

PIXELS = np.random.default_rng(0).integers(0, 256, (8, 6, 3), np.uint8).repeat(8, 0).repeat(8, 1)
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40)
JXL = b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(40)


@pytest.fixture
def no_library(monkeypatch):
    """As if no library of those formats were installed."""

    def refuse(name):
        raise ImportError(name)

    monkeypatch.setattr(formats, "import_module", refuse)
    formats._registered.cache_clear()
    yield
    formats._registered.cache_clear()


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(("kind", "library"), [("HEIF", "pillow_heif"), ("JXL", "pillow_jxl"), ("AVIF", None)])
def test_they_are_read_where_the_library_is_there(kind, library, turned, tmp_path):
    if library:
        module = pytest.importorskip(library)
        getattr(module, "register_heif_opener", bool)()
    elif not features.check("avif"):
        pytest.skip("this Pillow was built without AVIF")
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encoded(Image.fromarray(PIXELS), kind, quality=95, **({"exif": exif.tobytes()} if turned else {}))
    upright = np.rot90(PIXELS, -1) if turned else PIXELS
    picture = read(content)
    assert picture.notes == ()
    assert picture.pixels.shape == upright.shape
    assert np.abs(picture.pixels.astype(int) - upright).mean() < 15


@pytest.mark.usefixtures("no_library")
@pytest.mark.parametrize(
    ("name", "content", "title"),
    [
        ("a.heic", HEIC, "HEIC"),
        ("a.HIF", HEIC, "HEIC"),
        ("a.jxl", JXL, "JPEG XL"),
        ("a.jxl", b"\xff\x0a" + JXL, "JPEG XL"),
    ],
)
def test_a_missing_library_is_named_with_its_command(name, content, title, tmp_path, capsys):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"is {title}, .*pip install 'overpaint\[formats\]'"):
        read(path)
    assert main(["img2img", str(path), "fox", "-o", str(tmp_path / "out.png")]) == 2
    assert f"{path}: is {title}" in capsys.readouterr().err


@pytest.mark.usefixtures("no_library")
def test_a_batch_names_them_as_skipped_before_the_model_is_loaded(tmp_path, capsys, monkeypatch):
    loading = importlib.import_module("overpaint.runtime.model.load")
    monkeypatch.setattr(loading, "open_engine", lambda *_: pytest.fail("the model must not be loaded"))
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.heic").write_bytes(HEIC)
    (tmp_path / "in/b.JXL").write_bytes(JXL)
    assert main(["batch", str(tmp_path / "in"), "fox", "-o", str(tmp_path / "out")]) == 3
    captured = capsys.readouterr()
    assert captured.err.count("pip install 'overpaint[formats]'") == 2
    assert "0 already there, 2 skipped" in captured.out


def test_avif_without_pillows_own_reader(monkeypatch):
    monkeypatch.setattr(features, "check", lambda feature: False)
    with pytest.raises(InputError, match="pip install --upgrade pillow"):
        read(b"\0\0\0\x18ftypavif\0\0\0\0mif1avif" + bytes(40))


def test_every_ending_is_looked_for():
    assert {".png", ".jpg", ".webp", ".heic", ".heif", ".hif", ".avif", ".jxl"} <= formats.endings()
