"""The assembled pipeline: requests in, repainted pictures out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from .. import __version__
from ..engines.base import Array, Engine, InputError
from ..engines.buffers import to_device, to_host
from ..engines.bundle import Bundle
from .denoiser import Denoiser
from .imaging import codec, resize
from .imaging.codec import Picture
from .imaging.metadata import Parameters, format_parameters
from .job import Job
from .loop import Step, run
from .request import Output, Request, Result, expand
from .sampling.compile import compile_plan
from .sampling.levels import ModelSchedule
from .sampling.names import a1111_labels
from .sampling.noise import NoiseStream, noise_stream
from .sampling.plan import Plan
from .sampling.strength import FROM_NOISE
from .text import TextEncoder
from .vae import Autoencoder

Source = codec.Source | Picture
Text = str | Sequence[str]
OnStep = Callable[[Step], None]

A1111_NOISE = {"cpu": "CPU", "gpu": "NV"}
# How many times more or fewer pixels than usual deserve a note.
FAR = 2.25


@dataclass(frozen=True)
class Task:
    """A request, checked and fitted to the model; nothing of it has run."""

    request: Request
    picture: Picture
    placement: resize.Placement
    plan: Plan
    parameters: str


class Pipeline:
    """A loaded bundle. Calls are independent of one another but for the caches; make one with `overpaint.load`."""

    def __init__(
        self, bundle: Bundle, text: TextEncoder, vae: Autoencoder, denoiser: Denoiser, schedule: ModelSchedule
    ) -> None:
        self.bundle = bundle
        self.text = text
        self.vae = vae
        self.denoiser = denoiser
        self.schedule = schedule

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
        self, image: Source | Sequence[Source], prompt: Text = "", *, on_step: OnStep | None = None, **options: Any
    ) -> Result:
        """Repaint one picture or several, as `start` describes, to the end.

        `on_step` is called after every model evaluation; an exception from it cancels the run.
        """
        run = self.start(image, prompt, **options)
        for step in run:
            if on_step:
                on_step(step)
        return run.result()

    def start(
        self,
        image: Source | Sequence[Source],
        prompt: Text = "",
        *,
        negative_prompt: Text | None = None,
        seed: int | Sequence[int] | None = None,
        n: int = 1,
        **options: Any,
    ) -> Run:
        """A run to iterate over for its steps, to leave early to cancel, and to ask for its `result()` at the end.

        `image` is a path, bytes, a Pillow image, an array (uint8 [height, width, 3]) or a `Picture`, or a list of them;
        `prompt` and `negative_prompt` are one, or one a picture; every picture is repainted `n` times. `seed` counts up
        over the images, or is one for each; None draws one, which the result names. `options` are the fields of
        `Request`. Raises `InputError` for what cannot be used; the run raises `EngineError` and `ModelOutputError`
        where the model fails.
        """
        pictures = [source if isinstance(source, Picture) else codec.read(source) for source in _listed(image)]
        negatives = _listed(negative_prompt or "")
        return self.run(expand(pictures, _listed(prompt), negatives, seed, n, options))

    def run(self, requests: Sequence[Request]) -> Run:
        """A run of requests that may differ in everything; they share the model's calls."""
        return Run(self, requests)

    def close(self) -> None:
        """Release the engines' memory; the pipeline cannot run afterwards. Leaving a `with` does it."""
        for engine in self.engines.values():
            engine.close()

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def plan(self, request: Request) -> Plan:
        """The table that a request runs, without running it; raises `InputError` where there is none."""
        return compile_plan(
            self.schedule,
            sampler=request.sampler or self.bundle.model.default_sampler,
            schedule=request.schedule,
            steps=request.steps,
            strength=request.strength,
            convention=request.convention,
            eta=request.eta,
        )

    def task(self, request: Request) -> Task:
        """What a request comes to; raises `InputError` where this model cannot answer it."""
        facts = self.bundle.model
        picture, placement = resize.fit(request.image, request.size, request.fit_mode, facts.multiple)
        self._check_size(picture)
        plan = self.plan(request)
        return Task(request, picture, placement, plan, self._parameters(request, plan, placement.size))

    def decode(self, latents: Array) -> Array:
        """Latents, float32 [channels, height, width], as pixels, uint8 [height, width, 3]."""
        return to_host(codec.from_model(self.vae.decode(latents)[None])[0])

    def _check_size(self, picture: Picture) -> None:
        ranges, scale = self.bundle.graph("unet").ranges, self.bundle.model.downscale
        most = ranges["width"].most * scale, ranges["height"].most * scale
        if any(length > limit for length, limit in zip(picture.size, most, strict=True)):
            raise InputError(
                f"the picture is {picture.size[0]}x{picture.size[1]}, this model takes at most {most[0]}x{most[1]}; "
                "ask for a smaller size"
            )

    def _parameters(self, request: Request, plan: Plan, size: tuple[int, int]) -> str:
        facts = self.bundle.model
        sampler, schedule = a1111_labels(plan.sampler, plan.schedule)
        extra = {
            "RNG": A1111_NOISE.get(request.noise, request.noise),
            "Strength convention": request.convention,
            "Posterior": request.posterior,
            "Resize": request.fit_mode,
        }
        if request.eta is not None:
            extra["Eta"] = str(request.eta)
        if request.guidance_rescale:
            extra["CFG Rescale phi"] = str(request.guidance_rescale)
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
                denoising_strength=request.strength,
                clip_skip=request.clip_skip + 1,
                extra=tuple(extra.items()),
                version=f"overpaint {__version__}",
            )
        )


class Run:
    """A batch of requests being answered. Iterating, once, does the work and yields a `Step` for every evaluation.

    Everything that can be known to be wrong with a request is raised when the run is made, before any model runs.
    """

    def __init__(self, pipeline: Pipeline, requests: Sequence[Request]) -> None:
        if not requests:
            raise InputError("a run has no request; give at least one")
        self.tasks = tuple(pipeline.task(request) for request in requests)
        self._pipeline = pipeline
        self._timings = dict.fromkeys(("text", "encode", "denoise", "decode"), 0.0)
        self._cached = {"text": 0, "encode": 0}
        self._begun = False
        self._jobs: dict[int, Job] = {}
        self._result: Result | None = None

    def __iter__(self) -> Iterator[Step]:
        """Do the work; raises `InputError` the second time."""
        if self._begun:
            raise InputError("a run goes once; start another")
        self._begun = True
        engines = self._pipeline.engines.values()
        for engine in engines:
            engine.begin_run()
        try:
            yield from self._steps()
        finally:
            for engine in engines:
                engine.end_run()

    def _steps(self) -> Iterator[Step]:
        start, away = time.perf_counter(), 0.0
        self._jobs = {index: self._job(task) for index, task in enumerate(self.tasks) if len(task.plan)}
        for step in run(self._jobs, self._pipeline.denoiser, self._show):
            self._timings["denoise"] += step.seconds
            left = time.perf_counter()
            yield step
            away += time.perf_counter() - left
        outputs = tuple(self._output(index) for index in range(len(self.tasks)))
        total = time.perf_counter() - start - away
        labels = {name: engine.label for name, engine in self._pipeline.engines.items()}
        self._result = Result(outputs, {**self._timings, "total": total}, dict(self._cached), labels)

    def result(self) -> Result:
        """The result of a run that was iterated to its end; raises `InputError` for one that was not."""
        if self._result is None:
            raise InputError("the run has not ended; iterate over it to its end before asking for its result")
        return self._result

    def _job(self, task: Task) -> Job:
        request = task.request
        noise = noise_stream(request.noise, request.seed)
        device = self._pipeline.denoiser.engine.device
        clean = to_device(self._clean(task, noise), device)
        conditioning = [(weight, to_device(embedding, device)) for weight, embedding in self._conditioning(request)]
        return Job(task.plan, clean, conditioning, noise, request.guidance_rescale)

    def _clean(self, task: Task, noise: NoiseStream) -> Array:
        """The picture's latents; zeros where the run starts from noise alone, so that nothing of it can leak."""
        request, picture = task.request, task.picture
        facts, vae = self._pipeline.bundle.model, self._pipeline.vae
        height, width = (length // facts.downscale for length in picture.pixels.shape[:2])
        shape = (facts.latent_channels, height, width)
        if request.strength == 1 and request.convention in FROM_NOISE:
            return np.zeros(shape, np.float32)
        with self._stage("encode"):
            moments, cached = vae.encode(codec.to_model(picture.on_white)[0])
            self._cached["encode"] += cached
            return vae.latents(moments, (lambda: noise(shape)) if request.posterior == "sample" else None)

    def _conditioning(self, request: Request) -> list[tuple[float, Array]]:
        """Classifier-free guidance as rows: the prompt's with weight g, the negative prompt's with 1 - g."""
        scale = request.guidance_scale
        if scale <= 1:
            return [(1.0, self._encode_text(request.prompt, request.clip_skip))]
        weighted = (scale, request.prompt), (1 - scale, request.negative_prompt)
        return [(weight, self._encode_text(prompt, request.clip_skip)) for weight, prompt in weighted]

    def _encode_text(self, prompt: str, clip_skip: int) -> Array:
        with self._stage("text"):
            embeddings, cached = self._pipeline.text.encode(prompt, clip_skip)
            self._cached["text"] += cached
            return embeddings

    def _show(self, index: int, latents: Array) -> Image.Image:
        self._jobs[index].check()
        return resize.restore(self._pipeline.decode(latents), self.tasks[index].placement)

    def _output(self, index: int) -> Output:
        task, job = self.tasks[index], self._jobs.get(index)
        with self._stage("decode"):
            image = self._show(index, job.latents) if job else resize.restore(task.picture.pixels, task.placement)
        notes = (*task.picture.notes, *self._notes(task))
        return Output(image, task.request, task.plan, task.parameters, notes)

    def _notes(self, task: Task) -> Iterator[str]:
        request, (width, height) = task.request, task.picture.size
        usual = self._pipeline.bundle.model.default_size
        if len(task.plan) and not 1 / FAR <= width * height / (usual[0] * usual[1]) <= FAR:
            yield f"worked on {width}x{height} pixels, the model is made for {usual[0]}x{usual[1]}; a size can be given"
        if request.guidance_scale <= 1 and (request.negative_prompt or request.guidance_rescale):
            yield "guidance at most 1 heeds neither the negative prompt nor the rescaling"

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self._timings[name] += time.perf_counter() - start


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]
