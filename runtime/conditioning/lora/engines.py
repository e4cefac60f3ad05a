"""What runs a graph with LoRAs: by its inputs, or merged into its weights."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import cast

from ....bundles.graph import Graph
from ....bundles.tensor import Array
from ....engines.base import Engine
from ..low_rank import LowRank, LowRankInputs, RowLora
from .merge import MergedLora, merged_weights

Weights = Callable[[], Mapping[str, Array]]
# Engines of one graph that are kept: of a large one each holds gigabytes.
LARGE = 512 * 2**20
MOST_LARGE, MOST_SMALL = 2, 8
_ROWS = "input_ids"


class LoraInputs:
    """Runs a text encoder's graph that takes LoRAs as inputs."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._inputs = LowRankInputs(engine.device)

    def __call__(self, feeds: Mapping[str, Array], loras: Sequence[RowLora]) -> dict[str, Array]:
        """The graph's outputs with LoRAs in all rows; raises `EngineError`."""
        own = cast("Sequence[LowRank]", loras)
        return self._engine({**feeds, **self._inputs([own] * len(feeds[_ROWS]))})


class MergedEngines:
    """Runs a graph with LoRAs merged into its weights: an engine for each selection of them, those used last kept.

    `open` gives the engine of the graph with weights in place of its own. Which selection it is follows from the
    hashes of the files, the block weights and how much each counts.
    """

    def __init__(self, graph: Graph, folder: Path, open: Callable[[Weights], Engine]) -> None:
        self._graph = graph
        self._folder = folder
        self._open = open
        self._most = MOST_LARGE if graph.size >= LARGE else MOST_SMALL
        self._kept: OrderedDict[tuple[tuple[str, float], ...], Engine] = OrderedDict()

    @property
    def opened(self) -> Sequence[Engine]:
        """The engines that are kept, the one used last at the end."""
        return tuple(self._kept.values())

    def of(self, loras: Sequence[RowLora]) -> Engine:
        """The engine with these LoRAs; raises as opening it does."""
        key = selection(loras)
        if key not in self._kept:
            while len(self._kept) >= self._most:  # before its memory is needed
                self._kept.popitem(last=False)[1].close()
            own = cast("Sequence[MergedLora]", loras)
            self._kept[key] = self._open(partial(merged_weights, self._folder, self._graph.stored, own))
        self._kept.move_to_end(key)
        return self._kept[key]

    def __call__(self, feeds: Mapping[str, Array], loras: Sequence[RowLora]) -> dict[str, Array]:
        """The graph's outputs with LoRAs in all rows; raises `EngineError`."""
        return self.of(loras)(feeds)


def selection(loras: Sequence[RowLora]) -> tuple[tuple[str, float], ...]:
    """What distinguishes the LoRAs of two rows, whatever their order."""
    return tuple(sorted((each.key, each.weight) for each in loras))
