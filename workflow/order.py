"""The order of a workflow's nodes: what is near a sink first, so that pictures come as early as they can."""

from __future__ import annotations

from collections.abc import Container, Iterable

from .document import Workflow
from .node import Nodes


class Needs:
    """What the sinks of a workflow need, and in which order it runs."""

    def __init__(self, workflow: Workflow, nodes: Nodes, sinks: Iterable[str]) -> None:
        self._workflow, self._nodes = workflow, nodes
        self._sinks = list(sinks)
        self._lazy: dict[str, set[str]] = {}
        """Nodes that were asked for by one that takes them lazily."""
        self._distance = self._distances()
        self._place = {id: place for place, id in enumerate(workflow.steps)}

    def add(self, id: str, above: Iterable[str]) -> None:
        """Have a node wait for more nodes."""
        self._lazy.setdefault(id, set()).update(above)

    def above(self, id: str) -> list[str]:
        """The nodes that a node waits for."""
        step = self._workflow.steps[id]
        node = self._nodes.get(step.kind)
        assert node is not None
        links = (link.node for name, link in step.connections() if name in node.inputs and name not in node.lazy)
        return list(dict.fromkeys([*links, *self._lazy.get(id, ())]))

    def needed(self, done: Container[str] = ()) -> list[str]:
        """All nodes that the sinks need; those of `done` need nothing."""
        order: dict[str, None] = {}
        waiting = list(self._sinks)
        while waiting:
            id = waiting.pop()
            if id not in order:
                order[id] = None
                if id not in done:
                    waiting += self.above(id)
        return list(order)

    def next(self, done: Container[str]) -> str | None:
        """The node to run next: of those that wait for nothing the nearest to a sink, then the first in the file."""
        ready = [id for id in self.needed(done) if id not in done and all(above in done for above in self.above(id))]
        return min(ready, key=lambda id: (self._distance.get(id, len(self._place)), self._place[id]), default=None)

    def _distances(self) -> dict[str, int]:
        """How many links a node is away from the nearest sink."""
        distance = dict.fromkeys(self._sinks, 0)
        waiting = list(self._sinks)
        for id in waiting:
            for _, link in self._workflow.steps[id].connections():
                if link.node not in distance:
                    distance[link.node] = distance[id] + 1
                    waiting.append(link.node)
        return distance
