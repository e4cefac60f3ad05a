"""Attention whose heads are filled up to whole tiles of AMX, where OpenVINO is faster so."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from .library import core, library, operators

# Intel's AMX multiplies tiles of 32 elements of 16 bits. Heads of 40, as Stable Diffusion 1 has them, leave OpenVINO
# 2026.4 a rest of 8 that takes it longer than a second tile would. Zeros at the end of queries and keys change no
# product of the two; with fewer keys than these filling up takes as long as it saves.
TILE = 32
LEAST_KEYS = 1024
# Part of the key of what is kept: another way to fill up heads has to raise it.
HEADS = 1


def fill_heads(model: Any, device: str, precision: str) -> None:
    """Fill up heads of known lengths where that is faster; `precision` is OpenVINO's name of it."""
    attentions = [node for node in model.get_ops() if node.get_type_name() == "ScaledDotProductAttention"]
    attentions = list(filter(_gains, attentions))
    if attentions and _has_tiles(device, precision):
        for node in attentions:
            _fill(node)


@cache
def _has_tiles(device: str, precision: str) -> bool:
    """Whether OpenVINO multiplies matrices in tiles there: it is asked which kernel it takes for two of them."""
    left, right = (operators.parameter([2 * TILE, 2 * TILE], np.float32) for _ in range(2))
    product = library.Model([operators.matmul(left, right, False, False)], [left, right])
    compiled = core().compile_model(product, device, {"INFERENCE_PRECISION_HINT": precision})
    kernels = (node.get_rt_info() for node in compiled.get_runtime_model().get_ops())
    return any("amx" in info["primitiveType"].astype(str) for info in kernels if "primitiveType" in info)


def _gains(attention: Any) -> bool:
    queries, keys = attention.input_values()[:2]
    if not (queries.get_partial_shape().is_static and keys.get_partial_shape().is_static):
        return False
    # Queries in int8 come out of a multiplication by their scale; there filling up changes no time.
    quantized = queries.get_node().get_type_name() == "Multiply"
    width, count = queries.get_shape()[-1], keys.get_shape()[-2]
    return not quantized and width > TILE and width % TILE > 0 and count >= LEAST_KEYS


def _fill(attention: Any) -> None:
    queries, keys, values, *optional = attention.input_values()
    # Left out, the scale would follow from the new width.
    usual = (0, queries.get_shape()[-1] ** -0.5)
    mask, scale = optional + [operators.constant(value, queries.get_element_type()) for value in usual[len(optional) :]]
    filled = operators.scaled_dot_product_attention(
        _filled(queries), _filled(keys), values, mask, scale, causal=attention.get_attributes()["causal"]
    )
    filled.set_friendly_name(attention.get_friendly_name())
    attention.output(0).replace(filled.output(0))


def _filled(heads: Any) -> Any:
    shape = heads.get_shape()
    after = [0] * (len(shape) - 1) + [-shape[-1] % TILE]
    return operators.pad(heads, [0] * len(shape), after, "constant", operators.constant(0, heads.get_element_type()))
