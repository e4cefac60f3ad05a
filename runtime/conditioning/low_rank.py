"""LoRAs as inputs of a graph: matrices side by side, and how much each counts in each row."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from ...bundles.tensor import Array
from ...engines.arrays import namespace, to_device

MATRIX, GATE = "lora", "lora_gate"
"""A graph's inputs [rows of all layers, rank] and [rows, rank]."""
RANKS = (1, 8, 16, 32, 64, 128, 256, 512, 1024)
"""To which ranks matrices are padded, so that the shapes of calls come back."""
MOST_RANK = RANKS[-1]
# Calls of several LoRAs whose matrices are kept side by side.
_MOST_KEPT = 4


@dataclass(frozen=True, eq=False)
class RowLora:
    """A LoRA of a row, which counts `weight`; two of a `key` change a graph alike."""

    weight: float
    key: str


@dataclass(frozen=True, eq=False)
class LowRank(RowLora):
    """A LoRA as an input of a graph: `matrix` float32 [rows of all layers, rank]."""

    matrix: Array

    @property
    def rank(self) -> int:
        """The columns of its matrix."""
        return int(self.matrix.shape[1])


def padded_rank(rank: int) -> int:
    """The next of `RANKS`."""
    return next(each for each in RANKS if each >= rank)


def total_rank(rows: Sequence[Sequence[LowRank]]) -> int:
    """The rank of what rows have, each matrix counted once."""
    return sum({id(each.matrix): each.rank for row in rows for each in row}.values())


class LowRankInputs:
    """Makes the inputs of a call: the matrices of its rows' LoRAs side by side, each once, and the rows' gates."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._kept: OrderedDict[tuple[int, ...], tuple[list[Array], Array]] = OrderedDict()

    def __call__(self, rows: Sequence[Sequence[LowRank]]) -> dict[str, Array]:
        """`lora` and `lora_gate` for the LoRAs of each row, on the device; one at least has any."""
        matrices = list({id(each.matrix): each.matrix for row in rows for each in row}.values())
        rank = padded_rank(sum(matrix.shape[1] for matrix in matrices))
        starts, start = {}, 0
        for matrix in matrices:
            starts[id(matrix)] = slice(start, start + matrix.shape[1])
            start += matrix.shape[1]
        xp = namespace("cpu")
        gate = xp.zeros((len(rows), rank), "float32")
        for place, row in enumerate(rows):
            for each in row:
                gate[place, starts[id(each.matrix)]] += each.weight
        return {MATRIX: self._side_by_side(matrices, rank), GATE: to_device(gate, self._device)}

    def _side_by_side(self, matrices: list[Array], rank: int) -> Array:
        if len(matrices) == 1 and matrices[0].shape[1] == rank:
            return matrices[0]
        key = tuple(map(id, matrices))
        if key not in self._kept:
            xp = namespace(self._device)
            joined = xp.zeros((len(matrices[0]), rank), "float32")
            xp.concatenate(matrices, axis=1, out=joined[:, : sum(matrix.shape[1] for matrix in matrices)])
            # With the matrices themselves, so that their ids stay theirs.
            self._kept[key] = matrices, joined
            while len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key][1]
