"""What tells the conditionings of a job apart, for what is kept of each from one evaluation to the next."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from ...bundles.tensor import Array
from ...engines.arrays import to_host
from ..conditioning.conditioning import Conditioning

Key = tuple[tuple[str, int], ...]
Inputs = Mapping[str, Array]
Past = Mapping[bytes, Sequence[tuple[int, Array]]]
"""What is kept of conditionings, by their digests: arrays, each with the number of its evaluation or window."""
Control = tuple[Inputs, Sequence[Sequence[tuple[float, ...] | None]]]
"""A ControlNet's inputs and weights, as `job.JobControl` has them."""


def steered(conditionings: Sequence[Sequence[Conditioning]], controls: Sequence[Control] = ()) -> list[list[Steered]]:
    """The conditionings of each evaluation, each with what ControlNets count in it."""
    marks = [(hashlib.sha256(_bytes(inputs)).hexdigest(), weights) for inputs, weights in controls]
    return [
        [
            Steered(each, tuple(f"{mark} {weights[evaluation][place]!r}" for mark, weights in marks))
            for place, each in enumerate(those)
        ]
        for evaluation, those in enumerate(conditionings)
    ]


class Steered:
    """What tells conditionings apart: all that their rows have. A weight and an area come after the model."""

    def __init__(self, conditioning: Conditioning, controls: tuple[str, ...]) -> None:
        shown = {} if conditioning.concat_latents is None else {"concat_latents": conditioning.concat_latents}
        self._inputs = {**conditioning.inputs, **shown}
        self._others = (*(f"{each.key} {each.weight!r}" for each in conditioning.low_rank), *controls)
        self.key: Key = (
            *((name, id(array)) for name, array in sorted(self._inputs.items())),
            *((other, 0) for other in self._others),
        )

    @property
    def digest(self) -> bytes:
        """The same of any job's."""
        return hashlib.sha256(_bytes(self._inputs) + ";".join(self._others).encode()).digest()


def _bytes(inputs: Inputs) -> bytes:
    arrays = ((name, np.ascontiguousarray(to_host(array))) for name, array in sorted(inputs.items()))
    return b"".join(name.encode() + array.tobytes() for name, array in arrays)
