"""Engines around the fake one that count, spoil, refuse or wait."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from overpaint.bundles.tensor import Array
from overpaint.engines.base import Engine
from overpaint.engines.wrapper import Wrapper

Feeds = Mapping[str, Array]


class Counting(Wrapper):
    """Keeps the number of rows of every call, and calls `before` with the feeds of each."""

    def __init__(self, engine: Engine, before: Callable[[Feeds], None] = lambda feeds: None) -> None:
        super().__init__(engine)
        self.rows: list[int] = []
        self.before = before

    def __call__(self, feeds: Feeds) -> dict[str, Array]:
        self.rows.append(len(next(iter(feeds.values()))))
        self.before(feeds)
        return super().__call__(feeds)


def until(ready: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for what another thread does."""
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.0005)


class Spoiling(Wrapper):
    """Makes NaN of every row of which `spoilt` is true."""

    def __init__(self, engine: Engine, spoilt: Callable[[Mapping[str, Any]], bool]) -> None:
        super().__init__(engine)
        self.spoilt = spoilt

    def __call__(self, feeds: Feeds) -> dict[str, Array]:
        outputs = super().__call__(feeds)
        for index in range(len(next(iter(feeds.values())))):
            if self.spoilt({name: array[index] for name, array in feeds.items()}):
                for array in outputs.values():
                    array[index] = np.nan
        return outputs


def has_rows_of(text: Array) -> Callable[[Mapping[str, Any]], bool]:
    """Whether a row of the denoiser is of that prompt's hidden states."""
    return lambda row: np.array_equal(row["encoder_hidden_states"], text)
