"""A folder of pictures repainted: what is done is not done again, what cannot be done is skipped."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ...engines.base import InputError, ModelOutputError, OutputError
from ..imaging import codec
from ..imaging.output import check_place, check_writable, numbered
from ..loop import Step
from ..request import Output, Request, expand

if TYPE_CHECKING:
    from ..pipeline import Pipeline

JOURNAL = ".overpaint.jsonl"
# Pictures of sizes that have not come together yet, at most so many times what runs together.
_HELD = 4


@dataclass(frozen=True)
class Item:
    """A picture's file, its prompt, and what is still to be made of it: the index of each image and its path."""

    source: Path
    prompt: str
    todo: Mapping[int, Path]
    keys: Mapping[int, str]


@dataclass(frozen=True)
class Painted:
    """An image that was written, and notes on its way there."""

    source: Path
    path: Path
    output: Output


@dataclass(frozen=True)
class Skipped:
    """A picture that was passed over, and why."""

    source: Path
    reason: str


class Journal:
    """What has been written into a folder and from what: a line of JSON an image, so that a stop loses none.

    `seed` is the one that was drawn the last time, None where none was.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / JOURNAL
        self._folder = folder
        self._keys: dict[str, str] = {}
        self._cut = False
        self.seed: int | None = None
        for line in self._lines():
            if isinstance(line, dict):
                self._keys |= {line["path"]: line["key"]} if {"path", "key"} <= line.keys() else {}
                self.seed = line.get("seed", self.seed)

    def has(self, path: Path, key: str) -> bool:
        """Whether the image is there, made from the same."""
        return self._keys.get(self._name(path)) == key and path.is_file()

    def add(self, path: Path, key: str) -> None:
        """Write down an image that was made."""
        self._write({"path": self._name(path), "key": key})

    def draw(self, seed: int) -> int:
        """Write down a seed that was drawn, so that the rest of the folder is made with it too; returns it."""
        self.seed = seed
        self._write({"seed": seed})
        return seed

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
    endings = {ending for ending, name in Image.registered_extensions().items() if name in codec.FORMATS}
    try:
        paths = sorted(folder.rglob("*") if recursive else folder.iterdir())
    except OSError as exc:
        raise InputError(f"{folder}: cannot be read ({exc.strerror}); check its permissions") from exc
    within = [path for path in paths if out.resolve() not in path.resolve().parents]
    found = [path for path in within if _shown(path, folder) and path.suffix.lower() in endings and path.is_file()]
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
        return beside.read_text(encoding="utf-8").strip() or prompt
    except FileNotFoundError:
        return prompt
    except (OSError, UnicodeDecodeError) as exc:
        raise InputError(f"{beside}: cannot be read ({exc}); save it as UTF-8, or take it away") from exc


def plan(
    sources: Sequence[Path], paths: Sequence[Sequence[Path]], prompt: str, settings: Any, journal: Journal
) -> Iterator[Item | Skipped]:
    """What is to be done for each picture. Nothing, where all of it was done from the same file, prompt and settings.

    `settings` is all else that results hang on, such as the model's hashes, as JSON.
    """
    for source, own in zip(sources, paths, strict=True):
        try:
            text = caption(source, prompt)
            content = hashlib.sha256(source.read_bytes()).hexdigest()
        except OSError as exc:
            yield Skipped(source, f"{source}: cannot be read ({exc.strerror}); check its permissions")
            continue
        except InputError as exc:
            yield Skipped(source, str(exc))
            continue
        keys = {index: _key(settings, text, content, index) for index in range(len(own))}
        todo = {index: path for index, path in enumerate(own) if not journal.has(path, keys[index])}
        yield Item(source, text, todo, keys)


class Batch:
    """Items being worked on: iterating yields the loop's steps, and what was painted or skipped.

    `options` are those of a request, `seed` that of each picture's first image, `together` how many images share a run,
    those of one size. `write` writes an image. Raises `InputError` for options that no picture could be made with.
    """

    def __init__(
        self,
        pipe: Pipeline,
        items: Iterable[Item],
        options: Mapping[str, Any],
        *,
        seed: int,
        n: int,
        together: int,
        write: Callable[[Path, Output], None],
        journal: Journal,
    ) -> None:
        self._pipe, self._items, self._options = pipe, items, options
        self._seed, self._n, self._together = seed, n, together
        self._save, self._journal = write, journal

    def __iter__(self) -> Iterator[Step | Painted | Skipped]:
        """Do the work; raises `OutputError` where nothing can be written any more."""
        held: dict[tuple[int, int], list[tuple[Item, int, Request]]] = {}
        for item in self._items:
            try:
                requests = self._requests(item)
            except (InputError, OutputError) as exc:
                yield Skipped(item.source, str(exc))
                continue
            for index, request in requests.items():
                size = request.size or request.image.size
                held.setdefault(size, []).append((item, index, request))
                if len(held[size]) == self._together:
                    yield from self._run(held.pop(size))
            if sum(map(len, held.values())) > _HELD * self._together:
                yield from self._run(held.pop(max(held, key=lambda size: len(held[size]))))
        for group in held.values():
            yield from self._run(group)

    def _requests(self, item: Item) -> dict[int, Request]:
        """What is asked for by index, checked as far as can be before it runs."""
        if not item.todo:
            return {}
        options = dict(self._options)
        negative = options.pop("negative_prompt", "")
        asked = expand([codec.read(item.source)], [item.prompt], [negative], self._seed, self._n, options)
        for index, path in item.todo.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            task = self._pipe.task(asked[index])
            check_writable(path, task.placement.size, task.parameters)
        return {index: asked[index] for index in item.todo}

    def _run(self, group: Sequence[tuple[Item, int, Request]]) -> Iterator[Step | Painted | Skipped]:
        run = self._pipe.run([request for _, _, request in group])
        try:
            yield from run
            outputs = run.result().outputs
        except ModelOutputError as exc:
            if len(group) == 1:
                yield Skipped(group[0][0].source, str(exc))
                return
            for one in group:  # so that the others do not suffer for one
                yield from self._run([one])
            return
        for (item, index, _), output in zip(group, outputs, strict=True):
            self._save(item.todo[index], output)
            self._journal.add(item.todo[index], item.keys[index])
            yield Painted(item.source, item.todo[index], output)


def blank() -> codec.Picture:
    """A picture to check options with."""
    return codec.read(np.zeros((64, 64, 3), np.uint8))


def check_folder(out: Path) -> None:
    """Make the folder for results; raises `OutputError` where it cannot be made or written to."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise OutputError(f"{out}: cannot be made ({exc.strerror}); choose another folder") from exc
    check_place(out / JOURNAL)


def _key(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def _folded(path: Path) -> str:
    return path.as_posix().casefold()


def _shown(path: Path, folder: Path) -> bool:
    return not any(part.startswith(".") for part in path.relative_to(folder).parts)
