"""What is wrong with a workflow, in ComfyUI's shapes, before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import InputError, nearest
from .document import Connection, Step, Workflow
from .node import Node, Nodes
from .sockets import Problem, Socket, matches


@dataclass
class Report:
    """What validation comes to: the sinks that can run, and the problems of each node, by id."""

    runnable: list[str] = field(default_factory=list)
    problems: dict[str, list[Problem]] = field(default_factory=dict)
    dependents: dict[str, list[str]] = field(default_factory=dict)
    """Of each node with problems the sinks that need it."""

    def node_errors(self, workflow: Workflow) -> dict[str, Any]:
        """ComfyUI's node_errors."""
        return {
            id: {
                "errors": [_shown(problem) for problem in problems],
                "dependent_outputs": self.dependents.get(id, []),
                "class_type": workflow.steps[id].kind,
            }
            for id, problems in self.problems.items()
        }

    def causes(self, workflow: Workflow) -> list[str]:
        """What is wrong with each node, and what to do about it."""
        return [
            f"node {id} ({workflow.steps[id].kind}): {problem}"
            for id, problems in self.problems.items()
            for problem in problems
        ]


class InvalidWorkflowError(InputError):
    """A workflow that cannot run: `type`, `details` and `node_errors` are ComfyUI's; the message also has `causes`."""

    def __init__(
        self,
        type: str,
        message: str,
        details: str = "",
        node_errors: Mapping[str, Any] | None = None,
        *,
        causes: Iterable[str] = (),
    ) -> None:
        super().__init__("; ".join([message.rstrip("."), *causes]))
        self.type = type
        self.short = message
        self.details = details
        self.node_errors = dict(node_errors or {})


def validate(workflow: Workflow, nodes: Nodes, bench: Any, targets: Iterable[str] | None = None) -> Report:
    """Which sinks can run, and what keeps the others; `targets` are the only sinks that are wanted.

    Raises `InvalidWorkflowError` where none can.
    """
    for step in workflow.steps.values():
        if step.kind not in nodes:
            title = step.title or step.kind
            raise InvalidWorkflowError(
                "missing_node_type",
                f"Node '{title}' not found. The custom node may not be installed.",
                f"Node ID '#{step.id}'",
                causes=[f"node {step.id} is of the class {step.kind}, which is unknown; {_advice(step.kind, nodes)}"],
            )
    wanted = None if targets is None else set(targets)
    sinks = [id for id, step in workflow.steps.items() if _node(nodes, step).sink and (wanted is None or id in wanted)]
    if not sinks:
        raise InvalidWorkflowError(
            "prompt_no_outputs", "Prompt has no outputs", causes=["add SaveImage or PreviewImage to the workflow"]
        )
    checker = _Checker(workflow, nodes, bench)
    report = Report()
    for sink in sinks:
        faulty = checker.faulty(sink)
        if not faulty:
            report.runnable.append(sink)
        for id in faulty:
            report.problems.setdefault(id, checker.problems[id])
            report.dependents.setdefault(id, []).append(sink)
    if not report.runnable:
        own = [problem for sink in sinks for problem in checker.problems.get(sink, [])]
        details = "\n".join(f"{problem.message}: {problem.details}" for problem in own)
        raise InvalidWorkflowError(
            "prompt_outputs_failed_validation",
            "Prompt outputs failed validation",
            details,
            report.node_errors(workflow),
            causes=report.causes(workflow),
        )
    return report


def literals(step: Step, node: Node, bench: Any) -> dict[str, Any]:
    """The inputs of a node that are written, as its function takes them; those that are wrong as they stand."""
    written = {}
    for name, socket in node.inputs.items():
        value = step.inputs.get(name)
        if name in step.inputs and not isinstance(value, Connection):
            read = socket.read(name, value, bench)
            written[name] = value if isinstance(read, Problem) else read
    return written


def _advice(kind: str, nodes: Nodes) -> str:
    return nearest(kind, (node.name for node in nodes)) or "leave the node out, or add a node of that name"


def _node(nodes: Nodes, step: Step) -> Node:
    node = nodes.get(step.kind)
    assert node is not None
    return node


class _Checker:
    """Checks each node once."""

    def __init__(self, workflow: Workflow, nodes: Nodes, bench: Any) -> None:
        self._workflow, self._nodes, self._bench = workflow, nodes, bench
        self.problems: dict[str, list[Problem]] = {}
        self._above: dict[str, set[str]] = {}

    def faulty(self, sink: str) -> list[str]:
        """The nodes with problems among those that a sink needs, itself included."""
        needed = self._needed(sink)
        return [id for id in needed if self.problems[id]]

    def _needed(self, sink: str) -> list[str]:
        """The nodes above a sink, each checked, without recursion: a workflow may be deep."""
        order: dict[str, None] = {}
        waiting = [sink]
        while waiting:
            id = waiting.pop()
            if id in order:
                continue
            order[id] = None
            step = self._workflow.steps[id]
            if id not in self.problems:
                self.problems[id] = self._check(step)
            waiting += [link.node for _, link in step.connections() if link.node in self._workflow.steps]
        if cycle := self._cycle(list(order)):
            problem = Problem("dependency_cycle", "Dependency cycle detected", " -> ".join(cycle))
            if problem not in self.problems[cycle[0]]:
                self.problems[cycle[0]].append(problem)
        return list(order)

    def _cycle(self, ids: list[str]) -> list[str]:
        """Nodes that need one another, the first again at the end, where there are any.

        Those that need nothing are taken away (Kahn, 1962); each that is left needs one that is left.
        """
        left = {
            id: {link.node for _, link in self._workflow.steps[id].connections() if link.node in self._workflow.steps}
            for id in ids
        }
        while free := [id for id, needs in left.items() if not needs & left.keys()]:
            for id in free:
                del left[id]
        walk = list(left)[:1]
        while walk and walk[-1] not in walk[:-1]:
            walk.append(min(left[walk[-1]] & left.keys()))
        return walk[walk.index(walk[-1]) :] if walk else []

    def _check(self, step: Step) -> list[Problem]:
        node = _node(self._nodes, step)
        found = []
        for name, socket in node.inputs.items():
            if name not in step.inputs:
                if name in node.needed:
                    found.append(
                        Problem("required_input_missing", "Required input is missing", name, {"input_name": name})
                    )
                continue
            value = step.inputs[name]
            problem = self._check_link(name, socket, value) if isinstance(value, Connection) else None
            if not isinstance(value, Connection):
                read = socket.read(name, value, self._bench)
                problem = read if isinstance(read, Problem) else None
            if problem is not None:
                config = None if len(str(socket.config(self._bench)[0])) > 400 else socket.config(self._bench)
                extra = {"input_name": name, "input_config": config, "received_value": _plain(value), **problem.extra}
                found.append(replace(problem, extra=extra))
        if not found and node.check and (fault := node.check(self._bench, **literals(step, node, self._bench))):
            found.append(Problem("custom_validation_failed", "Custom validation failed for node", fault))
        return found

    def _check_link(self, name: str, socket: Socket, value: Connection) -> Problem | None:
        other = self._workflow.steps.get(value.node)
        if other is None:
            message = "Exception when validating inner node"
            return Problem(
                "exception_during_inner_validation",
                message,
                f"'{value.node}'",
                {"exception_type": "KeyError"},
                f"{name} is linked to a node that is not there; link it to another",
            )
        outputs = _node(self._nodes, other).outputs
        if not 0 <= value.slot < len(outputs):
            message = "Bad linked input, must be a length-2 list of [node_id, slot_index]"
            return Problem("bad_linked_input", message, name)
        given, wanted = outputs[value.slot].type, socket.type
        if matches(given, wanted) or (wanted == "COMBO" and given == "STRING"):
            return None
        details = f"{name}, received_type({given}) mismatch input_type({wanted})"
        extra = {"received_type": given, "linked_node": [value.node, value.slot]}
        return Problem("return_type_mismatch", "Return type mismatch between linked nodes", details, extra)


def _plain(value: Any) -> Any:
    return [value.node, value.slot] if isinstance(value, Connection) else value


def _shown(problem: Problem) -> dict[str, Any]:
    return {
        "type": problem.type,
        "message": problem.message,
        "details": problem.details,
        "extra_info": dict(problem.extra),
    }
