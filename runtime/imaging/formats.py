"""The formats that are read, by a file's first bytes and by the endings of its name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module

from PIL import Image

from ...errors import InputError

# Not all that Pillow knows: some of its formats, such as EPS, hand the file to another program.
FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "GIF", "TIFF", "BMP", "PPM", "JPEG2000", "ICO", "TGA")

HEAD = 64
"""The bytes from a file's beginning that `optional` looks at."""


@dataclass(frozen=True)
class Optional:
    """A format that Pillow reads with another library: `libraries` are modules that will do, the first one there."""

    name: str
    title: str
    endings: tuple[str, ...]
    libraries: tuple[str, ...]


HEIF = Optional("HEIF", "HEIC", (".heic", ".heif", ".hif"), ("pi_heif", "pillow_heif"))
JXL = Optional("JXL", "JPEG XL", (".jxl",), ("pillow_jxl",))
AVIF_ENDINGS = (".avif", ".avifs")

_JXL_STARTS = (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")
_AVIF_BRANDS = {b"avif", b"avis"}
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}


def endings() -> set[str]:
    """The endings of files that are pictures, such as ".png", those that need a library that is not there too."""
    known = {ending for ending, name in Image.registered_extensions().items() if name in FORMATS}
    return known | {*HEIF.endings, *JXL.endings, *AVIF_ENDINGS}


def formats_of(head: bytes, name: str) -> Sequence[str]:
    """Pillow's names of the formats that a file may have by its first bytes, their library at hand.

    Raises `InputError` with the command that installs the library where it is missing.
    """
    brands = _brands(head)
    if brands & _AVIF_BRANDS:
        return _avif(name)
    if brands & _HEIF_BRANDS:
        return _available(HEIF, name)
    if head.startswith(_JXL_STARTS):
        return _available(JXL, name)
    return FORMATS


def _brands(head: bytes) -> set[bytes]:
    """The brands of an ISO media file's first box (ISO/IEC 14496-12, 4.3), the major one and the compatible ones."""
    if head[4:8] != b"ftyp":
        return set()
    box = head[8 : int.from_bytes(head[:4], "big")]
    return {box[:4], *(box[start : start + 4] for start in range(8, len(box), 4))}


def _avif(name: str) -> Sequence[str]:
    from PIL import features

    if not features.check("avif"):
        raise InputError(f"{name}: is AVIF, which this Pillow was built without; run: pip install --upgrade pillow")
    return ("AVIF",)


def _available(optional: Optional, name: str) -> Sequence[str]:
    if not _registered(optional):
        raise InputError(
            f"{name}: is {optional.title}, which needs another library; run: pip install 'overpaint[formats]'"
        )
    return (optional.name,)


@cache
def _registered(optional: Optional) -> bool:
    for library in optional.libraries:
        try:
            module = import_module(library)
        except ImportError:
            continue
        # pillow_jxl registers itself; the others wait for this call.
        getattr(module, "register_heif_opener", bool)()
        return True
    return False
