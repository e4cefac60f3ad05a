"""The table that a sampler compiles to: everything the denoising loop needs to know, computed once in float64."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from ...bundles.tensor import Array
from ...errors import InputError, counted


class PlanRecipe(Protocol):
    """Compiles parts of a plan."""

    def part(self, first: int, last: int, leftover_noise: bool) -> Plan:
        """The plan of the steps `first` to before `last`."""
        ...


@dataclass(frozen=True, eq=False)
class Plan:
    """One line an evaluation of the model. All numbers are float64 (`step` and `pass_index` int64) and read-only.

    The loop keeps `slots` arrays of the latents' shape, all zero except slot 0, which is x. Line i does::

        output = model(scale_in[i] * x, timesteps[i])
        slots = matrix[i] @ (*slots, output, noise)       # unit noise where noisy[i], see `increment`

    After the last line slot 0 holds the resulting latents. The prediction type of the model is folded into the matrix.
    Raises `InputError` where the arrays do not fit each other.
    """

    sampler: str
    schedule: str
    names: tuple[str, ...]
    """What the slots hold; `names[0]` is "x"."""
    step: Array
    """[n] The step that a line belongs to, from 0; Heun and its kin have two lines a step."""
    sigmas: Array
    """[n] The noise level of each evaluation in the schedule's own terms: of betas sqrt((1 - abar) / abar), infinite
    where nothing of the image is left; of flow matching t, at most 1."""
    timesteps: Array
    """[n] The timesteps that the model takes; may be fractional."""
    scale_in: Array
    """[n] x is multiplied by this on its way into the model."""
    matrix: Array
    """[n, slots, slots + 2] New slots from (slots..., model output, fresh noise)."""
    start: Array
    """[2] x at the beginning = start[0] * clean latents (scaled as the VAE says) + start[1] * unit noise."""
    denoised: Array
    """[n, 2] Weights of (x, model output) that give the predicted clean latents."""
    noised: Array
    """[n, 2] Weights of (clean latents, unit noise) that are as noisy as x is after the line."""
    pass_index: Array
    """[n] The pass that a line belongs to, from 0; see `passes.join`."""
    increment: Array
    """[n, 2] The sigmas, (from, to), between which a Brownian motion gives a line's noise; equal where it is drawn."""
    span: Array
    """[n, 2] The (highest, lowest) sigma of that motion."""
    recipe: PlanRecipe | None = field(default=None, repr=False)
    """What compiles parts of it; None for several passes."""

    def __post_init__(self) -> None:
        lines, slots = len(self.sigmas), len(self.names)
        wanted = {
            "step": (lines,),
            "sigmas": (lines,),
            "timesteps": (lines,),
            "scale_in": (lines,),
            "matrix": (lines, slots, slots + 2),
            "start": (2,),
            "denoised": (lines, 2),
            "noised": (lines, 2),
            "pass_index": (lines,),
            "increment": (lines, 2),
            "span": (lines, 2),
        }
        for name, shape in wanted.items():
            whole = name in ("step", "pass_index")
            array = np.array(getattr(self, name), dtype=np.int64 if whole else np.float64)
            if not lines and not array.size:
                array = array.reshape(shape)
            if array.shape != shape:
                raise InputError(f"a plan's {name} has shape {array.shape}; {shape} is needed")
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        if not all(np.isfinite(getattr(self, name)).all() for name in wanted if name not in ("sigmas", "span")):
            raise InputError(f"{self.sampler} on {self.schedule} gives infinite weights; choose another schedule")

    def __len__(self) -> int:
        """The number of model evaluations."""
        return len(self.sigmas)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Plan):
            return NotImplemented
        return all(np.array_equal(ours, theirs) for ours, theirs in zip(self.columns(), other.columns(), strict=True))

    def __hash__(self) -> int:
        return hash((self.sampler, self.schedule, self.names, len(self)))

    def columns(self) -> list[Any]:
        """All that the loop goes by: the values of every field but the recipe."""
        return [getattr(self, each.name) for each in fields(self) if each.name != "recipe"]

    def __getitem__(self, steps: slice) -> Plan:
        """The steps `plan[a:b]` with the noise that they leave, as `part` has them."""
        if not isinstance(steps, slice) or steps.step not in (None, 1):
            raise InputError("a plan is cut into parts of steps that follow one another: plan[a:b]")
        first, last, _ = steps.indices(self.steps)
        return self.part(first, last)

    def part(self, first: int, last: int, *, leftover_noise: bool = True) -> Plan:
        """The plan of the steps `first` to before `last`, counted from 0.

        It begins without history, as ComfyUI's KSamplerAdvanced does, and its `start` is that of its first step. Where
        steps follow it, x keeps their noise; without `leftover_noise` its last step leads to the end instead.
        Raises `InputError` where there are no such steps, and for a plan of several passes.
        """
        if self.recipe is None:
            raise InputError("a plan of several passes has no parts; cut each pass's plan before they are joined")
        if not 0 <= first < last <= self.steps:
            raise InputError(f"steps {first} to {last} are none of this plan's {self.steps}; give 0 <= first < last")
        return self.recipe.part(first, last, leftover_noise)

    @property
    def slots(self) -> int:
        """How many arrays the loop keeps; slot 0 is x."""
        return len(self.names)

    @property
    def steps(self) -> int:
        """How many steps run, as the user counts them."""
        return int(self.step[-1]) + 1 if len(self) else 0

    @property
    def passes(self) -> int:
        """How many passes run."""
        return int(self.pass_index[-1]) + 1 if len(self) else 0

    @cached_property
    def noisy(self) -> Array:
        """[n] bool: does line i draw fresh noise?"""
        return np.asarray((self.matrix[:, :, -1] != 0.0).any(axis=1))

    @cached_property
    def brownian(self) -> Array:
        """[n] bool: is line i's noise the increment of a Brownian motion?"""
        return np.asarray(self.noisy & (self.increment[:, 0] != self.increment[:, 1]))

    @property
    def start_sigma(self) -> float:
        """The noise level at which the first evaluation happens; 0 where nothing runs."""
        return float(self.sigmas[0]) if len(self) else 0.0

    def equations(self, line: int) -> list[str]:
        """Line `line` as text: one equation for each slot that is not dropped."""
        inputs = (*self.names, "model", "noise")
        texts = []
        for name, weights in zip(self.names, self.matrix[line], strict=True):
            terms = [f"{weight:+.6g} {source}" for weight, source in zip(weights, inputs, strict=True) if weight]
            if terms:
                texts.append(f"{name} = {' '.join(terms)}")
        return texts

    def table(self, coefficients: bool = False) -> str:
        """The plan as aligned text, one row an evaluation; with `coefficients` the equations below each row."""
        rows = [f"{'line':>4} {'step':>4} {'timestep':>9} {'sigma':>10} {'scale in':>9}  noise"]
        for i, noisy in enumerate(self.noisy):
            if i and self.pass_index[i] != self.pass_index[i - 1]:
                rows.append(f"pass {self.pass_index[i] + 1}")
            rows.append(
                f"{i + 1:>4} {self.step[i] + 1:>4} {self.timesteps[i]:>9.3f} {self.sigmas[i]:>10.5f}"
                f" {self.scale_in[i]:>9.6f}  {self._source(i) if noisy else '-'}"
            )
            if coefficients:
                rows += [f"{'':>10}{text}" for text in self.equations(i)]
        return "\n".join(rows)

    def _source(self, line: int) -> str:
        if not self.brownian[line]:
            return "fresh"
        high, low = self.increment[line]
        return f"{high:.5g} to {low:.5g}"

    def __str__(self) -> str:
        clean, noise = self.start
        return (
            f"{self.sampler}, schedule {self.schedule}: {counted(self.steps, 'step')}, "
            f"{counted(len(self), 'model evaluation')}\n"
            f"starts at sigma {self.start_sigma:.5f}: x = {clean:.6g} * clean + {noise:.6g} * noise\n{self.table()}"
        )
