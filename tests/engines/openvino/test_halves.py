"""Constants in half precision are not widened in memory."""

from typing import Any

import numpy as np
import pytest

pytest.importorskip("openvino")

from overpaint.engines.openvino.compiler import keep_halves
from overpaint.engines.openvino.library import core, library, operators

WEIGHTS = np.random.default_rng(0).standard_normal((256, 256)).astype(np.float16)
STATES = np.random.default_rng(1).standard_normal((4, 256)).astype(np.float32)


def model() -> Any:
    """States times weights of half precision, with a table of whole numbers beside them."""
    states = operators.parameter([4, 256], np.float32)
    widened = operators.convert(operators.constant(WEIGHTS), np.float32)
    index = operators.convert(operators.constant(np.arange(256, dtype=np.int64)), np.int32)
    product = operators.gather(operators.matmul(states, widened, False, False), index, operators.constant(1))
    return library.Model([product], [states])


def test_they_are_kept_and_give_the_same() -> None:
    made = []
    for keep in (False, True):
        read = model()
        if keep:
            keep_halves(read)
        compiled = core().compile_model(read, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        made.append((next(iter(compiled(STATES).values())), len(compiled.export_model().getbuffer())))
    (wide, large), (kept, small) = made
    np.testing.assert_allclose(kept, wide, rtol=1e-5, atol=1e-4)
    assert small < large - WEIGHTS.nbytes / 2
