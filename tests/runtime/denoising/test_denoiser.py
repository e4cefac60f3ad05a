"""How rows become calls: padded to the engine's buckets, never beyond what it is built for."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from overpaint.bundles.graph import Range
from overpaint.bundles.manifest import Bundle
from overpaint.bundles.profile import Profile
from overpaint.bundles.tensor import Array
from overpaint.engines.base import ROW_BUCKETS
from overpaint.engines.fake import FakeEngine
from overpaint.runtime.denoising.denoiser import Denoiser
from overpaint.runtime.denoising.rows import Row

SIDE = Range(2, 8, 64)


class Counted(FakeEngine):
    """Notes how many rows each call has."""

    row_buckets = ROW_BUCKETS

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Evaluate the outputs."""
        self.calls = [*getattr(self, "calls", []), len(feeds["timestep"])]
        return super().__call__(feeds)


def rows(count: int) -> list[Row]:
    rng = np.random.default_rng(0)
    shapes = {"sample": (4, 8, 8), "timestep": (1,), "encoder_hidden_states": (16, 8)}
    return [Row({name: rng.standard_normal(shape, np.float32) for name, shape in shapes.items()}) for _ in range(count)]


@pytest.mark.parametrize(
    ("count", "most_rows", "area", "built", "calls"),
    [
        (3, 16, 2**20, None, [4]),
        (5, 16, 2**20, None, [8]),
        (5, 6, 2**20, None, [6]),
        (5, 16, 6 * 64, None, [6]),
        (5, 16, 2**20, 6, [6]),
        (9, 16, 2**20, 6, [6, 4]),
        (2, 16, 2**20, None, [2]),
    ],
)
def test_calls_are_padded_within_all_limits(
    fake_folder: Path, count: int, most_rows: int, area: int, built: int | None, calls: list[int]
) -> None:
    graph = Bundle.read(fake_folder).by_role("denoiser")
    engine, plain = Counted("denoiser", graph), FakeEngine("denoiser", graph)
    if built:
        axes = {"rows": Range(1, 2, built), "height": SIDE, "width": SIDE, "tokens": Range(16, 16, 64)}
        engine.profiles = (Profile(axes),)
    outputs = Denoiser(engine, most_rows, area)(rows(count))
    wanted = Denoiser(plain, 16, 2**20)(rows(count))
    assert engine.calls == calls
    assert len(outputs) == count
    for one, other in zip(outputs, wanted, strict=True):
        assert np.array_equal(one["model_output"], other["model_output"])
