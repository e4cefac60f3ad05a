"""The analytic model and the cases that A1111's and ComfyUI's samplers were run on, and the file that holds what came.

The model stands where the U-Net does: it takes the scaled latents and the timestep and gives noise. It has only
operations that numpy and torch round alike, so both sides evaluate the same function.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

STEPS = (1, 2, 3, 4, 8, 15, 20, 30, 50)
STRENGTHS = (0.3, 0.5, 0.75, 1.0)
SEED = 20241
SHAPE = (4, 2, 2)
KEPT = slice(None, None, 2)
"""The latents that are kept, of all 16: every other."""
UNCOND = 0.9
"""The unconditional output is this much of the model's, for the samplers with CFG++."""
CFG_PP_SCALE = {"a1111": 7.0, "comfy": 1.5}
"""The guidance that the samplers with CFG++ were run with; all others had none."""

FAILURES = (ArithmeticError, AssertionError, LookupError, NameError, RuntimeError, TypeError, ValueError)
"""What a program raises where it fails in a case."""

_LATENT_UNIT, _TIME_UNIT = 1e-5, 1e-3
_FAILED = np.iinfo(np.int32).min


def toy(x: Any, times: Any) -> Any:
    """Noise as a smooth function of the scaled latents and the timestep, arrays of numpy or tensors of torch."""
    share = times / 1000
    return x / (1 + 0.25 * x * x) ** 0.5 * (0.75 + 0.2 * share) + 0.15 * (1 - share)


def clean() -> np.ndarray:
    """The latents to repaint, float32 of `SHAPE`."""
    return (np.linspace(-1.2, 1.3, 16) ** 3).reshape(SHAPE).astype(np.float32)


@dataclass(frozen=True)
class Vector:
    """What a program did in one case."""

    sampler: str
    schedule: str
    steps: int
    strength: float
    sigmas: np.ndarray
    """Those that the sampler was handed, falling, the last usually 0; empty where it takes timesteps."""
    times: np.ndarray
    """The timestep of every evaluation, to 0.001."""
    latents: np.ndarray | None
    """float64, to 1e-5, of the places `KEPT`; None where the program fails or gives no numbers."""

    @property
    def case(self) -> str:
        """The case as a test's name."""
        return f"{self.sampler}-{self.schedule}-{self.steps}-{self.strength:g}"


def save(path: Path, vectors: Sequence[Vector]) -> None:
    """Write vectors, every list of sigmas and times once."""
    samplers, schedules = (sorted({getattr(v, name) for v in vectors}) for name in ("sampler", "schedule"))
    sigmas, times = _Lists(np.float32), _Lists(np.int32)
    rows, latents = [], []
    for vector in vectors:
        rows.append(
            (
                samplers.index(vector.sampler),
                schedules.index(vector.schedule),
                vector.steps,
                round(vector.strength * 100),
                sigmas.place(vector.sigmas),
                times.place(np.round(vector.times / _TIME_UNIT)),
            )
        )
        kept = np.full(8, _FAILED) if vector.latents is None else np.round(vector.latents / _LATENT_UNIT)
        latents.append(kept.astype(np.int32))
    np.savez_compressed(
        path,
        samplers=np.array(samplers),
        schedules=np.array(schedules),
        rows=np.array(rows, np.int16),
        latents=np.array(latents),
        **sigmas.packed("sigmas"),
        **times.packed("times"),
    )


def read(path: Path) -> Iterator[Vector]:
    """The vectors of a file."""
    with np.load(path) as file:
        held = {name: file[name] for name in file.files}
    sigmas, times = (np.split(held[name], held[f"{name}_ends"][:-1]) for name in ("sigmas", "times"))
    for row, kept in zip(held["rows"].tolist(), held["latents"], strict=True):
        sampler, schedule, steps, strength, sigma_list, time_list = row
        yield Vector(
            str(held["samplers"][sampler]),
            str(held["schedules"][schedule]),
            steps,
            strength / 100,
            sigmas[sigma_list].astype(np.float64),
            times[time_list] * _TIME_UNIT,
            None if kept[0] == _FAILED else kept * _LATENT_UNIT,
        )


class _Lists:
    """Lists of numbers, equal ones kept once."""

    def __init__(self, dtype: type) -> None:
        self._dtype = dtype
        self._places: dict[bytes, int] = {}
        self._lists: list[np.ndarray] = []

    def place(self, values: np.ndarray) -> int:
        array = np.asarray(values, self._dtype)
        if array.tobytes() not in self._places:
            self._places[array.tobytes()] = len(self._lists)
            self._lists.append(array)
        return self._places[array.tobytes()]

    def packed(self, name: str) -> dict[str, np.ndarray]:
        return {name: np.concatenate(self._lists), f"{name}_ends": np.cumsum([len(array) for array in self._lists])}
