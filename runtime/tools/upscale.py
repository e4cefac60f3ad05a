"""Tiled upscaling: a picture is enlarged, and the model paints the detail that it lacks, in tiles without seams."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ...bundles.tensor import Array
from ...errors import InputError
from ..conventions.convention import convention
from ..conventions.tiles import OURS
from ..denoising.loop import Step
from ..imaging.match import METHODS as MATCHES
from ..imaging.match import match
from ..imaging.picture import Picture, check_size
from ..imaging.picture import Source as PictureSource
from ..imaging.seams import Line, Seams, seams
from ..imaging.tile_passes import TilePass
from ..model.build_job import mosaic
from ..model.model import Model
from ..model.upscaler import Upscaler, load_upscaler
from ..progress import ProgressCallback, no_progress
from ..requests.guidance import parse_prompts
from ..requests.request import Request
from ..requests.result import Output, Result
from ..requests.settle import settled
from .controlled import whole
from .enlarge import enlarge, enlarged_size, extended, rounds
from .options import split
from .tiled import Meter, Painter
from .tool_call import recorded
from .upscaling import Upscaling, tile_request


@dataclass(frozen=True)
class Upscaled(Result):
    """What an upscale gives: a `Result` of one picture, with the scores of the lines along which tiles meet.

    `painted` are those before the lines of `repaired` were repaired and colours matched, `seams` those of the picture.
    """

    painted: Seams
    seams: Seams
    repaired: tuple[Line, ...]


class Upscale:
    """An upscale on its way: iterate for its steps, then ask for its `result()`, as with a `Run`."""

    def __init__(
        self,
        model: Model,
        image: PictureSource | Picture,
        prompt: str = "",
        *,
        negative_prompt: str = "",
        seed: int | None = None,
        upscaler: Upscaler | str | Path | None = None,
        progress: ProgressCallback = no_progress,
        **options: Any,
    ) -> None:
        """`options` are fields of `Upscaling` and of `Request`, whose noise is "field" here.

        `upscaler` makes the first enlargement instead of Lanczos: one that is loaded, or what `load_upscaler` takes,
        which is closed after that. `progress` is called with how many tiles are done of the stages enlarge, encode,
        denoise, decode and repair; a tile counts once an evaluation of the plan. Raises `InputError` for all that can
        be known to be wrong before a model runs.
        """
        given = {name: value for name, value in options.items() if value is not None}
        own, rest = split("upscale", Upscaling, given)
        self._prompt, self._options = prompt, given
        self._own = Upscaling(**own)
        self._rule = OURS
        if self._own.method == "tiles":
            self._rule = convention(rest.get("convention") or "contract").tiles
            usual = {"colour_match": self._rule.colour_match, "repair": self._rule.repair}
            self._own = Upscaling(**{**usual, "seam_fix_strength": self._rule.fix_strength, **own})
        self._sizes = self._own.sizes(model.bundle.model, self._rule)
        self._model = model
        self._progress = progress
        self._upscaler = load_upscaler(upscaler) if isinstance(upscaler, str | Path) else upscaler
        self._opened = None if self._upscaler is upscaler else self._upscaler
        self._picture = model.read(image)
        self.size = enlarged_size(self._picture.size, self._own.scale)
        """(width, height) of the result."""
        if self._upscaler:
            rounds(self._picture.size, self.size, self._upscaler)
        request = tile_request(self._picture, prompt, negative_prompt, seed, {"noise": self._rule.noise, **rest})
        self._request = settled(request, model.bundle.model.defaults["upscale"])
        self._plan = model.plan(self._request)
        self._fix = self._fixing()
        width, height = (length + -length % self._sizes.multiple for length in self.size)
        self._shape = height, width
        facts = model.bundle.model
        self._windows = mosaic(self._fix, facts, height // facts.downscale, width // facts.downscale)
        self._check()
        self._result: Upscaled | None = None
        self._begun = False

    @property
    def requests(self) -> tuple[Request]:
        """What is asked of the image."""
        return (self._request,)

    @property
    def evaluations(self) -> int:
        """How many steps there are to iterate over, without those of a repair."""
        if self._own.method == "joint":
            return len(self._plan)
        redrawn, mended = self._passes()
        return len(redrawn) * len(self._plan) + len(mended) * len(self._model.plan(self._fix))

    def __iter__(self) -> Generator[Step]:
        """Do the work, once."""
        if self._begun:
            raise InputError("an upscale goes once; start another")
        self._begun = True
        start = time.perf_counter()
        painter = Painter(self._model)
        report = partial(self._progress, "enlarge")
        with nullcontext() if self._opened is None else closing(self._opened):
            picture = enlarge(self._picture, self.size, self._upscaler, report)
        painter.timings["enlarge"] = time.perf_counter() - start
        yield from self._painted(picture, painter, start)

    def result(self) -> Upscaled:
        """The result of an upscale that was iterated to its end; raises `InputError` for one that was not."""
        if self._result is None:
            raise InputError("the upscale has not ended; iterate over it to its end before asking for its result")
        return self._result

    def _painted(self, picture: Picture, painter: Painter, start: float) -> Iterator[Step]:
        """Repaint the enlarged picture, mend what shows, and keep the result."""
        own, (width, height) = self._own, self.size
        source = extended(picture.on_white, self._shape)
        painter.controls = whole(self._model, self._request.controls, Picture(source))
        paint = self._joint if own.method == "joint" else self._tiles
        pixels, output = yield from paint(source, painter)
        painted = mended = self._scores(pixels, source)
        worn = painted.over(own.seam_limit) if own.repair and len(self._plan) else ()
        repaired: tuple[Line, ...] = ()
        if worn:
            mended, repaired = yield from self._repair(pixels, source, painted, worn, painter)
        if own.matching in MATCHES:
            pixels = match(pixels, source, own.matching)
            mended = self._scores(pixels, source)
        del source
        # Strength 0 gives back what transparent pixels hide, too.
        made = Picture(pixels[:height, :width], picture.alpha) if len(self._plan) else picture
        notes = [*picture.notes, *output.notes]
        if worn:
            notes.append(
                f"seams repaired: {len(repaired)}; the worst score was {painted.worst:.2f} and is {mended.worst:.2f}"
            )
        if len(repaired) < len(worn):
            notes.append(f"seams left as they were, because a repair scored no better: {len(worn) - len(repaired)}")
        name = self._upscaler.bundle.model.name if self._upscaler else "Lanczos"
        output = replace(
            output,
            image=made.image,
            request=self._request,
            parameters=own.parameters(output.parameters, self._sizes, self.size, name),
            notes=tuple(dict.fromkeys(notes)),
        )
        if self._upscaler is None:
            output = recorded(self._model, "upscale", output, self._picture, (self._prompt,), self._options)
        else:
            # The record of the painting alone would make another picture again.
            output = replace(output, recorder=None)
        timings = {**painter.timings, "total": time.perf_counter() - start}
        self._result = Upscaled((output,), timings, dict(painter.cached), painter.engines, painted, mended, repaired)

    def _joint(self, source: Array, painter: Painter) -> Generator[Step, None, tuple[Array, Output]]:
        """All windows at every step, joined in latents."""
        tiles = len(self._windows) if self._windows else 1
        meter = Meter(self._progress, "denoise", tiles * len(self._plan), tiles)

        def progress(stage: str, done: int, total: int) -> None:
            (meter if stage == "denoise" else self._progress)(stage, done, total)

        sizes = self._sizes
        request = replace(
            self._request,
            window=sizes.tile,
            window_overlap=sizes.overlap,
            image=Picture(source),
            controls=tuple(painter.controls),
        )
        (output,) = yield from painter.run([request], progress)
        return np.array(output.image), output

    def _tiles(self, source: Array, painter: Painter) -> Generator[Step, None, tuple[Array, Output]]:
        """Tile after tile, and then the seam fix."""
        pixels, (redrawn, mended) = source.copy(), self._passes()
        meter = Meter(self._progress, "denoise", len(redrawn) * len(self._plan))
        outputs = yield from painter.passes(pixels, redrawn, self._request, self._batch(redrawn), meter, self._joins)
        if mended:
            meter = self._mending_meter(len(mended), self._mending)
            yield from self._mend(pixels, mended, self._mending, painter, meter)
        return pixels, outputs[0]

    def _repair(
        self, pixels: Array, source: Array, scores: Seams, worn: tuple[Line, ...], painter: Painter
    ) -> Generator[Step, None, tuple[Seams, tuple[Line, ...]]]:
        """Bands along lines, in place, one after the other; returns the scores and the lines that are better now."""
        meter, better = self._mending_meter(len(worn), self._fix), []
        for line in worn:
            (band,) = self._sizes.bands(*self._shape, (line,))
            seen = pixels[band.window.slices]
            before = seen.copy()
            yield from self._mend(pixels, [band], self._fix, painter, meter)
            mended = self._scores(pixels, source)
            if mended.of(line) < scores.of(line) and mended.worst <= scores.worst:
                scores = mended
                better.append(line)
            else:
                seen[...] = before
        return scores, tuple(better)

    def _mending_meter(self, count: int, request: Request) -> Meter:
        return Meter(self._progress, "repair", count * len(self._model.plan(request)))

    def _mend(
        self, pixels: Array, passes: list[TilePass], request: Request, painter: Painter, meter: Meter
    ) -> Iterator[Step]:
        """Passes over seams, in place."""
        yield from painter.passes(pixels, passes, request, self._batch(passes), meter, self._joins)

    @property
    def _mending(self) -> Request:
        """What the seam fix asks for: half tiles go through the model as tiles do."""
        return self._fix if self._own.seam_fix == "bands" else replace(self._fix, window=0, window_overlap=None)

    def _passes(self) -> tuple[list[TilePass], list[TilePass]]:
        """Those over the tiles, and those of the seam fix."""
        lengths = self._sizes, *self._shape, self._rule
        return self._own.redrawn(*lengths), self._own.mended(*lengths)

    @property
    def _joins(self) -> bool:
        """Does each tile keep the colours of what it is painted over?"""
        return self._own.matching == "tile"

    def _batch(self, passes: list[TilePass]) -> int:
        return self._own.batch or self._model.rows_per_call(passes[0].work_size)

    def _scores(self, pixels: Array, source: Array) -> Seams:
        """The scores of the lines along which tiles meet, of pixels that were painted over a source."""
        scale = self._model.bundle.model.downscale
        if self._own.method == "tiles":
            rows, columns = self._sizes.tiling(*self._shape).borders
        else:
            edges = self._windows.edges if self._windows else ((), ())
            rows, columns = (tuple(at * scale for at in axis) for axis in edges)
        width, height = self.size
        down, across = ([at for at in axis if at <= end - 2] for axis, end in ((rows, height), (columns, width)))
        return seams(pixels[:height, :width], down, across, source[:height, :width])

    def _fixing(self) -> Request:
        """What bands ask for, but for their picture: as long as it, they go through the model in windows. Noise that
        was taken off once is not put on again."""
        request = self._request
        strength = self._own.seam_fix_strength or (request.passes[-1] if request.passes else request.strength)
        prompt = request.pass_prompts[-1] if request.pass_prompts else request.prompt
        return replace(
            request,
            strength=strength,
            prompt=prompt,
            passes=(),
            pass_prompts=(),
            seed=(request.seed + self._rule.fix_seed) % 2**64,
            window=self._sizes.tile,
            window_overlap=self._sizes.overlap,
        )

    def _check(self) -> None:
        """Raise `InputError` for what a run would refuse later."""
        parse_prompts(self._request)
        whole(self._model, self._request.controls, self._picture)
        self._model.plan(self._fix)
        check_size(self.size, self._sizes.multiple, "the result")
        width, height = self.size
        if self._own.method == "joint":
            self._model.check_size((width, height), self._sizes.tile)
            return
        for passes, request in zip(self._passes(), (self._request, self._mending), strict=True):
            for tile in passes[:1]:
                self._model.check_size(tile.work_size, request.window)
