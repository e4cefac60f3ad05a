"""TIFF files as decoders get them: directories with the tags alone that pixels, colours and parameters need."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import IO

from .parts import LARGEST, Container, Part, at, kept, size_of

MAGIC = (b"II*\0", b"MM\0*")

_ORIENTATION, _XMP, _PROFILE, _EXIF = 274, 700, 34675, 34665
# TIFF 6.0 and its supplements: size, kind and place of the pixels, compression, colours, tiles, what alpha means.
_PIXELS = {
    254, 255, 256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 292, 293, 297, 301, 317, 318, 319, 320, 321, 322,
    323, 324, 325, 332, 338, 339, 340, 341, 347, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532,
}  # fmt: skip
# What those of the rest are that are used, and their types.
_USED = {_ORIENTATION: (3,), _XMP: (1, 7), _PROFILE: (1, 7), _EXIF: (4, 13)}
_SIZES = {1: 1, 3: 2, 4: 4, 7: 1, 13: 4}
_MAX_DIRECTORIES = 2**16


def container(stream: IO[bytes]) -> Container:
    """A TIFF file whose directories lack what is not needed, and what is damaged of the rest but the pixels' tags."""
    end = size_of(stream)
    order = "<" if at(stream, 0, 2) == b"II" else ">"
    position = 0
    parts: list[Part] = []
    dropped: list[str] = []
    for place, entries, following in sorted(_directories(stream, end, order), key=lambda found: found[0].start):
        if place.start < position:
            break
        used = [entry for entry in entries if _is_used(entry, end, order, dropped)]
        directory = struct.pack(f"{order}H", len(used)) + b"".join(used) + following
        parts += [range(position, place.start), directory.ljust(len(place), b"\0")]
        position = place.stop
    return Container(kept(stream, [*parts, range(position, end)]), tuple(dict.fromkeys(dropped)))


def _directories(stream: IO[bytes], end: int, order: str) -> Iterator[tuple[range, list[bytes], bytes]]:
    """The place of each directory, its entries of 12 bytes and the four bytes that lead to the next one."""
    pointer, seen = at(stream, 4, 4), set[int]()
    while len(pointer) == 4 and len(seen) < _MAX_DIRECTORIES:
        [start] = struct.unpack(f"{order}I", pointer)
        count = at(stream, start, 2)
        if start < 8 or start in seen or len(count) < 2:
            return
        [length] = struct.unpack(f"{order}H", count)
        place = range(start, start + 2 + 12 * length + 4)
        if place.stop > end:
            return
        seen.add(start)
        content = at(stream, start + 2, 12 * length)
        pointer = at(stream, place.stop - 4, 4)
        yield place, [content[index : index + 12] for index in range(0, len(content), 12)], pointer


def _is_used(entry: bytes, end: int, order: str, dropped: list[str]) -> bool:
    tag, kind, count, offset = struct.unpack(f"{order}HHII", entry)
    if tag in _PIXELS:
        return True
    if tag not in _USED:
        return False
    length = _SIZES.get(kind, 0) * count
    if kind in _USED[tag] and 0 < length <= LARGEST and (length <= 4 or offset + length <= end):
        return True
    dropped.append(f"tag {tag} (damaged)")
    return False
