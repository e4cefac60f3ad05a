"""Evaluates the rows that have LoRAs, on the denoiser's graph that takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from ...bundles.tensor import Array
from ...engines.base import Engine
from ..conditioning.low_rank import GATE, MATRIX, MOST_RANK, LowRank, LowRankInputs, total_rank
from .denoiser import Denoiser
from .rows import Row, Shape


class LoraDenoiser(Denoiser):
    """A denoiser whose graph takes LoRAs. Rows of any LoRAs share a call, as far as its rank goes."""

    def __init__(
        self, engine: Engine, max_rows: int, max_area: int, adapters: Mapping[str, tuple[str, ...]] | None = None
    ) -> None:
        super().__init__(engine, max_rows, max_area, adapters)
        self._low_rank = LowRankInputs(engine.device)

    def _together(self, members: list[int], rows: Sequence[Row]) -> int:
        count = 1
        while count < len(members) and _rank([rows[index] for index in members[: count + 1]]) <= MOST_RANK:
            count += 1
        return count

    def _feeds(self, rows: Sequence[Row], shapes: Mapping[str, Shape | None]) -> dict[str, Array]:
        own = self._low_rank([_low_rank(row) for row in rows])
        others = (spec for spec in self.engine.inputs if spec.name not in (MATRIX, GATE))
        return {**{spec.name: self._joined(spec, rows, shapes[spec.name]) for spec in others}, **own}


def _rank(rows: Sequence[Row]) -> int:
    return total_rank([_low_rank(row) for row in rows])


def _low_rank(row: Row) -> Sequence[LowRank]:
    return cast("Sequence[LowRank]", row.low_rank)
