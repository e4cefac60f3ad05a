"""Workflows that were sent: what each is, and what came of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...workflow.document import Workflow

PENDING, RUNNING, DONE, FAILED, CANCELLED = "pending", "in_progress", "completed", "failed", "cancelled"


def now() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


@dataclass(eq=False)
class Submission:
    """A workflow that a client sent. `sinks` are the outputs that run; `extra` is the client's extra_data."""

    id: str
    number: float
    client: str
    workflow: Workflow
    sinks: Sequence[str]
    extra: Mapping[str, Any]
    created: int = field(default_factory=now)
    status: str = PENDING
    started: int | None = None
    finished: int | None = None
    current: str | None = None
    """The node that runs."""
    outputs: dict[str, Any] = field(default_factory=dict)
    messages: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    error: dict[str, Any] | None = None
    cancel: threading.Event = field(default_factory=threading.Event)

    @property
    def row(self) -> list[Any]:
        """It as /queue and /history show it."""
        extra = {**self.extra, "client_id": self.client} if self.client else dict(self.extra)
        return [self.number, self.id, self.workflow.source, {**extra, "create_time": self.created}, list(self.sinks)]

    def entry(self) -> dict[str, Any]:
        """It as /history shows it."""
        success = self.status == DONE
        return {
            "prompt": self.row,
            "outputs": self.outputs,
            "status": {
                "status_str": "success" if success else "error",
                "completed": success,
                "messages": [list(message) for message in self.messages],
            },
            "meta": {id: _place(id) for id in self.outputs},
        }

    def job(self, details: bool = False) -> dict[str, Any]:
        """It as /api/jobs shows it."""
        pictures = [
            {**picture, "nodeId": id, "mediaType": "images"}
            for id, shown in self.outputs.items()
            for picture in shown.get("images", ())
        ]
        saved = [picture for picture in pictures if picture.get("type") == "output"]
        times = {"execution_start_time": self.started, "execution_end_time": self.finished}
        shown: dict[str, Any] = {
            "id": self.id,
            "status": self.status,
            "priority": self.number,
            "create_time": self.created,
            **{name: value for name, value in times.items() if value is not None},
            "outputs_count": len(pictures),
            "previewable_outputs_count": len(pictures),
            "workflow_id": self.workflow_id,
        }
        if pictures:
            shown["preview_output"] = (saved or pictures)[0]
        if self.error is not None:
            shown["execution_error"] = self.error
        if details:
            shown["outputs"] = self.outputs
            shown["execution_status"] = self.entry()["status"]
            shown["workflow"] = {"prompt": self.workflow.source, "extra_data": dict(self.extra)}
        return shown

    @property
    def workflow_id(self) -> str | None:
        """The id of the page's workflow, where it has one."""
        page = self.extra.get("extra_pnginfo")
        workflow = page.get("workflow") if isinstance(page, Mapping) else None
        id = workflow.get("id") if isinstance(workflow, Mapping) else None
        return id if isinstance(id, str) else None


def _place(id: str) -> dict[str, Any]:
    return {"node_id": id, "display_node": id, "parent_node": None, "real_node_id": id}
