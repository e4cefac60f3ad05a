"""PNG files as decoders get them: chunks that no pixel needs are left out where they are damaged or too large."""

from __future__ import annotations

import struct
import zlib
from typing import IO

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import MAX_TEXT_CHUNK

from ...bundles.tensor import Array
from .parts import LARGEST, Container, Part, UnusableError, at, kept, size_of

MAGIC = b"\x89PNG\r\n\x1a\n"
MAX_PROFILE = 16 * 2**20
"""The most bytes of an ICC profile, decompressed: what JPEG's segments can hold."""

_GREY, _RGB, _PALETTE = 0, 2, 3
# Pillow spreads greys of 2 and 4 bits over 0 to 255, but not the key colour.
_SPREAD = {1: 1, 2: 85, 4: 17, 8: 1, 16: 1}


def container(stream: IO[bytes]) -> Container:
    """A PNG file without the chunks that cannot be used, those that no picture is read with, and later frames.

    Critical chunks stay as they are, for the decoder to judge.
    """
    return _Chunks(stream).read()


def keyed(image: Image.Image, stream: IO[bytes], key: tuple[int, ...]) -> Image.Image:
    """The loaded 16-bit RGB `image` of a PNG's `stream` as RGBA, transparent where its 16-bit levels are the `key`.

    Pillow keeps the high bytes of the levels; the low ones come from decoding the file again.
    """
    again = Image.open(stream, formats=["PNG"])
    again.tile = [tile._replace(args="RGB;16L") for tile in again.tile]
    high, low = [level >> 8 for level in key], [level & 255 for level in key]
    transparent: Array = _equal(image, high) & _equal(again, low)
    keyed = image.convert("RGB")
    keyed.info.pop("transparency", None)
    keyed.putalpha(Image.fromarray(np.where(transparent, 0, 255).astype(np.uint8)))
    return keyed


def key_scale(image: Image.Image) -> int:
    """What turns the key colour of an image that Pillow opened, and has not yet loaded, into one of its levels."""
    rawmode = next((tile.args for tile in getattr(image, "tile", ())), None)
    return _SPREAD[int(rawmode[-1])] if rawmode in ("L;2", "L;4") else 1


def level_key(image: Image.Image, scale: int, notes: list[str]) -> Image.Image:
    """The loaded image with its key colour as a level of its pixels; a copy where that is another.

    Notes a 16-bit colour that can be compared with no 8-bit ones: the file itself has to be read for it.
    """
    key = image.info.get("transparency")
    if isinstance(key, int) and scale > 1:
        image = image.copy()
        image.info["transparency"] = key * scale
    elif isinstance(key, tuple) and max(key) > 255:
        image = image.copy()
        del image.info["transparency"]
        notes.append("a transparent key colour of 16 bits is lost in an image of 8; give the file itself to keep it")
    return image


def _equal(image: Image.Image, colour: list[int]) -> Array:
    equal: Array = (np.asarray(image) == np.array(colour, np.uint8)).all(axis=2)
    return equal


class _Chunks:
    """One pass over a file's chunks."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self._end = stream, size_of(stream)
        self._parts: list[Part] = [range(len(MAGIC))]
        self._dropped: list[str] = []
        self._bits = self._colour = -1
        self._animated = self._pixels = self._first_frame = False
        self._profile: bytes | None = None
        self._frames = 1
        self._key: tuple[int, ...] | None = None
        self._unpacked = 0

    def read(self) -> Container:
        position = len(MAGIC)
        while position + 8 <= self._end:
            length, kind = struct.unpack(">I4s", at(self._stream, position, 8))
            if not kind.isalpha():
                break
            place = range(position, min(position + 12 + length, self._end))
            cut = position + 12 + length > self._end
            if kind[0] & 0x20 == 0:
                self._critical(kind, place)
            elif cut and not self._pixels:
                break
            else:
                self._ancillary(kind, place, cut)
            position = place.stop
            if kind == b"IEND":
                position = self._end
        self._parts.append(range(position, self._end))
        stream = kept(self._stream, self._parts)
        frames = self._frames + (self._animated and not self._first_frame)
        return Container(stream, self._dropped, self._profile, frames, self._key)

    def _critical(self, kind: bytes, place: range) -> None:
        self._parts.append(place)
        if kind == b"IHDR" and len(place) >= 12 + 13:
            self._bits, self._colour = at(self._stream, place.start + 8 + 8, 2)
        self._pixels = self._pixels or kind == b"IDAT"

    def _ancillary(self, kind: bytes, place: range, cut: bool) -> None:
        try:
            if cut:
                raise UnusableError("cut short")
            if len(place) > LARGEST:
                raise UnusableError("too large")
            *_, data, crc = struct.unpack(f">I4s{len(place) - 12}sI", at(self._stream, place.start, len(place)))
            if zlib.crc32(data, zlib.crc32(kind)) != crc:
                raise UnusableError("wrong checksum")
            if kind in _READERS:
                self._parts.append(_READERS[kind](self, place, data))
        except UnusableError as exc:
            self._dropped.append(f"{kind.decode()} ({exc})")

    def _text(self, place: range, data: bytes) -> Part:
        self._count(len(data))
        return place

    def _compressed_text(self, place: range, data: bytes) -> Part:
        method, packed = data.partition(b"\0")[2][:1], data.partition(b"\0")[2][1:]
        if method != b"\0":
            raise UnusableError("unknown compression")
        self._unpack(packed, MAX_TEXT_CHUNK)
        return place

    def _international_text(self, place: range, data: bytes) -> Part:
        rest = data.partition(b"\0")[2]
        if rest[:1] in (b"", b"\0"):
            return self._text(place, data)
        self._unpack(rest[2:].split(b"\0", 2)[-1], MAX_TEXT_CHUNK)
        return place

    def _colour_profile(self, place: range, data: bytes) -> Part:
        rest = data.partition(b"\0")[2]
        if rest[:1] != b"\0":
            raise UnusableError("damaged")
        self._profile = self._unpack(rest[1:], MAX_PROFILE)
        return b""

    def _transparency(self, place: range, data: bytes) -> Part:
        if self._colour == _PALETTE:
            return place if 1 <= len(data) <= 256 else self._damaged()
        if self._colour not in (_GREY, _RGB) or self._bits not in _SPREAD:
            return b""
        count = 1 if self._colour == _GREY else 3
        if len(data) < 2 * count:
            self._damaged()
        levels = [level & (2**self._bits - 1) for level in struct.unpack_from(f">{count}H", data)]
        if self._bits == 16 and self._colour == _RGB:
            self._key = tuple(levels)
            return b""
        spread = struct.pack(f">{count}H", *(level * _SPREAD[self._bits] for level in levels))
        chunk = b"tRNS" + spread
        return struct.pack(">I", len(spread)) + chunk + struct.pack(">I", zlib.crc32(chunk))

    def _animation(self, place: range, data: bytes) -> Part:
        """Later frames are not read: of the animation only the number of its frames is kept."""
        if not self._pixels and len(data) >= 8 and 0 < int.from_bytes(data[:4], "big") <= 2**31:
            self._frames, self._animated = int.from_bytes(data[:4], "big"), True
        return b""

    def _frame(self, place: range, data: bytes) -> Part:
        self._first_frame = self._first_frame or not self._pixels
        return b""

    def _exif(self, place: range, data: bytes) -> Part:
        return place

    def _damaged(self) -> Part:
        raise UnusableError("damaged")

    def _unpack(self, packed: bytes, most: int) -> bytes:
        """Decompressed data, which and whose effort is bounded."""
        if self._unpacked >= LARGEST:
            raise UnusableError("too large")
        unpacker = zlib.decompressobj()
        try:
            data = unpacker.decompress(packed, min(most, LARGEST - self._unpacked))
        except zlib.error:
            raise UnusableError("damaged") from None
        self._unpacked += len(data)
        if unpacker.unconsumed_tail:
            raise UnusableError("too large")
        return data

    def _count(self, length: int) -> None:
        if self._unpacked + length > LARGEST:
            raise UnusableError("too large")
        self._unpacked += length


_READERS = {
    b"tRNS": _Chunks._transparency,
    b"iCCP": _Chunks._colour_profile,
    b"eXIf": _Chunks._exif,
    b"tEXt": _Chunks._text,
    b"zTXt": _Chunks._compressed_text,
    b"iTXt": _Chunks._international_text,
    b"acTL": _Chunks._animation,
    b"fcTL": _Chunks._frame,
}
