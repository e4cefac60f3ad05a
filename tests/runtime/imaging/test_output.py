from __future__ import annotations

import errno
import io
import os
import struct

import numpy as np
import piexif
import piexif.helper
import pytest
from PIL import Image, ImageCms

from overpaint.errors import InputError, OutputError
from overpaint.runtime.imaging import output
from overpaint.runtime.imaging.metadata import read_parameters
from overpaint.runtime.imaging.output import check_writable, encode, numbered, write
from overpaint.runtime.imaging.picture import read

SUFFIXES = [".png", ".jpg", ".jpeg", ".webp", ".PNG"]
DECODER_FACTS = {
    *("jfif", "jfif_version", "jfif_unit", "jfif_density"),
    *("loop", "background", "timestamp", "duration"),
}
RNG = np.random.default_rng(0)


def image(channels=3, height=24, width=32):
    return Image.fromarray(RNG.integers(0, 256, (height, width, channels), np.uint8))


def chunks(data):
    """The kinds of a PNG's chunks."""
    kinds, place = [], 8
    while place < len(data):
        length, kind = struct.unpack(">I4s", data[place : place + 8])
        kinds.append(kind)
        place += length + 12
    return kinds


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize(("suffix", "quality"), [(".png", 95), (".webp", 100)])
def test_lossless_files_give_back_every_pixel_and_alpha(tmp_path, suffix, quality, channels):
    picture, path = image(channels), tmp_path / f"out{suffix}"
    assert write(path, picture, quality=quality) == ()
    np.testing.assert_array_equal(np.asarray(read(path).image), np.asarray(picture))


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_lossy_files_are_near_and_quality_counts(suffix):
    picture = Image.linear_gradient("L").convert("RGB")
    sizes = {}
    for quality in (30, 95):
        data, _ = encode(picture, suffix, quality=quality)
        sizes[quality] = len(data)
    assert np.abs(read(data).pixels.astype(int) - np.asarray(picture)).mean() < 2
    assert sizes[30] < sizes[95]


@pytest.mark.parametrize("text", ["a cat\nSteps: 1, Seed: 2", "Kätzchen – “süß”", "猫 🐈\nNegative prompt: 犬"])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_parameters_are_found_by_us_and_by_a1111s_reader(tmp_path, suffix, text):
    path = tmp_path / f"out{suffix}"
    write(path, image(), text)
    assert read_parameters(path) == text
    with Image.open(path) as opened:
        if suffix.lower() == ".png":
            assert opened.info["parameters"] == text
        else:
            exif = piexif.load(opened.info["exif"])["Exif"]
            assert piexif.helper.UserComment.load(exif[piexif.ExifIFD.UserComment]) == text


def test_png_text_is_latin_1_where_it_can_be():
    assert b"tEXt" in chunks(encode(image(), ".png", "süß")[0])
    assert b"iTXt" in chunks(encode(image(), ".png", "猫")[0])


def test_the_colours_are_declared_srgb():
    assert b"sRGB" in chunks(encode(image(), ".png")[0])
    for suffix in (".jpg", ".webp"):
        exif = piexif.load(Image.open(io.BytesIO(encode(image(), suffix)[0])).info["exif"])
        assert exif["Exif"][piexif.ExifIFD.ColorSpace] == 1


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_strip_leaves_no_metadata_at_all(suffix):
    picture = image()
    picture.info.update(
        exif=piexif.dump({"0th": {piexif.ImageIFD.Artist: b"someone"}}),
        icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
        comment=b"a comment",
        dpi=(300, 300),
        xmp=b"<x/>",
        parameters="of the input",
    )
    data, _ = encode(picture, suffix, "a cat", strip=True)
    opened = Image.open(io.BytesIO(data))
    opened.load()
    assert read_parameters(data) is None
    assert set(opened.info) <= DECODER_FACTS
    if suffix == ".png":
        assert set(chunks(data)) == {b"IHDR", b"IDAT", b"IEND"}
    assert b"someone" not in encode(picture, suffix, "a cat")[0]


def test_jpeg_lays_transparency_on_white_and_says_so():
    picture = Image.new("RGBA", (16, 16), (200, 0, 0, 0))
    data, notes = encode(picture, ".jpg")
    assert "white" in notes[0]
    assert read(data).pixels.min() >= 254
    data, notes = encode(Image.new("RGBA", (16, 16), (200, 0, 0, 255)), ".jpg")
    assert notes == ()


def test_a_file_that_is_there_is_replaced_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "out.png"
    path.write_bytes(b"old")
    write(path, image())
    assert read(path).size == (32, 24)
    assert os.listdir(tmp_path) == ["out.png"]


@pytest.mark.parametrize("length", [240, 241, 250, 255])
def test_a_name_may_be_as_long_as_the_file_system_allows(tmp_path, length):
    path = tmp_path / ("x" * (length - 4) + ".png")
    check_writable(path)
    write(path, image())
    assert os.listdir(tmp_path) == [path.name]


def test_a_name_that_is_no_unicode_is_written(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.png")
    check_writable(path)
    write(path, image())
    assert os.listdir(os.fsencode(tmp_path)) == [b"caf\xe9.png"]
    assert read(path).size == (32, 24)


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "link.png").symlink_to(tmp_path / "real.png")
    write(tmp_path / "link.png", image())
    assert (tmp_path / "link.png").is_symlink()
    assert read(tmp_path / "real.png").size == (32, 24)


def test_the_file_has_the_usual_permissions(tmp_path):
    (tmp_path / "usual").touch()
    write(tmp_path / "out.png", image())
    assert (tmp_path / "out.png").stat().st_mode == (tmp_path / "usual").stat().st_mode


@pytest.mark.parametrize("exc", [KeyboardInterrupt, OSError(errno.ENOSPC, "No space left on device"), MemoryError])
@pytest.mark.parametrize("moment", ["write", "replace"])
def test_an_interrupted_write_leaves_the_old_file_and_no_part(tmp_path, monkeypatch, exc, moment):
    path = tmp_path / "out.png"
    path.write_bytes(b"old")

    def interrupted(part, *_):
        if moment == "write":
            with open(part, "wb") as stream:
                stream.write(b"half")
        raise exc

    monkeypatch.setattr(*((output.Path, "write_bytes") if moment == "write" else (output.os, "replace")), interrupted)
    expected = OutputError if isinstance(exc, OSError) else exc
    with pytest.raises(expected) as caught:
        write(path, image())
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["out.png"]
    if expected is OutputError:
        assert str(path) in str(caught.value)
        assert "No space left" in str(caught.value)
        assert caught.value.__cause__ is exc


def test_writable_paths_are_known_and_left_as_they_are(tmp_path):
    assert check_writable(str(tmp_path / "out.png")) == tmp_path / "out.png"
    (tmp_path / "old.webp").write_bytes(b"old")
    check_writable(tmp_path / "old.webp", (16383, 8))
    assert os.listdir(tmp_path) == ["old.webp"]
    assert (tmp_path / "old.webp").read_bytes() == b"old"


@pytest.mark.parametrize(
    ("name", "error", "cause"),
    [
        ("none/out.png", OutputError, "does not exist"),
        ("file/out.png", OutputError, "does not exist"),
        ("folder.png", OutputError, "is a folder"),
        ("out.gif", InputError, r"'\.gif'.*\.png"),
        ("out", InputError, r"no suffix.*\.webp"),
        ("x" * 300 + ".png", OutputError, "cannot be written"),
    ],
)
def test_paths_that_cannot_be_written(tmp_path, name, error, cause):
    (tmp_path / "file").touch()
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(error, match=cause):
        check_writable(tmp_path / name)


def test_folders_and_files_that_are_write_protected(tmp_path, monkeypatch):
    (tmp_path / "old.png").touch()
    monkeypatch.setattr(output.os, "access", lambda *_: False)
    with pytest.raises(OutputError, match="write-protected"):
        check_writable(tmp_path / "old.png")

    def refused(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(output.Path, "write_bytes", refused)
    with pytest.raises(OutputError, match="Permission denied"):
        check_writable(tmp_path / "new.png")


def test_pictures_too_large_for_the_format(tmp_path):
    with pytest.raises(InputError, match="WEBP holds 16383"):
        check_writable(tmp_path / "out.webp", (16384, 8))
    with pytest.raises(InputError, match="WEBP holds 16383"):
        write(tmp_path / "out.webp", Image.new("RGB", (16384, 8)))


@pytest.mark.parametrize(
    ("suffix", "text", "options", "cause"),
    [
        (".jpg", "x" * 40_000, {}, "too long for JPEG"),
        (".png", "\ud800", {}, "no Unicode"),
        (".jpg", "\ud800", {}, "no Unicode"),
        (".jpg", None, {"quality": 0}, "quality is 0"),
        (".jpg", None, {"quality": 101}, "quality is 101"),
        (".tiff", None, {}, "unknown output format"),
    ],
)
def test_what_cannot_be_encoded(suffix, text, options, cause):
    with pytest.raises(InputError, match=cause):
        encode(image(), suffix, text, **options)


def test_long_parameters_fit_where_there_is_room():
    text = "x" * 40_000
    for suffix in (".png", ".webp"):
        assert read_parameters(encode(image(), suffix, text)[0]) == text
    assert encode(image(), ".jpg", text, strip=True)[0]


def test_a_picture_that_hardly_compresses_is_written():
    picture = image(height=1200, width=1200)
    assert np.abs(read(encode(picture, ".jpg", quality=100)[0]).pixels.astype(int) - np.asarray(picture)).mean() < 2


def test_other_modes_are_refused():
    with pytest.raises(InputError, match="mode L"):
        encode(Image.new("L", (8, 8)), ".png")


def test_numbers():
    assert [path.name for path in numbered("a/out.png", 1)] == ["out.png"]
    assert [str(path) for path in numbered("a/out.v2.png", 2)] == ["a/out.v2-0001.png", "a/out.v2-0002.png"]
