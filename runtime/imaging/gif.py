"""GIF files as decoders get them: without comments and the extensions of applications."""

from __future__ import annotations

from typing import IO

from .parts import Container, Part, at, kept, size_of

MAGIC = (b"GIF87a", b"GIF89a")

_HEADER = 13
_EXTENSION, _IMAGE = b"!", b","
_CONTROL = 0xF9


def container(stream: IO[bytes]) -> Container:
    """A GIF file with no extensions but the frames' control blocks, where those are whole."""
    end, position = size_of(stream), _HEADER
    position += _table(at(stream, 10, 1))
    parts: list[Part] = [range(position)]
    dropped: list[str] = []
    while True:
        kind = at(stream, position, 1)
        if kind == _EXTENSION:
            label, length = [*at(stream, position + 1, 2), 0, 0][:2]
            stop = _blocks_end(stream, position + 2)
            if label == _CONTROL and length >= 4:
                parts.append(range(position, stop))
            elif label == _CONTROL:
                dropped.append("a frame's control block (damaged)")
        elif kind == _IMAGE:
            stop = _blocks_end(stream, position + 10 + _table(at(stream, position + 9, 1)) + 1)
            parts.append(range(position, min(stop, end)))
        else:
            break
        position = stop
    return Container(kept(stream, [*parts, range(position, end)]), dropped)


def _table(flags: bytes) -> int:
    """The bytes of the colour table that a byte of flags announces."""
    return 3 << ((flags[0] & 7) + 1) if flags and flags[0] & 0x80 else 0


def _blocks_end(stream: IO[bytes], position: int) -> int:
    """Where a chain of blocks ends, each led by its length, the last one empty."""
    while length := at(stream, position, 1):
        position += 1 + length[0]
        if not length[0]:
            break
    return position
