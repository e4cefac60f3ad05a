"""Jobs sent to a service as they come, whatever became of those before, in one of three ways of working on them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from overpaint.runtime.model.model import Model
from overpaint.serving.jobs import PREVIEW, Job, Notice
from overpaint.serving.service import Service
from overpaint.serving.settings import Settings

from .load import Item
from .meter import Meter

Choose = Callable[[Sequence["Record"]], list["Record"]]
"""Which of those that wait, the first of which has waited longest, are worked on next, until all of them are done."""

LIMIT = 600.0
"""Seconds for what is left when everything has come."""


@dataclass(eq=False)
class Record:
    """What became of one job: times in seconds of `perf_counter`, and how many passes it missed before its first."""

    item: Item
    arrived: float
    begun: int
    ended: float = 0.0
    preview: float | None = None
    error: BaseException | None = None
    over: threading.Event = field(default_factory=threading.Event, repr=False)

    @property
    def seconds(self) -> float:
        """From its arrival to its end."""
        return self.ended - self.arrived


def one_at_a_time(waiting: Sequence[Record]) -> list[Record]:
    """A lock around every request."""
    return [waiting[0]]


def whole_requests(waiting: Sequence[Record]) -> list[Record]:
    """Those that have as many evaluations and the guidance of the first, and so could be one batch of pictures."""
    return [record for record in waiting if record.item.key == waiting[0].item.key][:32]


WAYS: dict[str, Choose | None] = {
    "overpaint": None,
    "one at a time": one_at_a_time,
    "whole requests": whole_requests,
}
"""None is what the service itself does: all that there are, step by step."""


class Subject:
    """A model in a service, with a meter."""

    def __init__(self, model: Model) -> None:
        self.model, self.meter = model, Meter(model)
        settings = Settings(warm_up=(), queue_limit=10**6, keep_jobs=0)
        self.service = Service({"it": model}, settings)
        self.service.start()

    def run(self, way: str, items: Sequence[Item], times: Sequence[float]) -> Run:
        """Send the jobs at their times, and wait for the last."""
        self.meter.clear()
        gate = Gate(self, WAYS[way])
        begun = time.perf_counter()
        for item, at in zip(items, times, strict=True):
            if (left := begun + at - time.perf_counter()) > 0:
                time.sleep(left)
            gate.put(Record(item, begun + at, self.meter.begun))
        records = gate.close()
        if failed := [record for record in records if record.error]:
            raise RuntimeError(f"{len(failed)} jobs failed") from failed[0].error
        firsts = [self.meter.first[record.item.seed] for record in records]
        waits = [max(index - record.begun, 0) for record, (index, _) in zip(records, firsts, strict=True)]
        first_steps = [at - record.arrived for record, (_, at) in zip(records, firsts, strict=True)]
        return Run(way, begun, records, waits, first_steps, list(self.meter.rows), self.meter.begun)

    def close(self) -> None:
        """Release it."""
        self.service.close()


@dataclass(frozen=True)
class Run:
    """What was measured of one way with one load: of each record the passes that it missed, and the seconds from its
    arrival to the end of its first step; the rows of every call, and the number of passes."""

    way: str
    begun: float
    records: Sequence[Record]
    waits: Sequence[int]
    first_steps: Sequence[float]
    rows: Sequence[int]
    passes: int

    @property
    def seconds(self) -> float:
        """From the beginning to the last job's end."""
        return max(record.ended for record in self.records) - self.begun

    @property
    def throughput(self) -> float:
        """Jobs a second."""
        return len(self.records) / self.seconds


class Gate:
    """Lets jobs into the service: all at once, or those that are chosen, once the ones before are done."""

    def __init__(self, subject: Subject, choose: Choose | None) -> None:
        self._subject, self._choose = subject, choose
        self._records: list[Record] = []
        self._waiting: list[Record] = []
        self._news = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._work) if choose else None
        if self._thread:
            self._thread.start()

    def put(self, record: Record) -> None:
        """A job has come."""
        self._records.append(record)
        if self._choose is None:
            self._submit(record)
            return
        with self._news:
            self._waiting.append(record)
            self._news.notify()

    def close(self) -> list[Record]:
        """Nothing more comes; the records once all have ended."""
        with self._news:
            self._closing = True
            self._news.notify()
        if self._thread:
            self._thread.join()
        _wait(self._records)
        return self._records

    def _work(self) -> None:
        assert self._choose
        while True:
            with self._news:
                self._news.wait_for(lambda: self._waiting or self._closing)
                if not self._waiting:
                    return
                chosen = self._choose(self._waiting)
                self._waiting = [record for record in self._waiting if record not in chosen]
            # Nothing begins before all of a batch are there, so that they begin together.
            with self._subject.model.scheduler.exclusive():
                for record in chosen:
                    self._submit(record)
            _wait(chosen)

    def _submit(self, record: Record) -> None:
        job: Job = self._subject.service.submit(record.item.order)
        if record.item.watched:

            def listener(notice: Notice) -> None:
                if notice.kind == PREVIEW and record.preview is None:
                    record.preview = time.perf_counter()

            job.listen(listener, previews=True)

        def ended(_: object) -> None:
            record.ended, record.error = time.perf_counter(), job.error
            record.over.set()

        job.future.add_done_callback(ended)


def _wait(records: Sequence[Record]) -> None:
    until = time.monotonic() + LIMIT
    for record in records:
        if not record.over.wait(until - time.monotonic()):
            raise TimeoutError(f"not all jobs have ended after {LIMIT:g} s")
