"""What the rewriting of graphs shares: where values come from, and nodes in the place of others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from onnxscript import ir


def stored(value: ir.Value | None) -> ir.Value | None:
    """The stored weight that a value is, or that it is cast from."""
    maker = value.producer() if value else None
    weight = maker.inputs[0] if maker and maker.op_type == "Cast" else value
    return weight if weight is not None and weight.const_value is not None else None


def counter(value: ir.Value | None) -> ir.Node | None:
    """The `Range` whose numbers a value is, which only got more axes."""
    node = value.producer() if value else None
    while node and node.op_type == "Unsqueeze" and node.inputs[0]:
        node = node.inputs[0].producer()
    return node if node and node.op_type == "Range" else None


def replace(
    graph: ir.Graph, olds: Sequence[ir.Node], nodes: Sequence[ir.Node], values: Mapping[ir.Value, ir.Value]
) -> None:
    """Put nodes where the first of others was, and values that they make for those that were there."""
    for old, new in values.items():
        new.shape, new.type = old.shape, old.type
        old.replace_all_uses_with(new)
    graph.insert_before(olds[0], nodes)
    graph.remove(olds, safe=True)
