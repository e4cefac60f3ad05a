"""Metadata never keeps a picture out: what is damaged or too large of it is left out with a note."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import time
import tracemalloc
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, TiffImagePlugin

from overpaint.errors import InputError
from overpaint.runtime.imaging.metadata import read_parameters
from overpaint.runtime.imaging.picture import read
from tests.support.pictures import chunk, encoded, noise, png

PIXELS = noise(24, 24)
IMAGE = Image.fromarray(PIXELS)
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
MEGABYTE = 2**20


def with_chunks(*chunks, after=False):
    """A PNG file with chunks put in behind its header, or behind its pixels."""
    content = encoded(IMAGE)
    place = content.index(b"IEND") - 4 if after else 8 + 25
    return content[:place] + b"".join(chunks) + content[place:]


def broken(kind, data):
    """A chunk whose checksum is wrong."""
    made = bytearray(chunk(kind, data))
    made[-1] ^= 1
    return bytes(made)


def packed(length):
    return zlib.compress(bytes(length), 9)


def is_read(content, note=None):
    picture = read(content)
    np.testing.assert_array_equal(picture.pixels, PIXELS)
    found = [text for text in picture.notes if "metadata was left out" in text]
    assert len(found) == (note is not None), picture.notes
    assert note is None or note in found[0]
    return picture


@pytest.mark.skipif(not os.path.isdir("/dev/fd"), reason="the system names no open files")
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_picture_is_read_from_a_pipe(kind):
    """As a shell gives it: `overpaint img2img <(cat a.png) ...`."""
    content = encoded(IMAGE, kind)
    reading, writing = os.pipe()
    with open(writing, "wb") as stream:
        stream.write(content)
    try:
        np.testing.assert_array_equal(read(f"/dev/fd/{reading}").pixels, read(content).pixels)
    finally:
        os.close(reading)


# --- PNG -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [False, True], ids=["before the pixels", "after the pixels"])
@pytest.mark.parametrize(
    ("content", "note"),
    [
        (chunk(b"zTXt", b"key\0\0" + packed(2 * MEGABYTE)), "zTXt (too large)"),
        (chunk(b"iTXt", b"key\0\1\0\0\0" + packed(2 * MEGABYTE)), "iTXt (too large)"),
        (chunk(b"iCCP", b"name\0\0" + packed(20 * MEGABYTE)), "iCCP (too large)"),
        (chunk(b"tEXt", b"key\0" + bytes(70 * MEGABYTE)), "tEXt (too large)"),
        (chunk(b"tEXt", b"key\0" + bytes(10 * MEGABYTE)) * 7, "tEXt (too large)"),
        (chunk(b"iTXt", b"key\0\0\0\0\0" + bytes(70 * MEGABYTE)), "iTXt (too large)"),
        (chunk(b"zTXt", b"key\0\0" + packed(MEGABYTE - 9)) * 70, "zTXt (too large)"),
        (chunk(b"eXIf", bytes(70 * MEGABYTE)), "eXIf (too large)"),
        (chunk(b"zTXt", b"key\0\7"), "zTXt (unknown compression)"),
        (chunk(b"zTXt", b"key\0\0nonsense"), "zTXt (damaged)"),
        (chunk(b"iCCP", b"name"), "iCCP (damaged)"),
        (chunk(b"iCCP", b"name\0\7"), "iCCP (damaged)"),
        (chunk(b"tRNS", b"\0"), "tRNS (damaged)"),
        (chunk(b"pHYs", b"\0"), None),
        (chunk(b"gAMA", b""), None),
        (chunk(b"fcTL", b""), None),
        *(
            (broken(kind, b"data"), f"{kind.decode()} (wrong checksum)")
            for kind in (b"tEXt", b"iCCP", b"eXIf", b"pHYs")
        ),
        (broken(b"zTXt", b"key\0\0" + packed(9)), "zTXt (wrong checksum)"),
        (broken(b"prVt", b"own"), "prVt (wrong checksum)"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_png(content, note, after):
    is_read(with_chunks(content, after=after), note)


def test_what_is_sound_stays_beside_what_is_not():
    sound = chunk(b"tEXt", b"parameters\0a fox")
    content = with_chunks(sound, broken(b"pHYs", bytes(9)), chunk(b"zTXt", b"workflow\0\0" + packed(2 * MEGABYTE)))
    is_read(content, "pHYs (wrong checksum), zTXt (too large)")
    assert read_parameters(content) == "a fox"


def test_a_large_profile_is_applied(tmp_path):
    """Profiles with tables can have more than the megabyte that Pillow takes from a PNG."""
    large = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    large = struct.pack(">I", 2 * MEGABYTE) + large[4:] + bytes(2 * MEGABYTE - len(large))
    content = with_chunks(chunk(b"iCCP", b"name\0\0" + zlib.compress(large)))
    assert any("for XYZ" in note for note in read(content).notes)


def test_texts_are_unpacked_within_bounds():
    """A hundred bombs of 100 MB each cost no more than what is allowed of one file's texts."""
    content = with_chunks(*[chunk(b"zTXt", b"key\0\0" + packed(100 * MEGABYTE))] * 100)
    tracemalloc.start()
    start = time.perf_counter()
    is_read(content, "zTXt (too large)")
    assert time.perf_counter() - start < 30  # unbounded: minutes
    assert tracemalloc.get_traced_memory()[1] < 200 * MEGABYTE
    tracemalloc.stop()


def test_a_chunk_cut_short_behind_the_pixels():
    content = with_chunks(chunk(b"tEXt", b"key\0" + b"text" * 99), after=True)
    is_read(content[:-60], "tEXt (cut short)")


@pytest.mark.parametrize("kind", [b"IHDR", b"PLTE", b"IDAT"])
def test_damaged_critical_chunks_are_refused(kind):
    content = bytearray(encoded(IMAGE.quantize(8)))
    place = content.index(kind)
    if kind == b"IDAT":
        content[place + 4 : place + 40] = bytes(36)
    else:
        content[place + 4] ^= 1
    with pytest.raises(InputError, match="damaged"):
        read(bytes(content))


def test_an_unknown_animation_is_no_obstacle():
    """Frame controls that contradict one another, of frames that nobody reads."""
    control = chunk(b"fcTL", struct.pack(">IIIIIHHBB", 5, 999, 999, 0, 0, 1, 1, 0, 0))
    picture = read(with_chunks(chunk(b"acTL", struct.pack(">II", 3, 0)), control, control))
    np.testing.assert_array_equal(picture.pixels, PIXELS)
    assert "3 frames" in picture.notes[0]


# --- JPEG ----------------------------------------------------------------------------------------------------------


def segment(marker, data):
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


@pytest.mark.parametrize(
    ("content", "note"),
    [
        (segment(0xE0, b"JFIF\0"), None),
        (segment(0xEE, b"Adobe"), None),
        (segment(0xED, b"Photoshop 3.0\x008BIM\0\1"), None),
        (segment(0xE2, b"MPF\0MM\0*\0\0\0\x08" + b"\xff" * 40), None),
        (segment(0xFE, b"c" * 65000) * 200, None),
        (segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + b"c" * 65000) * 200, None),
        (segment(0xE1, b"Exif\0\0" + b"c" * 65000) * 200, "EXIF (too large)"),
        (segment(0xE2, b"ICC_PROFILE\0"), "ICC profile (incomplete)"),
        (segment(0xE2, b"ICC_PROFILE\0\1\5" + PROFILE), "ICC profile (incomplete)"),
        (b"\xff\xfe\0\x50abc", "comment (damaged)"),
        (b"\xff\xfe\x7f\0abc", "comment (damaged)"),
        (b"\xff\xe5\0\x10" + b"q" * 100, "APP5 (damaged)"),
        (b"\xff\xfe\0\0", None),
        (segment(0xFE, b"c") + b"\0\0", None),
    ],
)
def test_jpeg(content, note):
    whole = encoded(IMAGE, "JPEG", quality=90)
    start = time.perf_counter()
    picture = read(whole[:2] + content + whole[2:])
    assert time.perf_counter() - start < 20
    np.testing.assert_array_equal(picture.pixels, read(whole).pixels)
    found = [text for text in picture.notes if "metadata was left out" in text]
    assert [note in text for text in found] == ([True] if note else [])


def test_a_preview_is_not_taken_for_the_picture():
    """A segment of EXIF whose length is wrong, and in which there is a whole JPEG."""
    preview = encoded(IMAGE.resize((8, 8)), "JPEG")
    whole = encoded(IMAGE, "JPEG")
    damaged = b"\xff\xe1\x60\x00Exif\0\0" + preview
    with contextlib.suppress(InputError):
        assert read(whole[:2] + damaged + whole[2:]).size == (24, 24)


def test_what_is_used_of_a_jpeg_stays():
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encoded(IMAGE, "JPEG", exif=exif, icc_profile=PROFILE, comment=b"words", quality=100, subsampling=0)
    picture = read(content)
    assert picture.notes == ()
    assert np.abs(picture.pixels.astype(int) - np.rot90(PIXELS, -1)).mean() < 20
    for mode in ("CMYK", "L"):
        assert read(encoded(IMAGE.convert(mode), "JPEG")).size == (24, 24)


# --- other formats -------------------------------------------------------------------------------------------------


def riff(content, *chunks, length=None):
    """A WebP file of the chunks of `content` and more, of odd lengths."""
    body = content[12:] + b"".join(
        kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2) for kind, data in chunks
    )
    return b"RIFF" + struct.pack("<I", 4 + len(body) if length is None else length) + b"WEBP" + body


def test_webp():
    whole = encoded(IMAGE, "WEBP", lossless=True, exif=Image.Exif(), icc_profile=PROFILE, xmp=b"<x/>" * 20)
    is_read(whole)
    for kind in (b"EXIF", b"XMP "):
        place = whole.index(kind) + 4
        for wrong in (10**6, 2**32 - 1):
            content = whole[:place] + struct.pack("<I", wrong) + whole[place + 4 :]
            is_read(content, f"{kind.decode().strip()} (cut short)")
    is_read(whole[:-20], "XMP (cut short)")
    is_read(riff(whole, length=10))
    is_read(riff(whole, (b"junk", bytes(999))))
    is_read(riff(whole, (b"EXIF", bytes(65 * MEGABYTE + 1))), "EXIF (too large)")
    with pytest.raises(InputError, match="damaged"):
        read(whole[: whole.index(b"VP8L") + 500])


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_deflate"])
@pytest.mark.parametrize(
    ("tag", "note"), [(270, None), (305, None), (700, "tag 700"), (34675, "tag 34675"), (33723, None)]
)
def test_tiff(compression, tag, note):
    """A tag of metadata whose type, number or place is nonsense."""
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    for text in (270, 305):
        tags[text] = "text" * 20
    for data in (700, 33723):
        tags[data] = b"data" * 20
    whole = encoded(IMAGE, "TIFF", tiffinfo=tags, icc_profile=PROFILE, compression=compression)
    is_read(whole)
    start = struct.unpack_from("<I", whole, 4)[0]
    [count] = struct.unpack_from("<H", whole, start)
    entries = [start + 2 + 12 * index for index in range(count)]
    [entry] = [place for place in entries if struct.unpack_from("<H", whole, place)[0] == tag]
    for offset, wrong in ((2, b"\x02\0"), (2, b"\x63\0"), (4, b"\xff\xff\xff\x7f"), (8, b"\xff\xff\xff\xff")):
        content = bytearray(whole)
        content[entry + offset : entry + offset + len(wrong)] = wrong
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            is_read(bytes(content), f"tag {tag} (damaged)" if tag in (700, 34675) else None)


def test_tiff_of_several_pages_and_both_orders():
    pages = encoded(IMAGE, "TIFF", save_all=True, append_images=[IMAGE, IMAGE], icc_profile=PROFILE)
    picture = read(pages)
    np.testing.assert_array_equal(picture.pixels, PIXELS)
    assert picture.notes == ("the picture's bytes has 3 frames; the first is used",)
    grey = Image.fromarray(np.arange(256, dtype=np.uint16).reshape(16, 16) * 257)
    for mode in ("I;16", "I;16B"):
        big = Image.frombytes(mode, grey.size, np.asarray(grey).astype(">u2" if mode == "I;16B" else "<u2").tobytes())
        np.testing.assert_array_equal(read(encoded(big, "TIFF")).pixels[..., 0].ravel(), np.arange(256))


def test_gif():
    image = IMAGE.quantize(16)
    whole = encoded(image, "GIF", transparency=3)
    expected = read(whole)
    place = 13 + 3 * 16
    comment = b"!\xfe" + b"".join(b"\xff" + bytes(255) for _ in range(4000)) + b"\0"
    for extension in (comment, b"!\xff\x0bXMP DataXMP\3abc\0", b"!\xf9\x01\0\0", b"!\x01\x01a\0"):
        picture = read(whole[:place] + extension + whole[place:])
        np.testing.assert_array_equal(picture.pixels, expected.pixels)
        np.testing.assert_array_equal(picture.alpha, expected.alpha)
        assert bool(picture.notes) == extension.startswith(b"!\xf9")


WHOLE = {
    "PNG": with_chunks(chunk(b"tEXt", b"key\0text"), chunk(b"zTXt", b"key\0\0" + packed(99)), chunk(b"pHYs", bytes(9))),
    "JPEG": encoded(IMAGE, "JPEG", exif=Image.Exif(), icc_profile=PROFILE, comment=b"words"),
    "WEBP": encoded(IMAGE, "WEBP", lossless=True, exif=Image.Exif(), icc_profile=PROFILE, xmp=b"<x/>"),
    "TIFF": encoded(IMAGE, "TIFF", icc_profile=PROFILE),
    "GIF": encoded(IMAGE.quantize(8), "GIF", comment=b"words", save_all=True, append_images=[IMAGE.quantize(4)]),
}


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_files_with_metadata_are_read_or_refused_but_never_crash(data):
    content = bytearray(WHOLE[data.draw(st.sampled_from(sorted(WHOLE)))])
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(1, len(content)))]
    with contextlib.suppress(InputError):
        assert read(bytes(content), max_pixels=10**6).pixels.dtype == np.uint8


# --- transparent key colours ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_a_key_colour_of_grey(bits):
    levels = np.arange(2 ** min(bits, 8)) * (250 if bits == 16 else 1)
    levels = levels.repeat(8 // min(bits, 8))  # whole bytes
    key = int(levels[-1 - 8 // min(bits, 8)])
    if bits < 8:
        rows = np.packbits((levels[:, None] >> np.arange(bits)[::-1]) & 1)[None]
    else:
        rows = levels[None].astype(">u2" if bits == 16 else np.uint8)
    # The bits above the picture's own are to be ignored (PNG, 11.3.2.1).
    stored = key if bits == 16 else key | 0xFF00
    picture = read(png(bits, 0, rows, (b"tRNS", struct.pack(">H", stored)), size=(1, levels.size)))
    np.testing.assert_array_equal(picture.alpha[0], np.where(levels == key, 0, 255))
    assert 0 in picture.alpha


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("bits", [8, 16])
def test_a_key_colour_of_rgb(bits, interlaced):
    """Of 16 bits all count: a colour with the same high bytes alone stays opaque."""
    near = [[0x1234, 0x5678, 0x9ABC], [0x1235, 0x5678, 0x9ABC], [0x1234, 0x5678, 0x9ABD], [0, 0, 0]]
    levels = np.array([near], np.uint16) if bits == 16 else np.array([near], np.uint16) & 0xFF
    rows = levels.astype(">u2" if bits == 16 else np.uint8)
    content = png(bits, 2, rows, (b"tRNS", struct.pack(">3H", *levels[0, 0])))
    if interlaced:
        passes = [rows[:, :1], rows[:, 2:3], rows[:, 1::2]]  # of a single row: passes 1, 4 and 6
        raw = b"".join(b"\0" + part.tobytes() for part in passes)
        header = struct.pack(">IIBBBBB", 4, 1, bits, 2, 0, 0, 1)
        content = (
            b"\x89PNG\r\n\x1a\n"
            + chunk(b"IHDR", header)
            + chunk(b"tRNS", struct.pack(">3H", *levels[0, 0]))
            + chunk(b"IDAT", zlib.compress(raw))
            + chunk(b"IEND", b"")
        )
    picture = read(content)
    np.testing.assert_array_equal(picture.alpha, [[0, 255, 255, 255]])
    np.testing.assert_array_equal(picture.pixels, levels >> 8 if bits == 16 else levels)


def test_a_key_colour_of_an_image_that_pillow_opened():
    """Pillow spreads the greys of 4 bits over 0 to 255 and leaves the key; of 16-bit colours it drops the low bytes."""
    rows = np.arange(256, dtype=np.uint8)[None]
    content = png(4, 0, rows, (b"tRNS", struct.pack(">H", 3)), size=(1, 512))
    np.testing.assert_array_equal(read(Image.open(io.BytesIO(content))).alpha, read(content).alpha)
    content = png(16, 2, np.zeros((1, 2, 3), ">u2"), (b"tRNS", struct.pack(">3H", 0, 300, 0)))
    picture = read(Image.open(io.BytesIO(content)))
    assert picture.alpha is None
    assert "key colour" in picture.notes[0]
