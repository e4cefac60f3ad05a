"""Colour: whatever mode and profile a Pillow image has, as 8-bit sRGB and alpha."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image, ImageCms

from ...bundles.tensor import Array
from ...errors import InputError

_INTEGER = {"I", "I;16", "I;16B", "I;16L", "I;16N"}
_DEEP = {"F", *_INTEGER}
_WHITES = {"F": (1.0, 255.0)}
_STRAIGHT = {"La": "LA", "RGBa": "RGBA"}
_PROFILE_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab": "LAB"}
_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))

# Profiles that move no colour further than this many levels are sRGB by another maker: pixels then stay as they are.
_SRGB_TOLERANCE = 2


def alpha_of(image: Image.Image) -> Array | None:
    """The alpha of a loaded image, uint8 [height, width], also where a palette or a key colour (tRNS) holds it."""
    if image.mode in _DEEP:
        key = image.info.get("transparency")
        return None if key is None else np.where(np.asarray(image) == key, 0, 255).astype(np.uint8)
    if not image.has_transparency_data or image.mode == "CMYK":
        return None
    return np.array(_straight(image).convert("RGBA").getchannel("A"))


def to_srgb(image: Image.Image, notes: list[str]) -> Array:
    """The colours of a loaded image, uint8 [height, width, 3] in sRGB; says in `notes` what could not be kept.

    Raises `InputError` for a float image with NaN or infinity.
    """
    base = _deep_to_grey(image, notes) if image.mode in _DEEP else _without_alpha(_straight(image))
    profile = image.info.get("icc_profile")
    if profile:
        base = _apply_profile(base, profile, notes)
    if base.mode == "LAB":
        base = _transform(base, ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")))
    return np.asarray(base if base.mode == "RGB" else base.convert("RGB"))


def _straight(image: Image.Image) -> Image.Image:
    return image.convert(_STRAIGHT[image.mode]) if image.mode in _STRAIGHT else image


def _without_alpha(image: Image.Image) -> Image.Image:
    if image.mode in ("L", "RGB", "CMYK", "LAB"):
        return image
    if image.mode in ("1", "LA"):
        return image.convert("L")
    # By way of RGBA, because Pillow warns of a palette's alpha that is lost on the way to RGB.
    return image.convert("RGBA").convert("RGB") if image.mode == "P" else image.convert("RGB")


def _deep_to_grey(image: Image.Image, notes: list[str]) -> Image.Image:
    """Grey of more than 8 bits as "L".

    Integers are 16-bit levels, or 8-bit ones where a Pillow image or a file of 32 bits has none above 255: its white
    would be nearly black. Floats are in [0, 1], or else in Pillow's [0, 255]. Other ranges are stretched.
    """
    levels = np.asarray(image).astype(np.float64)
    if not np.isfinite(levels).all():
        raise InputError("the picture has NaN or infinite levels; replace them and save it again")
    low, high = float(levels.min()), float(levels.max())
    if _is_undeclared(image) and low >= 0 and high <= 255:
        notes.append(f"no level of the image of mode {image.mode} is above 255; it is read as 8-bit")
        return Image.fromarray(levels.astype(np.uint8))
    fitting = [white for white in _WHITES.get(image.mode, (65535.0,)) if low >= 0 and high <= white]
    black, white = (0.0, fitting[0]) if fitting else (low, high)
    if white not in (1.0, 65535.0):
        notes.append(f"levels from {low:g} to {high:g} are taken to range from {black:g} to {white:g}")
    return Image.fromarray(np.rint((levels - black) * (255 / (white - black or 1))).astype(np.uint8))


def _is_undeclared(image: Image.Image) -> bool:
    """Whether nothing says how many bits an image's integers have: formats of 16 bits do, and PPM's scale to them."""
    return image.mode in _INTEGER and (image.format is None or (image.mode == "I" and image.format != "PPM"))


def _apply_profile(image: Image.Image, data: bytes, notes: list[str]) -> Image.Image:
    try:
        profile = ImageCms.ImageCmsProfile(BytesIO(data))
        space = profile.profile.xcolor_space.strip()
        mode = _PROFILE_MODES.get(space)
        if mode == "RGB" and image.mode == "L":
            image = image.convert("RGB")
        if mode != image.mode:
            notes.append(f"the ICC profile is for {space}, the picture is {image.mode}; the profile is ignored")
            return image
        return image if _is_srgb(profile, mode) else _transform(image, profile)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as exc:
        notes.append(f"the ICC profile is unreadable ({exc}); the colours are taken to be sRGB")
        return image


def _is_srgb(profile: ImageCms.ImageCmsProfile, mode: str) -> bool:
    if mode != "RGB":
        return False
    steps = np.linspace(0, 255, 9).astype(np.uint8)
    probe = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(27, 27, 3)
    seen = np.asarray(_transform(Image.fromarray(probe), profile)).astype(int)
    return bool(np.abs(seen - probe).max() <= _SRGB_TOLERANCE)


def _transform(image: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image:
    transform = ImageCms.buildTransform(profile, _SRGB, image.mode, "RGB")
    return transform.apply(image)
