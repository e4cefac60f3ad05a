"""Documents as ComfyUI's page saves them, small and by hand."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


def node(id: int, kind: str, values: Any = (), *, ins: str = "", outs: str = "", mode: int = 0, **more: Any) -> Json:
    """A node whose slots are words: "model:MODEL:3 text:STRING:w" are two inputs, one with the link 3, one a widget.

    An output is its type.
    """
    inputs = []
    for word in ins.split():
        name, kind_of, *link = word.split(":")
        number = "".join(link).rstrip("w")
        slot: Json = {"name": name, "type": kind_of, "link": int(number) if number else None}
        if link and link[0].endswith("w"):
            slot["widget"] = {"name": name}
        inputs.append(slot)
    outputs = [{"name": each, "type": each, "links": []} for each in outs.split()]
    values = values if isinstance(values, dict) else list(values)
    return {
        "id": id,
        "type": kind,
        "mode": mode,
        "inputs": inputs,
        "outputs": outputs,
        "widgets_values": values,
        **more,
    }


def page(nodes: list[Json], links: list[tuple[int, int, int, int, int]], subgraphs: list[Json] | None = None) -> Json:
    """A document; a link is (id, origin, slot, target, place)."""
    document: Json = {"version": 0.4, "nodes": nodes, "links": [[*link, "*"] for link in links], "groups": []}
    return document | ({"definitions": {"subgraphs": subgraphs}} if subgraphs else {})


def subgraph(
    id: str, nodes: list[Json], links: list[tuple[int, int, int, int, int]], ins: str = "", outs: str = ""
) -> Json:
    """A subgraph, whose links are objects."""
    keys = ("id", "origin_id", "origin_slot", "target_id", "target_slot")
    return {
        "id": id,
        "name": f"the subgraph {id}",
        "nodes": nodes,
        "links": [dict(zip(keys, link, strict=True)) | {"type": "*"} for link in links],
        "inputs": [{"name": name, "type": "*"} for name in ins.split()],
        "outputs": [{"name": name, "type": "*"} for name in outs.split()],
    }


COLOUR = 0x336699


def picture(id: int, width: int = 8, **more: Any) -> Json:
    """An EmptyImage of one picture."""
    return node(id, "EmptyImage", [width, 8, 1, COLOUR], outs="IMAGE", **more)


def shown(id: int, link: int, **more: Any) -> Json:
    """A PreviewImage."""
    return node(id, "PreviewImage", ins=f"images:IMAGE:{link}", **more)
