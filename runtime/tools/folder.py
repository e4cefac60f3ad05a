"""A folder of pictures and one of results: what is to be done, and what was."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...engines.base import InputError, OutputError
from ...engines.textfile import decode
from ..imaging.formats import HEAD, endings, formats_of
from ..imaging.output import check_place, numbered

JOURNAL = ".overpaint.jsonl"


@dataclass(frozen=True)
class Item:
    """A picture's file, its prompt, and what is still to be made of it: by the image's index its path and its key."""

    source: Path
    prompt: str
    todo: Mapping[int, tuple[Path, str]]


@dataclass(frozen=True)
class Skipped:
    """A picture that was passed over, and why."""

    source: Path
    reason: str


class Journal:
    """What has been written into a folder and from what: a line of JSON an image, so that a stop loses none."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / JOURNAL
        self._folder = folder
        self._keys: dict[str, str] = {}
        self._cut = False
        self._seed: int | None = None
        for line in self._lines():
            if isinstance(line, dict):
                self._keys |= {line["path"]: line["key"]} if {"path", "key"} <= line.keys() else {}
                self._seed = line.get("seed", self._seed)

    def has(self, path: Path, key: str) -> bool:
        """Whether the image is there, made from the same."""
        return self._keys.get(self._name(path)) == key and path.is_file()

    def add(self, path: Path, key: str) -> None:
        """Write down an image that was made."""
        self._write({"path": self._name(path), "key": key})

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
            except ValueError:
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
    paths = [numbered(out / place, n) for place in named]
    owner: dict[str, Path] = {}
    for source, own in zip(sources, paths, strict=True):
        for path in own:
            other = owner.setdefault(_folded(path), source)
            if other is not source:
                raise InputError(f"{other} and {source} would both become {path}; rename one of them")
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
    sources: Sequence[Path], paths: Sequence[Sequence[Path]], prompt: str, settings: Any, journal: Journal
) -> Iterator[Item | Skipped]:
    """What is to be done for each picture. Nothing, where all of it was done from the same file, prompt and settings.

    `settings` is all else that results hang on, such as the model's hashes, as JSON.
    """
    for source, own in zip(sources, paths, strict=True):
        try:
            text = caption(source, prompt)
            content = _content(source)
        except InputError as exc:
            yield Skipped(source, str(exc))
            continue
        keys = [_key(settings, text, content, index) for index in range(len(own))]
        pairs = enumerate(zip(own, keys, strict=True))
        yield Item(source, text, {index: pair for index, pair in pairs if not journal.has(*pair)})


def check_folder(out: Path) -> None:
    """Make the folder for results; raises `OutputError` where it cannot be made or written to."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise OutputError(f"{out}: cannot be made ({exc.strerror}); choose another folder") from exc
    check_place(out / JOURNAL)


def _content(source: Path) -> str:
    try:
        with source.open("rb") as stream:
            formats_of(stream.read(HEAD), str(source))
            stream.seek(0)
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as exc:
        raise InputError(f"{source}: cannot be read ({exc.strerror}); check its permissions") from exc


def _key(*parts: Any) -> str:
    """A hash of JSON."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _folded(path: Path) -> str:
    return path.as_posix().casefold()


def _shown(path: Path, folder: Path) -> bool:
    return not any(part.startswith(".") for part in path.relative_to(folder).parts)
