"""A graph's inputs and outputs: names, dtypes and axes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a graph. An axis is a fixed length, or the name of a dynamic one."""

    name: str
    dtype: str
    axes: tuple[int | str, ...]

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype} [{', '.join(map(str, self.axes))}]"

    def mismatch(self, array: Array) -> str | None:
        """Say why `array` cannot be this tensor, or None where it can."""
        if array.dtype != np.dtype(self.dtype):
            return f"{self.name} is {array.dtype}, the graph takes {self.dtype}"
        lengths = [pair for pair in zip(self.axes, array.shape, strict=False) if isinstance(pair[0], int)]
        if array.ndim != len(self.axes) or any(wanted != length for wanted, length in lengths):
            return f"{self.name} has shape {list(array.shape)}, the graph takes [{', '.join(map(str, self.axes))}]"
        return None
