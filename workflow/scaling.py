"""Arrays of pictures and latents at other sizes, with the arithmetic of torch's interpolate that ComfyUI calls."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from PIL import Image

from ..bundles.tensor import Array
from ..errors import unknown

Planes = Array
"""float32 [n, channels, height, width]."""


def resized(planes: Planes, width: int, height: int, method: str, crop: str = "disabled") -> Planes:
    """Planes of another size; with the `crop` "center" what is beyond the new shape is cut off first.

    Raises `InputError` for an unknown method.
    """
    if crop == "center":
        planes = _cropped(planes, width, height)
    if method not in _METHODS:
        raise unknown("method of scaling", method, _METHODS)
    if planes.shape[-2:] == (height, width):
        return planes
    return np.ascontiguousarray(_METHODS[method](planes, width, height), np.float32)


def _cropped(planes: Planes, width: int, height: int) -> Planes:
    """The middle of the planes, of the new shape (comfy/utils.py, common_upscale)."""
    old_height, old_width = planes.shape[-2:]
    old, new = old_width / old_height, width / height
    x = round((old_width - old_width * (new / old)) / 2) if old > new else 0
    y = round((old_height - old_height * (old / new)) / 2) if old < new else 0
    return planes[..., y : old_height - y, x : old_width - x]


def _separable(weights: Callable[[int, int], Array]) -> Callable[[Planes, int, int], Planes]:
    def scale(planes: Planes, width: int, height: int) -> Planes:
        down, across = weights(planes.shape[-2], height), weights(planes.shape[-1], width)
        return np.asarray(np.einsum("yh,nchw,xw->ncyx", down, planes, across, optimize=True))

    return scale


@lru_cache(maxsize=64)
def _nearest(old: int, new: int) -> Array:
    places = np.minimum(((np.arange(new) + 0.5) * (old / new)).astype(int), old - 1)
    return np.asarray(np.eye(old)[places])


@lru_cache(maxsize=64)
def _linear(old: int, new: int) -> Array:
    """Without antialiasing: two neighbours of each place, the first held at the edge."""
    places = np.maximum((np.arange(new) + 0.5) * (old / new) - 0.5, 0)
    low = np.minimum(places.astype(int), old - 1)
    share = (places - low)[:, None]
    identity = np.eye(old)
    return np.asarray(identity[low] * (1 - share) + identity[np.minimum(low + 1, old - 1)] * share)


@lru_cache(maxsize=64)
def _cubic(old: int, new: int) -> Array:
    """Keys' kernel with a = -0.75, as torch has it; neighbours beyond the edge are the edge."""
    a = -0.75
    places = (np.arange(new) + 0.5) * (old / new) - 0.5
    low = np.floor(places).astype(int)
    matrix = np.zeros((new, old))
    for offset in (-1, 0, 1, 2):
        far = np.abs(places - (low + offset))
        near_weight = ((a + 2) * far - (a + 3)) * far * far + 1
        far_weight = ((a * far - 5 * a) * far + 8 * a) * far - 4 * a
        np.add.at(
            matrix, (np.arange(new), np.clip(low + offset, 0, old - 1)), np.where(far <= 1, near_weight, far_weight)
        )
    return matrix


@lru_cache(maxsize=64)
def _area(old: int, new: int) -> Array:
    """Means of the whole pixels that a new one touches: torch's adaptive average."""
    matrix = np.zeros((new, old))
    for place in range(new):
        start, end = place * old // new, -(-(place + 1) * old // new)
        matrix[place, start:end] = 1 / (end - start)
    return matrix


def _lanczos(planes: Planes, width: int, height: int) -> Planes:
    """Pillow's, of pixels cut to 8 bits."""
    scaled = []
    for each in planes:
        channels = [
            Image.fromarray(np.clip(255 * plane, 0, 255).astype(np.uint8)).resize(
                (width, height), Image.Resampling.LANCZOS
            )
            for plane in each
        ]
        scaled.append([np.asarray(channel, np.float32) / 255 for channel in channels])
    return np.array(scaled, np.float32)


def _bislerp(planes: Planes, width: int, height: int) -> Planes:
    """Spherical between two neighbours, along rows and then along columns (comfy/utils.py, bislerp)."""
    across = _slerped(planes, width)
    return _slerped(across.swapaxes(-1, -2), height).swapaxes(-1, -2)


def _slerped(planes: Planes, new: int) -> Planes:
    old = planes.shape[-1]
    # The places and their shares are those of a linear interpolation of 0 ... old - 1.
    places = _linear(old, new) @ np.arange(old)
    low = np.floor(places + 1e-9).astype(int)
    share = np.clip(places - low, 0, 1).astype(np.float32)
    left, right = planes[..., low], planes[..., np.minimum(low + 1, old - 1)]
    norms = [np.linalg.norm(each, axis=1, keepdims=True) for each in (left, right)]
    units = [each / np.where(norm, norm, 1) for each, norm in zip((left, right), norms, strict=True)]
    cosine = (units[0] * units[1]).sum(axis=1, keepdims=True)
    angle = np.arccos(np.clip(cosine, -1, 1))
    sine = np.where(np.sin(angle) == 0, 1, np.sin(angle))
    round_ = np.sin((1 - share) * angle) / sine * units[0] + np.sin(share * angle) / sine * units[1]
    round_ = round_ * (norms[0] * (1 - share) + norms[1] * share)
    mixed = np.where(cosine > 1 - 1e-5, left, round_)
    return np.where(cosine < 1e-5 - 1, left * (1 - share) + right * share, mixed)


_METHODS: dict[str, Callable[[Planes, int, int], Planes]] = {
    "nearest-exact": _separable(_nearest),
    "bilinear": _separable(_linear),
    "area": _separable(_area),
    "bicubic": _separable(_cubic),
    "lanczos": _lanczos,
    "bislerp": _bislerp,
}
PICTURE_METHODS = ("nearest-exact", "bilinear", "area", "bicubic", "lanczos")
LATENT_METHODS = ("nearest-exact", "bilinear", "area", "bicubic", "bislerp")
CROPS = ("disabled", "center")


def scaled_pictures(pictures: Array, width: int, height: int, method: str, crop: str = "disabled") -> Array:
    """Pictures float32 [n, height, width, channels] of another size."""
    planes = resized(pictures.transpose(0, 3, 1, 2), width, height, method, crop)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1))


def scaled_masks(masks: Array, width: int, height: int, method: str = "bilinear", crop: str = "disabled") -> Array:
    """Masks float32 [n, height, width] of another size."""
    return resized(masks[:, None], width, height, method, crop)[:, 0]
