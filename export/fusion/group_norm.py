"""Group norms as operators of their own: ONNX Runtime has one on a GPU, for arrays with their channels last."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnxscript import ir
from onnxscript.rewriter import RewriteRule, RewriteRuleSet

from ..shapes import CHANNELS_LAST, CHANNELS_SECOND, TURNED
from .nodes import stored

DOMAIN = "com.microsoft"


def count_norms(graph: ir.Graph) -> int:
    """The number of group norms of pictures that a GPU's operator has: with an even number of channels a group."""
    return sum(map(is_group_norm, graph))


def fuse_norms(model: ir.Model) -> int:
    """Make group norms operators on channels-last arrays, with the SiLU after them; returns their number.

    ONNX Runtime takes out the transposes between them and its convolutions, which are channels-last on a GPU.
    """
    rules = (
        RewriteRule(_norm_and_silu, partial(_channels_last, 1), _plain),
        RewriteRule(_norm, partial(_channels_last, 0), _plain),
    )
    return sum(RewriteRuleSet([rule]).apply_to_model(model) for rule in rules)


def is_group_norm(node: ir.Node) -> bool:
    """Whether a node is the instance norm of a group norm that `fuse_norms` takes: of an array [rows, channels, height,
    width], or with both in one."""
    if node.op_type != "InstanceNormalization":
        return False
    parted = node.inputs[0].producer() if node.inputs[0] else None
    picture = parted.inputs[0] if parted and parted.op_type == "Reshape" else None
    if picture is None or picture.shape is None or len(picture.shape) not in (3, 4):
        return False
    channels, groups = picture.shape[1], _groups(node)
    return isinstance(channels, int) and channels % (2 * groups) == 0


def _groups(node: ir.Node) -> int:
    scale = node.inputs[1]
    assert scale is not None
    assert scale.shape is not None
    return math.prod(int(length) for length in scale.shape)


def _norm(op: Any, x: Any, parts: Any, ones: Any, zeros: Any, shape: Any, weight: Any, bias: Any) -> Any:
    normal = op.InstanceNormalization(op.Reshape(x, parts), ones, zeros, _outputs=["normal"])
    return op.Add(op.Mul(op.Reshape(normal, shape), weight), bias)


def _norm_and_silu(op: Any, x: Any, parts: Any, ones: Any, zeros: Any, shape: Any, weight: Any, bias: Any) -> Any:
    normed = _norm(op, x, parts, ones, zeros, shape, weight, bias)
    return op.Mul(normed, op.Sigmoid(normed))


def _plain(_context: Any, normal: ir.Value, weight: ir.Value, bias: ir.Value, **_: Any) -> bool:
    node = normal.producer()
    known = _constant(weight) is not None and _constant(bias) is not None
    return known and node is not None and is_group_norm(node)


def _constant(value: ir.Value) -> NDArray[np.float32] | None:
    """A weight's numbers, also where it is cast in the graph."""
    weight = stored(value)
    return weight.const_value.numpy().astype(np.float32) if weight and weight.const_value else None


def _channels_last(activation: int, op: Any, x: Any, weight: Any, bias: Any, normal: ir.Value, **_: Any) -> Any:
    node = normal.producer()
    assert node is not None
    scale, offset = (
        op.initializer(ir.tensor(np.ravel(numbers)), name=f"{normal.name}.{kind}")
        for value, kind in ((weight, "scale"), (bias, "offset"))
        if (numbers := _constant(value)) is not None
    )
    epsilon = node.attributes.get("epsilon")
    settings = {
        "activation": activation,
        "epsilon": epsilon.as_float() if epsilon else 1e-5,
        "groups": _groups(node),
        "_domain": DOMAIN,
    }
    if len(x.shape) == 3:
        column, flat = (
            op.initializer(ir.tensor(np.array(lengths, np.int64)), name=f"{normal.name}.{kind}")
            for kind, lengths in (("column", (0, -1, 1, x.shape[1])), ("flat", (0, -1, x.shape[1])))
        )
        normed = op.GroupNorm(op.Reshape(op.Transpose(x, perm=TURNED), column), scale, offset, **settings)
        return op.Transpose(op.Reshape(normed, flat), perm=TURNED)
    normed = op.GroupNorm(op.Transpose(x, perm=CHANNELS_LAST), scale, offset, **settings)
    normed.shape, normed.dtype = ir.Shape([x.shape[axis] for axis in CHANNELS_LAST]), x.dtype
    return op.Transpose(normed, perm=CHANNELS_SECOND)
