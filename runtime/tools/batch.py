"""A folder's pictures repainted: those of one size share runs, and what cannot be done is skipped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import InputError, ModelOutputError, OutputError
from ..conditioning.guidance import check_prompts
from ..denoising.loop import Step
from ..imaging.output import check_writable
from ..imaging.picture import Picture
from ..imaging.picture import read as read_picture
from ..requests.expand import expand
from ..requests.request import Output, Request
from .folder import Item, Journal, Skipped, check_folder

if TYPE_CHECKING:
    from pathlib import Path

    from ..pipeline import Pipeline

# Images whose size's run is not full yet: at most so many times those that run together.
_HELD = 4


@dataclass(frozen=True)
class Settings:
    """What every picture of a batch is asked: the prompt where it has none of its own, a request's options, how many
    images, the seed of the first.

    Raises `InputError` for options that no picture could be made with.
    """

    prompt: str
    options: Mapping[str, Any]
    negative_prompt: str = ""
    n: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        check_prompts(self.requests(read_picture(np.zeros((64, 64, 3), np.uint8)), self.prompt)[0])

    def requests(self, picture: Picture, prompt: str) -> list[Request]:
        """A request an image of the picture; the same seeds for every picture, as in A1111's batches."""
        options = dict(self.options)
        if options.get("variation_strength") and options.get("variation_seed") is None:
            options["variation_seed"] = self.seed + 1  # a drawn one would be another after a stop
        return expand([picture], [prompt], [self.negative_prompt], self.seed, self.n, options)


@dataclass(frozen=True)
class Painted:
    """An image that was made and written."""

    source: Path
    path: Path
    output: Output


@dataclass(frozen=True)
class _Piece:
    """An image that is to be made."""

    source: Path
    path: Path
    key: str
    request: Request


class Batch:
    """Items being worked on: iterating, once, yields the loop's steps, and what was painted or skipped.

    At most `together` images share a run, all of one size. `write` writes an image, and gets its path. Raises
    `InputError` for settings that this model cannot answer.
    """

    def __init__(
        self,
        pipe: Pipeline,
        items: Sequence[Item],
        settings: Settings,
        journal: Journal,
        write: Callable[[Path, Output], None],
        together: int = 8,
    ) -> None:
        self._pipe, self._items, self._settings = pipe, items, settings
        self._journal, self._write, self._together = journal, write, together
        width, height = pipe.bundle.model.default_size
        usual = settings.requests(read_picture(np.zeros((height, width, 3), np.uint8)), settings.prompt)
        self.total = len(pipe.task(usual[0]).plan) * sum(len(item.todo) for item in items)
        """The evaluations that all of it needs."""

    def __iter__(self) -> Iterator[Step | Painted | Skipped]:
        """Do the work; raises `OutputError` where nothing can be written any more."""
        held: dict[tuple[int, int], list[_Piece]] = {}
        for item in self._items:
            try:
                pieces = list(self._pieces(item))
            except (InputError, OutputError) as exc:
                yield Skipped(item.source, str(exc))
                continue
            for piece in pieces:
                size = piece.request.size or piece.request.image.size
                held.setdefault(size, []).append(piece)
                if len(held[size]) == self._together:
                    yield from self._run(held.pop(size))
            while sum(map(len, held.values())) > _HELD * self._together:
                yield from self._run(held.pop(max(held, key=lambda size: len(held[size]))))
        for group in held.values():
            yield from self._run(group)

    def _pieces(self, item: Item) -> Iterator[_Piece]:
        """What is to be made of a picture, checked as far as can be before it runs."""
        if not item.todo:
            return
        picture = self._pipe.read(item.source, reduce=self._settings.options.get("size") is not None)
        requests = self._settings.requests(picture, item.prompt)
        for index, (path, key) in item.todo.items():
            task = self._pipe.task(requests[index])
            check_folder(path.parent)
            check_writable(path, task.placement.size, task.parameters)
            yield _Piece(item.source, path, key, requests[index])

    def _run(self, group: Sequence[_Piece]) -> Iterator[Step | Painted | Skipped]:
        run = self._pipe.run([piece.request for piece in group])
        try:
            yield from run
            outputs = run.result().outputs
        except ModelOutputError as exc:
            if len(group) == 1:
                yield Skipped(group[0].source, str(exc))
            else:  # one by one, so that only what is at fault is skipped
                for piece in group:
                    yield from self._run([piece])
            return
        self._journal.claim(piece.path for piece in group)
        for piece, output in zip(group, outputs, strict=True):
            self._write(piece.path, output)
            self._journal.add(piece.path, piece.key)
            yield Painted(piece.source, piece.path, output)
