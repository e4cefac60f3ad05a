"""What clients hear of a workflow while it runs, in ComfyUI's messages and their order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from PIL import Image

from .sockets import Sockets
from .submissions import Submission, now


class Narrator:
    """Tells a submission's client how it goes, and writes down what its history shows."""

    def __init__(self, submission: Submission, sockets: Sockets) -> None:
        self._submission, self._sockets = submission, sockets
        self._states: dict[str, dict[str, Any]] = {}

    @property
    def wants_previews(self) -> bool:
        """Whether anybody looks at previews."""
        chosen = self._submission.extra.get("preview_method")
        return chosen != "none" and self._sockets.wants_previews(self._submission.client)

    def begun(self) -> None:
        """It begins."""
        self._event("execution_start")

    def cached(self, nodes: Iterable[str]) -> None:
        """The results of these nodes are there already."""
        self._event("execution_cached", nodes=list(nodes))

    def node_begun(self, node: str) -> None:
        """A node begins."""
        self._submission.current = node
        self._state(node, "running", 0.0, 1.0)
        self._send("executing", node=node, display_node=node)

    def progress(self, node: str, value: int, total: int) -> None:
        """A node has done so many of its steps."""
        self._state(node, "running", value, total)
        self._send("progress", value=value, max=total, node=node)

    def preview(self, node: str, image: Image.Image) -> None:
        """What a node's picture looks like so far."""
        self._sockets.preview(image, self._place(node), self._submission.client)

    def picture(self, node: str, data: bytes) -> None:
        """The file of a picture, a PNG, that a node sends to the client alone."""
        self._sockets.picture(data, self._place(node), self._submission.client)

    def node_done(self, node: str, shown: dict[str, Any] | None, *, again: bool = False) -> None:
        """A node has ended; `shown` is what an output node shows, `again` where that is of a run before."""
        if shown:
            self._submission.outputs[node] = shown
            self._send("executed", node=node, display_node=node, output=shown)
        if not again:
            state = self._states.get(node, {})
            self._state(node, "finished", state.get("max", 1.0), state.get("max", 1.0))

    def succeeded(self) -> None:
        """All outputs are there."""
        self._event("execution_success")

    def interrupted(self, done: Iterable[str]) -> None:
        """It was cancelled."""
        node = self._submission.current
        self._event(
            "execution_interrupted", everybody=True, node_id=node, node_type=self._kind(node), executed=list(done)
        )

    def failed(
        self,
        node: str | None,
        error: BaseException,
        message: str,
        done: Iterable[str],
        inputs: Mapping[str, Any] | None = None,
    ) -> None:
        """A node failed."""
        if node is not None:
            self._state(node, "error", 0.0, 1.0)
        about: dict[str, Any] = {
            "node_id": node,
            "node_type": self._kind(node),
            "executed": list(done),
            "exception_message": message,
            "exception_type": type(error).__name__,
            "traceback": [],
            "current_inputs": dict(inputs or {}),
            "current_outputs": [],
        }
        self._submission.error = {**about, "prompt_id": self._submission.id, "timestamp": now()}
        self._event("execution_error", **about)

    def ended(self) -> None:
        """Nothing runs any more; to be called when the history shows it."""
        self._send("executing", node=None)

    def _kind(self, node: str | None) -> str | None:
        step = self._submission.workflow.steps.get(node or "")
        return step.kind if step else None

    def _place(self, node: str) -> dict[str, Any]:
        names = {"node_id": node, "display_node_id": node, "parent_node_id": None, "real_node_id": node}
        return {**names, "prompt_id": self._submission.id}

    def _state(self, node: str, state: str, value: float, total: float) -> None:
        self._states[node] = {"value": value, "max": total, "state": state, **self._place(node)}
        self._send("progress_state", nodes=self._states)

    def _event(self, kind: str, *, everybody: bool = False, **data: Any) -> None:
        """Send what the history keeps, too."""
        data = {"prompt_id": self._submission.id, **data, "timestamp": now()}
        self._submission.messages.append((kind, data))
        self._sockets.send(kind, data, None if everybody else self._submission.client)

    def _send(self, kind: str, **data: Any) -> None:
        self._sockets.send(kind, {**data, "prompt_id": self._submission.id}, self._submission.client)
