"""The service: models with a thread each, and the jobs that share them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

from ..errors import InputError, OverpaintError, RefusedError, RunTimeoutError, unknown
from ..runtime.conditioning.prompt.embeddings import read_embedding
from ..runtime.model.load import load_model
from ..runtime.model.model import Model
from ..runtime.model.upscaler import Upscaler, load_upscaler
from ..runtime.pipeline import Pipeline
from .adapters import lend
from .jobs import QUEUED, Job
from .logs import line
from .made import Made
from .orders import Batch, Order, Tool, prepare
from .pace import Pace
from .place import Place, Places
from .pool import Pool
from .refusals import kind_of
from .settings import Settings
from .store import Jobs
from .timers import Timers

_log = logging.getLogger(__name__)


class Watcher(Protocol):
    """Is told what a service does, for metrics and traces."""

    def submitted(self, job: Job) -> None:
        """A job was taken; called by who submitted it."""
        ...

    def ended(self, job: Job) -> None:
        """A job has ended."""
        ...

    def refused(self, kind: str) -> None:
        """A call was refused."""
        ...


class Service:
    """Models by name, each with its scheduler's thread, and jobs on them.

    `submit` has an order worked on and returns at once; what a job makes under load is what it makes alone. At most
    `settings.queue_limit` jobs are open; one more is refused with the measured time until there is room. `drain` takes
    no more, waits for those that are open, and cancels what is left. All methods may be called from any thread; none
    but `start`, `drain` and `close` waits for a model.
    """

    def __init__(
        self,
        models: Mapping[str, Model],
        settings: Settings | None = None,
        upscalers: Mapping[str, Upscaler] | None = None,
    ) -> None:
        self.settings = settings or Settings()
        if not models:
            raise InputError("a service needs a model; name one at least", "models")
        self.models = dict(models)
        self.upscalers = dict(upscalers or {})
        self.ready = self.draining = False
        self.failure: Exception | None = None
        """Why it does not start."""
        self.watchers: list[Watcher] = []
        self.prefix = ""
        """What the ids of its jobs begin with, where there are several services."""
        self.jobs = Jobs(self.settings.keep_jobs)
        self._pace = Pace()
        self._places = Places(self.settings.queue_limit, len(self.settings.api_keys))
        self._lock = threading.Lock()
        self._timers = Timers()
        self._sweeps = False
        self._drain_begun = 0.0
        self._tools = Pool(self.settings.tool_threads, "overpaint-tool")
        for model in self.models.values():
            model.max_pixels = self.settings.max_pixels
            model.confine()

    @classmethod
    def load(cls, settings: Settings) -> Service:
        """The service of settings, its models loaded; raises as `load_model`, `load_upscaler`, `read_embedding`
        and `lend` do."""
        options: dict[str, Any] = {
            name: getattr(settings, name) for name in ("engine", "device", "precision", "threads")
        }
        loras = {name: getattr(settings, name) for name in ("loras", "lora_partial", "lora_mode")}
        models = {name: load_model(path, **options, **loras) for name, path in settings.named_models().items()}
        for embedding in map(read_embedding, settings.embeddings):
            for model in models.values():
                model.stages.text.add_embedding(embedding)
        lend(models, settings)
        upscalers = {name: load_upscaler(path, **options) for name, path in settings.named_upscalers().items()}
        return cls(models, settings, upscalers)

    def start(self) -> None:
        """Start the models' threads, and warm up; then the service is ready."""
        for model in self.models.values():
            model.scheduler.start()
            sizes = [size if any(size) else model.bundle.model.default_size for size in self.settings.warm_up]
            Pipeline(model).warm_up(sizes)
        self.ready = True

    def model(self, name: str) -> Model:
        """A model by its name, "" for the first; raises `InputError` for another."""
        return self.models[self.model_name(name)]

    def model_name(self, name: str) -> str:
        """The name of a model, that of the first for ""; raises `InputError` for another."""
        if name and name not in self.models:
            raise unknown("model", name, self.models, "model")
        return name or next(iter(self.models))

    def upscaler(self, name: str) -> Upscaler | None:
        """An upscaler by its name, none for ""; raises `InputError` for another."""
        if name and name not in self.upscalers:
            raise unknown("upscaler", name, self.upscalers, "upscaler")
        return self.upscalers.get(name)

    def place(self, owner: str = "") -> Place:
        """A place in the queue for a call of an owner, whose body is yet to be read.

        Who has a job leaves a place to each key that has none, as long as those are no more than half.

        Raises `RefusedError`: 429 where the queue is full, 503 before `start` and when draining.
        """
        if self.draining or not self.ready:
            cause = "the server is going down" if self.draining else "the server is starting"
            raise self._refusal(f"{cause}; try again, or another", 503, "draining" if self.draining else "starting")
        with self._lock:
            taken = self._places.take(owner, [job.owner for job in self.jobs.open()])
        if not taken:
            raise self._refusal(f"{self.settings.queue_limit} jobs wait or run already; try again later", 429, "busy")
        return Place(owner, self._give_back)

    def submit(
        self, order: Order, *, owner: str = "", key: str = "", place: Place | None = None, request: str = ""
    ) -> Job:
        """Have an order worked on.

        Only `owner` gets at the job. A `key` that the owner used before gives the job of then. `request` is the call's
        id, for the log. Raises `InputError` for what the model cannot do, and `RefusedError` as `place` and `Jobs` do.
        """
        if job := self.jobs.repeated(owner, key, order.fingerprint):
            return job
        with place or self.place(owner) as held:
            order = replace(order, model=self.model_name(order.model))
            limit = self.settings.timeout if order.timeout is None else order.timeout
            job = Job(order, owner, None if limit is None else held.arrived + limit, self._ended, request, self.prefix)
            if other := self.jobs.equal(job):
                return other
            work = prepare(order, job.view(self.model(order.model)), self.upscaler(order.upscaler))
            job.total, job.so_far = work.evaluations, work.so_far
            with self._lock:
                if not len(self.jobs):
                    self._pace.begun()
                if held.taken():
                    self._places.leave(held.owner)
                kept = self.jobs.add(job, key)
        if kept is not job:
            return kept
        for watcher in self.watchers:
            watcher.submitted(job)
        self._begin(job, work)
        return job

    def stalled(self) -> list[str]:
        """The running jobs that have shown no sign of work for `settings.watchdog_seconds`, while no other has."""
        running = [job for job in self.jobs.open() if job.started is not None]
        signs = [job.touched for job in running]
        late = time.monotonic() - self.settings.watchdog_seconds
        return [job.id for job in running] if signs and max(signs) < late else []

    def abandon(self, error: Exception) -> None:
        """Fail all open jobs with an error, and take no more: the process is about to end."""
        self.begin_drain()
        for job in self.jobs.open():
            job.end(error=error)

    def begin_drain(self) -> None:
        """Take no more jobs; safe in a signal's handler."""
        if not self.draining:
            self._drain_begun = time.monotonic()
            self.draining = True

    @property
    def drain_is_late(self) -> bool:
        """Whether a drain has taken `settings.drain_seconds`."""
        return self.draining and time.monotonic() - self._drain_begun > self.settings.drain_seconds

    @property
    def drained(self) -> bool:
        """Whether a drain is over: all jobs have ended, and their results were fetched or had their time.

        Cancels what is left once `settings.drain_seconds` have passed.
        """
        if not self.draining:
            return False
        if self._busy:
            if self.drain_is_late:
                self._cancel_all()
            return False
        linger = time.monotonic() - self.settings.linger_seconds
        return all(job.collected or (job.finished or 0) < linger for job in self.jobs.ended())

    def drain(self) -> bool:
        """Take no more jobs and wait for those that are open; whether all came to their own end in time."""
        self.begin_drain()
        until = time.monotonic() + self.settings.drain_seconds
        while self._busy:
            if time.monotonic() > until:
                self._cancel_all()
                return False
            time.sleep(0.01)
        return True

    def close(self) -> None:
        """Cancel what is open, and release the models."""
        self.begin_drain()
        self._cancel_all()
        self._tools.close()
        self._timers.close()
        for model in self.models.values():
            model.close()
        for upscaler in self.upscalers.values():
            upscaler.close()

    @property
    def _busy(self) -> bool:
        """Whether jobs are open, or calls are on their way to be."""
        with self._lock:
            return bool(len(self._places) or len(self.jobs))

    def _give_back(self, owner: str, error: BaseException | None) -> None:
        """A place is free again; `error` is why its call became no job."""
        with self._lock:
            self._places.leave(owner)
        if error is not None:
            self._refused(kind_of(error))

    def _begin(self, job: Job, work: Batch | Tool) -> None:
        if isinstance(work, Tool) and job.deadline is not None:
            self._timers.at(job.deadline, partial(self._expire, job.id))
        try:
            if isinstance(work, Tool):
                self._tools.submit(partial(_run, job, work), job.owner, job.order.priority)
            else:
                work.start(job.end)
        except (OverpaintError, RuntimeError) as exc:  # the latter of threads after `close`
            job.end(error=exc)

    def _ended(self, job: Job) -> None:
        self.jobs.end(job)
        self._pace.ended()
        self._sweep(due=False)
        if job.error is not None and not isinstance(job.error, OverpaintError):
            _log.error("job %s failed", job.id, exc_info=job.error)
        for watcher in self.watchers:
            watcher.ended(job)
        line("job", {"request": job.request, "job": job.id, **job.summary()})

    def _sweep(self, due: bool = True) -> None:
        """Let go of jobs that ended long ago, now and whenever the next one is due: by one timer for all of them."""
        kept = self.settings.keep_seconds
        with self._lock:
            if self._sweeps and not due:
                return
            oldest = self.jobs.forget_before(time.monotonic() - kept)
            self._sweeps = oldest is not None
        if oldest is not None:
            self._timers.at(oldest + kept, self._sweep)

    def _expire(self, id: str) -> None:
        """End a job that no thread has begun with: once it has tickets, these have its deadline."""
        for job in self.jobs.open():
            if job.id == id and job.status == QUEUED:
                job.end(error=RunTimeoutError("stopped before it began: its deadline is past; give more time"))

    def _cancel_all(self) -> None:
        for job in self.jobs.open():
            job.cancel()

    def _refused(self, kind: str) -> None:
        for watcher in self.watchers:
            watcher.refused(kind)

    def _refusal(self, message: str, status: int, kind: str) -> RefusedError:
        self._refused(kind)
        return RefusedError(message, status, kind, self._pace.seconds_until_room())


def _run(job: Job, work: Tool) -> None:
    """Do a tool's work, in a thread of the pool."""
    if not job.begin():
        return
    made: Made | None = None
    error: BaseException | None = None
    try:
        made = work.run()
    except BaseException as exc:  # noqa: BLE001 - it is the job's own
        error = exc
    job.end(made, error)
