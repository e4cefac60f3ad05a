"""WebP files as decoders get them: without metadata that is damaged, and with the lengths that the rest has."""

from __future__ import annotations

import struct
from typing import IO

from .parts import LARGEST, Container, Part, at, kept, size_of

_HEADER = 12
_METADATA = (b"ICCP", b"EXIF", b"XMP ")
_PIXELS = (b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF")


def is_webp(head: bytes) -> bool:
    """Whether a file that begins so is WebP."""
    return head[:4] == b"RIFF" and head[8:12] == b"WEBP"


def container(stream: IO[bytes]) -> Container:
    """A WebP file without the chunks of metadata that are cut short or too large; those of pixels stay as they are."""
    end, position = size_of(stream), _HEADER
    parts: list[Part] = []
    dropped: list[str] = []
    pixels = False
    while position + 8 <= end:
        kind, length = struct.unpack("<4sI", at(stream, position, 8))
        stop = position + 8 + length + length % 2
        place = range(position, min(stop, end))
        if kind in _PIXELS:
            parts.append(place)
            pixels = pixels or kind in (b"VP8 ", b"VP8L", b"ANMF")
        elif position + 8 + length > end:
            if kind not in _METADATA or not pixels:
                return Container(stream)  # the decoder may know more of what the rest is
            dropped.append(f"{_name(kind)} (cut short)")
        elif length > LARGEST:
            dropped.append(f"{_name(kind)} (too large)")
        else:
            parts.append(place)
        position = stop
    if _HEADER - 4 + int.from_bytes(at(stream, 4, 4), "little") > end and not dropped:
        dropped.append("what followed the pixels (cut short)")
    body = sum(map(len, parts))
    header = b"RIFF" + struct.pack("<I", min(4 + body, 2**32 - 2)) + b"WEBP"
    padding = b"\0" * (body % 2)
    return Container(kept(stream, [header, *parts, padding]), dropped)


def _name(kind: bytes) -> str:
    return kind.decode("ascii", "replace").strip()
