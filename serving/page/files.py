"""The page's files, read once: what they are, their tags, and their bytes also compressed."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

KINDS: Mapping[str, str] = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "png": "image/png",
    "txt": "text/plain; charset=utf-8",
}
"""Media types by a file's ending; files of other endings are not served."""

EXAMPLES = ("fox", "cat", "octopus", "pizza", "rocket", "strawberry", "house-sketch", "hamburger-sketch")
"""Pictures of `models/examples` to begin with."""

WORTH = 1024
"""Bytes from which on compressing is worth it."""


@dataclass(frozen=True)
class PageFile:
    """A file: its bytes, its media type, the tag of its content, and its bytes by gzip where those are fewer."""

    data: bytes
    kind: str
    tag: str
    packed: bytes | None = None

    @classmethod
    def of(cls, data: bytes, kind: str) -> PageFile:
        """That of some bytes."""
        packed = None if kind.startswith("image/png") or len(data) < WORTH else gzip.compress(data, 9, mtime=0)
        return cls(data, kind, f'"{hashlib.sha256(data).hexdigest()[:24]}"', packed)


@cache
def page_files() -> Mapping[str, PageFile]:
    """All files of the page by their path below `/page/`: what is none of these is not there.

    Reading them all makes the table the only way to a file: no path of a request reaches the disk.
    """
    package = __package__.rpartition(".")[0].rpartition(".")[0]
    table = dict(_below(files(__package__) / "static", ""))
    examples = files(f"{package}.models") / "examples"
    for name in EXAMPLES:
        table[f"examples/{name}.png"] = PageFile.of((examples / f"{name}.png").read_bytes(), KINDS["png"])
    return table


def _below(folder: Traversable, prefix: str) -> Iterator[tuple[str, PageFile]]:
    for entry in folder.iterdir():
        kind = KINDS.get(entry.name.rpartition(".")[2])
        if entry.is_dir():
            yield from _below(entry, f"{prefix}{entry.name}/")
        elif kind is not None:
            yield f"{prefix}{entry.name}", PageFile.of(entry.read_bytes(), kind)
