"""A loaded model: its bundle, its stages, the planning, and the scheduler that owns the device."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from PIL import Image

from ...bundles.manifest import Bundle
from ...bundles.tensor import Array
from ...engines.arrays import to_device
from ...engines.base import Engine
from ...errors import InputError
from ...loras.weights import LoraUse
from ..conditioning.conditioning import Conditioning, by_evaluation
from ..conditioning.lora.library import LoraLibrary, UsedLora
from ..conditioning.low_rank import RowLora
from ..conditioning.prompt.prompt import parse
from ..conditioning.prompt.tree import Phrase
from ..denoising.job import Job, JobSnapshot
from ..denoising.state import lincomb
from ..imaging.limits import MAX_PIXELS
from ..imaging.picture import Picture
from ..imaging.picture import Source as PictureSource
from ..imaging.picture import read as read_picture
from ..progress import ProgressCallback, no_progress
from ..provenance.recorder import Maker
from ..requests.request import Request
from ..requests.result import Output
from ..sampling.flow import FlowSchedule
from ..sampling.levels import ModelSchedule
from ..sampling.noise import NoiseStream
from ..sampling.plan import Plan
from ..units import Units
from .controlnet import ControlNet
from .image_prompt import ImagePromptAdapter
from .lane import Lane
from .loras import denoiser_loras, encoder_loras
from .painting import Painting
from .planning import Planner, PreparedRequest
from .scheduler import MAX_ACTIVE, Scheduler
from .stages import Stages
from .stats import RunStats
from .tickets import Events, Ticket, Unread

Source = PictureSource | Picture
_Made = TypeVar("_Made")


class Model:
    """What a pipeline, the tools and workflows stand on.

    The stages `encode_prompt`, `encode_image`, `start_job`, `denoise` and `decode` may be called one by one; like
    requests they go through the `scheduler`, so that all threads share the device.
    """

    def __init__(
        self,
        stages: Stages,
        schedule: ModelSchedule | FlowSchedule,
        loading: Mapping[str, Any] | None = None,
        max_active: int = MAX_ACTIVE,
        loras: LoraLibrary | None = None,
    ) -> None:
        self.stages = stages
        self.schedule = schedule
        self.loading: Mapping[str, Any] = loading or {}
        """What `load` was given, for the records of what is made."""
        self.max_pixels = MAX_PIXELS
        """The most pixels of a picture or a mask that is read from a file."""
        self.loras = loras or LoraLibrary(None)
        """The LoRAs that requests can name; `add` adds more."""
        self._planner = Planner(stages.bundle, schedule, stages.controlnets, self.loras, stages.image_adapters)
        self.scheduler = Scheduler(stages, self.painting, max_active)
        self.lane: Lane = self.scheduler
        """The way that runs, tools and stages take to the scheduler."""

    @property
    def bundle(self) -> Bundle:
        """The bundle that was loaded."""
        return self.stages.bundle

    @property
    def engines(self) -> Mapping[str, Engine]:
        """What runs each graph, by the graph's name."""
        return self.stages.engines

    @property
    def labels(self) -> dict[str, str]:
        """What runs each graph, in words."""
        return {name: engine.label for name, engine in self.engines.items()}

    @property
    def maker(self) -> Maker:
        """What records say of the model."""
        bundle = self.bundle
        nets = self.stages.controlnets.hashes
        hashes = {name: graph.sha256 for name, graph in bundle.graphs.items()}
        adapters = self.stages.image_adapters.hashes
        texts = self.stages.text.embeddings
        return Maker(bundle.model.name, hashes, self.loading, self.labels, texts, nets, image_adapters=adapters)

    def add_controlnet(self, name: str, net: ControlNet | str | Path) -> None:
        """Have requests call a ControlNet `name`; a path or a bundled one's name is loaded as the model was.

        Raises `InputError` for one of another family, and a name that is taken.
        """
        self.stages.controlnets.add(name, net)
        place = str(net.bundle.folder if isinstance(net, ControlNet) else net)
        self.loading = {**self.loading, "controlnets": {**self.loading.get("controlnets", {}), name: place}}

    def add_image_prompt_adapter(self, name: str, adapter: ImagePromptAdapter | str | Path) -> None:
        """Have requests call an image-prompt adapter `name`; a path or a bundled one's name is loaded as the model was.

        Raises `InputError` for one of another family, and a name that is taken.
        """
        self.stages.image_adapters.add(name, adapter)
        place = str(adapter.bundle.folder if isinstance(adapter, ImagePromptAdapter) else adapter)
        known = self.loading.get("image_prompt_adapters", {})
        self.loading = {**self.loading, "image_prompt_adapters": {**known, name: place}}

    def add_preprocessor(self, name: str, file: str | Path) -> None:
        """Have requests call an ONNX file that makes hints `onnx:name`, see `hint_model.run_hint_model`.

        Raises `InputError` for a missing file, and a name that is taken.
        """
        self.stages.controlnets.hint_models.add(name, file)
        self.loading = {**self.loading, "preprocessors": {**self.loading.get("preprocessors", {}), name: str(file)}}

    def confine(self) -> None:
        """Have requests name adapters and preprocessors that were added or that ship alone: they open no path."""
        self.stages.controlnets.confine()
        self.stages.image_adapters.confine()

    def read(self, source: Source, *, reduce: bool = False) -> Picture:
        """A picture of at most `max_pixels`, as `imaging.picture.read` reads it; a `Picture` as it is."""
        if isinstance(source, Picture):
            return source
        return read_picture(source, max_pixels=self.max_pixels, reduce=reduce)

    def plan(self, request: Request, latent_shape: tuple[int, int] | None = None) -> Plan:
        """The table that a request runs, without running it; raises `InputError` where there is none.

        `latent_shape`, (height, width), is that of the latents which the model sees at a time; None: the request's.
        Only a schedule that depends on the picture's size looks at it.
        """
        return self._planner.plan(request, latent_shape)

    def prepare(self, request: Request) -> PreparedRequest:
        """What a request comes to; raises `InputError` where this model cannot answer it."""
        return self._planner.prepare(request)

    def check_size(self, size: tuple[int, int], window: int = 0) -> None:
        """Raise `InputError` for a (width, height) that the model does not take, whole or in windows of that side."""
        self._planner.check_size(size, window)

    def rows_per_call(self, size: tuple[int, int]) -> int:
        """The most rows of a call of the denoiser for pictures of (width, height) pixels."""
        width, height = size
        return self.stages.denoiser.most(width * height // self.bundle.model.downscale**2)

    def painting(
        self,
        request: Request | PreparedRequest,
        *,
        together: int = 1,
        snapshot: JobSnapshot | None = None,
        progress: ProgressCallback = no_progress,
    ) -> Painting:
        """A request as work for the scheduler, checked; raises `InputError` as `prepare` does."""
        prepared = request if isinstance(request, PreparedRequest) else self.prepare(request)
        notes = self._planner.notes(prepared)
        return Painting(
            self.stages, prepared, lambda: self.maker, notes, together=together, snapshot=snapshot, progress=progress
        )

    def submit(self, request: Request, *, deadline: float | None = None, priority: int = 0) -> Ticket[Output]:
        """Have a request answered; returns at once. See `Scheduler.submit`."""
        return self.scheduler.submit(request, deadline=deadline, priority=priority)

    def encode_prompt(
        self,
        prompt: str | Phrase,
        *,
        clip_skip: int = 0,
        weighting: str = "a1111",
        syntax: str = "a1111",
        loras: Sequence[LoraUse] = (),
    ) -> Mapping[str, Array]:
        """A prompt as inputs of the denoiser, on its device: "encoder_hidden_states" float32 [tokens, dim], and what
        else the model's text encoders give, see `PromptEncoder`.

        A text is parsed in a syntax of `prompt.prompt.SYNTAXES`; it is one whose words stay the same in all steps. The
        text encoders work with `loras`. Raises `InputError` for another, and as `TextEncoder.encode` and
        `LoraLibrary.use` do.
        """
        own = encoder_loras(self._used(loras), self.stages.prompts)
        phrase = _constant(prompt, syntax) if isinstance(prompt, str) else prompt

        def encode() -> dict[str, Array]:
            made, _ = self.stages.prompts.encode(phrase, clip_skip, weighting, own)
            return {name: to_device(array, self.stages.denoiser.engine.device) for name, array in made.items()}

        return self._call(encode)

    def low_rank(self, loras: Sequence[LoraUse]) -> tuple[RowLora, ...]:
        """LoRAs as a `Conditioning` of the denoiser has them; raises `InputError` as `LoraLibrary.use` does."""
        return denoiser_loras(self._used(loras), self.stages.denoiser.engine.device)

    def _used(self, loras: Sequence[LoraUse]) -> list[UsedLora]:
        return [used for used in map(self.loras.use, loras) if used is not None]

    def encode_image(self, pixels: Array, noise: NoiseStream | None = None) -> Array:
        """The latents of pixels [height, width, 3] from 0 to 255, of the model's multiple: float32 [channels, height,
        width] on the denoiser's device; drawn with `noise`, or their mean without.

        Raises `InputError` for sides that the model does not take, and for what are no pixels.
        """
        facts = self.bundle.model
        if getattr(pixels, "ndim", 0) != 3 or pixels.shape[2] != 3:
            raise InputError(f"pixels are an array [height, width, 3] from 0 to 255, not {_kind(pixels)}")
        height, width = pixels.shape[:2]
        if height % facts.multiple or width % facts.multiple:
            raise InputError(f"the picture is {width}x{height}; this model's sides are multiples of {facts.multiple}")

        def encode() -> Array:
            moments, _ = self.stages.vae.encode(pixels)
            draw = None if noise is None else lambda: noise(moments.mean.shape)
            return to_device(self.stages.vae.latents(moments, draw), self.stages.denoiser.engine.device)

        return self._call(encode)

    def start_job(
        self,
        latents: Array,
        conditionings: Sequence[Conditioning] | Sequence[Sequence[Conditioning]],
        plan: Plan,
        noise: NoiseStream,
        *,
        add_noise: bool = True,
        **options: Any,
    ) -> Job:
        """A job before its first evaluation, for `denoise`.

        `latents` float32 [channels, height, width] are clean, and get the plan's first noise from `noise`; without
        `add_noise` they are taken as they are, such as those that another job left. `conditionings` are those of the
        whole plan, which count from their start to their end, or one sequence an evaluation. `options` are those of
        `Job`: guidance_rescale, concat_latents, mosaic, step_hooks, motion and blend. Raises `InputError` for latents
        that are not the model's, and for an evaluation without conditionings.
        """
        latents = to_device(self._checked_latents(latents), self.stages.denoiser.engine.device)
        if add_noise:
            latents = lincomb(
                plan.start, (latents, to_device(noise(latents.shape), self.stages.denoiser.engine.device))
            )
        evaluations = (
            by_evaluation([each for each in conditionings if isinstance(each, Conditioning)], plan)
            if not conditionings or isinstance(conditionings[0], Conditioning)
            else [tuple(those) for those in conditionings if not isinstance(those, Conditioning)]
        )
        if len(evaluations) != len(plan) or not all(evaluations):
            raise InputError(
                f"there are conditionings for {sum(map(bool, evaluations))} evaluations, the plan has {len(plan)}; "
                "give a sequence of them for each, or those of the whole plan"
            )
        return Job(plan, latents, evaluations, noise, component=self.stages.denoiser_name, **options)

    def denoise(self, job: Job) -> Array:
        """Take a job to its end beside all others; its latents, float32 [channels, height, width] on its device."""
        return self._ended(self.submit_job(job))

    def submit_job(self, job: Job, events: Events | None = None) -> Ticket[Array]:
        """Have a job of `start_job` taken to its end; returns at once. The ticket's result is that of `denoise`.

        Every step is put into `events`; their previews are pictures of the job's denoised latents.
        """

        def latents(job: Job | None) -> Array:
            assert job is not None
            job.check()
            return job.latents

        work = _Call(lambda: _unit(lambda: job), lambda job: _unit(lambda: latents(job)), self._show)
        return self.lane.add(Ticket(work, events=events or Unread()))

    def decode(self, latents: Array, *, floats: bool = False) -> Array:
        """The picture of latents float32 [channels, height, width], uint8 [height, width, 3] on the host; with `floats`
        float32, white as 1, neither clipped to [0, 1] nor rounded.

        Raises `InputError` for latents that are not the model's, and `ModelOutputError` for NaN.
        """
        latents = self._checked_latents(latents)

        def finished(job: Job | None) -> Units[Array]:
            return (yield from self.stages.vae.decoding(latents, floats=floats))

        return self._done(_Call(_nothing, finished))

    def close(self) -> None:
        """Cancel what has not ended, and release the engines' memory; the model cannot run afterwards."""
        self.scheduler.close()
        for engine in self.engines.values():
            engine.close()
        self.stages.controlnets.close()
        self.stages.image_adapters.close()

    def _call(self, function: Callable[[], _Made]) -> _Made:
        """One unit of work through the scheduler."""

        def finished(job: Job | None) -> Units[_Made]:
            return (yield from _unit(function))

        return self._done(_Call(_nothing, finished))

    def _checked_latents(self, latents: Array) -> Array:
        channels = self.bundle.model.latent_channels
        if getattr(latents, "ndim", 0) != 3 or len(latents) != channels:
            raise InputError(f"latents are float32 [{channels}, height, width] here, not {_kind(latents)}")
        return latents

    def _show(self, latents: Array) -> Image.Image:
        return Image.fromarray(self.stages.vae.decode(latents))

    def _done(self, work: _Call[_Made]) -> _Made:
        return self._ended(self.lane.submit(work))

    def _ended(self, ticket: Ticket[_Made]) -> _Made:
        try:
            return ticket.result()
        finally:  # also where who waits is interrupted
            ticket.cancel()


class _Call(Generic[_Made]):
    """Work that is no request: a stage called by itself."""

    def __init__(
        self,
        prepare: Callable[[], Units[Job | None]],
        finish: Callable[[Job | None], Units[_Made]],
        show: Callable[[Array], Image.Image] | None = None,
    ) -> None:
        self.stats = RunStats()
        self.progress: ProgressCallback = no_progress
        self.prepare = prepare
        self.finish = finish
        self._show = show

    def show(self, job: Job, latents: Array) -> Image.Image:
        """Latents as a picture; raises `InputError` for work that has none."""
        if self._show is None:
            raise InputError("this work has no preview; decode its latents")
        return self._show(latents)

    def diagnose(self, job: Job | None, error: Exception) -> Exception:
        """The error as it is."""
        return error


def _kind(value: Any) -> str:
    shape = getattr(value, "shape", None)
    return type(value).__name__ if shape is None else f"{value.dtype} {list(shape)}"


def _unit(function: Callable[[], _Made]) -> Units[_Made]:
    """One unit, which is done at once."""
    made = function()
    yield
    return made


def _nothing() -> Units[Job | None]:
    return _unit(lambda: None)


def _constant(prompt: str, syntax: str) -> Phrase:
    """What a prompt says that says the same in all steps; raises `InputError` for another."""
    parts = parse(prompt, syntax).parts
    phrases = {phrase for part in parts for phrase in part.timeline(8)}
    if len(parts) > 1 or len(phrases) > 1:
        raise InputError(
            "the prompt changes from step to step or composes several; encode each text by itself, and give each "
            "conditioning its weight, start and end",
            "prompt",
        )
    return phrases.pop()
