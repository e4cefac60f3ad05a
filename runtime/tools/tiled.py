"""Requests over parts of one picture: passes that repaint tiles of it, as many at once as do not touch each other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace

import numpy as np

from ...bundles.tensor import Array
from ..denoising.loop import Step
from ..execution.run import Run
from ..imaging.compose import paste
from ..imaging.match import wavelet
from ..imaging.picture import Picture
from ..imaging.tile_passes import TilePass, waves
from ..model.model import Model
from ..progress import ProgressCallback
from ..requests.controls import Control
from ..requests.places import InpaintMask
from ..requests.request import Request
from ..requests.result import Output
from .controlled import cut
from .patch import scaled


class Meter:
    """Tells `progress` how many tiles of a stage's `total` are done, where runs tell of the rows of a line.

    A tile counts once a line; `tiles` are those of the run under way.
    """

    def __init__(self, progress: ProgressCallback, stage: str, total: int, tiles: int = 0) -> None:
        self.tiles = tiles
        self._progress = progress
        self._stage = stage
        self._total = total
        self._done = 0

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Hear of a stage of a run; that of its VAE is no progress of its own."""
        if stage == "denoise":
            self._progress(self._stage, self._done + self.tiles * done // total, self._total)
            self._done += self.tiles * (done == total)


class Painter:
    """Has requests run, and adds up what they took: `timings` in seconds and `cached` by stage, and `engines`.

    `controls` are those of the whole picture.
    """

    def __init__(self, model: Model, controls: Sequence[Control] = ()) -> None:
        self.timings: dict[str, float] = defaultdict(float)
        self.cached: dict[str, int] = defaultdict(int)
        self.engines: dict[str, str] = {}
        self.controls = controls
        self._model = model

    def run(self, requests: Sequence[Request], progress: ProgressCallback) -> Generator[Step, None, tuple[Output, ...]]:
        """Run requests together, yield the steps, and return the outputs."""
        run = Run(self._model, requests, progress=progress, paced=False)
        yield from run
        result = run.result()
        for stage, seconds in result.timings.items():
            self.timings[stage] += seconds
        for stage, count in result.cached.items():
            self.cached[stage] += count
        self.engines.update(result.engines)
        return result.outputs

    def passes(
        self, pixels: Array, passes: Sequence[TilePass], request: Request, batch: int, meter: Meter, join: bool = False
    ) -> Generator[Step, None, tuple[Output, ...]]:
        """Repaint `pixels`, uint8 [height, width, 3], in place, tile by tile in the passes' order; `batch` tiles that
        see nothing of each other run together. Returns the outputs of the first batch.

        The request is that of every tile, but for the picture, what of it changes, and where it lies. With `join` a
        tile keeps the colours of what it replaces: else the model's idea of them differs from tile to tile.
        """
        first: tuple[Output, ...] = ()
        for tiles in _batches(passes, batch):
            meter.tiles = len(tiles)
            outputs = yield from self.run([self._placed(request, pixels, tile) for tile in tiles], meter)
            for tile, output in zip(tiles, outputs, strict=True):
                seen = pixels[tile.window.slices]
                painted = scaled(np.asarray(output.image), (tile.window.width, tile.window.height))
                seen[...] = paste(seen, wavelet(painted, seen) if join else painted, tile.weights)
            first = first or outputs
        return first

    def _placed(self, request: Request, pixels: Array, tile: TilePass) -> Request:
        return replace(_placed(request, pixels, tile), controls=cut(self.controls, tile.window, tile.work_size))


def _batches(passes: Sequence[TilePass], batch: int) -> Iterator[list[TilePass]]:
    return (wave[start : start + batch] for wave in waves(passes) for start in range(0, len(wave), batch))


def _placed(request: Request, pixels: Array, tile: TilePass) -> Request:
    """The request of one tile: around what it replaces, what it sees is kept as it is."""
    window, size = tile.window, tile.work_size
    change = None
    if tile.size is not None:
        change = InpaintMask(scaled(tile.weights, size), latent_mask=request.habit.masks.latent_mask)
    elif not tile.fades and tile.weights.min() < 255:
        change = InpaintMask(tile.weights)
    image = Picture(scaled(pixels[window.slices], size).copy())
    return replace(request, image=image, inpaint_mask=change, origin=(window.left, window.top))
