"""Previews as ComfyUI sends them."""

from __future__ import annotations

from io import BytesIO

from PIL import Image

SIDE, QUALITY = 512, 95


def as_jpeg(image: Image.Image) -> bytes:
    """The file of a preview, of at most 512 pixels a side."""
    image = image.convert("RGB")
    if max(image.size) > SIDE:
        scale = SIDE / max(image.size)
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.BILINEAR)
    stream = BytesIO()
    image.save(stream, "JPEG", quality=QUALITY)
    return stream.getvalue()
