"""Which characters a font has: the character maps of TrueType and OpenType files (OpenType 1.9, "cmap")."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import IO

from .parts import at

Ranges = tuple[range, ...]
"""Code points that a font has a glyph for."""

# (platform, encoding) of the maps that are Unicode, the fullest first.
_UNICODE = ((3, 10), (0, 6), (0, 4), (3, 1), (0, 3), (0, 2), (0, 1), (0, 0))
_MAX_ENTRIES = 2**16


def covered(stream: IO[bytes]) -> Ranges:
    """The characters of a font's file, of a collection's first font; none where it has no map that can be read."""
    try:
        start = _table(stream)
        [count] = struct.unpack(">H", at(stream, start + 2, 2))
        records = struct.iter_unpack(">HHI", at(stream, start + 4, 8 * count))
        maps = {(platform, encoding): offset for platform, encoding, offset in records}
        best = next(maps[kind] for kind in _UNICODE if kind in maps)
        return tuple(_ranges(stream, start + best))
    except (struct.error, StopIteration, OSError):
        return ()


def _table(stream: IO[bytes]) -> int:
    """Where the character maps are."""
    start = struct.unpack(">I", at(stream, 12, 4))[0] if at(stream, 0, 4) == b"ttcf" else 0
    [count] = struct.unpack(">H", at(stream, start + 4, 2))
    tables = struct.iter_unpack(">4sIII", at(stream, start + 12, 16 * count))
    return next(int(offset) for tag, _, offset, _ in tables if tag == b"cmap")


def _ranges(stream: IO[bytes], start: int) -> Iterator[range]:
    """The characters of a map of format 4 or 12, which are those in use."""
    [kind] = struct.unpack(">H", at(stream, start, 2))
    if kind == 4:
        count = struct.unpack(">H", at(stream, start + 6, 2))[0] // 2
        lasts = struct.unpack(f">{count}H", at(stream, start + 14, 2 * count))
        firsts = struct.unpack(f">{count}H", at(stream, start + 16 + 2 * count, 2 * count))
        yield from (range(first, last + 1) for first, last in zip(firsts, lasts, strict=True) if first != 0xFFFF)
    elif kind == 12:
        count = min(struct.unpack(">I", at(stream, start + 12, 4))[0], _MAX_ENTRIES)
        groups = struct.iter_unpack(">III", at(stream, start + 16, 12 * count))
        yield from (range(first, last + 1) for first, last, _ in groups)
