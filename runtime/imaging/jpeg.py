"""JPEG files as decoders get them: without segments that no pixel, profile, orientation or parameters need."""

from __future__ import annotations

import re
from typing import IO

from .parts import Container, Part, at, kept, size_of

MAGIC = b"\xff\xd8\xff"
MAX_EXIF = 4 * 2**20
"""The most bytes of EXIF, which Pillow joins from segments in quadratic time."""

_APP, _COMMENT, _SCAN = range(0xE0, 0xF0), 0xFE, 0xDA
_BARE = {0x01, *range(0xD0, 0xDA)}  # markers without a segment
_PROFILE, _EXIF, _XMP = b"ICC_PROFILE\0", b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
# What libjpeg takes its colour transform from, if they have that many bytes at least.
_COLOUR = {(0xE0, b"JFIF"): 14, (0xEE, b"Adobe"): 12}
_NEXT = re.compile(rb"\xff[\xc0-\xc2\xc4\xdb\xdd\xe0-\xef\xfe]")
_LOOK_AHEAD, _PADDING = 2**17, 16


def container(stream: IO[bytes]) -> Container:
    """A JPEG file without comments, previews and the like, and without what is damaged of the rest."""
    return _Segments(stream).read()


class _Segments:
    """One pass over a file's segments, up to its first scan."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self._end = stream, size_of(stream)
        self._parts: list[Part] = [range(2)]
        self._dropped: list[str] = []
        self._profile: dict[int, bytes] = {}
        self._counts: set[int] = set()
        self._exif = 0

    def read(self) -> Container:
        position = 2
        while position < self._end:
            head = at(self._stream, position, 4)
            if len(head) < 4 or head[0] != 0xFF or head[1] == _SCAN:
                break
            marker = head[1]
            if marker == 0xFF or marker in _BARE:
                stop = position + (1 if marker == 0xFF else 2)
            else:
                stop = position + 2 + max(int.from_bytes(head[2:], "big"), 2)
            if marker in _APP or marker == _COMMENT:
                following = self._following(stop)
                if following is None:
                    self._dropped.append(f"{_name(marker)} (damaged)")
                    position = self._resumed(position + 2)
                    continue
                self._metadata(marker, range(position, stop))
                stop = following
            else:
                self._parts.append(range(position, min(stop, self._end)))
            position = stop
        self._parts.append(range(position, self._end))
        return Container(kept(self._stream, self._parts), self._dropped, self._joined())

    def _metadata(self, marker: int, place: range) -> None:
        data = at(self._stream, place.start + 4, len(place) - 4)
        known = [least for (own, name), least in _COLOUR.items() if marker == own and data.startswith(name)]
        if known:
            self._parts.append(place if len(data) >= known[0] else b"")
        elif marker == 0xE1 and data.startswith(_XMP):
            self._parts.append(place)
        elif marker == 0xE1 and data.startswith(_EXIF):
            self._exif += len(data)
            if self._exif <= MAX_EXIF:
                self._parts.append(place)
            elif "EXIF (too large)" not in self._dropped:
                self._dropped.append("EXIF (too large)")
        elif marker == 0xE2 and data.startswith(_PROFILE):
            number, count = data[12:14] if len(data) >= 14 else (0, 0)
            self._profile[number] = data[14:]
            self._counts.add(count)

    def _joined(self) -> bytes | None:
        """The ICC profile of the segments that hold its parts."""
        if not self._profile:
            return None
        numbers = sorted(self._profile)
        if numbers == list(range(1, len(numbers) + 1)) and self._counts == {len(numbers)}:
            return b"".join(self._profile[number] for number in numbers)
        self._dropped.append("ICC profile (incomplete)")
        return None

    def _following(self, stop: int) -> int | None:
        """Where the next marker is after a segment's end, behind some zeros at most; None: the length is wrong."""
        ahead = at(self._stream, stop, _PADDING)
        following = ahead.lstrip(b"\0")
        return stop + len(ahead) - len(following) if following.startswith(b"\xff") else None

    def _resumed(self, start: int) -> int:
        """Where a sound segment begins after one whose length is wrong; what may hold a preview is left as it is."""
        data = at(self._stream, start, _LOOK_AHEAD)
        for found in _NEXT.finditer(data[: (data.find(MAGIC) + 1 or len(data) + 1) - 1]):
            stop = found.end() + int.from_bytes(data[found.end() : found.end() + 2], "big")
            if at(self._stream, start + stop, 1) == b"\xff":
                return start + found.start()
        return start


def _name(marker: int) -> str:
    return "comment" if marker == _COMMENT else f"APP{marker - _APP.start}"
