"""What a node's function has at hand while it works."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from PIL import Image

from ..bundles.tensor import Array
from ..errors import CancelledError
from ..runtime.denoising.job import Job
from ..runtime.denoising.loop import Step
from ..runtime.model.model import Model
from ..runtime.model.previews import preview_of
from ..runtime.model.tickets import CANCELLED, ENDED, FAILED, Events
from .bench import Workbench
from .document import Workflow
from .events import Listener, Preview, Progress, Sent, ignore


@dataclass(frozen=True, eq=False)
class Context:
    """A node at work: the `bench`, the workflow and the node's id in it, who listens, and whether it was cancelled."""

    bench: Workbench
    workflow: Workflow
    node: str = ""
    listener: Listener = ignore
    cancelled: threading.Event = field(default_factory=threading.Event)

    def check(self) -> None:
        """Raise `CancelledError` where the workflow was cancelled."""
        if self.cancelled.is_set():
            raise CancelledError("the workflow was cancelled; run it again, what is done is kept")

    def progress(self, value: int, most: int) -> None:
        """Tell how many of how many parts are done; raises `CancelledError` as `check`."""
        self.check()
        self.listener(Progress(self.node, value, most))

    def preview(self, picture: Callable[[], Image.Image]) -> None:
        """Offer a picture on its way."""
        self.listener(Preview(self.node, picture))

    def send(self, picture: Image.Image) -> None:
        """Send a picture to whoever listens."""
        self.listener(Sent(self.node, picture))

    def denoise(self, model: Model, jobs: list[Job]) -> list[tuple[Array, Array]]:
        """Take jobs to their end side by side: of each the latents and the last denoised ones, on their device.

        Tells of the steps of the first, and shows it.
        """
        events = Events()
        tickets = [model.submit_job(job, events) for job in jobs]
        left, most = len(tickets), max(len(job.plan) for job in jobs)
        try:
            while left:
                self.check()
                event = events.take()
                if event is None:
                    model.lane.drive(lambda: len(events) > 0)
                    continue
                left -= event.status in ENDED
                if event.status in (FAILED, CANCELLED):
                    raise event.ticket.error or CancelledError("the work was cancelled; run the workflow again")
                if event.step is not None and event.ticket is tickets[0]:
                    self.progress(event.step.index + 1, most)
                    self.preview(partial(_decoded, event.step, model))
        finally:
            for ticket in tickets:
                ticket.cancel()
            model.lane.drop()
        return [(ticket.result(), job.denoised) for ticket, job in zip(tickets, jobs, strict=True)]


def _decoded(step: Step, model: Model) -> Image.Image:
    """The picture of a step, by the scheduler: it alone calls the VAE."""
    return preview_of(step, model.scheduler).result()
