"""The folders of a client's files, and no way out of them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from importlib.resources import as_file, files
from pathlib import Path

from ...errors import InputError, RefusedError

KINDS = ("input", "output", "temp")
USER, OWN_TEMPLATES = "user", "comfy.templates.json"
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".avif", ".heic", ".jxl", ".tif", ".tiff")


class Folders:
    """The folders `input`, `output`, `temp` and `user` below a root; the first has the example pictures to begin with.

    `temp` is emptied.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        first = not self.of("input").is_dir()
        shutil.rmtree(self.of("temp"), ignore_errors=True)
        try:
            for kind in (*KINDS, f"{USER}/default/workflows", f"{USER}/default/subgraphs"):
                self.of(kind).mkdir(parents=True, exist_ok=True)
            if first:
                self._copy_examples()
            if not (templates := self.user / OWN_TEMPLATES).exists():
                templates.write_text("[]")
        except OSError as exc:
            cause = f"comfy_dir: {self.root} cannot be written ({exc.strerror}); name another folder"
            raise InputError(cause, "comfy_dir") from exc

    def of(self, kind: str) -> Path:
        """The folder of a kind."""
        return self.root / kind

    @property
    def user(self) -> Path:
        """The folder of what the page keeps."""
        return self.of(USER) / "default"

    def file(self, name: str, kind: str = "output", subfolder: str = "") -> Path:
        """Where a file is, be it there or not; a name may end with its kind: "fox.png [input]".

        Raises `RefusedError`, 400 for a name that is none and 403 for one that leads out of the folder.
        """
        stem, bracket, suffix = name.rpartition(" [")
        if bracket and suffix[:-1] in KINDS and suffix.endswith("]"):
            name, kind = stem, suffix[:-1]
        if kind not in KINDS:
            raise RefusedError(f"type is {kind[:32]!r}; give {', '.join(KINDS)}", 400, "invalid_input")
        if not name or name.startswith(("/", "\\")) or ".." in name:
            raise RefusedError(f"{name[:64]!r} names no file; give a name without ..", 400, "invalid_input")
        return within(self.of(kind), f"{subfolder}/{name}" if subfolder else name)

    def listed(self, kind: str) -> list[str]:
        """The names of a folder's files, those of its sub-folders with their paths."""
        return sorted(_names(self.of(kind)))

    def _copy_examples(self) -> None:
        package = __package__.rpartition(".serving")[0]
        with as_file(files(f"{package}.models") / "examples") as examples:
            for path in examples.glob("*.png"):
                shutil.copyfile(path, self.of("input") / path.name)
            for path in (examples / "masks").glob("*.png"):
                shutil.copyfile(path, self.of("input") / path.name)


def within(folder: Path, name: str) -> Path:
    """A path below a folder; raises `RefusedError` (403) for one that is not, also by links."""
    if "\0" in name:
        raise RefusedError("a name has no zero bytes", 400, "invalid_input")
    path = Path(os.path.realpath(folder / name.lstrip("/\\")))
    if not path.is_relative_to(os.path.realpath(folder)):
        raise RefusedError("this path leads out of the folder", 403, "forbidden")
    return path


def _names(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix.lower() in PICTURES:
            yield path.relative_to(folder).as_posix()
