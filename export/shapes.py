"""A graph without arithmetic of shapes: what it works out is the shape of an array that is there.

ONNX Runtime splits such arithmetic between processor and GPU and copies between them, and a graph with such copies it
captures in no CUDA graph. The arrays whose shapes are taken are those of the channels-last group norms that `fuse`
makes: of any other operator, ONNX Runtime turns the shape before and after it has moved its transposes, again by
arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnxscript import ir

CHANNELS_LAST, CHANNELS_SECOND = (0, 2, 3, 1), (0, 3, 1, 2)
TURNED = (0, 2, 1)  # tokens and channels


def settle(graph: ir.Graph) -> None:
    """Give every reshape and resize whose lengths are worked out in the graph a constant or a group norm's shape.

    One that has neither is left as it is.
    """
    norms: dict[tuple[str, ...], ir.Value] = {}
    for node in list(graph):
        if node.op_type == "Reshape" and (target := _target(node, 1)):
            _settle_reshape(graph, node, target, norms)
        elif node.op_type == "Resize" and (target := _target(node, 3)):
            _settle_resize(graph, node, target, norms)
        elif node.op_type == "GroupNorm" and (names := _names(node.outputs[0].shape)):
            norms |= dict.fromkeys((names, names[1:3]), node.outputs[0])


def _target(node: ir.Node, index: int) -> tuple[str, ...]:
    """The lengths that an input gives a node's array; none where it is a constant, and where one of them is unknown."""
    value = node.inputs[index] if len(node.inputs) > index else None
    if value is None or value.const_value is not None:
        return ()
    maker = value.producer()
    like = maker.inputs[0] if maker and _is_whole_shape(maker) else node.outputs[0]
    names = _names(like.shape if like else None)
    return names if all(names) else ()


def _is_whole_shape(node: ir.Node) -> bool:
    start = node.attributes.get("start")
    return node.op_type == "Shape" and "end" not in node.attributes and (start is None or start.as_int() == 0)


def _names(shape: ir.Shape | None) -> tuple[str, ...]:
    """A shape's lengths, each a number or what it is worked out as; "" for one that is not known."""
    lengths = shape or ()
    return tuple(str(length) if isinstance(length, int) else length.value or "" for length in lengths)


def _settle_reshape(
    graph: ir.Graph, node: ir.Node, target: tuple[str, ...], norms: dict[tuple[str, ...], ir.Value]
) -> None:
    source, output = node.inputs[0], node.outputs[0]
    assert source is not None
    known = _names(source.shape)
    kept = [index < len(known) and name == known[index] for index, name in enumerate(target)]
    lengths = [int(name) if name.isdecimal() else 0 if same else -1 for name, same in zip(target, kept, strict=True)]
    swap = source.producer()
    if lengths.count(-1) < 2:
        node.replace_input_with(1, _constant(graph, output, lengths))
        node.attributes.pop("allowzero", None)  # a zero stands for the length that is there
    elif norm := norms.get(target):
        node.replace_input_with(1, _shape_of(graph, node, norm))
    elif len(target) == 4 and (norm := norms.get(_moved(target))) and swap and _order(swap) == TURNED:
        _turn_after(graph, node, swap, norm)


def _turn_after(graph: ir.Graph, node: ir.Node, swap: ir.Node, norm: ir.Value) -> None:
    """Give tokens their places first and move their channels then; `swap` and `node` do so the other way round."""
    placed = ir.node("Reshape", [swap.inputs[0], _shape_of(graph, node, norm)])
    turned = ir.node("Transpose", [placed.outputs[0]], {"perm": CHANNELS_SECOND})
    output = node.outputs[0]
    turned.outputs[0].shape, turned.outputs[0].dtype = output.shape, output.dtype
    placed.outputs[0].name, turned.outputs[0].name = f"{output.name}.placed", f"{output.name}.turned"
    graph.insert_before(node, [placed, turned])
    ir.convenience.replace_all_uses_with(output, turned.outputs[0])


def _settle_resize(
    graph: ir.Graph, node: ir.Node, target: tuple[str, ...], norms: dict[tuple[str, ...], ir.Value]
) -> None:
    norm = norms.get(target[2:])
    if norm and "axes" not in node.attributes:
        node.replace_input_with(3, _shape_of(graph, node, norm, start=1, end=3))
        node.attributes.add(ir.AttrInt64s("axes", (2, 3)))


def _moved(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(names[axis] for axis in CHANNELS_LAST)


def _order(node: ir.Node) -> tuple[int, ...]:
    """The order that a transpose gives the axes; none for another node."""
    perm = node.attributes.get("perm") if node.op_type == "Transpose" else None
    return tuple(perm.as_ints()) if perm else ()


def _constant(graph: ir.Graph, output: ir.Value, lengths: Sequence[int]) -> ir.Value:
    value = ir.Value(name=f"{output.name}.shape", const_value=ir.tensor(np.array(lengths, np.int64)))
    graph.register_initializer(value)
    return value


def _shape_of(graph: ir.Graph, node: ir.Node, array: ir.Value, **part: int) -> ir.Value:
    """The shape of an array, or a part of it, made just before a node."""
    shape = ir.node("Shape", [array], part)
    shape.outputs[0].name, shape.outputs[0].dtype = f"{node.outputs[0].name}.shape", ir.DataType.INT64
    graph.insert_before(node, shape)
    return shape.outputs[0]
