"""One prepared request as work for the scheduler: encoded, denoised, decoded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from PIL import Image

from ...bundles.tensor import Array
from ...errors import ModelOutputError
from .. import nonfinite
from ..denoising.job import Job, JobSnapshot
from ..imaging import resize
from ..imaging.match import match
from ..imaging.soft import paste_levels
from ..progress import ProgressCallback, no_progress
from ..provenance.recorder import Maker, recorder
from ..requests.result import Output
from ..units import Units, exhaust
from .build_job import JobBuilder
from .planning import PreparedRequest
from .stages import Stages
from .stats import RunStats


class Painting:
    """The picture of one prepared request.

    `maker` gives what the record says of the model, `together` how many pictures the run has; `snapshot` is where the
    job goes on from; `progress` is called with what is done within a stage.
    """

    def __init__(
        self,
        stages: Stages,
        prepared: PreparedRequest,
        maker: Callable[[], Maker],
        notes: tuple[str, ...],
        *,
        together: int = 1,
        snapshot: JobSnapshot | None = None,
        progress: ProgressCallback = no_progress,
    ) -> None:
        self.stats = RunStats()
        self.progress = progress
        self.prepared = prepared
        self._stages = stages
        self._maker = maker
        self._notes = notes
        self._together = together
        self._snapshot = snapshot

    def prepare(self) -> Units[Job | None]:
        """The job, or None where the model has nothing to do."""
        if not len(self.prepared.plan):
            return None
        job = yield from JobBuilder(self._stages, self.prepared, self.stats, self.progress).job()
        if self._snapshot is not None:
            job.resume(self._snapshot)
        return job

    def finish(self, job: Job | None) -> Units[Output]:
        """The output, decoded window by window."""
        prepared = self.prepared
        if job is None:
            image = resize.restore(prepared.picture.pixels, prepared.placement)
        else:
            pixels = yield from self.stats.timed("decode", self._decoding(job.latents))
            with self.stats.stage("decode"):
                job.check()
                image = self._restored(pixels)
        return Output(
            image,
            prepared.request,
            prepared.plan,
            prepared.parameters,
            self._notes,
            job.drift if job else (),
            recorder(self._recorded(), prepared.request, image, prepared.plan, self._together),
            paste_mask=self._paste_mask(job),
        )

    def _recorded(self) -> Maker:
        """What the record says of the model, and of the LoRAs of the request."""
        return replace(self._maker(), loras={used.use.name: used.sha256 for used in self.prepared.loras})

    def show(self, job: Job, latents: Array) -> Image.Image:
        """Latents of the job as the result will be."""
        pixels = exhaust(self._decoding(latents))
        job.check()
        return self._restored(pixels)

    def diagnose(self, job: Job | None, error: Exception) -> Exception:
        """The first that made something that is not finite: on a device nobody has looked before it was waited for.

        Cached encodings that are not finite are let go of.
        """
        if not isinstance(error, ModelOutputError) or self._stages.device == "cpu":
            return error
        self._stages.forget_nonfinite()
        try:
            for component, array in self.stats.encodings:
                nonfinite.check(component, array)
            if job is not None:
                job.check()
        except ModelOutputError as exc:
            return exc
        return error

    def _decoding(self, latents: Array) -> Units[Array]:
        return self._stages.vae.decoding(latents, self.progress, self.prepared.request.truncates)

    def _restored(self, pixels: Array) -> Image.Image:
        prepared = self.prepared
        if method := prepared.request.colour_match:
            width, height = prepared.placement.size  # what lies beyond is no part of either picture
            pixels = match(pixels[:height, :width], prepared.picture.on_white[:height, :width], method)
        return resize.restore(pixels, prepared.placement)

    def _paste_mask(self, job: Job | None) -> Array | None:
        latents_mask = job.paste_mask if job else None
        if latents_mask is None:
            return None
        levels = paste_levels(latents_mask, self.prepared.picture.size)
        shown = np.repeat(levels[..., None], 3, axis=2)
        return np.array(resize.restore(shown, self.prepared.placement))[..., 0]
