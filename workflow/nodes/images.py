"""Nodes of pictures' pixels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...bundles.tensor import Array
from ..context import Context
from ..node import node, outputs
from ..pixels import composed, convolved, gaussian
from ..scaling import scaled_pictures
from ..sockets import choice, decimal, flag, integer, link
from ..values import UpscaleNet
from .files import eight_bits

IMAGE = link("IMAGE")
GIVES = outputs("IMAGE")


@node(
    "EmptyImage",
    needed={
        "width": integer(512, 1, 16384),
        "height": integer(512, 1, 16384),
        "batch_size": integer(1, 1, 4096),
        "color": integer(0, 0, 0xFFFFFF, display="color"),
    },
    outputs=GIVES,
    category="image",
)
def empty_image(context: Context, width: int, height: int, batch_size: int, color: int) -> Array:
    """Pictures of one colour, 0xRRGGBB."""
    levels = np.array([color >> 16 & 255, color >> 8 & 255, color & 255], np.float32) / np.float32(255)
    return np.broadcast_to(levels, (batch_size, height, width, 3)).copy()


@node("ImageInvert", needed={"image": IMAGE}, outputs=GIVES, display="Invert Image", category="image")
def image_invert(context: Context, image: Array) -> Array:
    """1 minus the picture."""
    return 1 - image


@node("ImageBatch", needed={"image1": IMAGE, "image2": IMAGE}, outputs=GIVES, display="Batch Images", category="image")
def image_batch(context: Context, image1: Array, image2: Array) -> Array:
    """Both, the second scaled to the first one's size."""
    if image1.shape[1:3] != image2.shape[1:3]:
        image2 = scaled_pictures(image2, image1.shape[2], image1.shape[1], "bilinear", "center")
    channels = min(image1.shape[3], image2.shape[3])
    return np.concatenate([image1[..., :channels], image2[..., :channels]])


@node(
    "RebatchImages",
    needed={"images": IMAGE, "batch_size": integer(1, 1, 4096)},
    outputs=GIVES,
    display="Rebatch Images",
    category="image/batch",
)
def rebatch_images(context: Context, images: Array, batch_size: int) -> Array:
    """The batch as it is: how many rows a call has is the scheduler's matter."""
    return images


@node(
    "ImageFromBatch",
    needed={"image": IMAGE, "batch_index": integer(0, 0, 4095), "length": integer(1, 1, 4096)},
    outputs=GIVES,
    category="image/batch",
)
def image_from_batch(context: Context, image: Array, batch_index: int, length: int) -> Array:
    """Some of the pictures of a batch."""
    first = min(len(image) - 1, batch_index)
    return image[first : first + min(len(image) - first, length)].copy()


@node(
    "RepeatImageBatch",
    needed={"image": IMAGE, "amount": integer(1, 1, 4096)},
    outputs=GIVES,
    category="image/batch",
)
def repeat_image_batch(context: Context, image: Array, amount: int) -> Array:
    """The whole batch several times."""
    return np.tile(image, (amount, 1, 1, 1))


@node(
    "ImageCompositeMasked",
    needed={
        "destination": IMAGE,
        "source": IMAGE,
        "x": integer(0, 0, 16384),
        "y": integer(0, 0, 16384),
        "resize_source": flag(),
    },
    optional={"mask": link("MASK")},
    outputs=GIVES,
    category="image",
)
def image_composite_masked(
    context: Context, destination: Array, source: Array, x: int, y: int, resize_source: bool, mask: Array | None = None
) -> Array:
    """A picture pasted into another, as much as a mask says."""
    planes, others = (each.transpose(0, 3, 1, 2) for each in (destination, source))
    return composed(planes, others, x, y, mask, resize_source).transpose(0, 2, 3, 1)


@node(
    "ImageCrop",
    needed={
        "image": IMAGE,
        "width": integer(512, 1, 16384),
        "height": integer(512, 1, 16384),
        "x": integer(0, 0, 16384),
        "y": integer(0, 0, 16384),
    },
    outputs=GIVES,
    display="Image Crop",
    category="image/transform",
)
def image_crop(context: Context, image: Array, width: int, height: int, x: int, y: int) -> Array:
    """A rectangle of a picture."""
    x, y = min(x, image.shape[2] - 1), min(y, image.shape[1] - 1)
    return image[:, y : y + height, x : x + width].copy()


@node(
    "ImageFlip",
    needed={"image": IMAGE, "flip_method": choice(("x-axis: vertically", "y-axis: horizontally"))},
    outputs=GIVES,
    category="image/transform",
)
def image_flip(context: Context, image: Array, flip_method: str) -> Array:
    """A picture mirrored."""
    return np.flip(image, 1 if flip_method.startswith("x") else 2).copy()


@node(
    "ImageRotate",
    needed={"image": IMAGE, "rotation": choice(("none", "90 degrees", "180 degrees", "270 degrees"))},
    outputs=GIVES,
    category="image/transform",
)
def image_rotate(context: Context, image: Array, rotation: str) -> Array:
    """A picture turned clockwise."""
    turns = {"n": 0, "9": 1, "1": 2, "2": 3}[rotation[0]]
    return np.rot90(image, turns, (2, 1)).copy()


@node(
    "ImageBlur",
    needed={"image": IMAGE, "blur_radius": integer(1, 1, 31), "sigma": decimal(1.0, 0.1, 10.0, 0.1)},
    outputs=GIVES,
    category="image/postprocessing",
)
def image_blur(context: Context, image: Array, blur_radius: int, sigma: float) -> Array:
    """A Gaussian of a radius in pixels; edges are reflected."""
    return convolved(image, gaussian(2 * blur_radius + 1, sigma))


@node(
    "ImageSharpen",
    needed={
        "image": IMAGE,
        "sharpen_radius": integer(1, 1, 31),
        "sigma": decimal(1.0, 0.1, 10.0, 0.01),
        "alpha": decimal(1.0, 0.0, 5.0, 0.01),
    },
    outputs=GIVES,
    category="image/postprocessing",
)
def image_sharpen(context: Context, image: Array, sharpen_radius: int, sigma: float, alpha: float) -> Array:
    """What a Gaussian takes away is added, `alpha` times."""
    kernel = -gaussian(2 * sharpen_radius + 1, sigma) * (alpha * 10)
    kernel[sharpen_radius, sharpen_radius] -= kernel.sum() - 1
    return np.clip(convolved(image, kernel), 0, 1)


def _soft_light(a: Array, b: Array) -> Array:
    """The W3C's compositing formula."""
    lifted = np.where(a <= 0.25, ((16 * a - 12) * a + 4) * a, np.sqrt(a))
    return np.asarray(np.where(b <= 0.5, a - (1 - 2 * b) * a * (1 - a), a + (2 * b - 1) * (lifted - a)))


_BLENDS: dict[str, Callable[[Array, Array], Array]] = {
    "normal": lambda a, b: b,
    "multiply": lambda a, b: a * b,
    "screen": lambda a, b: 1 - (1 - a) * (1 - b),
    "overlay": lambda a, b: np.asarray(np.where(a <= 0.5, 2 * a * b, 1 - 2 * (1 - a) * (1 - b))),
    "soft_light": _soft_light,
    "difference": lambda a, b: a - b,
}


@node(
    "ImageBlend",
    needed={
        "image1": IMAGE,
        "image2": IMAGE,
        "blend_factor": decimal(0.5, 0.0, 1.0),
        "blend_mode": choice(("normal", "multiply", "screen", "overlay", "soft_light", "difference")),
    },
    outputs=GIVES,
    category="image/postprocessing",
)
def image_blend(context: Context, image1: Array, image2: Array, blend_factor: float, blend_mode: str) -> Array:
    """Two pictures mixed by a mode of image editors."""
    if image1.shape[1:3] != image2.shape[1:3]:
        image2 = scaled_pictures(image2, image1.shape[2], image1.shape[1], "bicubic", "center")
    mixed = _BLENDS[blend_mode](image1, image2)
    return np.clip(image1 * (1 - blend_factor) + mixed * blend_factor, 0, 1).astype(np.float32)


@node(
    "GetImageSize",
    needed={"image": IMAGE},
    outputs=outputs(("INT", "width"), ("INT", "height"), ("INT", "batch_size")),
    category="image",
)
def get_image_size(context: Context, image: Array) -> tuple[int, int, int]:
    """Its width, height, and how many there are."""
    return image.shape[2], image.shape[1], image.shape[0]


@node(
    "ImageUpscaleWithModel",
    needed={"upscale_model": link("UPSCALE_MODEL"), "image": IMAGE},
    outputs=GIVES,
    display="Upscale Image (using Model)",
    category="image/upscaling",
)
def image_upscale_with_model(context: Context, upscale_model: UpscaleNet, image: Array) -> Array:
    """Pictures enlarged by a network; they pass through 8 bits on the way."""
    made = [upscale_model.enlarge(eight_bits(picture[..., :3]), context.progress) for picture in image]
    return np.stack(made).astype(np.float32) / np.float32(255)
