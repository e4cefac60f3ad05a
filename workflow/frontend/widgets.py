"""The values that nodes of the page hold, by the names of their inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..node import Node
from .graph import PageGraph, PageNode

_AFTER = ("fixed", "increment", "decrement", "randomize")
"""What may become of a seed after a run: the page writes one behind it."""
_SEEDS = ("seed", "noise_seed")
_INSIDE = "-1"
"""In a list of proxies: the subgraph's own input of that name."""


def widget_values(node: PageNode, declared: Node | None) -> dict[str, Any]:
    """The values of a node's widgets by name, also of those that are connected.

    They are listed in the order of declaration; inputs that the file has no value for begin as an editor has them.
    """
    if declared is None:
        return dict(node.named)
    sockets = {name: socket for name, socket in declared.inputs.items() if socket.edited}
    values = {name: usual for name, socket in sockets.items() if (usual := socket.usual()) is not None}
    values |= {name: value for name, value in node.named.items() if name in sockets}
    left = list(node.values)
    for name, socket in sockets.items():
        if not left:
            break
        values[name] = left.pop(0)
        seed = socket.type == "INT" and (socket.options.get("control_after_generate") or name in _SEEDS)
        if left and ((seed and left[0] in _AFTER) or (socket.options.get("image_upload") and left[0] == "image")):
            del left[0]
    return values


@dataclass(frozen=True, eq=False)
class HostValues:
    """What a subgraph's node says otherwise than the subgraph: values of its inputs by name, and of widgets in it by
    (node, name)."""

    inputs: Mapping[str, Any] = field(default_factory=dict)
    widgets: Mapping[tuple[str, str], Any] = field(default_factory=dict)


def host_values(host: PageNode, graph: PageGraph) -> HostValues:
    """The values that a subgraph's node has of its own.

    Files before 2026 list them in the order of `proxyWidgets`, later ones in the order of the subgraph's inputs that
    are widgets.
    """
    inputs = {name: value for name, value in host.named.items() if name in graph.inputs}
    proxies = host.properties.get("proxyWidgets")
    if not isinstance(proxies, list):
        return HostValues({**dict(zip(_widget_inputs(graph), host.values, strict=False)), **inputs})
    widgets = {}
    for proxy, value in zip(proxies, host.values, strict=False):
        node, name = str(proxy[0]), str(proxy[1])
        own = name if node == _INSIDE else graph.entry(node, name)
        if own is None:
            widgets[node, name] = value
        else:
            inputs[own] = value
    return HostValues(inputs, widgets)


def _widget_inputs(graph: PageGraph) -> list[str]:
    """The inputs of a subgraph that stand for a widget in it."""
    found = {graph.entry(node.id, slot.name) for node in graph.nodes.values() for slot in node.inputs if slot.widget}
    return [name for name in graph.inputs if name in found]
