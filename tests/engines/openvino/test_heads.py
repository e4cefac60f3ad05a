"""Heads filled up to whole tiles: where, and that nothing else comes of it."""

from typing import Any

import numpy as np
import openvino
import pytest
from openvino import opset13

from overpaint.engines.openvino import heads
from overpaint.engines.openvino.heads import LEAST_KEYS, fill_heads

CORE = openvino.Core()
HAS_TILES = heads._has_tiles


@pytest.fixture(autouse=True)
def tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor with matrix tiles, whichever this is."""
    monkeypatch.setattr(heads, "_has_tiles", lambda *_: True)


def attention(
    width: int = 40,
    keys: int = LEAST_KEYS,
    scale: float | None = None,
    causal: bool = False,
    quantized: bool = False,
    dtype: type = np.float32,
) -> Any:
    """Attention of 4 queries in 2 heads."""
    inputs = [opset13.parameter([1, 2, count, width], dtype) for count in (4, keys, keys)]
    queries, *others = inputs
    if quantized:
        queries = opset13.multiply(queries, np.float32(0.5))
    more = [] if scale is None else [opset13.constant(dtype(0)), opset13.constant(dtype(scale))]
    return openvino.Model([opset13.scaled_dot_product_attention(queries, *others, *more, causal=causal)], inputs)


def run(model: Any) -> np.ndarray:
    generator = np.random.default_rng(0)
    feeds = [generator.standard_normal(port.shape).astype(port.element_type.to_dtype()) for port in model.inputs]
    compiled = CORE.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.array(compiled(feeds)[0])


def widths(model: Any) -> list[int]:
    """Of the heads of queries, keys and values."""
    (node,) = (node for node in model.get_ops() if node.get_type_name() == "ScaledDotProductAttention")
    return [value.get_partial_shape()[-1].get_length() for value in node.input_values()[:3]]


@pytest.mark.parametrize(
    "settings", [{}, {"scale": 0.3}, {"causal": True}, {"width": 80}, {"dtype": np.float16}], ids=str
)
def test_it_computes_the_same(settings: dict[str, Any]) -> None:
    model = attention(**settings)
    wanted = run(model)
    fill_heads(model, "CPU", "bf16")
    width = settings.get("width", 40)
    assert widths(model) == [width // 32 * 32 + 32] * 2 + [width]
    assert np.abs(run(model) - wanted).max() < 1e-5


@pytest.mark.parametrize(
    "settings", [{"width": 64}, {"width": 20}, {"keys": LEAST_KEYS - 1}, {"quantized": True}, {"keys": -1}], ids=str
)
def test_it_stays_where_nothing_is_gained(settings: dict[str, Any]) -> None:
    model = attention(**settings)
    before = widths(model)
    fill_heads(model, "CPU", "bf16")
    assert widths(model) == before


def test_it_stays_without_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "_has_tiles", lambda *_: False)
    model = attention()
    fill_heads(model, "CPU", "bf16")
    assert widths(model) == [40, 40, 40]


def test_float32_has_no_tiles() -> None:
    assert not HAS_TILES("CPU", "f32")
