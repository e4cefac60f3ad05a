"""The assembled pipeline: requests in, repainted pictures out."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
from PIL import Image

from ..bundles.manifest import Bundle
from ..bundles.tensor import Array
from ..engines.base import Engine
from ..errors import InputError
from ..version import __version__
from .conditioning.encoders import TextEncoder
from .conditioning.guidance import check_prompts
from .denoising.denoiser import Denoiser
from .denoising.loop import Step
from .denoising.loop_graphs import LoopGraphs
from .execution.clock import Clock, within
from .execution.run import Run, RunSnapshot
from .imaging import resize
from .imaging.limits import MAX_PIXELS
from .imaging.metadata import Parameters, format_parameters
from .imaging.picture import Picture
from .imaging.picture import Source as PictureSource
from .imaging.picture import read as read_picture
from .model.autoencoder import Autoencoder
from .requests import checks
from .requests.defaults import sampling, settled
from .requests.expand import expand, named
from .requests.request import InpaintMask, Region, Request, Result
from .sampling.compile import compile_plan
from .sampling.flow import FlowSchedule
from .sampling.levels import ModelSchedule
from .sampling.names import SCHEDULES, a1111_eta, a1111_labels, find_schedule, resolve
from .sampling.passes import join
from .sampling.plan import Plan

if TYPE_CHECKING:
    from .tools.upscale import Upscaled

Source = PictureSource | Picture
Text = str | Sequence[str]
OnStep = Callable[[Step], None]
Made = TypeVar("Made", bound=Result, covariant=True)

A1111_NOISE = {"cpu": "CPU", "gpu": "NV"}


@dataclass(frozen=True)
class Task:
    """A request, checked and fitted to the model; nothing of it has run."""

    request: Request
    picture: Picture
    placement: resize.Placement
    plan: Plan
    parameters: str
    inpaint_mask: InpaintMask | None = None
    regions: tuple[Region, ...] = ()


class Pipeline:
    """A loaded bundle. Calls are independent of one another but for the caches; make one with `overpaint.load`."""

    def __init__(
        self,
        bundle: Bundle,
        text: TextEncoder,
        vae: Autoencoder,
        denoiser: Denoiser,
        schedule: ModelSchedule | FlowSchedule,
    ) -> None:
        self.bundle = bundle
        self.text = text
        self.vae = vae
        self.denoiser = denoiser
        self.schedule = schedule
        self._compile = lru_cache(maxsize=64)(partial(compile_plan, schedule))
        self.loops = LoopGraphs()
        self.max_pixels = MAX_PIXELS
        """The most pixels of a picture or a mask that is read from a file."""
        self.loading: Mapping[str, Any] = {}
        """What `load` was told, for the records of what is made."""

    @property
    def engines(self) -> Mapping[str, Engine]:
        """What runs each graph, by the graph's name."""
        return {
            "text_encoder": self.text.engine,
            "unet": self.denoiser.engine,
            "vae_encoder": self.vae.encoder,
            "vae_decoder": self.vae.decoder,
        }

    def __call__(
        self,
        image: Source | Sequence[Source],
        prompt: Text = "",
        *,
        on_step: OnStep | None = None,
        timeout: float | None = None,
        **options: Any,
    ) -> Result:
        """Repaint one picture or several, as `start` describes, to the end.

        `on_step` is called after every model evaluation; an exception from it cancels the run. `timeout` is in seconds,
        from the first evaluation's preparation on: past it the run stops before its next evaluation, and
        `RunTimeoutError` is raised. Both are options of `inpaint`, `outpaint` and `upscale` too.
        """
        return finished(self.start(image, prompt, timeout=timeout, **options), on_step)

    def inpaint(
        self,
        image: Source,
        mask: Any,
        prompt: Text = "",
        *,
        on_step: OnStep | None = None,
        timeout: float | None = None,
        **options: Any,
    ) -> Result:
        """Repaint what a mask says, as `tools.inpaint` describes; several masks may have prompts of their own.

        `options` are the fields of `tools.inpaint.Inpainting` and of `Request`, and `seed`, `n`, `negative_prompt`.
        """
        from .tools.inpaint import Inpaint

        return finished(Inpaint(self, image, mask, prompt, **options), on_step, Clock(timeout))

    def outpaint(
        self,
        image: Source,
        prompt: str = "",
        *,
        on_step: OnStep | None = None,
        timeout: float | None = None,
        **options: Any,
    ) -> Result:
        """Enlarge a picture by what a model makes of its surroundings, as `tools.outpaint` describes.

        `options` are the fields of `tools.outpaint.Outpainting` and of `Request`, and `seed`, `n`, `negative_prompt`.
        """
        from .tools.outpaint import Outpaint

        return finished(Outpaint(self, image, prompt, **options), on_step, Clock(timeout))

    def upscale(
        self,
        image: Source,
        prompt: str = "",
        *,
        on_step: OnStep | None = None,
        timeout: float | None = None,
        **options: Any,
    ) -> Upscaled:
        """Enlarge a picture and paint the detail that it lacks, in tiles without seams, as `tools.upscale` describes.

        `options` are the fields of `tools.upscaling.Upscaling` and of `Request`, and `negative_prompt`, `seed`,
        `upscaler` and `progress`.
        """
        from .tools.upscale import Upscale

        return finished(Upscale(self, image, prompt, **options), on_step, Clock(timeout))

    def start(
        self,
        image: Source | Sequence[Source],
        prompt: Text = "",
        *,
        negative_prompt: Text | None = None,
        seed: int | Sequence[int] | None = None,
        n: int = 1,
        timeout: float | None = None,
        **options: Any,
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
        return Run(self, requests, timeout=timeout)

    def warm_up(self, sizes: Sequence[tuple[int, int]], **options: Any) -> None:
        """Have the engines compile what pictures of these (width, height) need, so that the first of them is fast.

        Each size runs one evaluation twice: what comes back is compiled for its size. `options` are those of `start`
        that calls depend on, such as `n`, `guidance_scale` and `regions`. Raises `InputError` for a size that the model
        does not take, before anything runs.
        """
        usual = {"steps": 2, "strength": 0.5}
        blanks = [Picture(np.zeros((height, width, 3), np.uint8)) for width, height in map(_checked_size, sizes)]
        runs = [self.start(blank, "a", **{**usual, **options}) for blank in (*blanks, *blanks)]
        for run in runs:
            finished(run)

    def close(self) -> None:
        """Release the engines' memory; the pipeline cannot run afterwards. Leaving a `with` does it."""
        for engine in self.engines.values():
            engine.close()

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def resume(self, checkpoint: RunSnapshot, **changes: Any) -> Run:
        """A run that goes on from a checkpoint, with other fields of its request from there on, such as the prompt, and
        of `start`'s options the `timeout`.

        Raises `InputError` for a change that would have altered the steps before, and for an unknown option.
        """
        timeout = changes.pop("timeout", None)
        return Run(self, [replace(checkpoint.request, **named(changes, apart=()))], checkpoint, timeout=timeout)

    def grid(self, image: Source, prompt: str, axes: Mapping[str, Sequence[Any]], **options: Any) -> Image.Image:
        """A labelled sheet of one picture repainted with every combination of one to three fields' values.

        `axes` are the values of fields by their names, see `tools.grid.AXES`, and "replace" a text of the prompt and
        what stands there instead; `font` is a file for labels that Pillow's and the system's fonts cannot write. The
        image's `info["notes"]` say what no font has. Raises `InputError` as `tools.grid` does.
        """
        from .tools.grid import paint

        return paint(self, self.read(image, reduce=options.get("size") is not None), prompt, axes, options)

    def read(self, source: Source, *, reduce: bool = False) -> Picture:
        """A picture of at most `max_pixels`, as `imaging.codec.read` reads it; a `Picture` as it is."""
        if isinstance(source, Picture):
            return source
        return read_picture(source, max_pixels=self.max_pixels, reduce=reduce)

    def plan(self, request: Request, latent_shape: tuple[int, int] | None = None) -> Plan:
        """The table that a request runs, without running it; raises `InputError` where there is none.

        `latent_shape`, (height, width), is that of the latents which the model sees at a time; None: the request's.
        Only a schedule that depends on the picture's size looks at it.
        """
        request = settled(request, self.bundle.model.defaults["img2img"])
        sampler, schedule = sampling(self.bundle.model, request.sampler, request.schedule, request.convention)
        shape = (latent_shape or self._latent_shape(request)) if self.schedule.depends_on_size else None
        plans = [
            self._compile(
                sampler=sampler,
                schedule=schedule,
                steps=request.steps,
                strength=strength,
                convention=request.convention,
                eta=request.eta,
                inpaints=request.inpaint_mask is not None,
                latent_shape=shape,
            )
            for strength in request.passes or (request.strength,)
        ]
        return join(plans)

    def task(self, request: Request) -> Task:
        """What a request comes to; raises `InputError` where this model cannot answer it."""
        facts = self.bundle.model
        request = settled(request, facts.defaults["img2img"])
        picture, placement = resize.fit(request.image, request.size, request.fit_mode, facts.multiple)
        self.check_size(picture.size, request.window)
        if request.seed_resize_from and min(request.seed_resize_from) < facts.downscale:
            raise InputError(f"seed_resize_from is at least {facts.downscale}x{facts.downscale} pixels with this model")
        check_prompts(request)
        plan = self.plan(request)
        parameters = self._parameters(request, plan, placement.size)
        change = request.inpaint_mask and replace(
            request.inpaint_mask, mask=self._fit_levels(request, request.inpaint_mask.mask)
        )
        regions = tuple(replace(region, mask=self._fit_levels(request, region.mask)) for region in request.regions)
        return Task(request, picture, placement, plan, parameters, change, regions)

    def check_size(self, size: tuple[int, int], window: int = 0) -> None:
        """Raise `InputError` for a (width, height) that the U-Net does not take, whole or in windows of that side."""
        ranges, facts = self.bundle.graph("unet").ranges, self.bundle.model
        if window % facts.multiple:
            raise InputError(f"this model's windows are multiples of {facts.multiple} pixels, not {window}")
        most = ranges["width"].most * facts.downscale, ranges["height"].most * facts.downscale
        sides = [min(length, window or length) for length in size]
        if any(length > limit for length, limit in zip(sides, most, strict=True)):
            raise InputError(
                f"the picture is {sides[0]}x{sides[1]}, this model takes at most {most[0]}x{most[1]}; "
                "ask for a smaller size, or for windows"
            )

    def _latent_shape(self, request: Request) -> tuple[int, int]:
        """(height, width) of the latents that the model sees at a time: the picture's, or a window's."""
        facts = self.bundle.model
        sides = (length + -length % facts.multiple for length in request.size or request.image.size)
        width, height = (min(side, request.window or side) // facts.downscale for side in sides)
        return height, width

    def _fit_levels(self, request: Request, levels: Array) -> Array:
        """Levels brought to the model's size the way the picture is."""
        grey = Picture(np.repeat(levels[..., None], 3, axis=2))
        return resize.fit(grey, request.size, request.fit_mode, self.bundle.model.multiple)[0].pixels[..., 0]

    def _parameters(self, request: Request, plan: Plan, size: tuple[int, int]) -> str:
        facts = self.bundle.model
        named = resolve(*sampling(facts, request.sampler, request.schedule, request.convention))[1]
        # A program's own timesteps are no schedule that has a name.
        own = "" if named is None and plan.sampler in request.habit.by_timesteps else plan.schedule
        sampler, schedule = a1111_labels(plan.sampler, own)
        extra: dict[str, str] = {}
        if own in SCHEDULES and find_schedule(schedule) != own:
            extra["Schedule name"] = own
        extra |= {
            "RNG": A1111_NOISE.get(request.noise_kind, request.noise_kind),
            "Strength convention": request.convention,
            "Posterior": request.latents_from,
            "Resize": request.fit_mode,
        }
        if request.eta is not None:
            extra[a1111_eta(plan.sampler)] = str(request.eta)
        if request.variation_strength:
            extra["Variation seed"] = str(request.variation_seed)
            extra["Variation seed strength"] = str(request.variation_strength)
        if request.seed_resize_from:
            extra["Seed resize from"] = "x".join(map(str, request.seed_resize_from))
        if request.eta_noise_seed_delta:
            extra["ENSD"] = str(request.eta_noise_seed_delta)
        if request.passes:
            extra["Passes"] = ", ".join(map(str, request.passes))
            extra["Between passes"] = "pixels" if request.through_pixels else "latents"
        if request.colour_match:
            extra["Colour match"] = request.colour_match
        if request.guidance_rescale:
            extra["CFG Rescale phi"] = str(request.guidance_rescale)
        if request.drift_correction:
            extra["Drift correction"] = "True"
        if request.weighting:
            extra["Weighting"] = request.weighting
        if request.prompt_syntax:
            extra["Prompt syntax"] = request.prompt_syntax
        return format_parameters(
            Parameters(
                prompt=request.prompt,
                negative_prompt=request.negative_prompt,
                steps=request.steps,
                sampler=sampler,
                schedule_type=schedule,
                cfg_scale=request.guidance_scale,
                seed=request.seed,
                size=size,
                model_hash=self.bundle.graph("unet").sha256[:10],
                model=facts.name,
                denoising_strength=None if request.passes else request.strength,
                clip_skip=request.clip_skip + 1,
                extra=tuple(extra.items()),
                version=f"overpaint {__version__}",
            )
        )


class Work(Protocol[Made]):
    """What is iterated over for its steps and then has a result: a run, or a tool on its way."""

    @property
    def evaluations(self) -> int:
        """How many steps there are."""
        ...

    def __iter__(self) -> Generator[Step]:
        """Do the work."""
        ...

    def result(self) -> Made:
        """What came out."""
        ...


def finished(work: Work[Made], on_step: OnStep | None = None, clock: Clock | None = None) -> Made:
    """Work done to its end, within a limit of time, `on_step` called after every model evaluation."""
    with closing(within(work, clock or Clock(None))) as steps:
        for step in steps:
            if on_step:
                on_step(step)
    return work.result()


def _checked_size(value: Any) -> tuple[int, int]:
    size = checks.size(value)
    if size is None:
        raise InputError("size must be (width, height) in pixels, not None")
    return size


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]
