"""What an engine that brings no more than it must can do, and what one around another passes on."""

from collections.abc import Mapping

from overpaint.bundles.tensor import Array, TensorSpec
from overpaint.engines.base import BaseEngine, Engine
from overpaint.engines.wrapper import Wrapper


class Least(BaseEngine):
    """The six members that every backend needs."""

    label = "least"
    inputs = outputs = (TensorSpec("x", "float32", ("rows",)),)

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Give back what came."""
        return dict(feeds)

    def close(self) -> None:
        """Nothing is held."""


def test_capabilities_default_to_none() -> None:
    engine: Engine = Least()
    assert (engine.device, engine.precision) == ("cpu", "")
    assert (tuple(engine.profiles), engine.row_buckets) == ((), ())
    assert engine.capture_state is None
    assert not engine.waits_for_idle
    engine.poll()
    engine.poll(idle=True)


def test_a_wrapper_passes_all_on() -> None:
    polled = []

    class Polled(Least):
        precision, row_buckets, waits_for_idle = "float16", (1, 2), True

        def poll(self, idle: bool = False) -> None:
            """Note the call."""
            polled.append(idle)

    engine: Engine = Wrapper(Polled())
    assert (engine.label, engine.precision, engine.row_buckets, engine.waits_for_idle) == (
        "least",
        "float16",
        (1, 2),
        True,
    )
    engine.poll()
    engine.poll(idle=True)
    assert polled == [False, True]
