"""What clients send, and when: jobs of mixed options, at the times of a Poisson process."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from overpaint.runtime.imaging.picture import Picture
from overpaint.runtime.model.model import Model
from overpaint.runtime.requests.places import InpaintMask
from overpaint.runtime.requests.request import Request
from overpaint.serving.orders import Order

SAMPLERS = ("ddim", "euler", "euler_a", "dpmpp_2m", "unipc", "heun")
STRENGTHS = (0.3, 0.5, 0.75, 1.0)
WARM = 24
"""Jobs that come at once before any that count: engines make graphs for the numbers of rows that they meet."""
LETTERS = "abcdefghijklmnopqrstuvwxyz"
SHORT = 4
"""Evaluations of a short job at most."""


@dataclass(frozen=True)
class Mix:
    """What the jobs are like: `size` pixels a side, executed `steps` from the first to the last, one of the `guidance`
    scales; `masked` and `watched` are the shares of those with a mask and of those whose clients look at previews."""

    size: int
    steps: tuple[int, int] = (1, 30)
    guidance: tuple[float, ...] = (1.0, 7.0)
    masked: float = 0.2
    watched: float = 0.25


@dataclass(frozen=True)
class Item:
    """A job to come: its order, its seed, which no other has, and what it takes.

    Jobs of an equal `key` could be worked on as one batch from their beginning to their end.
    """

    order: Order
    seed: int
    evaluations: int
    key: tuple[int, float]
    watched: bool

    @property
    def short(self) -> bool:
        """Whether it is a short job."""
        return self.evaluations <= SHORT


def items(model: Model, count: int, mix: Mix, seed: int = 0, fresh: int = 0) -> list[Item]:
    """So many jobs; the same for the same seed, but for pictures and prompts, of which each is another so that no
    cache has it: they are the same for the same `fresh`."""
    rng = np.random.default_rng(seed)
    return [_item(model, mix, rng, seed * 100_000 + index, fresh) for index in range(count)]


def _item(model: Model, mix: Mix, rng: np.random.Generator, seed: int, fresh: int) -> Item:
    content = np.random.default_rng((seed, fresh))
    picture = Picture(content.integers(0, 256, (mix.size, mix.size, 3), np.uint8))
    executed, strength = int(rng.integers(mix.steps[0], mix.steps[1] + 1)), float(rng.choice(STRENGTHS))
    options: dict[str, Any] = {
        "seed": seed,
        "steps": math.ceil(executed / strength),
        "strength": strength,
        "sampler": str(rng.choice(SAMPLERS)),
        "guidance_scale": float(rng.choice(mix.guidance)),
    }
    if rng.random() < mix.masked:
        mask = np.zeros((mix.size, mix.size), np.uint8)
        mask[:, mix.size // 2 :] = 255
        options["inpaint_mask"] = InpaintMask(mask)
    prompt = " ".join(content.choice(list(LETTERS), 8))
    evaluations = len(model.plan(Request(picture, prompt, **options)))
    order = Order("img2img", "", (picture,), prompt, options=options)
    key = evaluations, options["guidance_scale"]
    return Item(order, seed, evaluations, key, bool(rng.random() < mix.watched))


def poisson(count: int, rate: float, seed: int = 0) -> list[float]:
    """The seconds at which so many jobs come, `rate` a second on average."""
    gaps = np.random.default_rng(seed).exponential(1 / rate, count)
    return [float(at) for at in np.cumsum(gaps)]


def at_once(count: int) -> list[float]:
    """All at the beginning."""
    return [0.0] * count
