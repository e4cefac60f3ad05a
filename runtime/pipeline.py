"""The assembled pipeline: requests in, repainted pictures out."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..engines.base import Array, InputError
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
from .sampling.noise import noise_stream
from .sampling.plan import Plan
from .text import TextEncoder
from .vae import Autoencoder

Source = codec.Source | Picture
Text = str | Sequence[str]
OnStep = Callable[[Step], None]


@dataclass(frozen=True)
class Work:
    """A request fitted to the model; `job` is None where strength 0 leaves nothing to do."""

    request: Request
    picture: Picture
    placement: resize.Placement
    plan: Plan
    job: Job | None


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
        negative_prompt: Text = "",
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
        return self.run(expand(pictures, _listed(prompt), _listed(negative_prompt), seed, n, options))

    def run(self, requests: Sequence[Request]) -> Run:
        """A run of requests that may differ in everything; they share the model's calls."""
        return Run(self, requests)

    def plan(self, request: Request) -> Plan:
        """The table a request runs, without running it."""
        return compile_plan(
            self.schedule,
            sampler=request.sampler or self.bundle.model.default_sampler,
            schedule=request.schedule,
            steps=request.steps,
            strength=request.strength,
            convention=request.convention,
            eta=request.eta,
        )

    def decode(self, latents: Array) -> Array:
        """Latents, float32 [channels, height, width], as pixels, uint8 [height, width, 3]."""
        return codec.from_model(self.vae.decode(latents)[None])[0]


class Run:
    """A batch of requests being answered. Iterating does the work and yields a `Step` for every model evaluation."""

    def __init__(self, pipeline: Pipeline, requests: Sequence[Request]) -> None:
        self.requests = tuple(requests)
        self._pipeline = pipeline
        self._timings: dict[str, float] = dict.fromkeys(("text", "encode", "denoise", "decode", "total"), 0.0)
        self._cached: Counter[str] = Counter()
        self._result: Result | None = None

    def __iter__(self) -> Iterator[Step]:
        """Do the work."""
        work = [self._prepare(request) for request in self.requests]
        jobs = [item.job for item in work if item.job]
        for step in run(jobs, self._pipeline.denoiser, self._pipeline.decode):
            self._timings["denoise"] += step.seconds
            yield step
        outputs = tuple(self._finish(item) for item in work)
        self._timings["total"] = sum(self._timings.values())
        self._result = Result(outputs, self._timings, dict(self._cached))

    def result(self) -> Result:
        """The result of a run that was iterated to its end; raises `InputError` for one that was not."""
        if self._result is None:
            raise InputError("the run has not ended; iterate over it to its end before asking for its result")
        return self._result

    def _prepare(self, request: Request) -> Work:
        facts = self._pipeline.bundle.model
        picture, placement = resize.fit(request.image, request.size, request.fit_mode, facts.multiple)
        plan = self._pipeline.plan(request)
        return Work(request, picture, placement, plan, self._job(request, picture, plan) if len(plan) else None)

    def _job(self, request: Request, picture: Picture, plan: Plan) -> Job:
        noise = noise_stream(request.noise, request.seed)
        clean = self._clean(request, picture, plan, noise)
        return Job(plan, clean, self._conditioning(request), noise, request.guidance_rescale)

    def _clean(self, request: Request, picture: Picture, plan: Plan, noise: Any) -> Array:
        """The picture's latents; zeros where the plan starts from noise alone, so that nothing of it can leak."""
        facts = self._pipeline.bundle.model
        height, width = (length // facts.downscale for length in picture.pixels.shape[:2])
        shape = (facts.latent_channels, height, width)
        vae = self._pipeline.vae
        if plan.start[0] == 0:
            return np.zeros(shape, np.float32)
        with self._stage("encode"):
            moments, cached = vae.encode(codec.to_model(picture.on_white)[0])
            self._cached["encode"] += cached
            return vae.latents(moments, (lambda: noise(shape)) if request.posterior == "sample" else None)

    def _conditioning(self, request: Request) -> list[tuple[float, Array]]:
        """Classifier-free guidance as rows: the prompt's with weight g, the negative prompt's with 1 - g."""
        scale = request.guidance_scale
        weighted = (
            [(scale, request.prompt), (1 - scale, request.negative_prompt)] if scale > 1 else [(1.0, request.prompt)]
        )
        return [(weight, self._encode_text(prompt, request.clip_skip)) for weight, prompt in weighted]

    def _encode_text(self, prompt: str, clip_skip: int) -> Array:
        with self._stage("text"):
            embeddings, cached = self._pipeline.text.encode(prompt, clip_skip)
            self._cached["text"] += cached
            return embeddings

    def _finish(self, work: Work) -> Output:
        pixels = work.picture.pixels
        if work.job:
            with self._stage("decode"):
                pixels = self._pipeline.decode(work.job.latents)
        image = resize.restore(pixels, work.placement)
        return Output(image, work.request, work.plan, self._parameters(work, image.size), work.picture.notes)

    def _parameters(self, work: Work, size: tuple[int, int]) -> str:
        request, bundle = work.request, self._pipeline.bundle
        extra = {"RNG": request.noise.upper()}
        if request.convention != "contract":
            extra["Strength convention"] = request.convention
        if request.eta is not None:
            extra["Eta"] = str(request.eta)
        if request.guidance_rescale:
            extra["CFG Rescale phi"] = str(request.guidance_rescale)
        return format_parameters(
            Parameters(
                prompt=request.prompt,
                negative_prompt=request.negative_prompt,
                steps=request.steps,
                sampler=work.plan.sampler,
                schedule_type=work.plan.schedule,
                cfg_scale=request.guidance_scale,
                seed=request.seed,
                size=size,
                model_hash=bundle.graph("unet").file.sha256[:10],
                model=bundle.model.name,
                denoising_strength=request.strength,
                clip_skip=request.clip_skip + 1,
                extra=tuple(extra.items()),
                version=bundle.producer,
            )
        )

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self._timings[name] += time.perf_counter() - start


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]
