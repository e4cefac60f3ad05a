"""Gated linear units: on a GPU, ONNX Runtime adds a bias, parts the array and multiplies by GELU in one pass."""

from __future__ import annotations

from typing import Any

from onnxscript import ir
from onnxscript.rewriter import RewriteRule, RewriteRuleSet

from .norms import DOMAIN

# Of each half: the operator has kernels for these alone, those of Stable Diffusion 1, 2 and XL.
WIDTHS = 1280, 2560, 5120


def count_gates(graph: ir.Graph) -> int:
    """The number of products with a GELU of another product, of the widths that the operator has, as int8 has none."""
    return sum(map(_is_gate, graph))


def fuse_gates(model: ir.Model) -> int:
    """Make one product of the two, and one operator of what follows (GEGLU: Shazeer, arXiv:2002.05202, equation 6);
    gives their number.

    ONNX Runtime joins the weights when it opens the graph.
    """
    fused: int = RewriteRuleSet([RewriteRule(_apart, _at_once, _fits)]).apply_to_model(model)
    return fused


def _is_gate(node: ir.Node) -> bool:
    """Whether a node is the exact GELU of a product with a bias."""
    total = node.inputs[0] if node.op_type == "Gelu" and not node.domain else None
    layer = total.producer() if total else None
    if total is None or layer is None or layer.op_type != "Add" or total.shape is None or len(total.shape) != 3:
        return False
    products = [value.producer() for value in layer.inputs if value]
    weights = [product.inputs[1] for product in products if product and product.op_type == "MatMul"]
    exact = node.attributes.get_string("approximate", "none") == "none"
    return exact and total.shape[2] in WIDTHS and any(map(is_weight, weights))


def is_weight(value: ir.Value | None) -> bool:
    """Whether a value is stored, as it is or but for a cast."""
    maker = value.producer() if value else None
    stored = maker.inputs[0] if maker and maker.op_type == "Cast" else value
    return stored is not None and stored.const_value is not None


def _apart(op: Any, x: Any, weight: Any, bias: Any, gate_weight: Any, gate_bias: Any) -> Any:
    opened = op.Gelu(op.Add(op.MatMul(x, gate_weight), gate_bias), _outputs=["opened"])
    return op.Mul(op.Add(op.MatMul(x, weight), bias), opened)


def _fits(_context: Any, weight: ir.Value, opened: ir.Value, **_: Any) -> bool:
    node = opened.producer()
    return node is not None and _is_gate(node) and is_weight(weight)


def _at_once(op: Any, x: Any, weight: Any, bias: Any, gate_weight: Any, gate_bias: Any, **_: Any) -> Any:
    weights, biases = op.Concat(weight, gate_weight, axis=1), op.Concat(bias, gate_bias, axis=0)
    return op.BiasSplitGelu(op.MatMul(x, weights), biases, _domain=DOMAIN)
