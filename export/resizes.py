"""Resizes of arrays with their channels last, as they are before and after on a GPU: else each is transposed twice."""

from __future__ import annotations

from onnxscript import ir

from .shapes import CHANNELS_LAST, CHANNELS_SECOND


def count_resizes(graph: ir.Graph) -> int:
    """The number of pictures enlarged by repeating pixels."""
    return sum(map(_repeats_pixels, graph))


def turn_resizes(graph: ir.Graph) -> int:
    """Resize these with their channels last where the factors, or the two lengths alone, are given; gives their number.

    The lengths are as `shapes.settle` leaves them.
    """
    turned = [node for node in graph if _repeats_pixels(node) and _turn(graph, node)]
    graph.remove(turned, safe=True)
    return len(turned)


def _repeats_pixels(node: ir.Node) -> bool:
    shape = node.inputs[0].shape if node.op_type == "Resize" and node.inputs[0] else None
    return shape is not None and len(shape) == 4 and node.attributes.get_string("mode", "nearest") == "nearest"


def _turn(graph: ir.Graph, node: ir.Node) -> bool:
    picture, _, scales, *sizes = node.inputs
    factors = scales.const_value.numpy() if scales and scales.const_value else None
    axes = node.attributes.get_ints("axes", ())
    if factors is None and tuple(axes) != (2, 3):
        return False
    last = ir.node("Transpose", [picture], {"perm": CHANNELS_LAST})
    settings = dict(node.attributes) | ({} if factors is not None else {"axes": ir.AttrInt64s("axes", (1, 2))})
    if factors is not None:
        scales = ir.Value(name=f"{node.outputs[0].name}.factors", const_value=ir.tensor(factors[list(CHANNELS_LAST)]))
        graph.register_initializer(scales)
    resized = ir.node("Resize", [*last.outputs, None, scales, *sizes], settings)
    second = ir.node("Transpose", resized.outputs, {"perm": CHANNELS_SECOND})
    made = node.outputs[0]
    second.outputs[0].shape, second.outputs[0].type = made.shape, made.type
    graph.insert_before(node, [last, resized, second])
    made.replace_all_uses_with(second.outputs[0])
    return True
