"""Attentions as ONNX Runtime's operator for heads that lie side by side, which none of them has to be moved for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from onnxscript import ir
from onnxscript.rewriter import RewriteRule, RewriteRuleSet

from .group_norm import DOMAIN
from .nodes import counter

_SWAPPED = (0, 2, 1, 3)  # the axes of heads and tokens


def count_attentions(graph: ir.Graph, causal: bool) -> int:
    """The number of attentions without a mask, and those whose mask hides what comes later if `causal`."""
    return sum(_is_known(node, causal) for node in graph)


def fuse_attentions(model: ir.Model, causal: bool) -> int:
    """Replace these by the operator; returns their number."""
    _part_queries(model.graph)
    RewriteRuleSet([RewriteRule(_rounded_after, _rounded_before, _one_scale)]).apply_to_model(model)

    def known(_context: Any, query: ir.Value, attention: ir.Value, **_: Any) -> bool:
        node = attention.producer()
        flat = query.shape is not None and len(query.shape) == 3
        return flat and isinstance(_heads(attention), int) and node is not None and _is_known(node, causal)

    rules = [RewriteRule(apart, _together, known) for apart in (_apart, _apart_masked)]
    return sum(RewriteRuleSet([rule]).apply_to_model(model) for rule in rules)


def _part_queries(graph: ir.Graph) -> None:
    """Give each attention its own nodes that set the heads of its query apart: that to image prompts shares them with
    that to the text."""
    for node in [node for node in graph if node.op_type == "Attention"]:
        apart = node.inputs[0]
        transpose = apart.producer() if apart else None
        reshape = transpose.inputs[0].producer() if transpose and transpose.inputs[0] else None
        if apart is None or transpose is None or reshape is None or len(apart.uses()) < 2:
            continue
        flat = _copied(reshape, reshape.inputs)
        own = _copied(transpose, flat.outputs)
        graph.insert_before(node, [flat, own])
        node.replace_input_with(0, own.outputs[0])


def _copied(node: ir.Node, inputs: Sequence[ir.Value | None]) -> ir.Node:
    """The node once more, on other inputs."""
    made = ir.Node(node.domain, node.op_type, inputs, node.attributes.values(), num_outputs=1)
    made.outputs[0].shape, made.outputs[0].type = node.outputs[0].shape, node.outputs[0].type
    return made


def _is_known(node: ir.Node, causal: bool) -> bool:
    if node.op_type != "Attention" or node.domain or any(node.inputs[4:]):
        return False
    mask = node.inputs[3] if len(node.inputs) > 3 else None
    if node.attributes.get_int("is_causal", 0):
        return causal and mask is None
    return mask is None or (causal and _hides_later(mask))


def _hides_later(mask: ir.Value) -> bool:
    """Whether a mask is true where a key's position is at most the query's."""
    node = mask.producer()
    if node and node.op_type == "Expand" and node.inputs[0]:
        node = node.inputs[0].producer()
    if node is None or node.op_type != "LessOrEqual":
        return False
    keys, queries = node.inputs
    assert keys
    assert queries
    ranges = counter(keys), counter(queries)
    along = [tuple(value.shape or ())[-2:] for value in (keys, queries)]
    return ranges[0] is not None and ranges[0] is ranges[1] and along[0][:1] == (1,) and along[1][1:] == (1,)


def _rounded_after(op: Any, array: Any, shape: Any, scale: Any, zero: Any) -> Any:
    """What int8 reads of an array whose heads were set apart."""
    apart = op.Transpose(op.Reshape(array, shape), perm=_SWAPPED)
    return op.DequantizeLinear(op.QuantizeLinear(apart, scale, zero), scale, zero)


def _rounded_before(op: Any, array: Any, shape: Any, scale: Any, zero: Any, **_: Any) -> Any:
    rounded = op.DequantizeLinear(op.QuantizeLinear(array, scale, zero), scale, zero)
    rounded.shape, rounded.type = array.shape, array.type
    return op.Transpose(op.Reshape(rounded, shape), perm=_SWAPPED)


def _one_scale(_context: Any, scale: ir.Value, **_: Any) -> bool:
    return scale.shape is not None and not scale.shape.dims


def _apart(op: Any, query: Any, key: Any, value: Any, part: Any, part_keys: Any, part_values: Any, join: Any) -> Any:
    """Attention with the heads on an axis of their own, made of and for arrays that hold them side by side."""
    parted = _parted(op, (query, part), (key, part_keys), (value, part_values))
    return _joined(op, op.Attention(*parted, _outputs=["attention"]), join)


def _apart_masked(
    op: Any, query: Any, key: Any, value: Any, mask: Any, part: Any, part_keys: Any, part_values: Any, join: Any
) -> Any:
    parted = _parted(op, (query, part), (key, part_keys), (value, part_values))
    return _joined(op, op.Attention(*parted, mask, _outputs=["attention"]), join)


def _parted(op: Any, *pairs: tuple[Any, Any]) -> list[Any]:
    return [op.Transpose(op.Reshape(array, shape), perm=_SWAPPED) for array, shape in pairs]


def _joined(op: Any, attention: Any, shape: Any) -> Any:
    return op.Reshape(op.Transpose(attention, perm=_SWAPPED), shape)


def _together(op: Any, query: Any, key: Any, value: Any, attention: ir.Value, **_: Any) -> Any:
    node = attention.producer()
    assert node is not None
    scale = node.attributes.get("scale")
    attributes = {"num_heads": _heads(attention)} | ({"scale": scale.as_float()} if scale else {})
    if any(node.inputs[3:]) or node.attributes.get_int("is_causal", 0):
        attributes |= {"unidirectional": 1}
    return op.MultiHeadAttention(query, key, value, **attributes, _domain=DOMAIN)


def _heads(attention: ir.Value) -> Any:
    """The number of heads; not an int where the graph does not say."""
    return attention.shape[1] if attention.shape else None
