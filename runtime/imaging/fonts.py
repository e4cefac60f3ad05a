"""Texts in any script: Pillow's own font, one that a user names, and the system's fonts for what those lack."""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache
from io import BytesIO
from itertools import groupby
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from ...errors import InputError
from .cmap import Ranges, covered

_ENDINGS = (".ttf", ".ttc", ".otf", ".otc")
_FOLDERS = {
    "darwin": ("/System/Library/Fonts", "/Library/Fonts", "~/Library/Fonts"),
    "win32": (r"%WINDIR%\Fonts", r"%LOCALAPPDATA%\Microsoft\Windows\Fonts"),
    "": ("/usr/share/fonts", "/usr/local/share/fonts", "~/.local/share/fonts", "~/.fonts"),
}
# Labels are small and plain.
_PLAINLY_NOT = ("bold", "italic", "oblique", "mono", "serif", "light", "thin", "black", "condensed")
_BITMAP_SIZES = (109, 136, 128, 160, 96, 64)
"""Sizes that fonts of coloured bitmaps have: Noto's first, then others' and Apple's."""

_SCALABLE = 10  # a size that no font of bitmaps has

_PICKERS = ("\ufe0e", "\ufe0f", "\u200d")
_SKINS = range(0x1F3FB, 0x1F400)


class Face:
    """A size of text: each part of it drawn with the first font that has its characters."""

    def __init__(self, size: int, font: Path | None = None) -> None:
        self._size = size
        own = ImageFont.load_default(size)
        assert isinstance(own, ImageFont.FreeTypeFont)
        self._own = own
        self._named = font
        self.ascent, self.descent = own.getmetrics()

    @property
    def line(self) -> int:
        """The height of a line in pixels."""
        return self.ascent + self.descent

    def length(self, text: str) -> float:
        """The width of a text in pixels."""
        return sum(scale * font.getlength(part) for part, font, scale in self._parts(text))

    def draw(self, sheet: Image.Image, place: tuple[float, float], text: str, ink: str) -> None:
        """Write a text, `place` its left upper corner."""
        draw = ImageDraw.Draw(sheet)
        left, baseline = place[0], place[1] + self.ascent
        for part, font, scale in self._parts(text):
            if scale == 1.0:
                draw.text((left, baseline), part, fill=ink, font=font, anchor="ls", embedded_color=True)
            else:
                _paste(sheet, (left, baseline), part, font, scale)
            left += scale * font.getlength(part)

    def _parts(self, text: str) -> Iterator[tuple[str, ImageFont.FreeTypeFont, float]]:
        """A text's parts in order, with their fonts and what those are scaled by."""
        for part, source in _runs(text, self._named):
            if source is None:
                # Without shaping a selector would be drawn as a box.
                yield "".join(char for char in part if char not in _PICKERS), self._own, 1.0
            else:
                font, scale = _opened(source, self._size)
                yield part, font, scale


def missing(texts: Iterable[str], font: Path | None = None) -> str | None:
    """A note that names the characters of some texts that no font has; None where there are none.

    Raises `InputError` for a named font that cannot be read.
    """
    if font is not None and not (_characters(font) and _is_usable(font)):
        raise InputError(f"{font}: is no font that can be read; name a .ttf, .otf or .ttc file")
    clusters = {cluster for text in texts for cluster in _clusters(text) if cluster.strip()}
    absent = sorted(cluster for cluster in clusters if not _is_drawable(cluster, font))
    if not absent:
        return None
    shown = ", ".join(f"{cluster} (U+{ord(cluster[0]):04X})" for cluster in absent[:20])
    more = f" and {len(absent) - 20} more" if len(absent) > 20 else ""
    return f"no font has {shown}{more}: boxes stand for them; install a font that has them, or name one (--font)"


def _paste(
    sheet: Image.Image, place: tuple[float, float], part: str, font: ImageFont.FreeTypeFont, scale: float
) -> None:
    """Write with a font of bitmaps, which has one size only, scaled to the text's."""
    left, top, right, bottom = (int(side) for side in font.getbbox(part, anchor="ls"))
    glyphs = Image.new("RGBA", (max(right - left, 1), max(bottom - top, 1)))
    ImageDraw.Draw(glyphs).text((-left, -top), part, font=font, anchor="ls", embedded_color=True)
    size = max(round(glyphs.width * scale), 1), max(round(glyphs.height * scale), 1)
    glyphs = glyphs.resize(size, Image.Resampling.LANCZOS)
    sheet.paste(glyphs, (round(place[0] + left * scale), round(place[1] + top * scale)), glyphs)


def _runs(text: str, named: Path | None) -> Iterator[tuple[str, Path | None]]:
    """The parts of a text and their fonts' files, None for Pillow's own; signs and blanks stay with what is before."""
    run, current = "", None
    for part, source in _written(text, named):
        if current is not None and not part[0].isalnum() and _keeps(current, part):
            source = current
        if run and source != current:
            yield run, current
            run = ""
        run, current = run + part, source
    if run:
        yield run, current


def _written(text: str, named: Path | None) -> Iterator[tuple[str, Path | None]]:
    """Words with a font that has all of them, and what is in no word, or in no one font, character by character."""
    for is_word, clusters in groupby(_clusters(text), lambda cluster: cluster[0].isalnum()):
        parts = list(clusters)
        word = "".join(parts)
        if is_word and _is_drawable(word, named):
            parts = [word]
        yield from ((part, next(_sources(part, named), None)) for part in parts)


def _keeps(font: Path, cluster: str) -> bool:
    """Whether a sign or a blank is written with the font before it; those of bitmaps, of emoji, have wide ones."""
    return _has(font, cluster) and _opened(font, _SCALABLE)[1] == 1.0


def _is_drawable(text: str, named: Path | None) -> bool:
    return any(True for _ in _sources(text, named))


def _sources(cluster: str, named: Path | None) -> Iterator[Path | None]:
    """The fonts that have all of a text's characters, the preferred first."""
    if named is not None and _has(named, cluster):
        yield named
    if _covers(_own_characters(), cluster):
        yield None
    system = _system_font(cluster)
    if system is not None:
        yield system


def _clusters(text: str) -> Iterator[str]:
    """Characters with the marks, selectors and joined characters that belong to them; line ends as blanks."""
    cluster = ""
    for char in unicodedata.normalize("NFC", text):
        if unicodedata.category(char) == "Cc":
            char = " "
        joined = cluster.endswith("\u200d") or ord(char) in _SKINS or unicodedata.category(char) in _COMBINING
        if cluster and not joined:
            yield cluster
            cluster = ""
        cluster += char
    if cluster:
        yield cluster


_COMBINING = ("Mn", "Mc", "Me", "Cf")


def _has(font: Path, cluster: str) -> bool:
    return _covers(_characters(font), cluster)


def _covers(characters: Ranges, cluster: str) -> bool:
    visible = [char for char in cluster if unicodedata.category(char) != "Cf" and char not in _PICKERS]
    return all(any(ord(char) in span for span in characters) for char in visible)


@lru_cache(maxsize=1)
def _own_characters() -> Ranges:
    own = ImageFont.load_default(10)
    return covered(BytesIO(own.font_bytes)) if isinstance(own, ImageFont.FreeTypeFont) else ()


@lru_cache(maxsize=4096)
def _characters(font: Path) -> Ranges:
    try:
        with font.open("rb") as stream:
            return covered(stream)
    except OSError:
        return ()


@lru_cache(maxsize=4096)
def _system_font(cluster: str) -> Path | None:
    return next((font for font in _system_fonts() if _has(font, cluster) and _is_usable(font)), None)


def _is_usable(font: Path) -> bool:
    try:
        return bool(_opened(font, _BITMAP_SIZES[0]))
    except InputError:
        return False


@lru_cache(maxsize=1)
def _system_fonts() -> tuple[Path, ...]:
    """The system's fonts, plain ones first."""
    folders = (os.path.expandvars(os.path.expanduser(name)) for name in _FOLDERS.get(sys.platform, _FOLDERS[""]))
    found = (
        Path(folder, name)
        for top in folders
        for folder, _, names in os.walk(top)
        for name in names
        if name.lower().endswith(_ENDINGS)
    )
    return tuple(sorted(found, key=lambda path: (sum(word in path.name.lower() for word in _PLAINLY_NOT), path)))


@lru_cache(maxsize=64)
def _opened(font: Path, size: int) -> tuple[ImageFont.FreeTypeFont, float]:
    """A font at a size, or at one that it has and what that is to be scaled by."""
    for own in (size, *_BITMAP_SIZES):
        try:
            return ImageFont.truetype(str(font), own), size / own
        except OSError:
            continue
    raise InputError(f"{font}: cannot be used as a font; name another (--font)")
