"""The face of a loaded model: pictures and words in, repainted pictures out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, Unpack

import numpy as np
from PIL import Image

from ..bundles.manifest import Bundle
from ..engines.base import Engine
from ..errors import InputError
from .conditioning.encoders import TextEncoder
from .denoising.denoiser import Denoiser
from .execution.clock import Clock
from .execution.run import Run
from .execution.snapshots import RunSnapshot
from .execution.work import OnStep, finished
from .imaging.picture import Picture
from .model.autoencoder import Autoencoder
from .model.load import load_model
from .model.model import Model, Source
from .model.planning import PreparedRequest
from .model.upscaler import Upscaler
from .progress import ProgressCallback, no_progress
from .requests import checks
from .requests.expand import START, check_names, expand, named
from .requests.options import default, fixed_on_resume, offered
from .requests.request import Request
from .requests.result import Result
from .requests.typed import (
    Changes,
    GridOptions,
    Img2ImgOptions,
    InpaintOptions,
    OutpaintOptions,
    RefinedOptions,
    RunOptions,
    UpscaleOptions,
)
from .sampling.plan import Plan
from .tools.grid import paint
from .tools.inpaint import Inpaint
from .tools.outpaint import Outpaint
from .tools.refine import SWITCH, Refined
from .tools.upscale import Upscale, Upscaled

Text = str | Sequence[str]
Options = ParamSpec("Options")
CALL = offered("img2img")
RESUME = START - {"n", *fixed_on_resume()} | {"prompt"}


class Pipeline:
    """A loaded model and its verbs. Threads may call them at once, and then share the model's calls.

    Make one with `overpaint.load`.
    """

    def __init__(self, model: Model) -> None:
        self.model = model

    def __call__(
        self,
        image: Source | Sequence[Source],
        prompt: Text = "",
        *,
        on_step: OnStep | None = None,
        timeout: float | None = None,
        **options: Unpack[Img2ImgOptions],
    ) -> Result:
        """Repaint one picture or several, as `start` describes, to the end.

        `on_step` is called after every model evaluation; an exception from it cancels the run. `timeout` is in seconds,
        from the first evaluation's preparation on: past it the run stops before its next evaluation, and
        `RunTimeoutError` is raised. Both are options of `inpaint`, `outpaint` and `upscale` too.
        """
        check_names(options, CALL, CALL)
        run = self.start(image, prompt, timeout=timeout, **options)
        run.paced = False
        return finished(run, on_step)

    def refined(
        self,
        image: Source,
        prompt: str = "",
        *,
        refiner: Pipeline,
        refiner_switch: float = SWITCH,
        on_step: OnStep | None = None,
        timeout: float | None = None,
        **options: Unpack[RefinedOptions],
    ) -> Result:
        """Repaint one picture, its last steps by another model, as `tools.refine` describes: SDXL's refiner takes over
        where `refiner_switch` of the timesteps are done. `options` are those of a call, for one image."""
        given: dict[str, Any] = {"seed": None, "negative_prompt": "", **options}
        seed, negative = given.pop("seed"), given.pop("negative_prompt")
        picture = self.read(image, reduce=given.get("size") is not None and not given.get("regions"))
        (request,) = expand([picture], [prompt], [negative], seed, 1, given)
        return finished(Refined(self.model, refiner.model, request, refiner_switch), on_step, Clock(timeout))

    def inpaint(
        self,
        image: Source,
        mask: Any,
        prompt: Text = "",
        *,
        on_step: OnStep | None = None,
        timeout: float | None = None,
        **options: Unpack[InpaintOptions],
    ) -> Result:
        """Repaint what a mask says, as `tools.inpaint` describes; several masks may have prompts of their own.

        `options` are the fields of `tools.inpainting.Inpainting` and of `Request`, and `seed`, `n`, `negative_prompt`.
        """
        return finished(Inpaint(self.model, image, mask, prompt, **options), on_step, Clock(timeout))

    def outpaint(
        self,
        image: Source,
        prompt: str = "",
        *,
        on_step: OnStep | None = None,
        timeout: float | None = None,
        **options: Unpack[OutpaintOptions],
    ) -> Result:
        """Enlarge a picture by what a model makes of its surroundings, as `tools.outpaint` describes.

        `options` are the fields of `tools.outpainting.Outpainting` and of `Request`, and `seed`, `n` and
        `negative_prompt`.
        """
        return finished(Outpaint(self.model, image, prompt, **options), on_step, Clock(timeout))

    def upscale(
        self,
        image: Source,
        prompt: str = "",
        *,
        upscaler: Upscaler | str | Path | None = None,
        progress: ProgressCallback = no_progress,
        on_step: OnStep | None = None,
        timeout: float | None = None,
        **options: Unpack[UpscaleOptions],
    ) -> Upscaled:
        """Enlarge a picture and paint the detail that it lacks, in tiles without seams, as `tools.upscale` describes.

        `options` are the fields of `tools.upscaling.Upscaling` and of `Request`, and `negative_prompt` and `seed`;
        `upscaler`, such as "compact", makes the first enlargement; `progress` is called with what is done of a stage.
        """
        work = Upscale(self.model, image, prompt, upscaler=upscaler, progress=progress, **options)
        return finished(work, on_step, Clock(timeout))

    def start(
        self,
        image: Source | Sequence[Source],
        prompt: Text = "",
        *,
        negative_prompt: Text | None = None,
        seed: int | Sequence[int] | None = None,
        n: int = default("n", "call"),
        timeout: float | None = None,
        **options: Unpack[RunOptions],
    ) -> Run:
        """A run to iterate over for its steps, to leave early or `cancel()`, and to ask for its `result()` at the end.

        `image` is a path, bytes, an open binary file, a Pillow image, an array (uint8 [height, width, 3]) or a
        `Picture`, or a list of them; `prompt` and `negative_prompt` are one, or one a picture; every picture is
        repainted `n` times. `seed` counts up over the images, or is one for each; None and -1 draw one, which the
        result names. Past `timeout` seconds the run stops before its next evaluation. `options` are the fields of
        `Request`. Raises `InputError` for what cannot be used; the run raises `EngineError` and `ModelOutputError`
        where the model fails, and `RunTimeoutError`.
        """
        scaled = options.get("size") is not None and not options.get("regions")
        pictures = [self.read(source, reduce=scaled) for source in _listed(image)]
        negatives = _listed(negative_prompt or "")
        return self.run(expand(pictures, _listed(prompt), negatives, seed, n, options), timeout)

    def run(self, requests: Sequence[Request], timeout: float | None = None) -> Run:
        """A run of requests that may differ in everything; they share the model's calls, and the `timeout`."""
        return Run(self.model, requests, timeout=timeout)

    def warm_up(self, sizes: Sequence[tuple[int, int]], **options: Unpack[Img2ImgOptions]) -> None:
        """Have the engines compile what pictures of these (width, height) need, so that the first of them is fast.

        Each size runs one evaluation twice: what comes back is compiled for its size. `options` are those of `start`
        that calls depend on, such as `n`, `guidance_scale` and `regions`. Raises `InputError` for a size that the model
        does not take, before anything runs.
        """
        few: Img2ImgOptions = {"steps": 2, "strength": 0.5, **options}
        blanks = [Picture(np.zeros((height, width, 3), np.uint8)) for width, height in map(_checked_size, sizes)]
        runs = [self.start(blank, "a", **few) for blank in (*blanks, *blanks)]
        for run in runs:
            finished(run)

    def close(self) -> None:
        """Release the engines' memory; the pipeline cannot run afterwards. Leaving a `with` does it."""
        self.model.close()

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def resume(self, snapshot: RunSnapshot, **changes: Unpack[Changes]) -> Run:
        """A run that goes on from a snapshot, with other fields of its request from there on, such as the prompt, and
        of `start`'s options the `timeout`.

        Raises `InputError` for a change that would have altered the steps before, and for an unknown option.
        """
        timeout = changes.pop("timeout", None)
        fields = named(changes, RESUME, apart=())
        return Run(self.model, [replace(snapshot.request, **fields)], snapshot, timeout=timeout)

    def grid(
        self, image: Source, prompt: str, axes: Mapping[str, Sequence[Any]], **options: Unpack[GridOptions]
    ) -> Image.Image:
        """A labelled sheet of one picture repainted with every combination of one to three fields' values.

        `axes` are the values of fields by their names, see `tools.grid.AXES`, and "replace" a text of the prompt and
        what stands there instead; `font` is a file for labels that Pillow's and the system's fonts cannot write. The
        image's `info["notes"]` say what no font has. Raises `InputError` as `tools.grid` does.
        """
        return paint(self.model, self.read(image, reduce=options.get("size") is not None), prompt, axes, options)

    def read(self, source: Source, *, reduce: bool = False) -> Picture:
        """A picture of at most `max_pixels`, as `imaging.picture.read` reads it; a `Picture` as it is."""
        return self.model.read(source, reduce=reduce)

    def plan(self, request: Request, latent_shape: tuple[int, int] | None = None) -> Plan:
        """The table that a request runs, without running it, see `Model.plan`; raises `InputError` for none."""
        return self.model.plan(request, latent_shape)

    def prepare(self, request: Request) -> PreparedRequest:
        """What a request comes to; raises `InputError` where this model cannot answer it."""
        return self.model.prepare(request)

    @property
    def bundle(self) -> Bundle:
        """The bundle that was loaded."""
        return self.model.bundle

    @property
    def engines(self) -> Mapping[str, Engine]:
        """What runs each graph, by the graph's name."""
        return self.model.engines

    @property
    def text(self) -> TextEncoder:
        """The stage that encodes prompts; `add_embedding` adds textual inversions."""
        return self.model.stages.text

    @property
    def vae(self) -> Autoencoder:
        """The stage that encodes and decodes pictures."""
        return self.model.stages.vae

    @property
    def denoiser(self) -> Denoiser:
        """The stage that evaluates the U-Net."""
        return self.model.stages.denoiser

    @property
    def max_pixels(self) -> int:
        """The most pixels of a picture or a mask that is read from a file."""
        return self.model.max_pixels

    @max_pixels.setter
    def max_pixels(self, value: int) -> None:
        self.model.max_pixels = value

    @property
    def loading(self) -> Mapping[str, Any]:
        """What `load` was given."""
        return self.model.loading


def _as_pipeline(load: Callable[Options, Model]) -> Callable[Options, Pipeline]:
    @wraps(load)
    def loaded(*arguments: Options.args, **options: Options.kwargs) -> Pipeline:
        return Pipeline(load(*arguments, **options))

    return loaded


load = _as_pipeline(load_model)


def _checked_size(value: Any) -> tuple[int, int]:
    size = checks.size(value)
    if size is None:
        raise InputError("size must be (width, height) in pixels, not None")
    return size


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]
