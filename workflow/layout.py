"""A workflow of the API format as the page shows it: nodes in columns, what comes first on the left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import InputError
from .document import Connection, Step, Workflow
from .node import Node, Nodes
from .sockets import Choice, Socket, Text

WIDTH, GAP, LINE, HEAD = 330, 70, 24, 50
PICTURE, PARAGRAPH = 320, 130
"""Pixels that a picture and a text of lines take in a node."""


def page_format(workflow: Workflow, nodes: Nodes, bench: Any) -> dict[str, Any]:
    """The document that the page opens; raises `InputError` for a class of nodes that is not there."""
    ids = {id: number for number, id in enumerate(workflow.steps, 1)}
    kinds = {id: _known(nodes, step.kind) for id, step in workflow.steps.items()}
    links: list[list[Any]] = []
    shown = {
        id: _shown(step, kinds[id], ids, workflow.steps, kinds, links, bench) for id, step in workflow.steps.items()
    }
    for number, source, slot, *_ in links:
        output = next(each for each in shown.values() if each["id"] == source)["outputs"][slot]
        output["links"].append(number)
    _place(workflow, shown)
    return {
        "last_node_id": len(shown),
        "last_link_id": len(links),
        "nodes": list(shown.values()),
        "links": links,
        "groups": [],
        "config": {},
        "extra": {},
        "version": 0.4,
    }


def _known(nodes: Nodes, kind: str) -> Node:
    node = nodes.get(kind)
    if node is None:
        raise InputError(f"there is no node {kind!r}; see /object_info")
    return node


def _shown(
    step: Step,
    node: Node,
    ids: Mapping[str, int],
    steps: Mapping[str, Step],
    kinds: Mapping[str, Node],
    links: list[list[Any]],
    bench: Any,
) -> dict[str, Any]:
    """A node without its place; its links are added to the others."""
    inputs: list[dict[str, Any]] = []
    values: list[Any] = []
    height = HEAD + LINE * len(node.outputs)
    for name, socket in node.inputs.items():
        value = step.inputs.get(name)
        kind = "COMBO" if isinstance(socket, Choice) else socket.type
        entry: dict[str, Any] = {"name": name, "type": kind, "link": None}
        if socket.edited:
            entry["widget"] = {"name": name}
            values += _values(socket, value, bench)
        height += _height(socket)
        if isinstance(value, Connection) and value.node in steps:
            output = kinds[value.node].outputs[value.slot].type
            links.append([len(links) + 1, ids[value.node], value.slot, ids[step.id], len(inputs), output])
            entry["link"] = len(links)
        inputs.append(entry)
    height += PICTURE * (node.sink and not node.outputs)
    outputs = [{"name": each.title, "type": each.type, "links": []} for each in node.outputs]
    return {
        "id": ids[step.id],
        "type": step.kind,
        "pos": [0, 0],
        "size": [WIDTH, height],
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": inputs,
        "outputs": outputs,
        "properties": {"Node name for S&R": step.kind},
        "widgets_values": values,
        **({"title": step.title} if step.title else {}),
    }


def _values(socket: Socket, value: Any, bench: Any) -> list[Any]:
    """A widget's value, and what the page's own widgets beside it have."""
    if value is None or isinstance(value, Connection):
        value = socket.usual(bench)
    if socket.options.get("control_after_generate"):
        return [value, "fixed"]
    return [value, "image"] if socket.options.get("image_upload") else [value]


def _height(socket: Socket) -> int:
    if isinstance(socket, Text) and socket.multiline:
        return PARAGRAPH
    beside = PICTURE * bool(socket.options.get("image_upload")) + LINE * bool(
        socket.options.get("control_after_generate")
    )
    return LINE + beside


def _place(workflow: Workflow, shown: Mapping[str, dict[str, Any]]) -> None:
    """Give nodes their places: a column for each number of nodes that come before."""
    columns: dict[str, int] = {}
    left = dict(workflow.steps)
    while left:
        ready = [
            id for id, step in left.items() if all(link.node not in left for _, link in step.connections())
        ] or list(left)
        for id in ready:
            before = [columns.get(link.node, 0) + 1 for _, link in left[id].connections() if link.node in shown]
            columns[id] = max(before, default=0)
        for id in ready:
            del left[id]
    bottoms: dict[int, int] = {}
    for order, id in enumerate(sorted(shown, key=columns.__getitem__)):
        column, node = columns[id], shown[id]
        top = bottoms.get(column, 0)
        node["pos"], node["order"] = [column * (WIDTH + GAP), top], order
        bottoms[column] = top + node["size"][1] + GAP
