"""The jobs of a service: those that are open, and for a while those that have ended."""

from __future__ import annotations

import threading
from collections import OrderedDict

from ..errors import RefusedError
from ..runtime.model.tickets import CANCELLED, ENDED
from .jobs import Job


class Jobs:
    """Jobs by id, and by the keys by which a client repeats a call; of those that have ended at most `keep`."""

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._open: dict[str, Job] = {}
        self._ended: OrderedDict[str, Job] = OrderedDict()
        self._keys: dict[tuple[str, str], Job] = {}
        self._lock = threading.RLock()

    def __len__(self) -> int:
        """How many are open."""
        return len(self._open)

    def open(self) -> tuple[Job, ...]:
        """Those that have not ended."""
        with self._lock:
            return tuple(self._open.values())

    def ended(self) -> tuple[Job, ...]:
        """Those that have, the first first."""
        with self._lock:
            return tuple(self._ended.values())

    def get(self, id: str, owner: str) -> Job:
        """A job of an owner; raises `RefusedError` (404) where there is none."""
        with self._lock:
            job = self._open.get(id) or self._ended.get(id)
        if job is None or job.owner != owner:
            raise RefusedError(f"there is no job {id[:64]!r}; it may have ended long ago", 404, "not_found")
        return job

    def add(self, job: Job, key: str = "") -> Job:
        """Keep a job; where the key is known, or an equal one may be shared, that is returned instead."""
        with self._lock:
            if other := self.repeated(job.owner, key, job.order.fingerprint) or self.equal(job):
                return other
            self._open[job.id] = job
            if key:
                self._keys[job.owner, key] = job
        return job

    def knows(self, owner: str, key: str) -> bool:
        """Whether an owner has used a key."""
        return bool(key) and (owner, key) in self._keys

    def repeated(self, owner: str, key: str, fingerprint: str) -> Job | None:
        """The job that an owner submitted with a key, claimed, unless it was cancelled.

        Raises `RefusedError` (409) where the key was used for something else.
        """
        with self._lock:
            job = self._keys.get((owner, key)) if key else None
        if job is None or job.status == CANCELLED:
            return None
        if job.order.fingerprint != fingerprint:
            raise RefusedError(
                "this idempotency key was used for another call; give each call its own", 409, "idempotency_conflict"
            )
        job.claim()
        return job

    def equal(self, job: Job) -> Job | None:
        """An open job of the same owner that asks for the same, claimed, where both are to be shared."""
        order = job.order
        if not order.share or not order.fingerprint:
            return None
        return next(
            (
                other
                for other in self.open()
                if other.order.share
                and (other.owner, other.order.fingerprint) == (job.owner, order.fingerprint)
                and other.claim()
            ),
            None,
        )

    def end(self, job: Job) -> None:
        """A job has ended."""
        with self._lock:
            if self._open.pop(job.id, None) is not None:
                self._ended[job.id] = job
            while len(self._ended) > self._keep:
                self._forget(next(iter(self._ended)))

    def forget_before(self, moment: float) -> float | None:
        """Let go of the jobs that ended before a moment of `time.monotonic`; when the first one left ended, or None."""
        with self._lock:
            for id, job in list(self._ended.items()):
                if job.finished is not None and job.finished > moment:
                    return job.finished
                self._forget(id)
        return None

    def _forget(self, id: str) -> None:
        job = self._ended.pop(id)
        assert job.status in ENDED
        self._keys = {key: each for key, each in self._keys.items() if each is not job}
