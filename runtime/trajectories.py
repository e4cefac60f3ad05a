"""What the U-Net is fed on real runs: recorded at random steps, to find the scales of int8 with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from ..engines.base import Array, Engine, InputError
from ..engines.buffers import to_host
from ..engines.wrapper import Wrapper
from .imaging.codec import FORMATS, Picture, read
from .pipeline import Pipeline
from .sampling.noise import check_seed

Feeds = Mapping[str, Array]
Thing = TypeVar("Thing")

STYLES = ("noto", "flat", "twemoji", "contrast", "ink", "sketch")
# What is in the example pictures, as the shipped model was told it.
THINGS = ("cat", "fox", "hamburger", "house", "octopus", "pizza", "rocket", "strawberry")
# How to load the pipeline whose steps are recorded, so that the same seed gives the same numbers,
# and its two rows go in one call.
LOADING: Mapping[str, Any] = {"precision": "float32", "shapes": "dynamic", "max_area": 2**20}
PROMPTS = tuple(f"{thing}, {style} style" for thing in THINGS for style in STYLES)
# Steps of one run resemble each other, and what no run is asked to paint may have activations beyond all scales: many
# short runs tell more than a few long ones that take the same time.
STEPS = 10
STRENGTHS = (0.4, 1.0)
GUIDANCES = (1.5, 8.0)
KEPT_A_RUN = 2


class Recorder(Wrapper):
    """Remembers what an engine was fed last."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.last: Feeds = {}

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run the engine; raises what it raises."""
        self.last = {name: to_host(array) for name, array in feeds.items()}
        return super().__call__(feeds)


def record(
    pipe: Pipeline,
    pictures: Sequence[Picture],
    prompts: Sequence[str],
    *,
    count: int,
    seed: int,
    report: Callable[[str], None] = lambda stage: None,
) -> list[Feeds]:
    """`count` feeds of the U-Net at random steps of runs with random pictures, prompts, strengths and guidance.

    No picture or prompt comes again before each has come. A feed has two rows, without and with the prompt, at the
    model's usual size. The same seed gives the same feeds.
    Raises `InputError` for a seed that is none.
    """
    rng = np.random.default_rng(check_seed(seed))
    recorder = pipe.denoiser.engine = Recorder(pipe.denoiser.engine)
    kept: list[Feeds] = []
    shown, asked = _dealt(pictures, rng), _dealt(prompts, rng)
    try:
        while len(kept) < count:
            report(f"unet: recording, {len(kept)} of {count} steps")
            run = pipe.start(
                next(shown),
                next(asked),
                seed=int(rng.integers(2**32)),
                steps=STEPS,
                strength=float(rng.uniform(*STRENGTHS)),
                guidance_scale=float(rng.uniform(*GUIDANCES)),
                size=pipe.bundle.model.default_size,
            )
            wanted = {int(index) for index in rng.permutation(len(run.tasks[0].plan))[:KEPT_A_RUN]}
            kept += [recorder.last for index, _ in enumerate(run) if index in wanted]
    finally:
        pipe.denoiser.engine = recorder.engine
    return kept[:count]


def _dealt(things: Sequence[Thing], rng: np.random.Generator) -> Iterator[Thing]:
    """Each of `things` in a random order, then each in another, without end."""
    while True:
        yield from (things[index] for index in rng.permutation(len(things)))


def read_pictures(folder: Path) -> list[Picture]:
    """Every picture in a folder; raises `InputError` where there is none, and for one that cannot be read."""
    known = {suffix for suffix, kind in Image.registered_extensions().items() if kind in FORMATS}
    paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in known)
    if not paths:
        raise InputError(f"{folder}: no picture is there; name a folder of PNG, JPEG or WebP files")
    return [read(path) for path in paths]


def read_prompts(path: Path) -> list[str]:
    """The lines of a text file that are not blank; raises `InputError` where there is none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise InputError(f"{path}: cannot be read ({exc}); name a UTF-8 text file with a prompt a line") from exc
    prompts = [line.strip() for line in lines if line.strip()]
    if not prompts:
        raise InputError(f"{path}: has no prompt; write one a line")
    return prompts
