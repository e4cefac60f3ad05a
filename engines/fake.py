"""A deterministic numpy engine for tests: right shapes, no model, and no row that depends on another."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..bundles.graph import Graph, Range
from ..bundles.tensor import Array, TensorSpec
from .base import BaseEngine, check_feeds
from .registry import EngineOptions

TAKES_WEIGHTS = True


class FakeEngine(BaseEngine):
    """Every output is tanh(x / 2 + Σ sin(mean of an input) + a pattern of the position), row by row.

    x is the first input where it has the output's shape, or that and more channels, else 0. An input of all rows counts
    as one of a row's own: the mean of its product with the row's input that has its last axis. So do `weights` that
    take the place of the graph's own: the sine of their sum.
    """

    def __init__(self, name: str, graph: Graph, weights: Mapping[str, Array] | None = None) -> None:
        self.name = name
        self.inputs = graph.inputs
        self.outputs = graph.outputs
        self.precision = graph.precision
        self._ranges = graph.ranges
        self._offset = math.sin(math.fsum(float(array.sum(dtype=np.float64)) for array in (weights or {}).values()))

    label = "fake"

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Evaluate the outputs for arrays by input name; raises `EngineError`."""
        check_feeds(self.name, self.inputs, feeds)
        lengths = {
            axis: length
            for spec in self.inputs
            for axis, length in zip(spec.axes, feeds[spec.name].shape, strict=True)
            if isinstance(axis, str)
        }
        return {spec.name: self._output(spec, feeds, lengths) for spec in self.outputs}

    def close(self) -> None:
        """Nothing to release."""

    def _output(self, spec: TensorSpec, feeds: Mapping[str, Array], lengths: Mapping[str, int]) -> Array:
        shape = tuple(axis if isinstance(axis, int) else _length(axis, lengths, self._ranges) for axis in spec.axes)
        first = feeds[self.inputs[0].name]
        pattern = np.sin(np.arange(np.prod(shape[1:]), dtype=np.float64)).reshape(shape[1:]) + self._offset
        feeds = {**feeds, **self._products(feeds)}
        rows = []
        for index in range(shape[0]):
            row = pattern + sum(np.sin(np.mean(_row(array, index), dtype=np.float64)) for array in feeds.values())
            rows.append(np.tanh(row + 0.5 * first[index][: shape[1]] if _begins_with(first.shape, shape) else row))
        return np.stack(rows).astype(spec.dtype)

    def _products(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """The inputs of all rows, summed exactly, so that neither padding nor what stands beside counts."""
        made = {}
        for spec in self.inputs:
            if len(spec.axes) != 2 or spec.axes[0] == "rows":
                continue
            gate = next(other.name for other in self.inputs if other.axes == ("rows", spec.axes[-1]))
            columns = [math.fsum(column) for column in feeds[spec.name].T.tolist()]
            made[gate] = np.zeros(len(feeds[gate]))
            made[spec.name] = np.array([math.fsum(np.multiply(row, columns).tolist()) for row in feeds[gate]])
        return made


def open_engine(name: str, graph: Graph, folder: Path, options: EngineOptions) -> FakeEngine:
    """A fake of the graph; its files are not read."""
    return FakeEngine(name, graph, options.weights and options.weights())


def _begins_with(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether an array is of the wanted shape once its further channels are left out."""
    if len(shape) != len(wanted) or len(shape) < 2:
        return False
    return shape[1] >= wanted[1] and (shape[0], *shape[2:]) == (wanted[0], *wanted[2:])


def _row(array: Array, index: int) -> Array:
    return np.asarray(array[index]) if array.ndim else array


def _length(axis: str, lengths: Mapping[str, int], ranges: Mapping[str, Range]) -> int:
    """The length of an output's axis: an input's own, one that follows another, or one in the ratio of the usual."""
    if axis in lengths:
        return lengths[axis]
    if ranges[axis].follows:
        return -(-lengths[ranges[axis].follows] // ranges[axis].divisor)
    kin = next(name for name in lengths if name.rsplit("_", 1)[-1] == axis.rsplit("_", 1)[-1])
    return lengths[kin] * ranges[axis].usual // ranges[kin].usual
