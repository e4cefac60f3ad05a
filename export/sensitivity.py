"""Which blocks of a graph to keep out of int8, by measurement: those with the most error for their arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..engines.base import Array, ExportError
from .int8 import FLOAT, Feeds, Quantised
from .verify import open_session, relative_error


@dataclass(frozen=True)
class Block:
    """A block's effect: the graph's relative error with only this block in int8, and its share of the arithmetic."""

    name: str
    error: float
    share: float

    def __str__(self) -> str:
        return f"{self.name} (error {self.error:.2g}, {self.share:.1%} of the arithmetic)"


@dataclass(frozen=True)
class Choice:
    """What stays in float, the relative error of the graph without it, and with every block in int8."""

    kept_out: tuple[Block, ...]
    blocks: tuple[Block, ...]
    error: float
    full_error: float

    @property
    def int8(self) -> list[str]:
        """The names of the blocks in int8."""
        out = {block.name for block in self.kept_out}
        return [block.name for block in self.blocks if block.name not in out]

    @property
    def share(self) -> float:
        """The part of the arithmetic that is in int8."""
        return 1 - sum(block.share for block in self.kept_out)


def choose(
    graph: Quantised, feeds: Sequence[Feeds], limit: float, report: Callable[[str], None] = lambda stage: None
) -> Choice:
    """Keep blocks out of int8 until the graph's relative error over `feeds` is at most `limit`.

    Every block is measured by itself once. Errors of blocks are independent, so that their squares add up: the sum
    tells how many to keep out, and the graph that comes of it is measured. Raises `ExportError` where no block may be
    in int8.
    """
    expected = outputs(graph.folder / FLOAT, feeds)
    shares = _shares(graph, feeds[0])

    def error(int8: Sequence[str]) -> float:
        return pooled_error(outputs(graph.write(int8), feeds), expected)

    blocks = []
    for index, name in enumerate(graph.blocks):
        blocks.append(Block(name, error([name]), shares[name]))
        report(f"unet: measured block {index + 1} of {len(shares)}, {blocks[-1]}")
    full = error(graph.blocks)
    ranked = sorted(blocks, key=lambda block: block.error**2 / block.share, reverse=True)
    out = _enough(ranked, limit, full)
    while out < len(ranked):
        choice = Choice(tuple(ranked[:out]), tuple(blocks), error([block.name for block in ranked[out:]]), full)
        report(f"unet: relative error {choice.error:.2g} with {out} of {len(ranked)} blocks kept out of int8")
        if choice.error <= limit:
            return choice
        out += 1
    raise ExportError(f"unet: no block can be in int8 within a relative error of {limit:g}; allow more with --limit")


def pooled_error(outputs: Sequence[Array], expected: Sequence[Array]) -> float:
    """The `relative_error` of all arrays as one."""
    flat = [np.concatenate([array.ravel() for array in arrays]) for arrays in (outputs, expected)]
    return relative_error(flat[0], flat[1])


def _enough(ranked: Sequence[Block], limit: float, full: float) -> int:
    """How many blocks, from the first, to keep out by the sum of squares; scaled, as all together may differ from it."""
    squares = np.array([block.error**2 for block in ranked])
    left = (squares.sum() - np.cumsum([0, *squares])) * full**2 / squares.sum()
    return int(np.argmax(left <= limit**2)) if (left <= limit**2).any() else len(ranked)


def _shares(graph: Quantised, feeds: Feeds) -> Mapping[str, float]:
    """The part of all layers' multiplications that each block makes."""
    names = [layer.output for layer in graph.layers]
    sizes = [array.size for array in open_session(graph.probed(), "unet").run(names, dict(feeds))]
    work: dict[str, float] = dict.fromkeys(graph.blocks, 0.0)
    for layer, size in zip(graph.layers, sizes, strict=True):
        work[layer.block] += size * layer.products
    return {name: amount / sum(work.values()) for name, amount in work.items()}


def outputs(path: Path, feeds: Sequence[Feeds]) -> list[Array]:
    """What the graph at `path` gives for each of `feeds`."""
    session = open_session(path, "unet")
    return [session.run(["model_output"], dict(one))[0] for one in feeds]
