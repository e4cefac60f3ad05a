"""Picture files made in memory, those too that no library writes."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np

RNG = np.random.default_rng(0)


def encoded(image, kind="PNG", **options):
    """An image as the bytes of a file."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def noise(height=12, width=16, channels=3):
    """Random pixels, uint8 [height, width, channels]."""
    return RNG.integers(0, 256, (height, width, channels), np.uint8)


def chunk(kind, data):
    """A chunk of a PNG file, its checksum right."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(bits, colour, rows, *extra, size=None):
    """A PNG file made by hand, for what Pillow does not write."""
    height, width = size or rows.shape[:2]
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    end = chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunk(*pair) for pair in extra) + end
