"""Outpainting: a picture grows, and a model paints what is around it; its own pixels stay as they are."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...bundles.tensor import Array
from ...errors import InputError, counted
from ..denoising.loop import Step
from ..execution.run import Run
from ..imaging import fill
from ..imaging.compose import certify, reveal
from ..imaging.fill import Margins
from ..imaging.mask_shape import blur, grow
from ..imaging.picture import Picture, check_size
from ..imaging.picture import Source as PictureSource
from ..imaging.preprocessors import INPAINT
from ..imaging.tiles import Window
from ..model.model import Model
from ..requests import checks
from ..requests.controls import Control
from ..requests.expand import expand
from ..requests.options import of_tool
from ..requests.places import InpaintMask
from ..requests.request import Request
from ..requests.result import Output, Result
from ..requests.settle import settled
from .controlled import cut, whole
from .options import split
from .outpainting import Outpainting, enlarged, rounds
from .patch import Patch, Seam, Size, summed
from .tool_call import recorded

Source = PictureSource | Picture
# Between the seeds of one picture's areas, so that no two areas begin with the same noise.
STRIDE = 0x9E3779B1


class Outpaint:
    """An outpainting on its way: iterate for its steps, then ask for its `result()`, as with a `Run`."""

    def __init__(
        self,
        model: Model,
        image: Source,
        prompt: str = "",
        *,
        negative_prompt: str = "",
        seed: int | Sequence[int] | None = None,
        n: int = 1,
        **options: Any,
    ) -> None:
        """`options` are fields of `Outpainting` and of `Request`; `size` is what the model works at (its own).

        Raises `InputError` for all that can be known to be wrong before a model runs.
        """
        own, rest = split("outpaint", Outpainting, options)
        self._prompt, self._options = prompt, options
        self._own = Outpainting(**own)
        self._picture = model.read(image)
        if rest.get("resize_mode") is not None:
            cause = "outpainting has no resize mode; its result is the picture's size and what it grows by"
            raise InputError(cause, "resize_mode")
        facts = model.bundle.model
        size = checks.option(of_tool("outpaint")["size"], rest.pop("size", None)) or facts.default_size
        grown = enlarged(self._picture.size, self._own.margins)
        check_size(grown, facts.multiple, "the grown picture")
        if grown[0] * grown[1] > model.max_pixels:
            raise InputError(
                f"the grown picture is {grown[0]}x{grown[1]}, more than the limit of {model.max_pixels} pixels; "
                "let it grow less, or raise the limit (max_pixels, --max-pixels)"
            )
        self._rounds = rounds(self._picture.size, self._own.margins, size)
        self._model = model
        seen = Picture(self._picture.on_white)
        requests = expand([seen], [prompt], [negative_prompt], seed, n, rest)
        self._requests = [settled(request, facts.defaults["outpaint"]) for request in requests]
        self._canvases = [seen] * len(self._requests)
        self._controls = self._fitted(grown)
        self._added = 0, 0  # so far on the left and at the top
        self._results: list[Result] = []
        # The first area is checked with everything that a request can be wrong about; the others differ in pixels.
        first = self._rounds[0]
        blank = np.zeros((first.areas[0].height, first.areas[0].width, 3), np.uint8)
        shown = tuple(each for each in self._controls if each.preprocessor != INPAINT)  # which needs a mask
        checked = replace(self._requests[0], image=Picture(blank), controls=shown)
        self._lines = len(model.prepare(checked).plan)

    @property
    def requests(self) -> Sequence[Request]:
        """What is asked of each image."""
        return self._requests

    @property
    def evaluations(self) -> int:
        """How many steps there are to iterate over."""
        return self._lines * len(self._requests) * sum(len(each.areas) for each in self._rounds)

    def __iter__(self) -> Generator[Step]:
        """Do the work; raises `InputError` the second time."""
        if self._results:
            raise InputError("an outpainting goes once; start another")
        for each in self._rounds:
            size = self._canvases[0].size
            self._canvases = [
                self._padded(*pair, each.margins) for pair in zip(self._canvases, self._requests, strict=True)
            ]
            left, top = self._added
            self._added = left + each.margins.left, top + each.margins.top
            todo = each.margins.mask(size)
            for area in each.areas:
                yield from self._paint(area, todo)
                todo[area.slices] = 0

    def _fitted(self, size: Size) -> tuple[Control, ...]:
        """The controls, those with an image of their own at the size of the grown picture."""
        blank = Picture(np.zeros((size[1], size[0], 3), np.uint8))
        controls = self._requests[0].controls
        fitted = iter(whole(self._model, [each for each in controls if each.image is not None], blank))
        return tuple(each if each.image is None else next(fitted) for each in controls)

    def _controls_of(self, area: Window) -> tuple[Control, ...]:
        """The controls for an area of the canvas, whose images are cut where it lies in the grown picture."""
        left, top = self._own.margins.left - self._added[0], self._own.margins.top - self._added[1]
        there = Window(area.top + top, area.left + left, area.height, area.width)
        return tuple(
            each if each.image is None else cut([each], there, (area.width, area.height))[0] for each in self._controls
        )

    def _padded(self, canvas: Picture, request: Request, margins: Margins) -> Picture:
        own = self._own
        pixels = fill.pad(canvas.pixels, margins, own.fill, colour=own.colour, seed=self._seed(request))
        return Picture(pixels)

    def _seed(self, request: Request) -> int:
        """The seed of a request's next area; the first has the request's own."""
        return (request.seed + len(self._results) * STRIDE) % 2**64

    def _paint(self, area: Window, todo: Array) -> Iterator[Step]:
        """Paint what of an area is still to do, in all pictures."""
        own = self._own
        levels = _overlapping(todo[area.slices], own.overlap)
        patches = [Patch(canvas, area, levels, (area.width, area.height)) for canvas in self._canvases]
        change = InpaintMask(levels, latent_mask=own.latent_mask)
        controls = self._controls_of(area)
        run = Run(
            self._model,
            [
                replace(request, image=patch.source, inpaint_mask=change, seed=self._seed(request), controls=controls)
                for patch, request in zip(patches, self._requests, strict=True)
            ],
            paced=False,
        )
        yield from run
        result = run.result()
        self._results.append(result)
        seam = Seam(own.ring, own.ring_field, own.feather)
        self._canvases = [
            patch.put_back(output.image, seam)[0] for patch, output in zip(patches, result.outputs, strict=True)
        ]

    @property
    def size(self) -> Size:
        """(width, height) of the result."""
        return enlarged(self._picture.size, self._own.margins)

    def result(self) -> Result:
        """The result; raises `InputError` where the work has not been done."""
        if len(self._results) != sum(len(each.areas) for each in self._rounds):
            raise InputError("the outpainting has not ended; iterate over it to its end before asking for its result")
        last = self._results[-1]
        count = len(self._requests)
        outputs = [
            recorded(
                self._model,
                "outpaint",
                self._output(index, output),
                self._picture,
                (self._prompt,),
                self._options,
                together=count,
            )
            for index, output in enumerate(self._results[0].outputs)
        ]
        timings = summed([dict(result.timings) for result in self._results])
        return replace(last, outputs=tuple(outputs), timings=timings)

    def _output(self, index: int, first: Output) -> Output:
        """The grown picture, with the original in its place and its alpha; the request is the first area's."""
        own, old = self._own, self._picture
        pixels = self._canvases[index].pixels.copy()
        window = own.margins.window(old.size)
        levels = _overlapping(own.margins.mask(old.size), own.overlap)
        before, alpha = fill.pad(old.pixels, own.margins), None
        if old.alpha is not None:
            # The canvas was seen on white: colours that transparency hides are still the picture's own.
            alpha, inside = np.full(levels.shape, 255, np.uint8), window.slices
            whole = reveal(np.dstack([old.pixels, old.alpha]), pixels[inside], levels[inside])
            pixels[inside], alpha[inside] = whole[..., :3], whole[..., 3]
        request = replace(first.request, image=old, inpaint_mask=None, seed=self._requests[index].seed)
        return replace(
            first,
            image=Picture(pixels, alpha).image,
            request=request,
            notes=(*old.notes, *self._notes()),
            certificate=certify(before, pixels, levels),
        )

    def _notes(self) -> Iterator[str]:
        areas = len(self._results)
        if areas > 1:
            size = self._rounds[0].areas[0]
            yield f"painted in {areas} areas of {size.width}x{size.height} pixels, "
            f"in {counted(len(self._rounds), 'round')}"


def _overlapping(levels: Array, overlap: int) -> Array:
    """A mask uint8 [height, width] of 0 and 255 that fades over the `overlap` pixels around it."""
    if not overlap:
        return levels.copy()
    half = (overlap + 1) // 2
    # The blur of a mask grown by half the overlap ends within it.
    faded = blur(grow(levels, half), max(overlap - half, 0) / 2.5)
    return np.maximum(faded, levels)
