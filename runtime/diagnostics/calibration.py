"""What a model's graphs are fed on real runs: recorded to find the scales of int8 with."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ...bundles.graph import DENOISER, VAE_DECODER, VAE_ENCODER
from ...bundles.tensor import Array
from ...bundles.textfile import decode
from ...engines.arrays import to_host
from ...engines.base import Engine
from ...engines.wrapper import Wrapper
from ...errors import InputError
from ..imaging.formats import endings
from ..imaging.picture import Picture, read
from ..pipeline import Pipeline
from ..sampling.noise import check_seed

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
    """Remembers what an engine was fed."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.fed: list[Feeds] = []

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run the engine; raises what it raises."""
        self.fed.append({name: to_host(array) for name, array in feeds.items()})
        return super().__call__(feeds)


def record(
    pipe: Pipeline,
    pictures: Sequence[Picture],
    prompts: Sequence[str],
    *,
    count: int,
    seed: int,
    report: Callable[[str], None] = lambda stage: None,
) -> dict[str, list[Feeds]]:
    """What the U-Net and the VAE are fed in runs with random pictures, prompts, strengths and guidance, by graph.

    Of the U-Net these are `count` random steps, of two rows, without and with the prompt; of the encoder every picture
    that `pipe` has not met, of the decoder what every run ends in. There are two runs or more, at the model's usual
    size, and no picture or prompt comes again before each has come. The same seed gives the same feeds.
    Raises `InputError` for a seed that is none.
    """
    rng = np.random.default_rng(check_seed(seed))
    steps: list[Feeds] = []
    shown, asked = _dealt(pictures, rng), _dealt(prompts, rng)
    with _recorded(pipe) as recorders:
        denoiser = recorders[pipe.bundle.name_of(DENOISER)]
        for index in range(max(2, math.ceil(count / KEPT_A_RUN))):
            report(f"recording, {min(KEPT_A_RUN * index, count)} of {count} steps")
            run = pipe.start(
                next(shown),
                next(asked),
                seed=int(rng.integers(2**32)),
                steps=STEPS,
                strength=float(rng.uniform(*STRENGTHS)),
                guidance_scale=float(rng.uniform(*GUIDANCES)),
                size=pipe.bundle.model.default_size,
            )
            wanted = {int(step) for step in rng.permutation(len(run.prepared[0].plan))[:KEPT_A_RUN]}
            steps += [denoiser.fed[-1] for step, _ in enumerate(run) if step in wanted]
            denoiser.fed.clear()
    return {name: steps[:count] if recorder is denoiser else recorder.fed for name, recorder in recorders.items()}


@contextmanager
def _recorded(pipe: Pipeline) -> Iterator[dict[str, Recorder]]:
    """Recorders around a pipeline's engines, by graph, while it lasts."""
    places: dict[str, tuple[Any, str]] = {
        DENOISER: (pipe.denoiser, "engine"),
        VAE_ENCODER: (pipe.vae, "encoder"),
        VAE_DECODER: (pipe.vae, "decoder"),
    }
    seats = {pipe.bundle.name_of(role): place for role, place in places.items()}
    recorders = {name: Recorder(getattr(owner, seat)) for name, (owner, seat) in seats.items()}
    try:
        for name, (owner, seat) in seats.items():
            setattr(owner, seat, recorders[name])
        yield recorders
    finally:
        for name, (owner, seat) in seats.items():
            setattr(owner, seat, recorders[name].engine)


def _dealt(things: Sequence[Thing], rng: np.random.Generator) -> Iterator[Thing]:
    """Each of `things` in a random order, then each in another, without end."""
    while True:
        yield from (things[index] for index in rng.permutation(len(things)))


def read_pictures(folder: Path) -> list[Picture]:
    """Every picture in a folder; raises `InputError` where there is none, and for one that cannot be read."""
    known = endings()
    paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in known)
    if not paths:
        raise InputError(f"{folder}: no picture is there; name a folder of PNG, JPEG or WebP files")
    return [read(path) for path in paths]


def read_prompts(path: Path) -> list[str]:
    """The lines of a text file that are not blank; raises `InputError` where there is none."""
    try:
        lines = decode(path.read_bytes()).splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise InputError(
            f"{path}: cannot be read ({exc}); name a text file in UTF-8 or UTF-16, a prompt a line"
        ) from exc
    prompts = [line.strip() for line in lines if line.strip()]
    if not prompts:
        raise InputError(f"{path}: has no prompt; write one a line")
    return prompts
