"""Gated linear units: on a GPU, ONNX Runtime adds a bias, parts the array and multiplies by GELU in one pass."""

from __future__ import annotations

from typing import Any

from onnxscript import ir
from onnxscript.rewriter import RewriteRule, RewriteRuleSet

from .norms import DOMAIN

# Of the array with both halves: the operator has kernels for these alone, those of Stable Diffusion 1, 2 and XL.
WIDTHS = 2560, 5120, 10240


def count_gates(graph: ir.Graph) -> int:
    """The number of halves that GELU opens for the other half, of the widths that the operator has."""
    return sum(map(_is_gate, graph))


def fuse_gates(model: ir.Model) -> int:
    """Make a bias, the parting, GELU and the product one operator (GEGLU: Shazeer, arXiv:2002.05202, equation 6);
    gives their number."""
    fused: int = RewriteRuleSet([RewriteRule(_gated, _at_once, _fits)]).apply_to_model(model)
    return fused


def _is_gate(node: ir.Node) -> bool:
    """Whether a node is the exact GELU of the second of two halves."""
    half = node.inputs[0] if node.op_type == "Gelu" and not node.domain else None
    parted = half.producer() if half else None
    if half is None or parted is None or parted.op_type != "Split" or len(parted.outputs) != 2:
        return False
    shape = parted.inputs[0].shape if parted.inputs[0] else None
    exact = node.attributes.get_string("approximate", "none") == "none"
    return exact and half is parted.outputs[1] and shape is not None and len(shape) == 3 and shape[2] in WIDTHS


def _gated(op: Any, x: Any, bias: Any) -> Any:
    kept, opened = op.Split(op.Add(x, bias), _outputs=2)
    return op.Mul(kept, op.Gelu(opened, _outputs=["gate"]))


def _fits(_context: Any, bias: ir.Value, gate: ir.Value, **_: Any) -> bool:
    node = gate.producer()
    return node is not None and _is_gate(node) and len(bias.shape or ()) == 1


def _at_once(op: Any, x: Any, bias: Any, **_: Any) -> Any:
    return op.BiasSplitGelu(x, bias, _domain=DOMAIN)
