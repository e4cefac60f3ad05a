"""What is asked of every peer, and what a peer's adapter gives: nothing here needs more than numpy and Pillow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

PROMPT = "fox, ink style"
Paint = Callable[..., Image.Image]
"""Of a picture, a prompt and a seed; `steps` and `strength` by name where they are not the work's."""


@dataclass(frozen=True)
class Work:
    """Pictures to paint: `size` pixels a side, the last int(steps * strength) of `steps`; each timed `repeats` times.

    The first picture a process paints is its cold start, `warmup` more do not count. A part of the model alone (a
    stage) is timed `stage_repeats` times.
    """

    image: str
    size: int
    steps: int
    strength: float
    guidance: float
    warmup: int
    repeats: int
    stage_repeats: int

    def schedule(self, steps: int | None, strength: float | None) -> tuple[int, float]:
        """The steps and the strength of a picture, which are the work's where nothing is said."""
        return steps or self.steps, self.strength if strength is None else strength

    @property
    def executed(self) -> int:
        """The steps that are run."""
        return int(self.steps * self.strength)

    @property
    def rows(self) -> int:
        """Evaluations of the U-Net a step."""
        return 2 if self.guidance > 1 else 1

    def picture(self, index: int) -> Image.Image:
        """The input, differing from any other index's so that nobody has its encoding."""
        with Image.open(Path(self.image)) as image:
            resized = image.convert("RGB").resize((self.size, self.size), Image.Resampling.LANCZOS)
        return Image.fromarray(np.asarray(resized) ^ np.uint8(index % 256))

    def prompt(self, index: int) -> str:
        return f"{PROMPT} {index}"


@dataclass(frozen=True)
class Loaded:
    """A peer that is ready.

    `paint` is None where it runs no whole picture. `stages` are the parts of the model by name: "unet" is one step with
    all its rows, "encode" and "decode" the VAE on one picture; where they only queue their work, `wait` waits for it.
    `remembers` says that it keeps a picture's encoding. `facts` are numbers that hold without timing.
    """

    paint: Paint | None
    stages: Mapping[str, Callable[[], object]] = field(default_factory=dict)
    remembers: bool = False
    facts: Mapping[str, float] = field(default_factory=dict)
    wait: Callable[[], object] | None = None
