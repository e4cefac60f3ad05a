"""Inpainting: what a mask says is repainted, everything else comes back bit for bit."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...bundles.facts import ModelFacts
from ...bundles.tensor import Array
from ...errors import InputError, counted
from ..conventions.convention import convention
from ..conventions.masks import MaskRule
from ..denoising.loop import Step
from ..execution.run import Run
from ..imaging import fill, mask
from ..imaging.feather import covering
from ..imaging.mask import HALF, Mask, to_latents
from ..imaging.mask_shape import region
from ..imaging.picture import Picture
from ..imaging.picture import Source as PictureSource
from ..imaging.tiles import Window
from ..model.model import Model
from ..requests import checks
from ..requests.expand import expand
from ..requests.options import of_tool
from ..requests.places import InpaintMask, Region
from ..requests.request import Request
from ..requests.result import Output, Result
from ..requests.sections import Adapters
from ..requests.settle import settled
from .controlled import cut, whole
from .inpainting import READING, Inpainting
from .options import split
from .patch import Patch, Seam, Size, scaled, working_size
from .tool_call import recorded

Source = PictureSource | Picture
MaskSource = PictureSource | Mask


class Inpaint:
    """An inpainting on its way: iterate for its steps, then ask for its `result()`, as with a `Run`."""

    def __init__(
        self,
        model: Model,
        image: Source,
        masks: Any,
        prompts: str | Sequence[str] = "",
        /,
        *,
        negative_prompt: str = "",
        seed: int | Sequence[int] | None = None,
        n: int = 1,
        **options: Any,
    ) -> None:
        """`masks` are what `imaging.mask.read` takes or gives, one or a list. `options` are fields of `Inpainting` and
        of `Request`; `size` is the most that the model works at.

        Several masks have several prompts, one each, of which later ones lie on top, or share one. Raises `InputError`
        for all that can be known to be wrong before a model runs.
        """
        own, rest = split("inpaint", Inpainting, options)
        self._options = {name: value for name, value in options.items() if name not in READING}
        rule = convention(rest.get("convention") or "contract").masks
        self._own = Inpainting(**{"latent_mask": rule.latent_mask, "ring": rule.ring, **own})
        if not rule.predictions and (other := set(self._own.soft_changes) - {"soft_preservation"}):
            cause = f"{', '.join(sorted(other))}: of A1111's soft inpainting; choose the convention 'a1111'"
            raise InputError(cause, min(other))
        self._picture = model.read(image)
        self._notes: list[str] = []
        shapes = self._read(masks if isinstance(masks, (list, tuple)) else [masks], model.max_pixels)
        self._masks = tuple(shapes)
        prompts = [prompts] if isinstance(prompts, str) else list(prompts)
        self._prompts = tuple(prompts)
        if len(prompts) not in (1, len(shapes)):
            cause = f"{counted(len(prompts), 'prompt')} for {counted(len(shapes), 'mask')}"
            raise InputError(f"{cause}; give one for all, or one a mask", "prompt")
        size = checks.option(of_tool("inpaint")["size"], rest.pop("size", None))
        if rest.get("resize_mode") is not None:
            cause = "inpainting has no resize mode; the result has the picture's size whatever the model's is"
            raise InputError(cause, "resize_mode")
        self._patch, shapes, freed = self._plan(model.bundle.model, shapes, size, rule)
        places: dict[str, Any] = {}
        source = self._picture
        if self._patch is not None:
            places["inpaint_mask"] = self._own.inpaint_mask(freed)
            if len(prompts) > 1:
                named = zip(prompts[1:], shapes[1:], strict=True)
                places["regions"] = tuple(Region(prompt, levels) for prompt, levels in named)
            source = self._filled(self._patch.source, union(shapes))
            if controls := rest.pop("controls", None):
                asked = Adapters(controls).controls
                places["controls"] = cut(whole(model, asked, self._picture), self._patch.window, self._patch.size)
        requests = expand([source], prompts[:1], [negative_prompt], seed, n, {**rest, **places})
        self._requests = [settled(request, model.bundle.model.defaults["inpaint"]) for request in requests]
        if self._patch is not None:
            _check_free(model.prepare(self._requests[0]).inpaint_mask, model.bundle.model.downscale)
        self._run = None if self._patch is None else Run(model, self._requests, paced=False)
        self._model = model

    def __iter__(self) -> Generator[Step]:
        """Do the work."""
        yield from self._run or ()

    @property
    def requests(self) -> Sequence[Request]:
        """What is asked of each image."""
        return self._requests

    @property
    def evaluations(self) -> int:
        """How many steps there are to iterate over."""
        return self._run.evaluations if self._run else 0

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the result."""
        return self._picture.size

    def result(self) -> Result:
        """The result, of which every output is of the picture's size, RGB or RGBA as it is, and has a certificate."""
        if self._run is None or self._patch is None:
            return self._untouched()
        result = self._run.result()
        return replace(result, outputs=tuple(self._output(self._patch, output) for output in result.outputs))

    def _output(self, patch: Patch, output: Output) -> Output:
        # With strength 0 the model's pixels are the source's, which may have been scaled: nothing of them is wanted.
        made, notes = self._picture, tuple[str, ...]()
        if output.paste_mask is not None:
            patch, notes = self._adapted(patch, output.paste_mask)
            output = replace(output, paste_mask=None)
        if len(output.plan):
            made, seam_notes = patch.put_back(output.image, Seam(self._own.ring, self._own.ring_field))
            notes += seam_notes
        certificate = patch.certify(made)
        notes = (*output.notes, *self._notes, *notes)
        return self._recorded(replace(output, image=made.image, notes=notes, certificate=certificate))

    def _adapted(self, patch: Patch, levels: Array) -> tuple[Patch, tuple[str, ...]]:
        """The patch with the levels of A1111's soft inpainting, and notes; they go by how far latents moved."""
        adapted = replace(patch, levels=scaled(levels, (patch.window.width, patch.window.height)))
        beyond = np.count_nonzero((adapted.levels > 0) & (patch.levels == 0))
        if not beyond:
            return adapted, ()
        return adapted, (f"soft inpainting pastes where latents changed, {beyond} pixels beyond the mask among it",)

    def _recorded(self, output: Output) -> Output:
        call = self._picture, self._prompts, self._options, self._masks
        return recorded(self._model, "inpaint", output, *call, together=len(self._requests))

    def _untouched(self) -> Result:
        """The picture itself, for an empty mask."""
        height, width = self._picture.pixels.shape[:2]
        window = Window(0, 0, height, width)
        patch = Patch(self._picture, window, np.zeros((height, width), np.uint8), self._picture.size)
        certificate = patch.certify(self._picture)
        outputs = []
        for request in self._requests:
            task = self._model.prepare(request)
            notes = (*self._picture.notes, *self._notes)
            output = Output(self._picture.image, request, task.plan, task.parameters, notes, certificate=certificate)
            outputs.append(self._recorded(output))
        return Result(tuple(outputs), {"total": 0.0}, {}, {})

    def _read(self, sources: Sequence[MaskSource], max_pixels: int) -> list[Array]:
        """The masks' levels, uint8 of the picture's size."""
        if not sources:
            raise InputError("no mask is given; give one, white where the picture is to be repainted", "mask")
        own, read = self._own, []
        for index, source in enumerate(sources, 1):
            if isinstance(source, Mask):
                made = source
            else:
                with checks.of("mask"):
                    made = mask.read(
                        source,
                        self.size,
                        channel=own.channel,
                        invert=own.invert,
                        resize=own.resize_mask,
                        max_pixels=max_pixels,
                    )
            if made.size != self.size:
                cause = f"a mask is of the picture's size, {self.size}, not {made.size}; read it with a size"
                raise InputError(cause, "mask")
            self._notes += made.notes if len(sources) == 1 else [f"mask {index}: {note}" for note in made.notes]
            read.append(made.levels)
        return read

    def _plan(
        self, facts: ModelFacts, masks: list[Array], size: Size | None, rule: MaskRule
    ) -> tuple[Patch | None, list[Array], Array]:
        """What is worked on, and at the working size every mask, and what latents go by; no patch where nothing is
        masked."""
        own, area = self._own, self._picture.pixels.shape[:2]
        # Masks are shaped in a rectangle around them, so that a small mask in a large picture costs little.
        around = region(union(masks), own.reach)
        if around is None:
            return None, [], union(masks)
        masks = [levels[around.slices] for levels in masks]
        shapes = [_placed(own.shaped(levels), around, area) for levels in masks]
        everything, most = union(shapes), size or facts.default_size
        window = region(everything, own.padding, most)
        if window is None:
            self._notes.append(f"nothing of the mask is left once it has grown by {own.grow}: nothing is repainted")
            return None, [], everything
        if not own.only_masked:
            window = Window(0, 0, *area)
        scales = own.only_masked or size is not None
        work = working_size(window, most, facts.multiple) if scales else self.size
        patch = Patch(self._picture, window, own.pasted(everything[window.slices], rule), work)
        if self._picture.alpha is not None and (patch.levels[self._picture.alpha[window.slices] < 255] > 0).any():
            self._notes.append("masked pixels are transparent: where they are repainted they become opaque")
        shapes = [scaled(shape[window.slices], work) for shape in shapes]
        if not own.covers:
            return patch, shapes, union(shapes)
        painted = _placed(own.grown(union(masks)), around, area)
        freed = np.maximum(painted, np.where(everything >= HALF, everything, np.uint8(0)))
        return patch, shapes, covering(freed[window.slices], work)

    def _filled(self, source: Picture, levels: Array) -> Picture:
        if self._own.content != "fill" or levels.min() == 255:
            return source
        return replace(source, pixels=fill.spread(source.pixels, levels))


def _check_free(mask: InpaintMask | None, downscale: int) -> None:
    """Raise `InputError` for a hard mask that frees no latent: nothing would be repainted."""
    if mask is None or mask.differential or mask.soft or not mask.mask.any():
        return
    if not to_latents(mask.mask, downscale, mask.latent_mask).any():
        raise InputError(
            f"the mask frees no latent the way of {mask.latent_mask!r}, so that nothing would be repainted: it is "
            "smaller than its blur, or too dark; give latent_mask 'cover', a blur of 0, or a larger or lighter mask",
            "mask",
        )


def union(shapes: Sequence[Array]) -> Array:
    """What any of several masks has."""
    return shapes[0] if len(shapes) == 1 else np.asarray(np.maximum.reduce(shapes))


def _placed(levels: Array, window: Window, shape: tuple[int, ...]) -> Array:
    """Levels in a whole of zeros."""
    placed = np.zeros(shape, np.uint8)
    placed[window.slices] = levels
    return placed
