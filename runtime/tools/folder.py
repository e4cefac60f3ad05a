"""A folder of pictures and one of results: what is to be done, and what was."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...bundles.graph import sha256
from ...bundles.textfile import decode
from ...errors import InputError, OutputError
from ..imaging.formats import HEAD, endings, formats_of
from ..imaging.output import check_place, numbered

JOURNAL = ".overpaint.jsonl"


@dataclass(frozen=True)
class Item:
    """A picture's file, its prompt, what is still to be made of it (by the image's index its path and its key), and how
    many images are there already."""

    source: Path
    prompt: str
    todo: Mapping[int, tuple[Path, str]]
    there: int = 0


@dataclass(frozen=True)
class Skipped:
    """A picture that was passed over, and why."""

    source: Path
    reason: str


class Journal:
    """What has been written into a folder and from what: a line of JSON an image, so that a stop loses none.

    Before a file is written its name is claimed, so that after a stop it is known whose file it is.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / JOURNAL
        self._folder = folder
        self._keys: dict[str, str] = {}
        self._claimed: set[str] = set()
        self._cut = False
        self._seed: int | None = None
        for line in self._lines():
            match line:
                case {"path": str(path), "key": str(key)}:
                    self._keys[path] = key
                case {"claimed": [*names]}:
                    self._claimed |= {name for name in names if isinstance(name, str)}
                case {"seed": int(seed)}:
                    self._seed = seed

    def has(self, path: Path, key: str) -> bool:
        """Whether the image is there, made from the same."""
        return self._keys.get(self._name(path)) == key and path.is_file()

    def owns(self, path: Path) -> bool:
        """Whether a file of this name is the batch's own, whatever it was made from."""
        name = self._name(path)
        return name in self._keys or name in self._claimed

    def made(self, path: Path) -> bool:
        """Whether the image is there and the batch wrote it, whatever it was made from."""
        return self._name(path) in self._keys and path.is_file()

    def claim(self, paths: Iterable[Path]) -> None:
        """Write down that files of these names are the batch's own, before they are written."""
        if names := [self._name(path) for path in paths if not self.owns(path)]:
            self._write({"claimed": names})
            self._claimed |= set(names)

    def add(self, path: Path, key: str) -> None:
        """Write down an image that was made."""
        self._write({"path": self._name(path), "key": key})
        self._keys[self._name(path)] = key

    def drawn_seed(self) -> int:
        """The seed that was drawn for the folder, so that all of it is made with one; the first time it is drawn."""
        if self._seed is None:
            self._seed = secrets.randbelow(2**32)
            self._write({"seed": self._seed})
        return self._seed

    def _name(self, path: Path) -> str:
        return path.relative_to(self._folder).as_posix()

    def _write(self, entry: Mapping[str, Any]) -> None:
        # A line that a stop has cut short must not spoil this one.
        begin, self._cut = "\n" if self._cut else "", False
        try:
            with self._path.open("a", encoding="utf-8") as stream:
                stream.write(f"{begin}{json.dumps(entry)}\n")
        except OSError as exc:
            raise OutputError(f"{self._path}: cannot be written ({exc.strerror}); check the permissions") from exc

    def _lines(self) -> Iterator[Any]:
        try:
            text = self._path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return
        except OSError as exc:
            raise OutputError(f"{self._path}: cannot be read ({exc.strerror}); check the permissions") from exc
        self._cut = bool(text) and not text.endswith("\n")
        for line in text.splitlines():
            try:
                yield json.loads(line)
            except (ValueError, RecursionError):
                continue


def find(folder: Path, out: Path, recursive: bool = False) -> list[Path]:
    """The pictures in a folder by their endings, in order; with `recursive` those in its folders too, but for `out`.

    Hidden files are left out. Raises `InputError` where there are none, and where `out` is the folder itself.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: is no folder; give one with pictures in it")
    if out.resolve() == folder.resolve():
        raise InputError(f"{out}: is the pictures' own folder, where results would replace them; choose another")
    known = endings()
    try:
        paths = sorted(folder.rglob("*") if recursive else folder.iterdir())
    except OSError as exc:
        raise InputError(f"{folder}: cannot be read ({exc.strerror}); check its permissions") from exc
    within = [path for path in paths if out.resolve() not in path.resolve().parents]
    found = [path for path in within if _shown(path, folder) and path.suffix.lower() in known and path.is_file()]
    if not found:
        raise InputError(f"{folder}: has no pictures{'' if recursive else '; with recursion its folders are searched'}")
    return found


def name(sources: Sequence[Path], folder: Path, out: Path, suffix: str, n: int = 1) -> list[list[Path]]:
    """The `n` paths of what is made of each picture: its place and name in `out`, with another ending.

    Pictures that differ in their endings alone keep them: a.png.png and a.jpg.png. Raises `InputError` where two would
    still have one path, on file systems that do not tell a from A too.
    """
    places = [source.relative_to(folder) for source in sources]
    plain = Counter(_folded(place.with_suffix(suffix)) for place in places)
    named = [
        place.with_suffix(suffix) if plain[_folded(place.with_suffix(suffix))] == 1 else Path(f"{place}{suffix}")
        for place in places
    ]
    return apart(sources, [numbered(out / place, n) for place in named])


def apart(sources: Sequence[Path], paths: list[list[Path]]) -> list[list[Path]]:
    """The paths of what is made of each picture; raises `InputError` as `name` does."""
    owner: dict[str, Path] = {}
    for source, own in zip(sources, paths, strict=True):
        for path in own:
            other = owner.get(_folded(path))
            if other is source:
                raise InputError(
                    f"several images of {source} would become {path}; add {{index}} or {{seed}} to the name"
                )
            if other:
                raise InputError(f"{other} and {source} would both become {path}; rename one of them")
            owner[_folded(path)] = source
    return paths


def caption(source: Path, prompt: str) -> str:
    """The text in the file beside a picture, a.txt for a.png; `prompt` where there is none or it is blank.

    Raises `InputError` for a file that cannot be read.
    """
    beside = source.with_suffix(".txt")
    try:
        return decode(beside.read_bytes()).strip() or prompt
    except FileNotFoundError:
        return prompt
    except (OSError, UnicodeDecodeError) as exc:
        raise InputError(f"{beside}: cannot be read ({exc}); save it as UTF-8 or UTF-16, or take it away") from exc


def plan(
    sources: Sequence[Path],
    paths: Sequence[Sequence[Path]],
    prompt: str,
    settings: Any,
    journal: Journal,
    overwrite: bool = False,
    others: Callable[[Path], list[str]] = lambda source: [],
) -> Iterator[Item | Skipped]:
    """What is to be done for each picture. Nothing, where all of it was done from the same file, prompt and settings.

    `settings` is all else that results hang on, such as the model's hashes, as JSON. `others` gives the hashes of what
    a picture has besides its own file, and raises `InputError` for one that is passed over. A file that exists and that
    the journal does not know is skipped, unless `overwrite`.
    """
    for source, own in zip(sources, paths, strict=True):
        try:
            text = caption(source, prompt)
            hashes = [_picture(source), *others(source)]
        except InputError as exc:
            yield Skipped(source, str(exc))
            continue
        todo, there = {}, 0
        for index, path in enumerate(own):
            key = _key(settings, text, *hashes, index)
            if journal.has(path, key):
                there += 1
            elif overwrite or journal.owns(path) or not os.path.lexists(path):
                todo[index] = path, key
            else:
                yield Skipped(source, f"{path}: exists, and this batch did not write it; replace it with --overwrite")
        yield Item(source, text, todo, there)


def check_folder(out: Path) -> None:
    """Make the folder for results; raises `OutputError` where it cannot be made or written to."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise OutputError(f"{out}: cannot be made ({exc.strerror}); choose another folder") from exc
    check_place(out / JOURNAL)


def content(path: Path) -> str:
    """The hash of a file; raises `InputError` for one that cannot be read."""
    try:
        return sha256(path)
    except OSError as exc:
        raise InputError(f"{path}: cannot be read ({exc.strerror}); check the path and its permissions") from exc


def _picture(source: Path) -> str:
    """The hash of a picture's file; raises `InputError` for a file of another kind, too."""
    try:
        with source.open("rb") as stream:
            formats_of(stream.read(HEAD), str(source))
    except OSError as exc:
        raise InputError(f"{source}: cannot be read ({exc.strerror}); check its permissions") from exc
    return content(source)


def _key(*parts: Any) -> str:
    """A hash of JSON."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _folded(path: Path) -> str:
    return path.as_posix().casefold()


def _shown(path: Path, folder: Path) -> bool:
    return not any(part.startswith(".") for part in path.relative_to(folder).parts)
