"""A document of ComfyUI's page as a workflow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ...errors import InputError
from ..document import Connection, Workflow, parse
from ..node import Node, Nodes
from .flatten import Lack, Place, Scope, Value
from .graph import MUTED, PageNode, read_page
from .text import file_prefix, prompt_text
from .widgets import widget_values

_GROUPS = ("workflow/", "workflow>")
_PREFIX = "filename_prefix"


def from_page(document: Mapping[str, Any], nodes: Nodes) -> Workflow:
    """The workflow of a document that ComfyUI's page saved, with the ids that the page gives its nodes.

    `nodes` say in which order the values of widgets are listed. Nodes of other classes stay, for validation to name.
    Muted nodes are left out, and with them those that need them. Raises `InputError`, which names the node, for a
    document that is damaged, or where nothing is left.
    """
    page = read_page(document)
    placed = [each for each in Scope(page, nodes, page.graph).places() if not _decoration(each, nodes)]
    steps = {each.id: _step(each, nodes.get(each.node.kind)) for each in placed}
    kept = _without_the_muted(steps, nodes)
    if not kept:
        raise InputError(_why_nothing_is_left(page.graph.nodes.values()))
    _fill_prefixes(kept)
    return parse({id: step.record() for id, step in kept.items()}, document)


@dataclass(frozen=True, eq=False)
class _Step:
    """A node of the API format to be; `lost` are the inputs that a muted node would have given."""

    kind: str
    title: str
    inputs: dict[str, Any]
    lost: frozenset[str]

    def record(self) -> dict[str, Any]:
        """The node as the API format has it; a list that is a value is wrapped, for it would be read as a link."""
        inputs: dict[str, Any] = {}
        for name, value in self.inputs.items():
            linked = isinstance(value, Connection)
            inputs[name] = [value.node, value.slot] if linked else _plain(value)
        return {"class_type": self.kind, "inputs": inputs, "_meta": {"title": self.title}}


def _plain(value: Any) -> Any:
    return {"__value__": value} if isinstance(value, list) else value


def _step(place: Place, declared: Node | None) -> _Step:
    node, scope = place.node, place.scope
    if node.kind.startswith(_GROUPS):
        raise node.fault("it is a group of nodes; turn it into a subgraph on ComfyUI's page, and save again")
    if declared is None and len(node.kind) == 36 and node.kind.count("-") == 4:
        raise node.fault("the file lacks its subgraph; save the workflow again from the page that shows it")
    lost = set[str]()
    inputs = {name: _prompt_value(name, value, declared) for name, value in widget_values(node, declared).items()}
    inputs |= {name: value for (id, name), value in scope.host_values.widgets.items() if id == node.id}
    for slot in node.inputs:
        source = scope.source(node, slot)
        if isinstance(source, Connection):
            inputs[slot.name] = source
        elif isinstance(source, Value):
            inputs[slot.name] = source.value if source.plain else _prompt_value(slot.name, source.value, declared)
        elif source is Lack.MUTED:
            lost.add(slot.name)
    title = node.title or (declared.display if declared else "") or node.kind
    return _Step(node.kind, title, inputs, frozenset(lost))


def _prompt_value(name: str, value: Any, declared: Node | None) -> Any:
    socket = declared.inputs.get(name) if declared else None
    spoken = socket is not None and socket.options.get("dynamicPrompts") and isinstance(value, str)
    return prompt_text(value) if spoken else value


def _without_the_muted(steps: Mapping[str, _Step], nodes: Nodes) -> dict[str, _Step]:
    """The steps but for those that lack a needed input because of a muted node, and so on down the links."""
    kept, gone = dict(steps), set[str]()
    while True:
        lacking = [id for id, step in kept.items() if _lacks(step, nodes.get(step.kind), gone)]
        if not lacking:
            break
        gone.update(lacking)
        for id in lacking:
            del kept[id]
    for step in kept.values():
        for name in [name for name, value in step.inputs.items() if _from(value, gone)]:
            del step.inputs[name]
    return kept


def _lacks(step: _Step, declared: Node | None, gone: set[str]) -> bool:
    needed = declared.needed if declared else {}
    unfed = {name for name, value in step.inputs.items() if _from(value, gone)}
    return any(name in needed for name in unfed | (step.lost - step.inputs.keys()))


def _from(value: Any, ids: set[str]) -> bool:
    return isinstance(value, Connection) and value.node in ids


def _decoration(place: Place, nodes: Nodes) -> bool:
    """Whether a node of another class has no links at all: pages draw with such."""
    node, graph = place.node, place.scope.graph
    linked = any(slot.link is not None for slot in node.inputs)
    return node.kind not in nodes and not linked and not any(link.origin == node.id for link in graph.links.values())


def _why_nothing_is_left(nodes: Iterable[PageNode]) -> str:
    muted = [f"{node.id} ({node.title or node.kind})" for node in nodes if node.mode == MUTED]
    if muted:
        return f"all nodes need one that is muted: {', '.join(muted)}; set it to always, and save the workflow again"
    return "the workflow has no node that runs; add some on ComfyUI's page, and save it again"


def _fill_prefixes(steps: Mapping[str, _Step]) -> None:
    """Write the date and other nodes' values into the names of files."""

    def value_of(title: str, name: str) -> str | None:
        named = [step for step in steps.values() if title in (step.title, step.kind)]
        values = [step.inputs[name] for step in named if name in step.inputs]
        return None if not values or isinstance(values[0], Connection) else str(values[0])

    for step in steps.values():
        if isinstance(prefix := step.inputs.get(_PREFIX), str):
            step.inputs[_PREFIX] = file_prefix(prefix, value_of)
