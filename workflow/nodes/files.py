"""Nodes that read pictures from the input folder and write them to the others."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import string
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from ...bundles.tensor import Array
from ...errors import InputError
from ...runtime.imaging.limits import MAX_PIXELS
from ...runtime.imaging.opening import open_image
from ..bench import Workbench
from ..context import Context
from ..node import node, outputs
from ..sockets import FileChoice, choice, link, text

_NO_MASK = 64
_PICTURE = FileChoice("COMBO", {"image_upload": True}, lambda bench: bench.pictures())


def _state(bench: Workbench, image: str, **others: Any) -> str:
    return hashlib.sha256(bench.path(image).read_bytes()).hexdigest()


def _opened(context: Context, name: str) -> Image.Image:
    opened = open_image(context.bench.path(name), max_pixels=MAX_PIXELS, notes=[])
    turned = ImageOps.exif_transpose(opened)
    if turned.mode == "I" or turned.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(turned, np.float32) * (255 / 65535)).astype(np.uint8))
    if turned.mode == "P" and "transparency" in turned.info:
        return turned.convert("RGBA")
    return turned


@node(
    "LoadImage",
    needed={"image": _PICTURE},
    outputs=outputs("IMAGE", "MASK"),
    display="Load Image",
    category="image",
    changes=_state,
)
def load_image(context: Context, image: str) -> tuple[Array, Array]:
    """A picture of the input folder, and what it shows through as a mask."""
    opened = _opened(context, image)
    picture = np.asarray(opened.convert("RGB"), np.float32)[None] / np.float32(255)
    if "A" not in opened.getbands():
        return picture, np.zeros((1, _NO_MASK, _NO_MASK), np.float32)
    return picture, 1 - np.asarray(opened.getchannel("A"), np.float32)[None] / np.float32(255)


@node(
    "LoadImageMask",
    needed={"image": _PICTURE, "channel": choice(("alpha", "red", "green", "blue"))},
    outputs=outputs("MASK"),
    display="Load Image (as Mask)",
    category="mask",
    changes=_state,
)
def load_image_mask(context: Context, image: str, channel: str) -> Array:
    """A channel of a picture as a mask; what shows through is 1."""
    opened = _opened(context, image)
    if opened.getbands() != ("R", "G", "B", "A"):
        opened = opened.convert("RGBA" if "A" in opened.getbands() else "RGB")
    band = channel[0].upper()
    if band not in opened.getbands():
        return np.zeros((1, _NO_MASK, _NO_MASK), np.float32)
    mask = np.asarray(opened.getchannel(band), np.float32)[None] / np.float32(255)
    return 1 - mask if band == "A" else mask


def eight_bits(picture: Array) -> Array:
    """A picture in [0, 1] as uint8, cut as ComfyUI does it; in float32 a level of 8 bits comes back as itself."""
    return np.clip(picture * np.float32(255), 0, 255).astype(np.uint8)


@node(
    "SaveImage",
    needed={"images": link("IMAGE"), "filename_prefix": text("ComfyUI")},
    hidden={"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"},
    display="Save Image",
    category="image",
    sink=True,
)
def save_image(context: Context, images: Array, filename_prefix: str) -> Mapping[str, Any]:
    """Pictures as PNG files in the output folder, with the workflow in them."""
    return {"images": _saved(context, images, filename_prefix, "output", 4)}


@node(
    "PreviewImage",
    needed={"images": link("IMAGE")},
    hidden={"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"},
    display="Preview Image",
    category="image",
    sink=True,
)
def preview_image(context: Context, images: Array) -> Mapping[str, Any]:
    """Pictures as PNG files in the folder of what is kept for a while."""
    # S311: a name, no secret.
    prefix = "ComfyUI_temp_" + "".join(random.choices(string.ascii_lowercase, k=5))
    return {"images": _saved(context, images, prefix, "temp", 1)}


@node(
    "SaveImageWebsocket",
    needed={"images": link("IMAGE")},
    category="api/image",
    sink=True,
    changes=lambda bench, **written: None,
)
def save_image_websocket(context: Context, images: Array) -> Mapping[str, Any]:
    """Pictures sent to whoever listens; nothing is saved."""
    for place, picture in enumerate(images, 1):
        context.progress(place, len(images))
        context.send(Image.fromarray(eight_bits(picture)))
    return {}


def _saved(context: Context, images: Array, prefix: str, kind: str, compress: int) -> list[dict[str, str]]:
    height, width = images.shape[1:3]
    path = context.bench.inside(kind, _filled(prefix, width, height))
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = path.parent.relative_to(context.bench.folders[kind].resolve()).as_posix()
    chunks = _chunks(context)
    made = []
    for place, picture in enumerate(images):
        stem = path.name.replace("%batch_num%", str(place))
        file = _written(path.parent, stem, Image.fromarray(eight_bits(picture)), chunks, compress)
        made.append({"filename": file, "subfolder": "" if folder == "." else folder, "type": kind})
    return made


def _filled(prefix: str, width: int, height: int) -> str:
    """A prefix with the picture's size and the time in it."""
    now = time.localtime()
    words = {
        "width": str(width), "height": str(height), "year": str(now.tm_year), "month": f"{now.tm_mon:02}",
        "day": f"{now.tm_mday:02}", "hour": f"{now.tm_hour:02}", "minute": f"{now.tm_min:02}",
        "second": f"{now.tm_sec:02}",
    }  # fmt: skip
    return re.sub(r"%(\w+)%", lambda match: words.get(match[1], match[0]), prefix)


def _chunks(context: Context) -> PngInfo | None:
    if not context.bench.metadata:
        return None
    chunks = PngInfo()
    chunks.add_text("prompt", json.dumps(context.workflow.source))
    if context.workflow.editor is not None:
        chunks.add_text("workflow", json.dumps(context.workflow.editor))
    return chunks


def _written(folder: Path, stem: str, picture: Image.Image, chunks: PngInfo | None, compress: int) -> str:
    """Write a picture under the next free number; raises `InputError` where the folder cannot be written to."""
    numbers = re.compile(re.escape(stem) + r"_(\d+)_?\.\w+", re.IGNORECASE)
    taken = [int(match[1]) for name in os.listdir(folder) if (match := numbers.fullmatch(name))]
    number = max(taken, default=0) + 1
    while True:
        file = f"{stem}_{number:05}_.png"
        try:
            with open(folder / file, "xb") as stream:
                picture.save(stream, "PNG", pnginfo=chunks, compress_level=compress)
            return file
        except FileExistsError:  # another workflow's
            number += 1
        except OSError as exc:
            raise InputError(f"{folder / file} cannot be written ({exc}); name another output folder") from exc
