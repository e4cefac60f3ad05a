"""Attention on a processor with matrix tiles: heads are filled up with zeros to whole tiles.

Intel's AMX multiplies tiles of 32 elements of 16 bits. Heads of 40, as Stable Diffusion 1 has them, leave OpenVINO
2026.4 a rest of 8 that takes it longer than a second tile would. Zeros at the end of queries and keys change no product
of the two.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import openvino
from openvino import opset13

# Part of the key of what is kept: what is changed here has to raise it.
REVISION = 1
TILE = 32
# With fewer keys filling up takes as long as it saves.
LEAST_KEYS = 1024


def fill_heads(model: Any, core: Any, device: str, precision: str) -> None:
    """Fill up the heads of a model with static shapes where that is faster; `precision` is OpenVINO's name of it."""
    found = [node for node in model.get_ops() if node.get_type_name() == "ScaledDotProductAttention" and _gains(node)]
    if found and _has_tiles(core, device, precision):
        for node in found:
            _fill(node)


@cache
def _has_tiles(core: Any, device: str, precision: str) -> bool:
    """Whether OpenVINO multiplies matrices in tiles there: it is asked which kernel it takes for two of them."""
    left, right = (opset13.parameter([2 * TILE, 2 * TILE], np.float32) for _ in range(2))
    product = openvino.Model([opset13.matmul(left, right, False, False)], [left, right])
    compiled = core.compile_model(product, device, {"INFERENCE_PRECISION_HINT": precision})
    kernels = (node.get_rt_info() for node in compiled.get_runtime_model().get_ops())
    return any("amx" in info["primitiveType"].astype(str) for info in kernels if "primitiveType" in info)


def _gains(attention: Any) -> bool:
    queries, keys = attention.input_values()[:2]
    # Queries in int8 come out of a multiplication by their scale; their products have no rest to gain by.
    quantized = queries.get_node().get_type_name() == "Multiply"
    width, count = queries.get_shape()[-1], keys.get_shape()[-2]
    return not quantized and width > TILE and width % TILE > 0 and count >= LEAST_KEYS


def _fill(attention: Any) -> None:
    queries, keys, values, *given = attention.input_values()
    # Left out, the scale would follow from the new width.
    usual = (0, queries.get_shape()[-1] ** -0.5)
    mask, scale = given + [opset13.constant(np.float32(value)) for value in usual[len(given) :]]
    filled = opset13.scaled_dot_product_attention(
        _filled(queries), _filled(keys), values, mask, scale, causal=attention.get_attributes()["causal"]
    )
    filled.set_friendly_name(attention.get_friendly_name())
    attention.output(0).replace(filled.output(0))


def _filled(heads: Any) -> Any:
    shape = heads.get_shape()
    after = [0] * (len(shape) - 1) + [-shape[-1] % TILE]
    return opset13.pad(heads, [0] * len(shape), after, "constant", np.float32(0))
