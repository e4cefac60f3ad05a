"""Calls under way, by their callers: what progress and interrupt are about."""

from __future__ import annotations

import base64
import secrets
import threading
import time
from collections import OrderedDict
from io import BytesIO
from typing import Any

from PIL import Image

from ...errors import RefusedError
from ..jobs import PREVIEW, QUEUED, Job, Notice

KEPT = 1024
"""Ids of ended tasks that are remembered."""
UNSEEN = 10.0
"""Seconds without a look after which previews are no longer decoded."""


class Task:
    """A call, from its arrival to its answer."""

    def __init__(self, id: str, caller: str, count: int = 1, steps: int = 0) -> None:
        self.id, self.caller, self.count, self.steps = id, caller, max(count, 1), steps
        self.job: Job | None = None
        self.interrupted = False
        self.began = time.monotonic()
        self.preview: Image.Image | None = None
        self.previews = 0
        self._looked = -UNSEEN

    def follow(self, job: Job) -> None:
        """Its job is under way."""
        self.job = job
        job.listen(self._heard, lambda step: time.monotonic() - self._looked < UNSEEN)
        if self.interrupted:
            job.stop()

    def interrupt(self) -> None:
        """End its work with what is finished, also where that is yet to begin."""
        self.interrupted = True
        if self.job is not None:
            self.job.stop()

    def look(self) -> None:
        """Somebody wants its previews."""
        self._looked = time.monotonic()

    def fraction(self) -> float:
        """How much of it is done, 0 to 1."""
        return 0.0 if self.job is None else float(self.job.progress()["fraction"])

    @property
    def queued(self) -> bool:
        """Whether it is yet to begin."""
        return self.job is None or self.job.status == QUEUED

    def _heard(self, notice: Notice) -> None:
        if notice.kind == PREVIEW:
            self.preview, self.previews = notice.image, self.previews + 1


class Tasks:
    """The tasks of all callers; those of one with an id are found by it, others by their caller."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, str], Task] = {}
        self._ended: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._lock = threading.Lock()

    def begin(self, kind: str, owner: str, caller: str, id: str | None, count: int, steps: int) -> Task:
        """A new task of a caller, whose key's hash is `owner`.

        Raises `RefusedError` (409) for an id that is in use.
        """
        task = Task(id or f"task({kind}-{secrets.token_hex(8)})", caller, count, steps)
        with self._lock:
            if (owner, task.id) in self._open:
                raise RefusedError(
                    f"force_task_id {task.id[:64]!r} is in use; give each call its own", 409, "idempotency_conflict"
                )
            self._open[owner, task.id] = task
        return task

    def end(self, owner: str, task: Task) -> None:
        """A task is answered."""
        with self._lock:
            self._open.pop((owner, task.id), None)
            self._ended[owner, task.id] = None
            while len(self._ended) > KEPT:
                self._ended.popitem(last=False)

    def find(self, owner: str, caller: str, id: str | None = None) -> Task | None:
        """The task of an id, else the oldest that the caller has under way."""
        with self._lock:
            if id:
                return self._open.get((owner, id))
            return next((task for task in self._open.values() if task.caller == caller), None)

    def ended(self, owner: str, id: str) -> bool:
        """Whether a task of an id was answered."""
        with self._lock:
            return (owner, id) in self._ended

    def of(self, caller: str) -> list[str]:
        """The ids of a caller's tasks."""
        with self._lock:
            return [task.id for task in self._open.values() if task.caller == caller]


def progress_of(task: Task | None, with_image: bool) -> dict[str, Any]:
    """The answer of /sdapi/v1/progress, all zeros where nothing is under way."""
    state: dict[str, Any] = {
        "skipped": False,
        "interrupted": task is not None and task.interrupted,
        "stopping_generation": False,
        "job": "",
        "job_count": 0,
        "job_timestamp": "0",
        "job_no": 0,
        "sampling_step": 0,
        "sampling_steps": 0,
    }
    if task is None:
        empty = {"progress": 0.0, "eta_relative": 0.0, "state": state, "current_image": None, "textinfo": None}
        return {**empty, "current_task": None}
    fraction = task.fraction()
    progress, number = _shown(task), min(int(fraction * task.count), task.count - 1)
    created = time.time() if task.job is None else task.job.created
    state |= {
        "job": f"Batch {number + 1} out of {task.count}" if task.count > 1 else task.id,
        "job_count": -1 if task.queued else task.count,
        "job_timestamp": time.strftime("%Y%m%d%H%M%S", time.localtime(created)),
        "job_no": number,
        "sampling_step": int((fraction * task.count - number) * task.steps),
        "sampling_steps": task.steps,
    }
    if with_image:
        task.look()
    return {
        "progress": progress,
        "eta_relative": _eta(task, progress),
        "state": state,
        "current_image": _encoded(task.preview) if with_image else None,
        "textinfo": "Waiting..." if task.queued else None,
        "current_task": task.id,
    }


def internal_progress(task: Task | None, ended: bool, seen: int, with_image: bool) -> dict[str, Any]:
    """The answer of /internal/progress; a preview comes where it is newer than `seen`."""
    made: dict[str, Any] = {
        "active": task is not None and not task.queued,
        "queued": task is not None and task.queued,
        "completed": ended,
        "progress": None,
        "eta": None,
        "live_preview": None,
        "id_live_preview": seen,
        "textinfo": "Waiting..." if task is None or task.queued else None,
    }
    if task is None or task.queued:
        return made
    progress = _shown(task)
    made |= {"progress": progress, "eta": _eta(task, progress)}
    if with_image:
        task.look()
        image = task.preview
        if image is not None and task.previews != seen:
            data = f"data:image/png;base64,{_encoded(image)}"
            made |= {"live_preview": data, "id_live_preview": task.previews}
    return made


def _shown(task: Task) -> float:
    return min(0.01 + task.fraction(), 1.0) if not task.queued else 0.01


def _eta(task: Task, progress: float) -> float:
    elapsed = time.monotonic() - task.began
    return round(elapsed * (1 - progress) / progress, 3)


def _encoded(image: Image.Image | None) -> str | None:
    if image is None:
        return None
    stream = BytesIO()
    image.save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()
