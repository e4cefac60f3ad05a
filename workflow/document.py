"""A workflow in the API format: nodes by id, each with its class and its inputs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import InputError


@dataclass(frozen=True)
class Connection:
    """A link to an output of another node."""

    node: str
    slot: int


@dataclass(frozen=True)
class Step:
    """A node of a workflow: its id, its class, and each input as a value or a `Connection`."""

    id: str
    kind: str
    inputs: Mapping[str, Any]
    title: str = ""

    def connections(self) -> Iterator[tuple[str, Connection]]:
        """The inputs that are links."""
        for name, value in self.inputs.items():
            if isinstance(value, Connection):
                yield name, value


@dataclass(frozen=True)
class Workflow:
    """A workflow to run. `source` is the document that it was read from, for the pictures' metadata."""

    steps: Mapping[str, Step]
    source: Mapping[str, Any] = field(default_factory=dict)
    editor: Mapping[str, Any] | None = None
    """The same as an editor shows it, where that is known."""

    def with_values(self, changes: Mapping[str, Any]) -> Workflow:
        """The workflow with other values: "3.seed" is the input `seed` of the node 3.

        Raises `InputError` for a node or an input that is not there.
        """
        source: dict[str, Any] = {id: {**node, "inputs": dict(node["inputs"])} for id, node in self.source.items()}
        for path, value in changes.items():
            id, _, name = path.rpartition(".")
            if id not in source:
                raise InputError(f"{path}: there is no node {id!r}; the workflow has {', '.join(source)}")
            if name not in source[id]["inputs"]:
                known = ", ".join(source[id]["inputs"])
                raise InputError(f"{path}: the node {id} ({source[id]['class_type']}) has no {name!r}, only {known}")
            source[id]["inputs"][name] = value
        return parse(source, self.editor)


def parse(document: Any, editor: Mapping[str, Any] | None = None) -> Workflow:
    """Read the API format; raises `InputError` for what is none."""
    if not isinstance(document, Mapping) or not document:
        raise InputError("a workflow is an object of nodes by id, each with class_type and inputs; export it as API")
    steps = {str(id): _step(str(id), record) for id, record in document.items()}
    return Workflow(steps, dict(document), editor)


def parse_text(text: str | bytes) -> Any:
    """Read JSON; raises `InputError`."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise InputError(f"the workflow is no JSON ({exc}); save it again") from exc


def _step(id: str, record: Any) -> Step:
    if not isinstance(record, Mapping) or not isinstance(record.get("class_type"), str):
        raise InputError(f"node #{id} has no class_type; export the workflow again, as API")
    inputs = record.get("inputs", {})
    if not isinstance(inputs, Mapping):
        raise InputError(f"node #{id}: its inputs are no object; export the workflow again, as API")
    title = str((record.get("_meta") or {}).get("title", "")) if isinstance(record.get("_meta", {}), Mapping) else ""
    return Step(id, record["class_type"], {str(name): _value(value) for name, value in inputs.items()}, title)


def _value(value: Any) -> Any:
    if isinstance(value, Mapping) and value.keys() == {"__value__"}:
        return value["__value__"]
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], (str, int)) and type(value[1]) is int:
        return Connection(str(value[0]), value[1])
    return value
