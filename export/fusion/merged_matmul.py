"""Matrix products of one array with many weights, merged: each alone keeps a GPU busy for less than it waits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence

from onnxscript import ir

from .nodes import replace, stored

# Fewer are those of large arrays, such as an attention's of its tokens, where taking the results apart would cost more.
LEAST = 4
# ONNX Runtime takes so many apart in one kernel, where they are of one width.
MOST = 32


def count_matmuls(graph: ir.Graph) -> int:
    """The number of matrix products to merge: of a prompt in all attentions, of the time in all blocks."""
    return sum(map(len, _groups(graph)))


def merge_matmuls(graph: ir.Graph) -> int:
    """Make one product of those of each width, and take its result apart; returns how many were merged.

    ONNX Runtime joins the weights when it opens the graph.
    """
    groups = _groups(graph)
    for group in groups:
        _merge(graph, group)
    graph.sort()  # a weight may be cast after the first of the products
    return sum(map(len, groups))


def _groups(graph: ir.Graph) -> list[list[ir.Node]]:
    kinds: dict[Hashable, list[ir.Node]] = defaultdict(list)
    for node in graph:
        if _is_product(node):
            kinds[_kind(node)].append(node)
    parts = (nodes[first : first + MOST] for nodes in kinds.values() for first in range(0, len(nodes), MOST))
    return [nodes for nodes in parts if len(nodes) >= LEAST]


def _is_product(node: ir.Node) -> bool:
    """Whether a node multiplies by a stored matrix, and adds a value for each of its columns if anything."""
    if node.op_type not in ("MatMul", "Gemm") or node.domain or node.outputs[0].is_graph_output():
        return False
    shapes = [tuple(value.shape or ()) if value else () for value in node.inputs[1:]]
    return (
        stored(node.inputs[1]) is not None and [len(shape) for shape in shapes] in ([2], [2, 1]) and shapes[-1] != (1,)
    )


def _kind(node: ir.Node) -> Hashable:
    shapes = (tuple(value.shape or ()) if value else None for value in node.inputs[1:])
    settings = sorted((name, attribute.value) for name, attribute in node.attributes.items())
    return node.op_type, node.inputs[0], *shapes, *settings


def _merge(graph: ir.Graph, products: Sequence[ir.Node]) -> None:
    first = products[0]
    turned = first.attributes.get_int("transB", 0) if first.op_type == "Gemm" else 0
    weights = _in_one(products, 1, axis=0 if turned else 1)
    biases = [_in_one(products, 2, axis=0)] if len(first.inputs) > 2 else []
    parts = [*weights.outputs, *(bias.outputs[0] for bias in biases)]
    whole = ir.node(first.op_type, [first.inputs[0], *parts], first.attributes)
    apart = ir.node("Split", whole.outputs, {"axis": -1, "num_outputs": len(products)}, num_outputs=len(products))
    results = (product.outputs[0] for product in products)
    replace(graph, products, [weights, *biases, whole, apart], dict(zip(results, apart.outputs, strict=True)))


def _in_one(products: Iterable[ir.Node], index: int, axis: int) -> ir.Node:
    return ir.node("Concat", [product.inputs[index] for product in products], {"axis": axis})
