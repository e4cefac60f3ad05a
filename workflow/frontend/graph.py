"""A workflow as ComfyUI's page saves it: nodes, links between their slots, and subgraphs that nodes stand for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...errors import InputError

ENTRANCE, EXIT = "-10", "-20"
"""The nodes of a subgraph where its inputs come in and its outputs go out."""
MUTED, BYPASSED = 2, 4
"""Modes of nodes; all others run."""


@dataclass(frozen=True)
class PageLink:
    """From an output slot of one node to an input of another."""

    origin: str
    slot: int
    target: str
    place: int


@dataclass(frozen=True)
class PageInput:
    """An input slot; `link` is the link's id. `widget` says that its value may be written in the node instead."""

    name: str
    type: str = "*"
    link: str | None = None
    widget: bool = False


@dataclass(frozen=True, eq=False)
class PageNode:
    """A node on the page: `kind` is its class, or the id of its subgraph; `outputs` are types."""

    id: str
    kind: str
    title: str = ""
    mode: int = 0
    inputs: Sequence[PageInput] = ()
    outputs: Sequence[str] = ()
    values: Sequence[Any] = ()
    named: Mapping[str, Any] = field(default_factory=dict)
    properties: Mapping[str, Any] = field(default_factory=dict)

    def input(self, name: str) -> PageInput | None:
        """The input slot of a name, None where there is none."""
        return next((each for each in self.inputs if each.name == name), None)

    def fault(self, why: str) -> InputError:
        """An error that names the node."""
        return InputError(f"node {self.id} ({self.title or self.kind}): {why}")


@dataclass(frozen=True, eq=False)
class PageGraph:
    """Nodes by id and links by id; a subgraph also has a name, and the names of its inputs."""

    nodes: Mapping[str, PageNode]
    links: Mapping[str, PageLink]
    name: str = ""
    inputs: Sequence[str] = ()

    def link(self, node: PageNode, slot: PageInput) -> PageLink:
        """The link of an input that has one; raises `InputError` where the file lacks it."""
        link = self.links.get(str(slot.link))
        if link is None:
            raise node.fault(f"its input {slot.name!r} has the link {slot.link}, which is missing; connect it again")
        return link

    def origin(self, link: PageLink) -> PageNode:
        """The node that a link comes from; raises `InputError` where the file lacks it."""
        if link.origin not in self.nodes:
            target = self.nodes.get(link.target)
            why = f"a link comes from the node {link.origin}, which is missing; connect it again"
            raise target.fault(why) if target else InputError(why)
        return self.nodes[link.origin]

    def entry(self, node: str, name: str) -> str | None:
        """The subgraph's input that a node's input hangs on, None where it hangs on none."""
        slot = self.nodes[node].input(name) if node in self.nodes else None
        link = self.links.get(str(slot.link)) if slot else None
        known = link is not None and link.origin == ENTRANCE and link.slot < len(self.inputs)
        return self.inputs[link.slot] if link and known else None

    def promoted(self, name: str) -> tuple[PageNode, PageInput] | None:
        """The widget that an input of the subgraph stands for, the first that hangs on it; None where none does."""
        place = self.inputs.index(name)
        ids = [id for id, link in self.links.items() if (link.origin, link.slot) == (ENTRANCE, place)]
        hanging = [(node, slot) for node in self.nodes.values() for slot in node.inputs if slot.widget]
        found = [(ids.index(slot.link), node, slot) for node, slot in hanging if slot.link in ids]
        return min(found, key=lambda each: each[0])[1:] if found else None


@dataclass(frozen=True, eq=False)
class PageDocument:
    """The graph that the page shows, and the subgraphs by their ids."""

    graph: PageGraph
    subgraphs: Mapping[str, PageGraph]


def is_page_format(document: Any) -> bool:
    """Whether a document is the page's own, not the API format."""
    if not isinstance(document, Mapping) or not isinstance(document.get("nodes"), list):
        return False
    return isinstance(document.get("links"), (list, Mapping))


def read_page(document: Mapping[str, Any]) -> PageDocument:
    """The records of a document; raises `InputError` for what is damaged."""
    try:
        held = (document.get("definitions") or {}).get("subgraphs") or ()
        return PageDocument(_graph(document), {str(each["id"]): _graph(each) for each in held})
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as exc:
        reason = f"{type(exc).__name__}: {exc}"
        raise InputError(f"the workflow is damaged ({reason}); save it again from ComfyUI's page") from exc


def _graph(record: Mapping[str, Any]) -> PageGraph:
    nodes = [_node(each) for each in record["nodes"]]
    links = record["links"]
    listed = [_link(each) for each in (links.values() if isinstance(links, Mapping) else links) if each]
    inputs = [str(each["name"]) for each in record.get("inputs") or ()]
    return PageGraph({node.id: node for node in nodes}, dict(listed), str(record.get("name") or ""), inputs)


def _link(record: Any) -> tuple[str, PageLink]:
    """A link is a list on the page, and an object in a subgraph."""
    if isinstance(record, Mapping):
        record = [record[key] for key in ("id", "origin_id", "origin_slot", "target_id", "target_slot")]
    id, origin, slot, target, place = record[:5]
    return str(id), PageLink(str(origin), int(slot), str(target), int(place))


def _node(record: Mapping[str, Any]) -> PageNode:
    values: Any = record.get("widgets_values") or ()
    named = dict(record.get("widgets_values_named") or {})
    if isinstance(values, Mapping):
        values, named = (), {**named, **values}
    return PageNode(
        id=str(record["id"]),
        kind=str(record["type"]),
        title=str(record.get("title") or ""),
        mode=int(record.get("mode") or 0),
        inputs=[_input(each) for each in record.get("inputs") or ()],
        outputs=[_type(each.get("type")) for each in record.get("outputs") or ()],
        values=list(values),
        named=named,
        properties=dict(record.get("properties") or {}),
    )


def _input(record: Mapping[str, Any]) -> PageInput:
    link = record.get("link")
    return PageInput(
        str(record["name"]), _type(record.get("type")), None if link is None else str(link), bool(record.get("widget"))
    )


def _type(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value or "*")
