"""From the page's graphs to nodes that run: subgraphs are opened, and links led through what only the page has.

These are the rules of ComfyUI's page (`ExecutableNodeDTO`): a muted node gives nothing, a bypassed one hands on an
input of the type that is wanted, reroutes hand on what they get, and a primitive node writes its value.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from ..document import Connection
from ..node import Nodes
from ..sockets import ANY, matches
from .graph import BYPASSED, ENTRANCE, EXIT, MUTED, PageDocument, PageGraph, PageInput, PageLink, PageNode
from .widgets import HostValues, host_values, widget_values

REROUTE, PRIMITIVE = "Reroute", "PrimitiveNode"
NOTES = frozenset({"Note", "MarkdownNote"})
VIRTUAL = NOTES | {REROUTE, PRIMITIVE}
"""Nodes that the page alone knows."""


class Lack(Enum):
    """Why a link gives nothing."""

    NOTHING = "nothing is connected"
    MUTED = "a muted node is"


@dataclass(frozen=True)
class Value:
    """A value that a widget elsewhere gives; that of a subgraph's input is taken as it is."""

    value: Any
    plain: bool = False


Source = Connection | Value | Lack


@dataclass(frozen=True, eq=False)
class Place:
    """A node, and the scope that it lies in."""

    scope: Scope
    node: PageNode

    @property
    def id(self) -> str:
        """The node's id in the API format: those of the subgraphs' nodes around it come before, with colons."""
        return ":".join((*self.scope.path, self.node.id))


@dataclass(frozen=True, eq=False)
class Scope:
    """The page's graph, or a subgraph as one node opens it: `host` is that node, `path` its ids from the page down."""

    document: PageDocument
    nodes: Nodes
    graph: PageGraph
    path: tuple[str, ...] = ()
    host: Place | None = None
    host_values: HostValues = field(default_factory=HostValues)
    inner: dict[str, Scope] = field(default_factory=dict)

    def places(self) -> Iterator[Place]:
        """All nodes that run, those of subgraphs instead of the nodes that stand for them."""
        for node in self.graph.nodes.values():
            if node.mode in (MUTED, BYPASSED) or node.kind in VIRTUAL:
                continue
            if node.kind in self.document.subgraphs:
                yield from self.opened(node).places()
            else:
                yield Place(self, node)

    def opened(self, node: PageNode) -> Scope:
        """The subgraph of a node; raises `InputError` for one that holds itself."""
        if node.id not in self.inner:
            graph = self.document.subgraphs[node.kind]
            outer: Scope | None = self
            while outer is not None:
                if outer.graph is graph:
                    raise node.fault(f"the subgraph {graph.name!r} holds itself; take it out of it")
                outer = outer.host.scope if outer.host else None
            own = host_values(node, graph)
            inputs = {**own.inputs, **{name: v for (id, name), v in self.host_values.widgets.items() if id == node.id}}
            place = Place(self, node)
            values = HostValues(inputs, own.widgets)
            self.inner[node.id] = Scope(self.document, self.nodes, graph, (*self.path, node.id), place, values)
        return self.inner[node.id]

    def value(self, name: str) -> Source:
        """What an input of the subgraph is where nothing is connected: the node's own value, or the widget's inside."""
        if name in self.host_values.inputs:
            return Value(self.host_values.inputs[name], plain=True)
        promoted = self.graph.promoted(name)
        if promoted is None:
            return Lack.NOTHING
        node, slot = promoted
        if node.kind in self.document.subgraphs:
            return self.opened(node).value(slot.name)
        values = widget_values(node, self.nodes.get(node.kind))
        return Value(values[slot.name], plain=True) if slot.name in values else Lack.NOTHING

    def source(self, node: PageNode, slot: PageInput) -> Source:
        """What an input gets in the end."""
        return _Walk().input(self, node, slot, slot.type)


class _Walk:
    """The way of one link back to what gives; a node may be passed once by each of its slots."""

    def __init__(self) -> None:
        self._passed = set[tuple[int, str, int]]()

    def input(self, scope: Scope, node: PageNode, slot: PageInput, wanted: str) -> Source:
        """What is connected to an input."""
        if slot.link is None:
            return Lack.NOTHING
        link = scope.graph.link(node, slot)
        if link.origin == ENTRANCE:
            return self._entrance(scope, node, link, wanted)
        return self._output(scope, scope.graph.origin(link), link.slot, wanted)

    def _entrance(self, scope: Scope, node: PageNode, link: PageLink, wanted: str) -> Source:
        """What the subgraph's node gets from outside, or else holds itself."""
        if scope.host is None or link.slot >= len(scope.graph.inputs):
            raise node.fault(f"it hangs on input {link.slot} of a subgraph that has none such; connect it again")
        name = scope.graph.inputs[link.slot]
        slot = scope.host.node.input(name)
        if slot is not None and slot.link is not None:
            return self.input(scope.host.scope, scope.host.node, slot, wanted)
        return scope.value(name)

    def _output(self, scope: Scope, node: PageNode, slot: int, wanted: str) -> Source:
        key = id(scope), node.id, slot
        if key in self._passed:
            raise node.fault("its links lead in a circle; take one of them out")
        self._passed.add(key)
        if node.mode == MUTED:
            return Lack.MUTED
        if node.mode == BYPASSED:
            passed = _bypass(node, slot, wanted)
            return self.input(scope, node, passed, wanted) if passed else Lack.NOTHING
        if node.kind == REROUTE:
            return self.input(scope, node, node.inputs[0], wanted) if node.inputs else Lack.NOTHING
        if node.kind == PRIMITIVE:
            return _primitive(scope, node)
        if node.kind in scope.document.subgraphs:
            return self._exit(scope.opened(node), node, slot, wanted)
        return Connection(Place(scope, node).id, slot)

    def _exit(self, scope: Scope, host: PageNode, slot: int, wanted: str) -> Source:
        """What a subgraph gives at an output."""
        link = next((each for each in scope.graph.links.values() if (each.target, each.place) == (EXIT, slot)), None)
        if link is None:
            return Lack.NOTHING
        if link.origin == ENTRANCE:
            return self._entrance(scope, host, link, wanted)
        return self._output(scope, scope.graph.origin(link), link.slot, wanted)


def _bypass(node: PageNode, slot: int, wanted: str) -> PageInput | None:
    """The input that a bypassed node hands on: the one of the same slot if its type fits, else the first of the type
    that is wanted, else the first that fits."""
    inputs, output_type = node.inputs, node.outputs[slot] if slot < len(node.outputs) else ANY
    if not inputs:
        return None
    if wanted == ANY:
        return inputs[slot] if slot < len(inputs) else inputs[0]

    def fits(each: PageInput) -> bool:
        return matches(each.type, output_type) and matches(each.type, wanted)

    if slot < len(inputs) and fits(inputs[slot]):
        return inputs[slot]
    exact = next((each for each in inputs if each.type == wanted), None)
    return exact or next(filter(fits, inputs), None)


def _primitive(scope: Scope, node: PageNode) -> Source:
    otherwise = [value for (id, _), value in scope.host_values.widgets.items() if id == node.id]
    values = [*otherwise, *node.values, *node.named.values()]
    return Value(values[0]) if values else Lack.NOTHING
