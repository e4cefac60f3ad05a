"""What engines are compared by: the same random inputs, and how far outputs lie apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from ..bundles.tensor import Array, TensorSpec

Outputs = Sequence[Array]
SEED = 7


def random_feeds(specs: Iterable[TensorSpec], lengths: Mapping[str, int]) -> dict[str, Array]:
    """Random inputs of these lengths, the same every time: unit normal, timesteps below 1000, small token ids.

    An axis without a length is 1 long, as those of adapters are which a row lacks.
    """
    rng = np.random.default_rng(SEED)
    feeds = {}
    for spec in specs:
        shape = tuple(lengths.get(axis, 1) if isinstance(axis, str) else axis for axis in spec.axes)
        if spec.dtype.startswith("int"):
            values = rng.integers(0, 100, shape) if shape else np.array(0)
        else:
            values = rng.uniform(0, 999, shape) if spec.name == "timestep" else rng.standard_normal(shape)
        feeds[spec.name] = np.asarray(values, spec.dtype)
    return feeds


def worst(outputs: Outputs, sources: Outputs) -> float:
    """The largest `relative_error` of the outputs; NaN where one of them is, which Python's max would pass over."""
    return float(np.max([relative_error(output, source) for output, source in zip(outputs, sources, strict=True)]))


def relative_error(output: Array, source: Array) -> float:
    """‖output - source‖₂ / ‖source‖₂ in float64; infinite for different shapes, NaN where either has a NaN."""
    if output.shape != source.shape:
        return float("inf")
    wide = source.astype(np.float64)
    return float(np.linalg.norm((output - wide).ravel()) / max(np.linalg.norm(wide.ravel()), np.finfo(float).tiny))


def psnr(picture: ArrayLike, source: ArrayLike) -> float:
    """The peak signal-to-noise ratio of two pictures with values of 0 to 255, in dB; infinite for equal ones."""
    error = np.mean((np.asarray(picture, np.float64) - np.asarray(source, np.float64)) ** 2)
    return float(10 * np.log10(255**2 / error)) if error else float("inf")
