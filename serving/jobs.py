"""Jobs: pieces of work that clients submitted, which tell listeners how they go."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from copy import copy
from dataclasses import dataclass
from typing import Any

from PIL import Image

from ..errors import CancelledError, ClosedError, RunTimeoutError
from ..runtime.denoising.loop import Step
from ..runtime.model.model import Model
from ..runtime.model.previews import preview_of
from ..runtime.model.scheduler import Scheduler
from ..runtime.model.tickets import CANCELLED, DONE, ENDED, FAILED, Event, Ticket, cancelled
from .lane import JobLane
from .made import Made
from .orders import Order
from .refusals import error_document

QUEUED, RUNNING = "queued", "running"
STATUS, PROGRESS, PREVIEW, END = "status", "progress", "preview", "end"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Notice:
    """What a listener gets: `kind` is "status", "progress", "preview" or "end", `data` a JSON document on it, and
    `image` the preview."""

    kind: str
    data: Mapping[str, Any]
    image: Image.Image | None = None


Listener = Callable[[Notice], None]
"""Is called by the threads that do the work: it must return at once."""

Wish = Callable[[Mapping[str, Any]], bool]
"""Says of a step, its `image`, `step` and `of` how many, whether a preview is wanted; is called as listeners are."""


class Job:
    """One order on its way: queued, running, and then done, failed or cancelled.

    `future` has what came of it. All methods may be called from any thread. `ended` is called once it has ended.
    """

    def __init__(
        self,
        order: Order,
        owner: str,
        deadline: float | None,
        ended: Callable[[Job], None],
        request: str = "",
        prefix: str = "",
    ) -> None:
        """`request` is the id of the call that submitted it, for the log; its own id begins with `prefix`."""
        self.id = prefix + secrets.token_hex(12)
        self.request = request
        self.order = order
        self.owner = owner
        self.deadline = deadline
        self.created = time.time()
        self.status, self.stage = QUEUED, ""
        self.done = self.total = 0
        self.collected = False
        """Whether somebody has fetched the result."""
        self.future: Future[Made] = Future()
        self.future.set_running_or_notify_cancel()  # who waits for it may go away, and ends nothing
        self.arrived = self.touched = time.monotonic()
        """`touched` is when it last showed a sign of work."""
        self.so_far: Callable[[], Made] | None = None
        """Gives the pictures that are finished."""
        self.started: float | None = None
        self.finished: float | None = None
        self.marks: list[tuple[int, str, float]] = []
        """When which of its tickets, by id, came to which status."""
        self._ended = ended
        self._claims = 1
        self._tickets: list[Ticket[Any]] = []
        self._scheduler: Scheduler | None = None
        self._listeners: dict[Listener, bool | Wish] = {}
        self._previewing = False
        self._lock = threading.RLock()

    def view(self, model: Model) -> Model:
        """A model whose tickets have this job's deadline and priority, and tell this job what happens to them."""
        made, self._scheduler = copy(model), model.scheduler
        made.lane = JobLane(model.scheduler, self)
        return made

    def join(self, ticket: Ticket[Any]) -> None:
        """Take a ticket as a part of the job, before it is put in line.

        Raises `CancelledError` and `RunTimeoutError` where there is nothing to be done for the job any more.
        """
        with self._lock:
            if self.status in ENDED:
                raise cancelled()
            if self.deadline is not None and time.monotonic() > self.deadline:
                raise RunTimeoutError("stopped: its deadline is past; give more time, or ask for less")
            ticket.deadline, ticket.priority, ticket.client = self.deadline, self.order.priority, self.owner
            self._tickets = [each for each in self._tickets if not each.ended]
            self._tickets.append(ticket)

    def begin(self) -> bool:
        """The work begins; whether it is still to be done."""
        with self._lock:
            if self.status == QUEUED:
                self.status, self.started = RUNNING, time.monotonic()
                self.touched = self.started
                self._tell(Notice(STATUS, self.document()))
            return self.status == RUNNING

    def heard(self, event: Event) -> None:
        """Something happened to one of its tickets."""
        with self._lock:
            now = time.monotonic()
            if event.step is None:
                self.marks.append((event.ticket.id, event.status, now))
            if self.status in ENDED or event.status in ENDED:
                return
            self.touched = now
            if event.step is None:
                self.stage = event.status
                if self.status != QUEUED or not self.begin():
                    self._tell(Notice(STATUS, self.document()))
                return
            self.done += 1
            step = event.step
            self._tell(Notice(PROGRESS, {**self.progress(), "image": step.image, "step": step.step, "of": step.steps}))
            self._preview(step)

    def end(self, made: Made | None = None, error: BaseException | None = None) -> bool:
        """It has ended, with what was made or with an error; whether it had not before. Its tickets end with it."""
        with self._lock:
            if self.status in ENDED:
                return False
            self.finished, self.stage = time.monotonic(), ""
            if made is not None:
                self.status = DONE
                self.future.set_result(made)
            else:
                error = error or cancelled()
                self.status = CANCELLED if isinstance(error, CancelledError) else FAILED
                self.future.set_exception(error)
            tickets, self._tickets, self.so_far = self._tickets, [], None
            self.order = self.order.forgotten()
            self._tell(Notice(END, self.document()))
            self._listeners.clear()
        for ticket in tickets:
            ticket.cancel()
        self._ended(self)
        return True

    def claim(self) -> bool:
        """One more client waits for it; False where it has ended."""
        with self._lock:
            self._claims += self.status not in ENDED
            return self.status not in ENDED

    def release(self) -> None:
        """One client less waits for it; it is cancelled when none is left."""
        with self._lock:
            self._claims -= 1
            last = self._claims <= 0
        if last:
            self.cancel()

    def cancel(self) -> bool:
        """End it now; its rows leave the model's calls by the next step. Whether it had not ended."""
        return self.end(error=cancelled())

    def stop(self) -> bool:
        """End it now with the pictures that are finished; whether it had not ended."""
        so_far = self.so_far
        return self.end(so_far()) if so_far else self.cancel()

    def listen(self, listener: Listener, previews: bool | Wish = False) -> Callable[[], None]:
        """Have a listener called from now on, at once with the status; returns what takes it off again.

        With `previews` it gets all that anybody wants to have decoded.
        """
        with self._lock:
            if self.status in ENDED:
                listener(Notice(END, self.document()))
            else:
                self._listeners[listener] = previews
                listener(Notice(STATUS, self.document()))

        def leave() -> None:
            with self._lock:
                self._listeners.pop(listener, None)

        return leave

    @property
    def error(self) -> BaseException | None:
        """What it failed with."""
        return self.future.exception() if self.future.done() else None

    def progress(self) -> dict[str, Any]:
        """How many evaluations of the model are done."""
        fraction = min(self.done / self.total, 1.0) if self.total else float(self.status == DONE)
        return {"done": self.done, "total": self.total, "fraction": round(fraction, 4)}

    def summary(self) -> dict[str, Any]:
        """What it is, and how long it took so far in seconds."""
        now = self.finished or time.monotonic()
        return {
            "verb": self.order.verb,
            "model": self.order.model,
            "status": self.status,
            "seconds": round(now - self.arrived, 4),
            "queued_seconds": round((self.started or now) - self.arrived, 4),
        }

    def document(self) -> dict[str, Any]:
        """The status as JSON has it; times are in seconds."""
        created = round(self.created, 3)
        made = {"id": self.id, **self.summary(), "stage": self.stage, "progress": self.progress(), "created": created}
        if self.status == DONE:
            made["result"] = self.future.result().document()
        elif self.error is not None:
            made |= error_document(self.error)
        return made

    def _tell(self, notice: Notice) -> None:
        for listener, previews in tuple(self._listeners.items()):
            if notice.kind == PREVIEW and not previews:
                continue
            try:
                listener(notice)
            except Exception:  # noqa: BLE001 - the work is not the listener's
                _log.debug("a listener of job %s is gone", self.id)
                self._listeners.pop(listener, None)

    def _preview(self, step: Step) -> None:
        """Decode a step where somebody listens, one at a time: those that come meanwhile are passed over."""
        if self._previewing or step.index + 1 == step.count or self._scheduler is None:
            return
        data = {"image": step.image, "step": step.step, "of": step.steps}
        if not any(wish(data) if callable(wish) else wish for wish in self._listeners.values()):
            return
        try:
            future = preview_of(step, self._scheduler, self.order.priority).future
        except ClosedError:
            return
        self._previewing = True
        future.add_done_callback(lambda done: self._previewed(done, data))

    def _previewed(self, future: Future[Image.Image], data: Mapping[str, Any]) -> None:
        with self._lock:
            self._previewing = False
            if self.status not in ENDED and not future.cancelled() and future.exception() is None:
                self._tell(Notice(PREVIEW, data, future.result()))
