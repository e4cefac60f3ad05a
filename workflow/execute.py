"""Runs a workflow: what its sinks need, in order, lazily, and only what changed since."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import CancelledError, InputError, OverpaintError
from .bench import Workbench
from .cache import Keys, Result
from .context import Context
from .document import Connection, Workflow
from .events import Failed, Finished, Interrupted, Listener, NodeDone, NodeStarted, Started, ignore
from .node import Node, Nodes
from .order import Needs
from .validate import Report, literals, validate


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of a workflow: what each sink shows, by its id, and of all nodes that were needed their values."""

    shown: Mapping[str, Mapping[str, Any]]
    values: Mapping[str, tuple[Any, ...]] = field(repr=False)
    executed: tuple[str, ...]
    """The nodes that ran, in order."""
    cached: tuple[str, ...]
    """Those whose results were there."""
    report: Report = field(repr=False)
    """What validation said: some sinks may not have run."""


class NodeFailedError(OverpaintError):
    """A node failed; the cause is its own error, `node` its id."""

    def __init__(self, node: str, kind: str, error: Exception) -> None:
        super().__init__(f"node {node} ({kind}): {error}")
        self.node, self.kind, self.error = node, kind, error
        self.field = getattr(error, "field", None)


def run(
    workflow: Workflow,
    nodes: Nodes,
    bench: Workbench,
    listener: Listener = ignore,
    *,
    cancelled: threading.Event | None = None,
    targets: Iterable[str] | None = None,
) -> Outcome:
    """Run a workflow's sinks, or those of `targets`; the listener is called in this thread.

    Raises `InvalidWorkflowError` where no sink can run, `NodeFailedError`, and `CancelledError` between two
    evaluations or nodes once `cancelled` is set.
    """
    report = validate(workflow, nodes, bench, targets)
    return _Execution(workflow, nodes, bench, listener, cancelled or threading.Event(), report).run()


class _Execution:
    """One run of one workflow."""

    def __init__(
        self,
        workflow: Workflow,
        nodes: Nodes,
        bench: Workbench,
        listener: Listener,
        cancelled: threading.Event,
        report: Report,
    ) -> None:
        self._workflow, self._nodes, self._bench, self._listener = workflow, nodes, bench, listener
        self._context = Context(bench, workflow, "", listener, cancelled)
        self._report = report
        self._keys = Keys(workflow, nodes, bench)
        self._needs = Needs(workflow, nodes, report.runnable)
        self._results: dict[str, Result] = {}
        self._executed: list[str] = []

    def run(self) -> Outcome:
        """All sinks, the nearest first."""
        self._take_cached()
        cached = tuple(self._results)
        self._listener(Started(cached))
        shown = {}
        for id in self._report.runnable:
            if id in self._results:
                self._listener(NodeDone(id, self._results[id].shown, cached=True))
        while (due := self._needs.next(self._results)) is not None:
            self._step(due)
        for id in self._report.runnable:
            shown[id] = self._results[id].shown or {}
        self._listener(Finished())
        values = {id: result.values for id, result in self._results.items()}
        return Outcome(shown, values, tuple(self._executed), cached, self._report)

    def _take_cached(self) -> None:
        """Results that are there make what is above them superfluous."""
        waiting = list(self._report.runnable)
        seen = set[str]()
        while waiting:
            id = waiting.pop()
            if id in seen:
                continue
            seen.add(id)
            result = self._bench.results.get(self._keys[id])
            if result is not None:
                self._results[id] = result
            else:
                waiting += self._needs.above(id)

    def _step(self, id: str) -> None:
        """Run a node, or find that it needs more of what it takes lazily."""
        node, step = self._node(id), self._workflow.steps[id]
        inputs = literals(step, node, self._bench)
        for name, link in step.connections():
            if name in node.inputs and link.node in self._results:
                inputs[name] = self._converted(node, name, self._results[link.node].values[link.slot])
        if node.wants is not None:
            more = [step.inputs[name] for name in node.wants(**inputs) if name not in inputs and name in step.inputs]
            links = [each.node for each in more if isinstance(each, Connection)]
            if links:
                self._needs.add(id, links)
                for above in links:
                    result = self._bench.results.get(self._keys[above])
                    if result is not None:
                        self._results[above] = result
                return
        self._results[id] = self._called(id, node, inputs)
        self._executed.append(id)

    def _called(self, id: str, node: Node, inputs: Mapping[str, Any]) -> Result:
        context = Context(self._bench, self._workflow, id, self._listener, self._context.cancelled)
        executed = tuple(self._executed)
        try:
            context.check()
            self._listener(NodeStarted(id))
            given = node.function(context, **inputs)
        except CancelledError:
            self._listener(Interrupted(id, node.name, executed))
            raise
        except Exception as exc:
            shown = {name: _text(value) for name, value in inputs.items()}
            self._listener(Failed(id, node.name, exc, shown, executed))
            raise NodeFailedError(id, node.name, exc) from exc
        result = Result((), given or {}) if node.sink and not node.outputs else Result(_values(node, given))
        self._bench.results.put(self._keys[id], result)
        self._listener(NodeDone(id, result.shown))
        return result

    def _converted(self, node: Node, name: str, value: Any) -> Any:
        """A linked value for a widget's input, as it would be read there."""
        read = node.inputs[name].read(name, value, self._bench) if node.inputs[name].widget else value
        return value if hasattr(read, "message") else read

    def _node(self, id: str) -> Node:
        node = self._nodes.get(self._workflow.steps[id].kind)
        assert node is not None
        return node


def _values(node: Node, given: Any) -> tuple[Any, ...]:
    values = given if isinstance(given, tuple) and len(node.outputs) != 1 else (given,)
    if len(values) != len(node.outputs):
        raise InputError(f"the node {node.name} gives {len(values)} values, it declares {len(node.outputs)}")
    return values


def _text(value: Any) -> str:
    shape = getattr(value, "shape", None)
    return str(value)[:1000] if shape is None else f"{value.dtype} {list(shape)}"
