"""One limit of pixels, and JPEGs above it that are reduced while they are read."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from PIL import Image

import overpaint
from overpaint.cli import _parser, main
from overpaint.errors import InputError
from overpaint.runtime import replay
from overpaint.runtime.imaging import mask
from overpaint.runtime.imaging.limits import MAX_PIXELS
from overpaint.runtime.imaging.output import write
from overpaint.runtime.imaging.picture import read
from tests.support.pictures import encoded, png

SMOOTH = np.add.outer(np.arange(300), np.arange(400))[..., None].repeat(3, 2) % 256


@pytest.fixture(autouse=True)
def no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    """A photo of 108 megapixels."""
    path = tmp_path_factory.mktemp("photo") / "photo.jpg"
    Image.linear_gradient("L").resize((12000, 9000), Image.Resampling.NEAREST).save(path, quality=50)
    return path


def test_a_large_photo_is_reduced_where_a_size_is_given(photo, tmp_path, capsys):
    out = tmp_path / "out.png"
    command = ["img2img", str(photo), "fox", "-o", str(out), "--strength", "0", "--engine", "onnxruntime"]
    assert main(command) == 2
    assert "12000x9000 is more than the limit of 67108864 pixels" in capsys.readouterr().err
    assert main([*command, "--size", "64x48"]) == 0
    err = capsys.readouterr().err
    assert "it was read at 6000x4500" in err
    assert "Warning" not in err
    levels = np.asarray(Image.open(out).convert("L")).astype(int)
    assert levels.shape == (48, 64)
    np.testing.assert_allclose(levels.mean(axis=1), np.linspace(0, 255, 48), atol=8)


def test_a_picture_made_from_a_reduced_photo_is_replayed(tmp_path, fake, monkeypatch):
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(encoded(Image.fromarray(SMOOTH.astype(np.uint8)), "JPEG"))
    monkeypatch.setattr(replay, "MAX_PIXELS", 30_000)
    fake.max_pixels = 30_000
    output = fake(photo, "fox", size=(64, 64), steps=2, seed=1).outputs[0]
    assert any("read at 200x150" in note for note in output.notes)
    write(tmp_path / "out.png", output.image, output.parameters, record=output.record)
    assert overpaint.replay(tmp_path / "out.png", pipe=fake).equal


@pytest.mark.parametrize(("limit", "size"), [(120_000, (400, 300)), (119_999, (200, 150)), (30_000, (200, 150))])
def test_a_jpeg_is_reduced_as_little_as_the_limit_allows(limit, size):
    content = encoded(Image.fromarray(SMOOTH.astype(np.uint8)), "JPEG", quality=95)
    picture = read(content, max_pixels=limit, reduce=True)
    assert picture.size == size
    assert bool(picture.notes) == (size != (400, 300))


def test_what_cannot_be_reduced_is_refused():
    image = Image.fromarray(SMOOTH.astype(np.uint8))
    for content in (encoded(image), encoded(image, "JPEG")):
        with pytest.raises(InputError, match=r"limit of 29999 pixels.*--max-pixels"):
            read(content, max_pixels=29_999, reduce=True)
        with pytest.raises(InputError, match="limit of 60000"):
            read(content, max_pixels=60_000)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF"])
def test_a_raised_limit_is_the_only_one(kind, monkeypatch):
    """Pillow's own limit and its warning, here of a few pixels, do not show."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20_000)
    image = Image.fromarray(SMOOTH.astype(np.uint8))
    assert read(encoded(image, kind), max_pixels=120_000).size == (400, 300)


def test_a_bomb_is_refused_whatever_it_is():
    header = png(8, 2, np.zeros((1, 3), np.uint8), size=(2**31 - 1, 2**31 - 1))
    with pytest.raises(InputError, match="limit"):
        read(header)


def test_every_reader_has_the_limit(fake, tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(SMOOTH.astype(np.uint8)).save(path)
    fake.max_pixels = 119_999
    for call in (
        lambda: fake.start(path, "fox"),
        lambda: fake.inpaint(path, path, "fox"),
        lambda: fake.outpaint(path, "fox", left=8),
        lambda: fake.upscale(path, "fox"),
        lambda: fake.grid(path, "fox", {"steps": (1, 2)}),
        lambda: fake.inpaint(SMOOTH.astype(np.uint8), path, "fox"),
        lambda: mask.read(path, max_pixels=119_999),
    ):
        with pytest.raises(InputError, match="limit of 119999"):
            call()


def test_every_command_has_the_option(tmp_path, capsys):
    path = tmp_path / "a.png"
    Image.fromarray(SMOOTH.astype(np.uint8)).save(path)
    out = ["-o", str(tmp_path / "out.png"), "--max-pixels", "119999", "--engine", "onnxruntime"]
    for command in (
        ["img2img", str(path), "fox"],
        ["inpaint", str(path), str(path), "fox"],
        ["outpaint", str(path), "fox", "--left", "8"],
        ["upscale", str(path)],
        ["grid", str(path), "fox", "--steps", "1,2"],
    ):
        assert main([*command, *out]) == 2
        assert "limit of 119999 pixels" in capsys.readouterr().err
    assert main(["batch", str(tmp_path), "fox", "-o", str(tmp_path / "out"), *out[2:]]) == 3
    assert "limit of 119999 pixels" in capsys.readouterr().err


def test_the_commands_default_is_the_librarys():
    assert _parser().parse_args(["upscale", "a.png", "-o", "b.png"]).max_pixels == MAX_PIXELS
