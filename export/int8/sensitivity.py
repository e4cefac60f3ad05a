"""Which blocks of a graph to keep out of int8, by measurement: those with the most error for their arithmetic."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ...bundles.tensor import Array
from ...engines.compare import relative_error
from ...errors import ExportError
from ..verify import open_session
from .graph import FLOAT, Feeds, Layer, Quantised

Report = Callable[[str], None]


@dataclass(frozen=True)
class Block:
    """Some layers' effect: the graph's relative error with only them in int8, and their share of the arithmetic."""

    name: str
    layers: tuple[Layer, ...]
    error: float
    share: float

    @property
    def modules(self) -> int:
        """How many modules the layers are of."""
        return len({layer.module for layer in self.layers})

    def __str__(self) -> str:
        return f"{self.name} (error {self.error:.2g}, {self.share:.1%} of the arithmetic)"


@dataclass(frozen=True)
class Choice:
    """What stays in float and which layers are in int8; the graph's relative error so, and with every layer in int8."""

    kept_out: tuple[Block, ...]
    int8: tuple[Layer, ...]
    error: float
    full_error: float

    @property
    def share(self) -> float:
        """The part of the arithmetic that is in int8."""
        return 1 - sum(block.share for block in self.kept_out)


def choose(graph: Quantised, feeds: Sequence[Feeds], limit: float, report: Report = lambda stage: None) -> Choice:
    """Keep layers out of int8 until the graph's relative error over `feeds` is at most `limit`.

    Every block is measured by itself once, and of those that would have to go, every module. Such errors are
    independent, so that their squares add up: the sum tells how many to keep out, and the graph that comes of it is
    measured. Raises `ExportError` where no layer may be in int8.
    """
    meter = _Meter(graph, feeds, report)
    full = meter.error(graph.layers)
    report(f"relative error {full:.2g} with everything in int8")
    if full <= limit:
        return Choice((), tuple(graph.layers), full, full)
    ranked = _ranked(meter.measure(graph.layers, lambda layer: layer.block))
    while coarse := [block for block in ranked[: _enough(ranked, limit, full)] if block.modules > 1]:
        finer = [part for block in coarse for part in meter.measure(block.layers, lambda layer: layer.module)]
        ranked = _ranked([*finer, *(block for block in ranked if block not in coarse)])
    for out in range(_enough(ranked, limit, full), len(ranked)):
        int8 = tuple(layer for block in ranked[out:] for layer in block.layers)
        error = meter.error(int8)
        report(f"relative error {error:.2g} with {len(graph.layers) - len(int8)} layers kept out of int8")
        if error <= limit:
            return Choice(tuple(ranked[:out]), int8, error, full)
    raise ExportError(
        f"{graph.name}: no layer can be in int8 within a relative error of {limit:g}; allow more with --limit, or name "
        "the other graphs with --graph"
    )


class _Meter:
    """Measures errors of a graph against its float32 form on the same feeds."""

    def __init__(self, graph: Quantised, feeds: Sequence[Feeds], report: Report) -> None:
        self._graph = graph
        self._feeds = feeds
        self._report = report
        self._expected = outputs(graph.folder / FLOAT, feeds)

    @cached_property
    def _work(self) -> dict[Layer, int]:
        """Asked for only where something has to be kept out: it runs the graph with every layer's output held."""
        return _work(self._graph, self._feeds[0])

    def error(self, int8: Sequence[Layer]) -> float:
        """The graph's relative error with some layers in int8."""
        return pooled_error(outputs(self._graph.write(int8), self._feeds), self._expected)

    def measure(self, layers: Sequence[Layer], name: Callable[[Layer], str]) -> list[Block]:
        """The effect of every group of layers of the same name."""
        groups: dict[str, list[Layer]] = defaultdict(list)
        for layer in layers:
            groups[name(layer)].append(layer)
        return [self._block(name, tuple(group)) for name, group in groups.items()]

    def _block(self, name: str, layers: tuple[Layer, ...]) -> Block:
        share = sum(self._work[layer] for layer in layers) / sum(self._work.values())
        block = Block(name, layers, self.error(layers), share)
        self._report(str(block))
        return block


def pooled_error(outputs: Sequence[Array], expected: Sequence[Array]) -> float:
    """The `relative_error` of all arrays as one."""
    return relative_error(np.concatenate(outputs), np.concatenate(expected))


def outputs(path: Path, feeds: Sequence[Feeds]) -> list[Array]:
    """What the graph at `path` gives for each of `feeds`, all its outputs as one flat array."""
    session = open_session(path, path.name)
    return [np.concatenate([array.ravel() for array in session.run(None, dict(one))]) for one in feeds]


def _ranked(blocks: Sequence[Block]) -> list[Block]:
    """The most error for the least arithmetic first: what int8 costs there, it does not pay back."""
    return sorted(blocks, key=lambda block: block.error**2 / block.share, reverse=True)


def _enough(ranked: Sequence[Block], limit: float, full: float) -> int:
    """How many blocks, from the first, to keep out by the sum of squares, scaled to what all of them come to."""
    squares = np.array([block.error**2 for block in ranked])
    left = 1 - np.cumsum([0, *squares]) / squares.sum()
    return int(np.argmax(left * full**2 <= limit**2))


def _work(graph: Quantised, feeds: Feeds) -> dict[Layer, int]:
    """How many multiplications each layer makes."""
    names = [name for layer in graph.layers for name in (layer.output, layer.keys) if name]
    arrays = open_session(graph.probed(), graph.name).run(names, dict(feeds))
    by_name = dict(zip(names, arrays, strict=True))
    return {
        layer: by_name[layer.output].size * (by_name[layer.keys].shape[-2] if layer.keys else layer.products)
        for layer in graph.layers
    }
