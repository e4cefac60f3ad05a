"""A faster engine takes over between two calls, or when nothing is in flight."""

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


def test_one_of_the_same_precision_takes_over_at_the_next_poll(slow: FakeEngine, fast: FakeEngine) -> None:
    ready: list[Engine] = []
    engine = HotSwap(slow, lambda: ready[0] if ready else None)
    engine.poll(idle=True)
    assert engine.label == "fake"
    ready.append(fast)
    engine.poll()
    assert (engine.label, engine.profiles) == ("fast", ONE_ROW)
    assert not engine.waits_for_idle


def test_one_of_another_precision_waits_until_nothing_is_in_flight(slow: FakeEngine, fast: FakeEngine) -> None:
    opened = []
    fast.precision = "float16"
    engine = HotSwap(slow, lambda: opened.append(1) or fast)  # type: ignore[func-returns-value]
    for _ in range(2):
        engine.poll()
        assert engine.label == "fake"
        assert engine.waits_for_idle
    engine.poll(idle=True)
    assert engine.label == "fast"
    assert not engine.waits_for_idle
    assert len(opened) == 1


def test_engines_are_closed_once_they_are_done_with(slow: FakeEngine, fast: FakeEngine) -> None:
    closed: list[str] = []
    for each in (slow, fast):
        each.close = lambda name=each.name: closed.append(name)  # type: ignore[method-assign]
    engine = HotSwap(slow, lambda: fast)
    engine.poll()
    assert closed == ["slow"]
    engine.close()
    assert closed == ["slow", "fast"]
    fast.precision = "float16"
    engine = HotSwap(slow, lambda: fast)
    engine.poll()
    engine.close()
    assert closed[2:] == ["fast", "slow"]


def test_what_cannot_be_opened_is_told_and_tried_once(slow: FakeEngine) -> None:
    tries = []

    def refuse() -> Engine:
        tries.append(1)
        raise EngineError("too large")

    engine = HotSwap(slow, refuse)
    for _ in range(2):
        engine.poll(idle=True)
    assert engine.label == "fake (no faster engine: too large)"
    assert len(tries) == 1


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
