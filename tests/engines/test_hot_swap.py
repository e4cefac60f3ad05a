"""A faster engine takes over when a run begins."""

from pathlib import Path

import numpy as np
import pytest

import overpaint
from overpaint import EngineError
from overpaint.bundles.graph import Range
from overpaint.bundles.manifest import Bundle
from overpaint.bundles.profile import Profile
from overpaint.engines.base import Engine
from overpaint.engines.fake import FakeEngine
from overpaint.engines.hot_swap import HotSwap

ONE_ROW = (
    Profile({"rows": Range(1, 1, 1), "height": Range(2, 8, 64), "width": Range(2, 8, 64), "tokens": Range(16, 16, 64)}),
)


@pytest.fixture
def slow(fake_folder: Path) -> FakeEngine:
    return FakeEngine("slow", Bundle.read(fake_folder).graph("unet"))


@pytest.fixture
def fast(fake_folder: Path) -> FakeEngine:
    engine = FakeEngine("fast", Bundle.read(fake_folder).graph("unet"))
    engine.label, engine.profiles = "fast", ONE_ROW
    return engine


def test_it_hands_over_between_runs(slow: FakeEngine, fast: FakeEngine) -> None:
    ready: list[Engine] = []
    relay = HotSwap(slow, lambda: ready[0] if ready else None)
    relay.begin_run()
    ready.append(fast)
    relay.begin_run()
    assert relay.label == "fake"  # a run goes on
    relay.end_run()
    relay.end_run()
    relay.begin_run()
    assert (relay.label, relay.profiles) == ("fast", ONE_ROW)


def test_what_cannot_be_opened_is_told_and_asked_for_once(slow: FakeEngine) -> None:
    asked = []

    def refuse() -> Engine:
        asked.append(1)
        raise EngineError("too large")

    relay = HotSwap(slow, refuse)
    for _ in range(2):
        relay.begin_run()
        relay.end_run()
    assert relay.label == "fake (no faster engine: too large)"
    assert len(asked) == 1


def test_rows_follow_the_engine(fake: overpaint.Pipeline, fast: FakeEngine) -> None:
    picture = np.zeros((32, 32, 3), np.uint8)
    wanted = fake(picture, "a", seed=1).images[0]
    ready: list[Engine] = []
    fake.denoiser.engine = HotSwap(fake.denoiser.engine, lambda: ready[0] if ready else None)
    calls: list[int] = []

    class Counted(FakeEngine):
        def __call__(self, feeds):  # type: ignore[no-untyped-def]
            calls.append(len(feeds["timestep"]))
            return super().__call__(feeds)

    counted = Counted("fast", fake.bundle.graph("unet"))
    counted.profiles = ONE_ROW
    ready.append(counted)
    assert np.array_equal(np.asarray(fake(picture, "a", seed=1).images[0]), np.asarray(wanted))
    assert set(calls) == {1}
