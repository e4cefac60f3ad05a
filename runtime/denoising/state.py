"""The arrays of one picture on its way through a plan, and a step's arithmetic: in numpy, or as one GPU kernel."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Protocol

import numpy as np

from ...bundles.tensor import Array
from ...engines import arrays
from ...engines.arrays import namespace_of
from ..sampling.plan import Plan

_BLOCK = 256


class State(Protocol):
    """The slots of a plan, float32 [channels, height, width] each, all zero but for x at the beginning."""

    denoised: Array
    """The model's last idea of the clean latents."""
    nonfinite: Array
    """[evaluations] Whether the model's output was NaN or infinite; on the device, so that reading it waits."""
    timesteps: Array
    """[evaluations] float32, the timesteps that the model takes."""

    @property
    def slots(self) -> Array | list[Array]:
        """[slots] of the latents' shape each."""
        ...

    @property
    def latents(self) -> Array:
        """Slot 0, x."""
        ...

    def scaled(self, evaluation: int) -> Array:
        """x as the model takes it on the evaluation that comes next."""
        ...

    def take(self, evaluation: int, outputs: Sequence[Array], noise: Array | None) -> None:
        """Take an evaluation: the outputs' weighted sum and the noise, None where it draws none, make new slots."""
        ...

    def put(self, evaluation: int, latents: Array) -> None:
        """Set x; `evaluation` comes next."""
        ...

    def restore(self, evaluation: int, slots: Array | list[Array], denoised: Array) -> None:
        """Set everything, nothing nonfinite; `evaluation` comes next."""
        ...


Weights = Sequence[Sequence[float]]
"""Those of the model's outputs, of every evaluation."""


def new_state(plan: Plan, weights: Weights, start: Array) -> State:
    """The state that begins with the latents `start`, where they live."""
    kind = HostState if arrays.device_of(start) == "cpu" else DeviceState
    return kind(plan, weights, start)


class HostState:
    """In numpy."""

    def __init__(self, plan: Plan, weights: Weights, start: Array) -> None:
        self.denoised = start
        self.nonfinite = np.zeros(len(plan), bool)
        self.timesteps = plan.timesteps.astype(np.float32)
        self._plan = plan
        self._weights = weights
        self.slots: list[Array] = [start, *[np.zeros_like(start)] * (plan.slots - 1)]

    @property
    def latents(self) -> Array:
        """Slot 0, x."""
        return self.slots[0]

    def scaled(self, evaluation: int) -> Array:
        """x as the model takes it on the evaluation that comes next."""
        scaled: Array = self.latents * np.float32(self._plan.scale_in[evaluation])
        return scaled

    def take(self, evaluation: int, outputs: Sequence[Array], noise: Array | None) -> None:
        """Take an evaluation; where the model's output is nonfinite, nothing becomes of it."""
        model = lincomb(self._weights[evaluation], outputs)
        if not np.isfinite(model).all():
            self.nonfinite[evaluation] = True
            return
        self.denoised = lincomb(self._plan.denoised[evaluation], (self.latents, model))
        basis = [*self.slots, model, model if noise is None else noise]
        self.slots = [lincomb(weights, basis) for weights in self._plan.matrix[evaluation]]

    def put(self, evaluation: int, latents: Array) -> None:
        """Set x; `evaluation` comes next."""
        self.slots[0] = latents

    def restore(self, evaluation: int, slots: Array | list[Array], denoised: Array) -> None:
        """Set everything; `evaluation` comes next."""
        self.slots, self.denoised = list(slots), denoised
        self.nonfinite[...] = False


class DeviceState:
    """On a GPU: an evaluation is one kernel, whose weights were uploaded with the plan, and waits for nothing."""

    def __init__(self, plan: Plan, weights: Weights, start: Array) -> None:
        xp = self._xp = arrays.namespace_of(start)
        self.denoised = start
        self.nonfinite = xp.zeros(len(plan), np.int32)
        self.timesteps = xp.asarray(plan.timesteps.astype(np.float32))
        self._plan = plan
        self._table = xp.asarray(table(plan, weights))
        self.slots: Array = xp.zeros((plan.slots, *start.shape), np.float32)
        self.slots[0] = start
        self.latents: Array = self.slots[0]
        self._scaled = start * np.float32(plan.scale_in[0])

    def scaled(self, evaluation: int) -> Array:
        """x as the model takes it on the evaluation that comes next: the kernel of the one before has made it."""
        return self._scaled

    def take(self, evaluation: int, outputs: Sequence[Array], noise: Array | None) -> None:
        """Queue the kernel of an evaluation."""
        self.denoised = self._xp.empty_like(self.latents)
        arguments = [
            self._table[evaluation],
            self.slots,
            self.denoised,
            self._scaled,
            self.nonfinite[evaluation:],
            *outputs,
        ]
        if noise is not None:
            arguments.append(noise)
        size = self.latents.size
        launch = arrays.kernel(source(len(outputs), self._plan.slots, noise is not None), "take")
        launch((-(-size // _BLOCK),), (_BLOCK,), (*arguments, np.int64(size)))

    def put(self, evaluation: int, latents: Array) -> None:
        """Set x; `evaluation` comes next."""
        self.latents[...] = latents
        if evaluation < len(self._plan):
            self._scaled = latents * np.float32(self._plan.scale_in[evaluation])

    def restore(self, evaluation: int, slots: Array | list[Array], denoised: Array) -> None:
        """Set everything; `evaluation` comes next."""
        self.slots[...], self.denoised = slots, denoised
        self.nonfinite[...] = 0
        self.put(evaluation, self.slots[0])


def table(plan: Plan, weights: Weights) -> Array:
    """The weights of every evaluation as its kernel reads them, float32 [evaluations, ...].

    Those of the denoised latents, of each new slot, the scale of the next evaluation's input, and those of the model's
    outputs, of which an evaluation may have fewer than another.
    """
    evaluations = len(plan)
    scale = np.append(plan.scale_in[1:], 1.0)[:, None]
    outputs = np.zeros((evaluations, max(map(len, weights))))
    for evaluation, own in zip(outputs, weights, strict=True):
        evaluation[: len(own)] = own
    parts = (plan.denoised, plan.matrix.reshape(evaluations, -1), scale, outputs)
    return np.concatenate(parts, axis=1).astype(np.float32)


@cache
def source(outputs: int, slots: int, noisy: bool) -> str:
    """The CUDA source of the kernel `take` for a number of model outputs and slots.

    Each thread takes one element of the picture: the same sums as `lincomb` makes, term by term, in registers.
    """
    rows = "".join(f", const float* output{n}" for n in range(outputs)) + (", const float* noise" if noisy else "")
    read = ", ".join(f"output{n}[i]" for n in range(outputs))
    scale = 2 + slots * (slots + 2)
    held = [*(f"slots[{n} * size + i]" for n in range(slots)), "model", "noise[i]" if noisy else "0.0f"]
    return f"""
__device__ float sum(const float* weights, const float* terms, int count) {{
    float total = 0.0f;
    bool begun = false;
    for (int n = 0; n < count; ++n) {{
        if (weights[n] == 0.0f) continue;
        const float term = weights[n] * terms[n];
        total = begun ? total + term : term;
        begun = true;
    }}
    return total;
}}

extern "C" __global__ void take(const float* weights, float* slots, float* denoised, float* scaled,
                                int* nonfinite{rows}, long long size) {{
    const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= size) return;
    const float outputs[] = {{{read}}};
    const float model = sum(weights + {scale + 1}, outputs, {outputs});
    if (!isfinite(model)) *nonfinite = 1;
    const float basis[] = {{{", ".join(held)}}};
    const float clean[] = {{basis[0], model}};
    denoised[i] = sum(weights, clean, 2);
    for (int n = 0; n < {slots}; ++n) slots[n * size + i] = sum(weights + 2 + n * {slots + 2}, basis, {slots + 2});
    scaled[i] = slots[i] * weights[{scale}];
}}
"""


def lincomb(weights: Sequence[float] | Array, arrays: Sequence[Array] | Array) -> Array:
    """The weighted sum of arrays, float32 of their shape; an array of weight 0 is not read.

    Not a matrix product: a BLAS would wake its threads against the engine's for a few microseconds of work.
    """
    terms = (np.float32(weight) * array for weight, array in zip(weights, arrays, strict=True) if weight)
    total: Array | None = next(terms, None)
    if total is None:
        total = namespace_of(arrays[0]).zeros_like(arrays[0])
    for term in terms:
        total += term
    return total
