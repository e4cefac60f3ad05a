"""Workflows run on a service's models."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from functools import partial
from io import BytesIO

from ...errors import CancelledError, OverpaintError, RunTimeoutError
from ...workflow.bench import Workbench
from ...workflow.events import (
    Event,
    Failed,
    Finished,
    Interrupted,
    NodeDone,
    NodeStarted,
    Preview,
    Progress,
    Sent,
    Started,
)
from ...workflow.execute import NodeFailedError, run
from ...workflow.node import Nodes
from ..refusals import message_of
from ..service import Service
from .desks import Equip
from .folders import Folders
from .narrator import Narrator
from .queue import Runner
from .submissions import CANCELLED, DONE, FAILED, Submission

PREVIEW_SHARE = 0.2
"""The most of a workflow's time that previews take."""

_log = logging.getLogger(__name__)


def equipped(service: Service, nodes: Nodes) -> Equip:
    """What gives folders their workbench, on the models of a service."""

    def equip(folders: Folders) -> tuple[Workbench, Runner]:
        stages = [model.stages for model in service.models.values()]
        bench = Workbench(
            service.models,
            folder=folders.root,
            upscalers=service.upscalers,
            controlnets={name: net for each in stages for name, net in each.controlnets.opened.items()},
            image_prompts={name: own for each in stages for name, own in each.image_adapters.opened.items()},
        )
        return bench, partial(_run, nodes, bench)

    return equip


def _run(nodes: Nodes, bench: Workbench, submission: Submission, narrator: Narrator) -> str:
    """Run a workflow to its end, whatever that is."""
    narrator.begun()
    try:
        run(
            submission.workflow,
            nodes,
            bench,
            _Ear(narrator),
            cancelled=submission.cancel,
            targets=submission.sinks,
        )
    except CancelledError:
        return CANCELLED
    except NodeFailedError as exc:
        if not isinstance(exc.error, OverpaintError):
            _log.error("workflow %s failed", submission.id, exc_info=exc.error)
        return FAILED
    except Exception as exc:  # noqa: BLE001 - it is the workflow's own
        _log.error("workflow %s failed", submission.id, exc_info=exc)
        narrator.failed(None, exc, message_of(exc), ())
        return FAILED
    return DONE


class _Ear:
    """Has a narrator tell what a workflow does."""

    def __init__(self, narrator: Narrator) -> None:
        self._narrator = narrator
        self._next_preview = 0.0

    def __call__(self, event: Event) -> None:
        """Tell an event."""
        narrator = self._narrator
        match event:
            case Started(cached):
                narrator.cached(cached)
            case NodeStarted(node):
                narrator.node_begun(node)
            case Progress(node, value, most):
                narrator.progress(node, value, most)
            case Preview():
                self._preview(event)
            case NodeDone(node, shown, cached):
                narrator.node_done(node, None if shown is None else dict(shown), again=cached)
            case Sent(node, picture):
                stream = BytesIO()
                picture.save(stream, "PNG")
                narrator.picture(node, stream.getvalue())
            case Failed(node, _, error, inputs, executed):
                narrator.failed(node, error, message_of(error), executed, inputs)
            case Interrupted(_, _, executed):
                narrator.interrupted(executed)
            case Finished():
                narrator.succeeded()

    def _preview(self, event: Preview) -> None:
        """Show a picture on its way, where somebody looks, and where the last one did not take too long."""
        begin = time.monotonic()
        if begin < self._next_preview or not self._narrator.wants_previews:
            return
        with suppress(RunTimeoutError):  # nobody had time to decode it
            self._narrator.preview(event.node, event.picture())
        end = time.monotonic()
        self._next_preview = end + (end - begin) * (1 / PREVIEW_SHARE - 1)
