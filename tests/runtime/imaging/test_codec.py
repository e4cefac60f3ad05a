from __future__ import annotations

import contextlib
import struct

import numpy as np
import pytest
import torch
from diffusers.image_processor import VaeImageProcessor
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageCms

from overpaint.errors import InputError
from overpaint.runtime.imaging import mask
from overpaint.runtime.imaging.picture import MAX_ASPECT, check_size, from_model, read, to_model
from tests.support.pictures import encoded, noise, png

RNG = np.random.default_rng(1)


# --- modes ---------------------------------------------------------------------------------------------------------


def test_rgb_is_kept_bit_for_bit_from_every_source(tmp_path):
    pixels = noise()
    image, path = Image.fromarray(pixels), tmp_path / "a.png"
    image.save(path)
    for source in (path, str(path), path.read_bytes(), image, pixels):
        picture = read(source)
        np.testing.assert_array_equal(picture.pixels, pixels)
        assert picture.alpha is None
        assert picture.notes == ()
        assert picture.size == (16, 12)
        np.testing.assert_array_equal(np.asarray(picture.image), pixels)


def test_a_picture_is_read_only_and_its_source_is_left_alone():
    pixels = noise()
    picture = read(pixels)
    with pytest.raises(ValueError, match="read-only"):
        picture.pixels[0] = 0
    pixels[:] = 0
    assert picture.pixels.any()


def test_alpha_is_kept_aside():
    pixels = noise(channels=4)
    for source in (encoded(Image.fromarray(pixels)), Image.fromarray(pixels), pixels):
        picture = read(source)
        np.testing.assert_array_equal(picture.pixels, pixels[..., :3])
        np.testing.assert_array_equal(picture.alpha, pixels[..., 3])
        np.testing.assert_array_equal(np.asarray(picture.image), pixels)


def test_grey_with_alpha():
    pixels = noise(channels=2)
    picture = read(encoded(Image.fromarray(pixels, "LA")))
    np.testing.assert_array_equal(picture.pixels, np.repeat(pixels[..., :1], 3, axis=2))
    np.testing.assert_array_equal(picture.alpha, pixels[..., 1])


def test_grey_and_one_bit():
    grey = noise(channels=1)[..., 0]
    np.testing.assert_array_equal(read(encoded(Image.fromarray(grey))).pixels, np.stack([grey] * 3, -1))
    bits = grey > 127
    np.testing.assert_array_equal(read(encoded(Image.fromarray(bits))).pixels, np.stack([bits] * 3, -1) * np.uint8(255))


def palette_image():
    indices = RNG.integers(0, 4, (12, 16), np.uint8)
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 8, 7]], np.uint8)
    image = Image.fromarray(indices, "P")
    image.putpalette(colours.tobytes())
    return indices, colours, image


def test_palette():
    indices, colours, image = palette_image()
    picture = read(encoded(image))
    np.testing.assert_array_equal(picture.pixels, colours[indices])
    assert picture.alpha is None


def test_palette_with_a_transparent_colour_and_with_alpha_values():
    indices, colours, image = palette_image()
    picture = read(encoded(image, transparency=2))
    np.testing.assert_array_equal(picture.pixels, colours[indices])
    np.testing.assert_array_equal(picture.alpha, np.where(indices == 2, 0, 255))
    picture = read(encoded(image, transparency=bytes([255, 128, 0, 7])))
    np.testing.assert_array_equal(picture.alpha, np.array([255, 128, 0, 7])[indices])


def test_palette_with_an_alpha_plane():
    _, _, image = palette_image()
    image = image.convert("PA")
    image.putalpha(Image.fromarray(noise(channels=1)[..., 0]))
    picture = read(image)
    np.testing.assert_array_equal(picture.alpha, np.asarray(image.convert("RGBA"))[..., 3])


def test_a_key_colour_is_alpha():
    rows = np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)
    picture = read(png(8, 2, rows, (b"tRNS", struct.pack(">3H", 4, 5, 6))))
    np.testing.assert_array_equal(picture.alpha, [[255, 0]])
    picture = read(png(16, 0, np.array([[0, 2570, 65535]], ">u2"), (b"tRNS", struct.pack(">H", 2570))))
    np.testing.assert_array_equal(picture.alpha, [[255, 0, 255]])


@pytest.mark.parametrize("mode", ["La", "RGBa"])
def test_premultiplied_images(mode):
    straight = Image.fromarray(noise(channels=4)).convert("LA" if mode == "La" else "RGBA")
    picture = read(straight.convert(mode))
    np.testing.assert_array_equal(picture.alpha, np.asarray(straight)[..., -1])


def test_16_bit_grey_is_scaled_not_clipped(tmp_path):
    levels = np.array([[0, 128, 129, 257, 30000, 65535]], np.uint16)
    expected = np.rint(levels / 257).astype(np.uint8)[..., None].repeat(3, 2)
    Image.fromarray(levels).save(tmp_path / "a.tiff")
    big_endian = Image.frombytes("I;16B", (6, 1), levels.astype(">u2").tobytes())
    whole = Image.fromarray(levels.astype(np.int32))
    for source in (png(16, 0, levels.astype(">u2")), tmp_path / "a.tiff", big_endian, whole, levels):
        picture = read(source)
        np.testing.assert_array_equal(picture.pixels, expected)
        assert picture.notes == ()


def test_16_bit_colour_is_scaled():
    levels = np.array([[[0, 25700, 65535], [30000, 257, 40000]]], np.uint16)
    np.testing.assert_allclose(read(png(16, 2, levels.astype(">u2"))).pixels, levels / 257, atol=1)
    np.testing.assert_array_equal(read(levels).pixels, np.rint(levels / 257))


@pytest.mark.parametrize(
    ("levels", "expected", "note"),
    [
        ([0, 0.5, 1], [0, 128, 255], None),
        ([0, 100, 200], [0, 100, 200], "0 to 255"),
        ([-1, 0, 3], [0, 64, 255], "-1 to 3"),
        ([7e4, 7e4, 7e4], [0, 0, 0], "70000 to 70000"),
    ],
)
def test_float_images(levels, expected, note):
    picture = read(Image.fromarray(np.array([levels], np.float32)))
    np.testing.assert_array_equal(picture.pixels[0, :, 0], expected)
    assert [note in text for text in picture.notes] == ([True] if note else [])


def test_integers_beyond_16_bits_are_noted():
    picture = read(Image.fromarray(np.array([[0, 100000, 200000]], np.int32)))
    np.testing.assert_array_equal(picture.pixels[0, :, 0], [0, 128, 255])
    assert "200000" in picture.notes[0]


@pytest.mark.parametrize("mode", ["I", "I;16", "I;16B"])
def test_integers_of_8_bits_in_a_pillow_image_are_not_black(mode):
    """The same rule for pictures and masks: read as 16 bits their white would be level 1 of 255."""
    levels = np.array([[0, 100, 255]], ">u2" if mode == "I;16B" else np.int32 if mode == "I" else "<u2")
    image = Image.frombytes(mode, (3, 1), levels.tobytes())
    picture = read(image)
    np.testing.assert_array_equal(picture.pixels[0, :, 0], [0, 100, 255])
    assert "8-bit" in picture.notes[0]
    seen = mask.read(image)
    np.testing.assert_array_equal(seen.levels[0], [0, 100, 255])
    assert "8-bit" in seen.notes[0]


def test_a_dark_file_of_16_bits_stays_dark_and_one_of_32_bits_does_not():
    levels = np.array([[0, 100, 255]], np.uint16)
    assert read(png(16, 0, levels.astype(">u2"))).pixels.max() == 1
    assert read(encoded(Image.fromarray(levels), "TIFF")).pixels.max() == 1
    assert read(b"P5 3 1 65535\n" + levels.astype(">u2").tobytes()).pixels.max() == 1
    picture = read(encoded(Image.fromarray(levels.astype(np.int32)), "TIFF"))
    np.testing.assert_array_equal(picture.pixels[0, :, 0], [0, 100, 255])
    assert "8-bit" in picture.notes[0]


def test_nan_levels_are_refused():
    with pytest.raises(InputError, match="NaN"):
        read(Image.fromarray(np.array([[0, np.nan]], np.float32)))


def test_cmyk_jpeg_has_its_colours_not_their_negative():
    """Pillow writes CMYK JPEG with Adobe's marker and inverted, as Photoshop does."""
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    for source in (encoded(red, "JPEG", quality=95), encoded(red, "TIFF")):
        assert np.abs(read(source).pixels.astype(int) - [255, 0, 0]).max() < 12


def test_lab_tiff():
    lab = ImageCms.applyTransform(
        Image.new("RGB", (8, 8), (200, 60, 20)),
        ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"),
    )
    assert np.abs(read(encoded(lab, "TIFF")).pixels.astype(int) - [200, 60, 20]).max() <= 4


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.array([[True, False]]), [[[255] * 3, [0] * 3]]),
        (np.array([[[0.0, 0.5, 1.0]]]), [[[0, 128, 255]]]),
        (np.array([[[7]]], np.uint8), [[[7, 7, 7]]]),
    ],
)
def test_arrays(array, expected):
    np.testing.assert_array_equal(read(array).pixels, expected)


# --- orientation, profiles, frames ---------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_is_applied(orientation, kind):
    """Whatever the orientation says, the upright picture has red, green, blue and white corners."""
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:8, :16], upright[:8, 16:] = (255, 0, 0), (0, 255, 0)
    upright[8:, :16], upright[8:, 16:] = (0, 0, 255), (255, 255, 255)
    # How each orientation stores an upright picture (EXIF 2.3, tag 0x0112: the row 0 and column 0 of the scene).
    stored = [
        upright,
        upright[:, ::-1],
        upright[::-1, ::-1],
        upright[::-1],
        upright.swapaxes(0, 1),
        upright[:, ::-1].swapaxes(0, 1),
        upright[::-1, ::-1].swapaxes(0, 1),
        upright[::-1].swapaxes(0, 1),
    ][orientation - 1]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"exif": exif, **({"lossless": True} if kind == "WEBP" else {})}
    picture = read(encoded(Image.fromarray(np.ascontiguousarray(stored)), kind, **options))
    assert np.abs(picture.pixels.astype(int) - upright).mean() < 8
    assert picture.notes == ()


def test_alpha_turns_with_the_picture():
    pixels = noise(8, 24, 4)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = read(encoded(Image.fromarray(pixels), exif=exif))
    np.testing.assert_array_equal(picture.alpha, np.rot90(pixels[..., 3], -1))
    np.testing.assert_array_equal(picture.pixels, np.rot90(pixels[..., :3], -1))


def test_broken_exif_is_noted():
    pixels = noise()
    picture = read(encoded(Image.fromarray(pixels), exif=b"Exif\0\0nonsense"))
    assert "EXIF" in picture.notes[0]
    np.testing.assert_array_equal(picture.pixels, pixels)


WHITE = (0.9642, 1.0, 0.8249)  # D50, the white of profiles


def xyz_tag(values):
    return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def curve_tag(gamma):
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"


def profile(space, tags):
    """A version 2 display profile made by hand (ICC.1:2001-04, 6.1)."""
    tags = {b"desc": b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + b"\0" * 78, b"wtpt": xyz_tag(WHITE)} | tags
    table, body, start = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for key, data in tags.items():
        table += key + struct.pack(">II", start + len(body), len(data))
        body += data + b"\0" * (-len(data) % 4)
    header = struct.pack(">I4sI4s4s4s", start + len(body), b"lcms", 0x02100000, b"mntr", space, b"XYZ ")
    header = header.ljust(36, b"\0") + b"acsp"
    return header.ljust(68, b"\0") + xyz_tag(WHITE)[8:] + b"\0" * 48 + table + body


def rgb_profile(gamma, red=(0.64, 0.33), green=(0.30, 0.60), blue=(0.15, 0.06)):
    """A profile of primaries in xy and a gamma."""
    columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in (red, green, blue)]).T
    matrix = columns * np.linalg.solve(columns, WHITE)
    tags = dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve_tag(gamma))
    return profile(
        b"RGB ", tags | {key: xyz_tag(col) for key, col in zip((b"rXYZ", b"gXYZ", b"bXYZ"), matrix.T, strict=True)}
    )


def test_a_wide_gamut_profile_is_converted():
    """The same numbers in a wide gamut (Adobe RGB's green, gamma 2.2) are a more saturated colour in sRGB."""
    pixels = np.full((8, 8, 3), (100, 160, 100), np.uint8)
    wide = rgb_profile(2.2, red=(0.68, 0.32), green=(0.21, 0.71), blue=(0.15, 0.06))
    for kind in ("PNG", "JPEG", "WEBP", "TIFF"):
        picture = read(encoded(Image.fromarray(pixels), kind, icc_profile=wide))
        red, green, _ = picture.pixels.reshape(-1, 3).mean(0)
        assert red < 80, kind
        assert 155 < green < 170, kind
        assert picture.notes == ()


def test_a_profile_leaves_white_black_and_alpha_alone():
    pixels = noise(channels=4)
    pixels[0, :, :3], pixels[1, :, :3] = 255, 0
    picture = read(encoded(Image.fromarray(pixels), icc_profile=rgb_profile(1.8)))
    np.testing.assert_array_equal(picture.alpha, pixels[..., 3])
    assert picture.pixels[0].min() >= 254
    assert picture.pixels[1].max() <= 1
    assert np.abs(picture.pixels.astype(int) - pixels[..., :3]).max() > 10


def test_an_srgb_profile_changes_no_pixel():
    pixels = noise()
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    np.testing.assert_array_equal(read(encoded(Image.fromarray(pixels), icc_profile=profile)).pixels, pixels)


def test_grey_under_a_colour_profile():
    grey = np.linspace(0, 255, 64).astype(np.uint8).reshape(8, 8)
    picture = read(encoded(Image.fromarray(grey), icc_profile=rgb_profile(1.8)))
    assert picture.pixels[4, 4, 0] > grey[4, 4]
    assert np.ptp(picture.pixels, axis=2).max() <= 2


@pytest.mark.parametrize("mode", ["L", "LA", "I;16"])
def test_grey_under_a_grey_profile(mode):
    """Gamma 1 makes middle grey light: 0.5 in linear light is 188 in sRGB."""
    grey = Image.new("I;16", (8, 8), 128 * 257) if mode == "I;16" else Image.new("L", (8, 8), 128).convert(mode)
    picture = read(encoded(grey, icc_profile=profile(b"GRAY", {b"kTRC": curve_tag(1.0)})))
    assert picture.notes == ()
    assert np.abs(picture.pixels.astype(int) - 188).max() <= 2


def test_profiles_that_cannot_be_used_are_noted():
    pixels = noise()
    picture = read(encoded(Image.fromarray(pixels), icc_profile=b"this is no profile" * 20))
    assert "unreadable" in picture.notes[0]
    np.testing.assert_array_equal(picture.pixels, pixels)
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    picture = read(encoded(Image.fromarray(pixels), icc_profile=lab))
    assert "Lab" in picture.notes[0]
    np.testing.assert_array_equal(picture.pixels, pixels)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_an_animation_the_first_frame_is_taken(kind):
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    picture = read(encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options))
    assert (picture.pixels == [255, 0, 0]).all()
    assert "3 frames" in picture.notes[0]


# --- what cannot be read -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "cause"),
    [
        ("empty.png", b"", "empty"),
        ("text.png", b"<html>not found</html>" * 20, "not a picture"),
        ("cut.png", encoded(Image.fromarray(noise(64, 64)))[:2000], "truncated"),
        ("cut.jpg", encoded(Image.fromarray(noise(64, 64)), "JPEG")[:2000], "truncated"),
        ("cut.webp", encoded(Image.fromarray(noise(64, 64)), "WEBP")[:1000], "truncated|not a picture"),
        ("start.png", encoded(Image.fromarray(noise()))[:9], "truncated|not a picture"),
        ("bomb.png", png(8, 2, np.zeros((1, 3), np.uint8), size=(40000, 40000)), "limit"),
        ("big.png", png(8, 2, np.zeros((1, 3), np.uint8), size=(9000, 9000)), "limit of 67108864"),
    ],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_bad_files_are_refused_by_name(tmp_path, name, content, cause):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=cause) as caught:
        read(path)
    assert str(path) in str(caught.value)
    with pytest.raises(InputError, match=cause):
        read(content)


def test_missing_files_and_directories_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read(tmp_path / "none.png")
    with pytest.raises(InputError, match="directory"):
        read(tmp_path)
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(InputError, match="cannot be read"):
        read(tmp_path / "file" / "picture.png")


def test_the_limit_of_pixels_is_the_callers():
    with pytest.raises(InputError, match="limit of 100 pixels"):
        read(encoded(Image.fromarray(noise())), max_pixels=100)
    with pytest.raises(InputError, match="limit of 100 pixels"):
        read(Image.fromarray(noise()), max_pixels=100)


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        (np.zeros((3, 8, 8), np.uint8), r"\[3, 8, 8\]"),
        (np.zeros((1, 8, 8, 3), np.uint8), r"\[1, 8, 8, 3\]"),
        (np.zeros((0, 8, 3), np.uint8), r"\[0, 8, 3\]"),
        (np.zeros((8, 8, 3), np.int64), "int64"),
        (np.full((8, 8, 3), 2.0), "scale it"),
        (np.full((8, 8, 3), np.nan), "nan"),
        (Image.new("RGB", (0, 5)), "no pixels"),
        (None, "NoneType"),
        (7, "int"),
    ],
)
def test_other_sources_are_refused(source, cause):
    with pytest.raises(InputError, match=cause):
        read(source)


WHOLE = {
    kind: encoded(Image.fromarray(noise(24, 24)).quantize(8) if kind == "GIF" else Image.fromarray(noise(24, 24)), kind)
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "PPM")
}


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_files_are_read_or_refused_but_never_crash(data):
    content = bytearray(WHOLE[data.draw(st.sampled_from(sorted(WHOLE)))])
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(1, len(content)))]
    with contextlib.suppress(InputError):
        assert read(bytes(content), max_pixels=10**6).pixels.dtype == np.uint8


@pytest.mark.parametrize(
    ("size", "cause"),
    [
        ((7, 64), "at least 8x8"),
        ((64, 0), "at least 8x8"),
        ((16385, 1024), "at most 16384"),
        ((8 * MAX_ASPECT + 1, 8), "32:1"),
    ],
)
def test_sizes_no_model_can_work_on(size, cause):
    with pytest.raises(InputError, match=cause):
        check_size(size, 8)


def test_sizes_at_the_limits():
    for size in ((8, 8), (8, 8 * MAX_ASPECT), (16384, 512)):
        check_size(size, 8)


# --- pixels and tensors --------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 4).map(lambda n: 8 * n), st.just(16), st.just(3))))
def test_pixels_become_what_diffusers_makes_of_them(pixels):
    expected = VaeImageProcessor(vae_scale_factor=8).preprocess(Image.fromarray(pixels)).numpy()
    tensor = to_model(pixels)
    assert tensor.dtype == np.float32
    assert tensor.flags.c_contiguous
    np.testing.assert_array_equal(tensor, expected)
    np.testing.assert_array_equal(from_model(tensor)[0], pixels)


@settings(max_examples=25, deadline=None)
@given(hnp.arrays(np.float32, (2, 3, 8, 16), elements=st.floats(-1.5, 1.5, width=32)))
def test_decoded_values_become_what_diffusers_makes_of_them(decoded):
    expected = VaeImageProcessor(vae_scale_factor=8).postprocess(torch.from_numpy(decoded), output_type="pil")
    for pixels, image in zip(from_model(decoded), expected, strict=True):
        np.testing.assert_array_equal(pixels, np.asarray(image))


def test_truncation_is_that_of_a1111_and_comfyui():
    """At whole levels, next to them and between them: clamp, 255 times, and a cast, in float32."""
    levels = np.arange(-2, 258, 0.25, dtype=np.float32) / 255 * 2 - 1
    nudged = np.concatenate(
        [levels, np.nextafter(levels, -2, dtype=np.float32), np.nextafter(levels, 2, dtype=np.float32)]
    )
    shares = torch.clamp((torch.from_numpy(nudged) + 1.0) / 2.0, min=0.0, max=1.0)
    a1111 = (255.0 * shares.numpy()).astype(np.uint8)
    comfy = np.clip(255.0 * shares.numpy(), 0, 255).astype(np.uint8)
    [made] = from_model(np.broadcast_to(nudged, (1, 3, 1, nudged.size)).copy(), truncate=True)
    np.testing.assert_array_equal(made, np.broadcast_to(a1111[None, :, None], made.shape))
    np.testing.assert_array_equal(a1111, comfy)
    assert (made[0, :, 0] != from_model(np.broadcast_to(nudged, (1, 3, 1, nudged.size)).copy())[0][0, :, 0]).any()


def test_every_rounding_boundary_is_diffusers():
    levels = np.arange(0, 256, 0.5, dtype=np.float32) / 255 * 2 - 1
    nudged = np.concatenate(
        [levels, np.nextafter(levels, -2, dtype=np.float32), np.nextafter(levels, 2, dtype=np.float32)]
    )
    decoded = np.broadcast_to(nudged, (1, 3, 1, nudged.size)).copy()
    [expected] = VaeImageProcessor().postprocess(torch.from_numpy(decoded), output_type="pil")
    np.testing.assert_array_equal(from_model(decoded)[0], np.asarray(expected))
