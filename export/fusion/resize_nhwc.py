"""Resizes of arrays with their channels last, as they are before and after on a GPU: else each is transposed twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from onnxscript import ir

from ..shapes import CHANNELS_LAST, CHANNELS_SECOND
from .nodes import replace


def count_nhwc_resizes(graph: ir.Graph) -> int:
    """The number of pictures enlarged by constant factors, by repeating pixels."""
    return sum(_repeats_pixels(node) and _factors(node) is not None for node in graph)


def make_resizes_nhwc(graph: ir.Graph) -> int:
    """Resize these with their channels last, and those to the two lengths that `shapes.settle` leaves.

    Returns the number of the former.
    """
    turned = 0
    for node in [node for node in graph if _repeats_pixels(node)]:
        if (factors := _factors(node)) is not None:
            constant = ir.Value(
                name=f"{node.outputs[0].name}.factors", const_value=ir.tensor(factors[list(CHANNELS_LAST)])
            )
            graph.register_initializer(constant)
            _turn(graph, node, [constant], {})
            turned += 1
        elif lengths := _lengths(node):
            _turn(graph, node, [None, lengths], {"axes": ir.AttrInt64s("axes", (1, 2))})
    return turned


def _repeats_pixels(node: ir.Node) -> bool:
    shape = node.inputs[0].shape if node.op_type == "Resize" and node.inputs[0] else None
    repeats = node.attributes.get_string("mode", "nearest") == "nearest" and not node.outputs[0].is_graph_output()
    return repeats and shape is not None and len(shape) == 4


def _factors(node: ir.Node) -> NDArray[np.float32] | None:
    """The four factors of a node, where they are constant and no lengths are given."""
    scales = node.inputs[2] if len(node.inputs) == 3 and "axes" not in node.attributes else None
    return scales.const_value.numpy() if scales and scales.const_value else None


def _lengths(node: ir.Node) -> ir.Value | None:
    """The two lengths that a node is given of its height and width alone."""
    alone = tuple(node.attributes.get_ints("axes", ())) == (2, 3) and len(node.inputs) == 4 and not node.inputs[2]
    return node.inputs[3] if alone else None


def _turn(graph: ir.Graph, node: ir.Node, sizes: Sequence[ir.Value | None], settings: Mapping[str, ir.Attr]) -> None:
    last = ir.node("Transpose", [node.inputs[0]], {"perm": CHANNELS_LAST})
    resized = ir.node("Resize", [*last.outputs, None, *sizes], {**node.attributes, **settings})
    second = ir.node("Transpose", resized.outputs, {"perm": CHANNELS_SECOND})
    replace(graph, [node], [last, resized, second], {node.outputs[0]: second.outputs[0]})
