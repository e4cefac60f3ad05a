"""A node as data: what it takes, what it gives, and the one function that does its work."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import InputError
from .sockets import Socket

Function = Callable[..., Any]
"""Takes the `Context` of a node and its inputs by name; gives what the node gives, several as a tuple."""


@dataclass(frozen=True)
class Output:
    """What a node gives: the name of its type, and what it is called."""

    type: str
    name: str = ""

    @property
    def title(self) -> str:
        """What editors call it."""
        return self.name or self.type


@dataclass(frozen=True)
class Node:
    """A class of nodes.

    `name` is its class_type in workflows. `needed` and `optional` are its inputs; those of `lazy` are computed only
    where `wants` names them, which is called with the inputs that are there, by name. A `sink` is what workflows are
    run for, such as a picture that is saved; its function gives what an editor shows. `changes` is called with the
    workbench and the inputs that are written, and gives what else the result depends on, such as a file's content, or
    None where it is never reused. `check` is called likewise before anything runs, and gives what is wrong with them,
    or "". `cost` is called with the written inputs, and gives the evaluations of the model.
    """

    name: str
    function: Function
    needed: Mapping[str, Socket] = field(default_factory=dict)
    optional: Mapping[str, Socket] = field(default_factory=dict)
    outputs: tuple[Output, ...] = ()
    display: str = ""
    category: str = ""
    description: str = ""
    sink: bool = False
    lazy: frozenset[str] = frozenset()
    wants: Callable[..., list[str]] | None = None
    changes: Callable[..., Any] | None = None
    check: Callable[..., str] | None = None
    cost: Callable[..., int] | None = None
    hidden: Mapping[str, str] = field(default_factory=dict)
    deprecated: bool = False

    @property
    def home(self) -> str:
        """The module of its function."""
        return str(getattr(self.function, "__module__", ""))

    @property
    def source(self) -> str:
        """Where its function comes from: part of its results' keys."""
        return f"{self.home}.{getattr(self.function, '__qualname__', self.name)}"

    @property
    def inputs(self) -> dict[str, Socket]:
        """All inputs by name."""
        return {**self.needed, **self.optional}

    def info(self, bench: Any) -> dict[str, Any]:
        """The node as /object_info says it."""
        kinds = {"required": self.needed, "optional": self.optional}
        inputs: dict[str, Any] = {
            kind: {name: socket.config(bench) for name, socket in sockets.items()}
            for kind, sockets in kinds.items()
            if sockets or kind == "required"
        }
        order = {kind: list(sockets) for kind, sockets in inputs.items()}
        if self.hidden:
            inputs["hidden"], order["hidden"] = dict(self.hidden), list(self.hidden)
        return {
            "input": inputs,
            "input_order": order,
            "output": [output.type for output in self.outputs],
            "output_is_list": [False for _ in self.outputs],
            "output_name": [output.title for output in self.outputs],
            "name": self.name,
            "display_name": self.display or self.name,
            "description": self.description,
            "python_module": "nodes",
            "category": self.category,
            "output_node": self.sink,
            **({"deprecated": True} if self.deprecated else {}),
        }


class Nodes:
    """The classes of nodes by their names."""

    def __init__(self, nodes: Mapping[str, Node] | None = None) -> None:
        self._nodes = dict(nodes or {})

    def add(self, *nodes: Node) -> None:
        """Add nodes; raises `InputError` for a name that is taken."""
        for node in nodes:
            if node.name in self._nodes:
                raise InputError(f"there is a node {node.name!r} already; give yours another name")
            self._nodes[node.name] = node

    def get(self, name: str) -> Node | None:
        """The node of a name, None where there is none."""
        return self._nodes.get(name)

    def __iter__(self) -> Iterator[Node]:
        return iter(self._nodes.values())

    def __contains__(self, name: object) -> bool:
        return name in self._nodes

    def info(self, bench: Any, name: str = "") -> dict[str, Any]:
        """/object_info: all nodes, or one, which may not be there."""
        chosen = [node for node in self if not name or node.name == name]
        return {node.name: node.info(bench) for node in chosen}


def node(name: str, /, **fields: Any) -> Callable[[Function], Node]:
    """Make a function a node: `@node("ImageInvert", needed={...}, outputs=(...))`."""

    def declare(function: Function) -> Node:
        return Node(name, function, description=" ".join((function.__doc__ or "").split()), **fields)

    return declare


def outputs(*kinds: str | tuple[str, str]) -> tuple[Output, ...]:
    """Outputs by their types, or by (type, name)."""
    return tuple(Output(kind) if isinstance(kind, str) else Output(*kind) for kind in kinds)
