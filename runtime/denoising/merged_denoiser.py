"""Evaluates the rows that have LoRAs on engines that these are merged into."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from ...engines.base import Engine
from ..conditioning.lora.engines import MergedEngines, selection
from .denoiser import Denoiser
from .rows import Outputs, Row


class MergedDenoiser(Denoiser):
    """A denoiser that has an engine for each selection of LoRAs; only rows of the same ones share a call.

    `engine` is the one without LoRAs, whose signature theirs is.
    """

    def __init__(
        self,
        engine: Engine,
        merged: MergedEngines,
        max_rows: int,
        max_area: int,
        adapters: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        super().__init__(engine, max_rows, max_area, adapters)
        self._merged = merged

    def stream(self, rows: Sequence[Row]) -> Iterator[tuple[int, Outputs | Exception]]:
        """Every row's index, and its outputs as soon as its call is done; an engine that cannot be opened is the error
        of its rows."""
        alike = defaultdict(list)
        for place, row in enumerate(rows):
            alike[selection(row.low_rank)].append(place)
        for places in alike.values():
            try:
                self.engine = self._merged.of(rows[places[0]].low_rank)
            except Exception as exc:  # noqa: BLE001 - whatever opening it raises is its rows' own
                yield from ((place, exc) for place in places)
                continue
            for number, outputs in self._stream([rows[place] for place in places]):
                yield places[number], outputs
