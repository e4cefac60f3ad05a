"""A file's kept parts as a stream of their own, so that what nobody needs never reaches a decoder."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import IO

LARGEST = 64 * 2**20
"""The most bytes that are read of a piece of metadata, and of a file's texts together: Pillow's own limit for those."""

_BUFFER = 2**17

Part = bytes | range


@dataclass(frozen=True)
class Container:
    """A picture's file as a decoder gets it.

    `stream` lacks the metadata that no picture is read with; `dropped` names what else was left out, and why. A
    format's reader may give what Pillow would not: an ICC `profile`, the number of `frames`, and the `key`, the 16-bit
    RGB colour that is transparent.
    """

    stream: IO[bytes]
    dropped: Sequence[str] = ()
    profile: bytes | None = None
    frames: int = 1
    key: tuple[int, ...] | None = None


class UnusableError(Exception):
    """A piece of metadata that cannot be used; the text says why, in a few words."""


class _Parts(io.RawIOBase):
    def __init__(self, source: IO[bytes], parts: Sequence[Part]) -> None:
        self._source, self._parts = source, parts
        self._starts = [0, *accumulate(map(len, parts))]
        self._position = 0

    def readable(self) -> bool:
        """It can be read."""
        return True

    def seekable(self) -> bool:
        """It can be read in any order."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position, counted in the kept bytes."""
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._starts[-1]}[whence]
        return self._position

    def tell(self) -> int:
        """The position, counted in the kept bytes."""
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill the buffer as far as the part at the position goes."""
        index = bisect_right(self._starts, self._position) - 1
        if index >= len(self._parts):
            return 0
        part, offset = self._parts[index], self._position - self._starts[index]
        count = min(len(buffer), len(part) - offset)
        if isinstance(part, range):
            self._source.seek(part.start + offset)
            data = self._source.read(count)
        else:
            data = part[offset : offset + count]
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


def kept(source: IO[bytes], parts: Sequence[Part]) -> IO[bytes]:
    """A stream of bytes, and of ranges of the positions in `source`, one after the other."""
    joined: list[Part] = []
    for part in filter(len, parts):
        last = joined[-1] if joined else b""
        if isinstance(last, range) and isinstance(part, range) and last.stop == part.start:
            joined[-1] = range(last.start, part.stop)
        else:
            joined.append(part)
    return io.BufferedReader(_Parts(source, joined), _BUFFER)


def size_of(stream: IO[bytes]) -> int:
    """The length of a stream in bytes."""
    return stream.seek(0, io.SEEK_END)


def at(stream: IO[bytes], position: int, count: int) -> bytes:
    """So many bytes from a position on, fewer at the end."""
    stream.seek(position)
    return stream.read(count)
