"""Gated linear units: on a GPU, ONNX Runtime adds a bias, parts the array and multiplies by GELU in one pass."""

from __future__ import annotations

from dataclasses import dataclass

from onnxscript import ir

from .group_norm import DOMAIN
from .nodes import replace, stored

# Of each half: the operator has kernels for these alone, those of Stable Diffusion 1, 2 and XL.
WIDTHS = 1280, 2560, 5120


@dataclass(frozen=True)
class Layer:
    """A product with stored weights and a bias."""

    array: ir.Value
    weight: ir.Value
    bias: ir.Value


def count_geglus(graph: ir.Graph) -> int:
    """The number of layers multiplied by the GELU of another on the same array, of the widths that the operator has.

    None of them is in int8, whose weights are not stored as they are multiplied.
    """
    return sum(_halves(node) is not None for node in graph)


def fuse_geglus(graph: ir.Graph) -> int:
    """Make one product of the two, and one operator of what follows (GEGLU: Shazeer, arXiv:2002.05202, equation 6);
    returns their number.

    ONNX Runtime joins the weights when it opens the graph.
    """
    layers = {node: halves for node in graph if (halves := _halves(node))}
    for node, (kept, opened) in layers.items():
        weights = ir.node("Concat", [kept.weight, opened.weight], {"axis": 1})
        biases = ir.node("Concat", [kept.bias, opened.bias], {"axis": 0})
        product = ir.node("MatMul", [kept.array, *weights.outputs])
        gated = ir.node("BiasSplitGelu", [*product.outputs, *biases.outputs], domain=DOMAIN)
        replace(graph, [node], [weights, biases, product, gated], {node.outputs[0]: gated.outputs[0]})
    return len(layers)


def _halves(node: ir.Node) -> tuple[Layer, Layer] | None:
    """The layer that a node multiplies, and the one whose exact GELU it multiplies by."""
    if node.op_type != "Mul" or node.outputs[0].is_graph_output():
        return None
    for kept, opened in (node.inputs, reversed(node.inputs)):
        gelu = opened.producer() if opened else None
        if gelu and gelu.op_type == "Gelu" and gelu.attributes.get_string("approximate", "none") == "none":
            layers = _layer(kept), _layer(gelu.inputs[0])
            if layers[0] and layers[1] and layers[0].array is layers[1].array:
                return layers[0], layers[1]
    return None


def _layer(value: ir.Value | None) -> Layer | None:
    """What makes an array [rows, tokens, width], of a width that the operator has."""
    total = value.producer() if value else None
    if value is None or value.shape is None or len(value.shape) != 3 or value.shape[2] not in WIDTHS:
        return None
    for term, bias in (total.inputs, reversed(total.inputs)) if total and total.op_type == "Add" else ():
        product = term.producer() if term else None
        if product and product.op_type == "MatMul" and bias and stored(bias) and len(bias.shape or ()) == 1:
            array, weight = product.inputs
            if array and weight and stored(weight):
                return Layer(array, weight, bias)
    return None
