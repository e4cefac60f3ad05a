"""Norms that add up their array themselves, and sums with a bias, in one pass each.

On a GPU, ONNX Runtime adds up what it normalises, and keeps the sum; and it adds the bias of a layer and the array that
goes round it at once.
"""

from __future__ import annotations

from collections.abc import Sequence

from onnxscript import ir

from ..shapes import CHANNELS_LAST, CHANNELS_SECOND
from .group_norm import DOMAIN, is_group_norm
from .nodes import replace

# The operator for sums of which no norm is taken has kernels for these alone, those of Stable Diffusion's U-Nets.
WIDTHS = 320, 640, 1280


def count_skip_norms(graph: ir.Graph) -> int:
    """The number of sums of two computed arrays of which a layer norm or a group norm is taken."""
    return len(_sums(graph))


def fuse_skip_norms(graph: ir.Graph) -> int:
    """Have norms add up their arrays themselves, with the bias of the layer that one comes from; returns their number.

    Group norms are those that `group_norm.fuse_norms` makes.
    """
    sums = _sums(graph)
    for total, norm in sums.items():
        _fuse(graph, total, norm)
    graph.sort()  # the weights of a norm may be cast after the sum, where the norm now stands
    return len(sums)


def count_bias_adds(graph: ir.Graph) -> int:
    """The number of sums of a layer, its bias and an array [rows, tokens, channels], of which no norm is taken."""
    return len(_residuals(graph))


def fuse_bias_adds(graph: ir.Graph) -> int:
    """Make each of these one operator; returns their number."""
    residuals = _residuals(graph)
    for total in residuals:
        layer, skip = _terms(total)
        bias = _bias(layer)
        assert bias is not None
        fused = ir.node("BiasAdd", [_without(layer, bias), bias, skip], domain=DOMAIN)
        replace(graph, [total], [fused], {total.outputs[0]: fused.outputs[0]})
    return len(residuals)


def _residuals(graph: ir.Graph) -> list[ir.Node]:
    sums = _sums(graph)
    return [node for node in graph if node.op_type == "Add" and node not in sums and _is_residual(node)]


def _is_residual(total: ir.Node) -> bool:
    if not _of_arrays(total, axes=3):
        return False
    layer, skip = _terms(total)
    return _bias(layer) is not None and skip.shape is not None and skip.shape[2] in WIDTHS


def _sums(graph: ir.Graph) -> dict[ir.Node, ir.Node]:
    """What adds up the array of a norm, and the first such norm."""
    sums: dict[ir.Node, ir.Node] = {}
    for node in graph:
        if (total := _sum_of(node)) and not node.outputs[0].is_graph_output():
            sums.setdefault(total, node)
    return sums


def _sum_of(node: ir.Node) -> ir.Node | None:
    """What adds up the array of a norm."""
    if node.op_type == "LayerNormalization":
        return _as_sum(node.inputs[0], axes=3)
    if node.op_type == "GroupNorm" or is_group_norm(node):
        moved = node.inputs[0].producer() if node.inputs[0] else None  # its axes, or its groups parted
        return _as_sum(moved.inputs[0], axes=4) if moved else None
    return None


def _as_sum(value: ir.Value | None, axes: int) -> ir.Node | None:
    maker = value.producer() if value else None
    return maker if maker and maker.op_type == "Add" and _of_arrays(maker, axes) else None


def _of_arrays(total: ir.Node, axes: int) -> bool:
    """Whether a sum is one of computed arrays of so many axes; the second may have one value for all positions."""
    if total.outputs[0].is_graph_output():
        return False
    first, second = _terms(total)
    lengths = tuple(first.shape or ()), tuple(second.shape or ())
    alike = lengths[0] == lengths[1] or lengths[1][2:] == (1, 1)
    return len(lengths[0]) == axes and alike and not (first.const_value or second.const_value)


def _terms(total: ir.Node) -> tuple[ir.Value, ir.Value]:
    """The two that are added up; first what a layer with a bias has made for this sum alone."""
    first, second = (term for term in total.inputs if term)
    return (second, first) if _bias(second) and not _bias(first) else (first, second)


def _bias(term: ir.Value) -> ir.Value | None:
    """The bias that a layer has added to an array which nothing else reads."""
    layer = term.producer()
    if layer is None or len(term.uses()) != 1 or layer.op_type not in ("Add", "Conv"):
        return None
    values = layer.inputs[2:3] if layer.op_type == "Conv" else layer.inputs
    return next((value for value in values if value and value.const_value and len(value.shape or ()) == 1), None)


def _fuse(graph: ir.Graph, total: ir.Node, norm: ir.Node) -> None:
    """Put a norm that adds up, and gives the sum last, where the sum was."""
    first, second = _terms(total)
    bias = _bias(first)
    terms = [_without(first, bias) if bias else first, second]
    nodes = (_with_group_norm if norm.op_type == "GroupNorm" else _with_layer_norm)(norm, terms, bias)
    fused = next(node for node in nodes if node.domain == DOMAIN)
    values = {norm.outputs[0]: fused.outputs[0], total.outputs[0]: nodes[-1].outputs[-1]}
    replace(graph, [total, norm], nodes, values)


def _without(term: ir.Value, bias: ir.Value) -> ir.Value:
    """What a layer makes without its bias."""
    layer = term.producer()
    assert layer is not None
    if layer.op_type == "Conv":
        layer.replace_input_with(2, None)
        return term
    return next(value for value in layer.inputs if value and value is not bias)


def _with_group_norm(norm: ir.Node, terms: Sequence[ir.Value], bias: ir.Value | None) -> list[ir.Node]:
    rows = _before_axes(terms[1])
    turned = [ir.node("Transpose", [term], {"perm": CHANNELS_LAST}) for term in (terms[:1] if rows else terms)]
    x, skip = turned[0].outputs[0], rows or turned[1].outputs[0]
    inputs = x, *norm.inputs[1:3], skip, bias
    fused = ir.node("SkipGroupNorm", inputs, norm.attributes, domain=DOMAIN, num_outputs=2)
    return [*turned, fused, ir.node("Transpose", [fused.outputs[1]], {"perm": CHANNELS_SECOND})]


def _before_axes(term: ir.Value) -> ir.Value | None:
    """An array [rows, channels] that only got the axes of height and width."""
    node = term.producer()
    array = node.inputs[0] if node and node.op_type == "Unsqueeze" else None
    return array if array and array.shape is not None and len(array.shape) == 2 else None


def _with_layer_norm(norm: ir.Node, terms: Sequence[ir.Value], bias: ir.Value | None) -> list[ir.Node]:
    settings = {"epsilon": norm.attributes.get_float("epsilon", 1e-5)}
    inputs = *terms, *norm.inputs[1:3], bias
    fused = ir.node("SkipLayerNormalization", inputs, settings, domain=DOMAIN, num_outputs=4)
    for unused in fused.outputs[1:3]:
        unused.name = ""
    return [fused]
