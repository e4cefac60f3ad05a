"""A folder's pictures repainted: those of one size share runs, and what cannot be done is skipped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import EngineError, InputError, OutputError
from ..denoising.loop import Step
from ..execution.run import Run
from ..imaging.output import check_writable
from ..imaging.picture import Picture
from ..imaging.picture import read as read_picture
from ..model.model import Model
from ..requests.expand import expand
from ..requests.guidance import parse_prompts
from ..requests.request import Request
from ..requests.result import Output
from .folder import Item, Journal, Skipped, check_folder
from .per_picture import as_json, per_picture, resolved

# Images whose size's run is not full yet: at most so many times those that run together.
_HELD = 4


@dataclass(frozen=True)
class Settings:
    """What every picture of a batch is asked: the prompt where it has none of its own, a request's options, how many
    images, the seed of the first.

    Among its controls and image prompts may be some `PerPicture`, for which places are counted from `folder`. Raises
    `InputError` for options that no picture could be made with.
    """

    prompt: str
    options: Mapping[str, Any]
    negative_prompt: str = ""
    n: int = 1
    seed: int = 0
    folder: Path = Path()

    def __post_init__(self) -> None:
        parse_prompts(self.requests(read_picture(np.zeros((64, 64, 3), np.uint8)), self.prompt)[0])

    def requests(self, picture: Picture, prompt: str, source: Path | None = None) -> list[Request]:
        """A request an image of the picture; the same seeds for every picture, as in A1111's batches.

        Raises `InputError` where the picture of a `source` has no image of its own that it has to have.
        """
        options = resolved(self.options, None if source is None else self._place(source))
        if options.get("variation_strength") and options.get("variation_seed") is None:
            options["variation_seed"] = self.seed + 1  # a drawn one would be another after a stop
        return expand([picture], [prompt], [self.negative_prompt], self.seed, self.n, options)

    def key(self) -> dict[str, Any]:
        """What of it results hang on, as JSON."""
        plain = {name: getattr(self, name) for name in ("prompt", "negative_prompt", "n", "seed")}
        return {**plain, "options": as_json(self.options)}

    def own(self, source: Path) -> list[str]:
        """The hashes of what a picture has of its own; raises `InputError` where it has not."""
        return [each.content(self._place(source)) for each in per_picture(self.options)]

    def _place(self, source: Path) -> Path:
        return source.relative_to(self.folder) if source.is_relative_to(self.folder) else Path(source.name)


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
        model: Model,
        items: Sequence[Item],
        settings: Settings,
        journal: Journal,
        write: Callable[[Path, Output], None],
        together: int = 8,
    ) -> None:
        self._model, self._items, self._settings = model, items, settings
        self._journal, self._write, self._together = journal, write, together
        width, height = model.bundle.model.default_size
        usual = settings.requests(read_picture(np.zeros((height, width, 3), np.uint8)), settings.prompt)
        self.total = len(model.prepare(usual[0]).plan) * sum(len(item.todo) for item in items)
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
        picture = self._model.read(item.source, reduce=self._settings.options.get("size") is not None)
        requests = self._settings.requests(picture, item.prompt, item.source)
        for index, (path, key) in item.todo.items():
            prepared = self._model.prepare(requests[index])
            check_folder(path.parent)
            check_writable(path, prepared.placement.size, prepared.parameters)
            yield _Piece(item.source, path, key, requests[index])

    def _run(self, group: Sequence[_Piece]) -> Iterator[Step | Painted | Skipped]:
        run = Run(self._model, [piece.request for piece in group], isolated=True, paced=False)
        yield from run
        outputs = dict(zip(sorted(run.done), run.result().outputs, strict=True))
        self._journal.claim(group[index].path for index in outputs)
        for index, piece in enumerate(group):
            if index in outputs:
                self._write(piece.path, outputs[index])
                self._journal.add(piece.path, piece.key)
                yield Painted(piece.source, piece.path, outputs[index])
            elif isinstance(error := run.errors[index], EngineError):
                yield Skipped(piece.source, str(error))
            else:
                raise error
