"""What Prometheus reads: counts of jobs and errors, the queue, rows a call, seconds by stage."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from ..bundles.tensor import Array
from ..engines.wrapper import Wrapper
from ..runtime.denoising.denoiser import SAMPLE, Denoiser
from ..runtime.model.model import Model
from ..runtime.model.tickets import DONE
from .jobs import Job
from .refusals import kind_of
from .service import Service

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
ROWS = (1, 2, 4, 8, 12, 16, 32)
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Counts what a service does, from now on; a registry of its own."""

    def __init__(self, service: Service) -> None:
        self.registry = registry = CollectorRegistry()
        named: dict[str, Any] = {"namespace": "overpaint", "registry": registry}
        self._jobs = Counter("jobs", "Jobs that have ended.", ["verb", "model", "status"], **named)
        self._errors = Counter("errors", "Jobs and calls that failed or were refused.", ["type"], **named)
        self._seconds = Histogram("job_seconds", "From arrival to end.", ["verb"], buckets=SECONDS, **named)
        self._queued = Histogram("queued_seconds", "From arrival to begin.", ["verb"], buckets=SECONDS, **named)
        self._stages = Counter("stage_seconds", "Seconds of work by stage.", ["model", "stage"], **named)
        self._cached = Counter("cache_hits", "Encodings that came from a cache.", ["model", "stage"], **named)
        self._evaluations = Counter("evaluations", "Evaluations of jobs that have ended.", ["model"], **named)
        rows = Histogram("call_rows", "Rows of a call of the denoiser.", ["model"], buckets=ROWS, **named)
        fill = Counter("call_capacity_rows", "Rows that these calls could have had.", ["model"], **named)
        jobs = Gauge("open_jobs", "Jobs that wait or run.", **named)
        jobs.set_function(lambda: len(service.jobs))
        tickets = Gauge("open_tickets", "Pieces of work in a scheduler.", ["model"], **named)
        ready = Gauge("ready", "Whether the service takes jobs.", **named)
        ready.set_function(lambda: float(service.ready and not service.draining))
        for name, model in service.models.items():
            tickets.labels(name).set_function(partial(_open_tickets, model))
            denoiser = model.stages.denoiser
            denoiser.engine = Counted(denoiser, rows.labels(name), fill.labels(name))
        service.watchers.append(self)

    def submitted(self, job: Job) -> None:
        """A job was taken: `open_jobs` counts it."""

    def ended(self, job: Job) -> None:
        """A job has ended."""
        verb, model = job.order.verb, job.order.model
        self._jobs.labels(verb, model, job.status).inc()
        self._evaluations.labels(model).inc(job.done)
        finished = job.finished or job.arrived
        self._seconds.labels(verb).observe(finished - job.arrived)
        self._queued.labels(verb).observe((job.started or finished) - job.arrived)
        if job.error is not None:
            self.refused(kind_of(job.error))
        if job.status != DONE:
            return
        made = job.future.result()
        for stage, seconds in made.timings.items():
            if stage != "total":
                self._stages.labels(model, stage).inc(seconds)
        for stage, count in made.cached.items():
            self._cached.labels(model, stage).inc(count)

    def refused(self, kind: str) -> None:
        """A call was refused, or a job failed."""
        self._errors.labels(kind).inc()

    def text(self) -> bytes:
        """What Prometheus reads."""
        return generate_latest(self.registry)


class Counted(Wrapper):
    """Counts the rows of every call of a denoiser's engine, those that fill a bucket with them."""

    def __init__(self, denoiser: Denoiser, rows: Histogram, capacity: Counter) -> None:
        super().__init__(denoiser.engine)
        self._denoiser, self._rows, self._capacity = denoiser, rows, capacity

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run the graph once."""
        self._rows.observe(len(feeds[SAMPLE]))
        self._capacity.inc(self._denoiser.max_rows)
        return super().__call__(feeds)


def _open_tickets(model: Model) -> int:
    return len(model.scheduler.tickets)
