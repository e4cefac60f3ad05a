"""Rows in, model outputs out: groups the rows of every active job into as few engine calls as the limits allow."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from ...bundles.profile import most_rows
from ...bundles.tensor import Array
from ...engines.arrays import namespace
from ...engines.base import Engine


@dataclass(frozen=True)
class Row:
    """One evaluation of the U-Net, its arrays on the engine's device.

    `latents` float32 [channels, height, width], already scaled for the model; `timestep` float32 [1], as the model is
    told; `conditioning` float32 [tokens, dim]. Its weight in the sum of its job's rows is the job's.
    """

    latents: Array
    timestep: Array
    conditioning: Array


class Denoiser:
    """Evaluates rows in batches of equal shapes.

    `max_rows` and the engine bound the rows of a call, and `max_area` their latent positions (rows · height · width),
    so that a large picture does not multiply the activations' memory.
    """

    def __init__(self, engine: Engine, max_rows: int, max_area: int) -> None:
        self.engine = engine
        self._max_rows = max_rows
        self._max_area = max_area
        self._stacked: tuple[list[Array], Array]
        self.forget()

    def most(self, area: int) -> int:
        """The most rows of so many latent positions that a call may have, at least 1."""
        return max(1, min(self._max_rows, self._max_area // area))

    def forget(self) -> None:
        """Stack the conditioning anew on the next call."""
        self._stacked = [], np.empty(0)

    def __call__(self, rows: Sequence[Row]) -> list[Array]:
        """The model's output for every row, float32 [channels, height, width], in the order of the rows."""
        outputs = dict(self.stream(rows))
        return [outputs[index] for index in range(len(rows))]

    def stream(self, rows: Sequence[Row]) -> Iterator[tuple[int, Array]]:
        """Every row's index and the model's output for it, float32 [channels, height, width], call by call."""
        groups: dict[tuple[tuple[int, ...], ...], list[int]] = defaultdict(list)
        for index, row in enumerate(rows):
            groups[row.latents.shape, row.conditioning.shape].append(index)
        for ((_, height, width), (tokens, _)), members in groups.items():
            built = most_rows(self.engine.profiles, {"height": height, "width": width, "tokens": tokens})
            size = min(built or self._max_rows, self.most(height * width))
            waiting = iter(members)
            while batch := list(islice(waiting, size)):
                yield from zip(batch, self._call([rows[index] for index in batch]), strict=True)

    def _call(self, rows: Sequence[Row]) -> Array:
        xp = namespace(self.engine.device)
        feeds = {
            "sample": xp.stack([row.latents for row in rows]),
            "timestep": xp.concatenate([row.timestep for row in rows]),
            "encoder_hidden_states": self._conditioning([row.conditioning for row in rows], xp),
        }
        return self.engine(feeds)["model_output"]

    def _conditioning(self, arrays: list[Array], xp: Any) -> Array:
        """The arrays stacked; those of the call before serve again where they are the same, as from step to step."""
        parts, joined = self._stacked
        if len(parts) != len(arrays) or any(part is not array for part, array in zip(parts, arrays, strict=True)):
            joined = xp.stack(arrays)
            self._stacked = arrays, joined
        return joined
