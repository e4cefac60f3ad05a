"""A batch of pictures, prompts and seeds as requests, with options by the names that other programs have for them."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from ..engines.base import InputError, unknown
from . import checks
from .imaging.codec import Picture
from .request import Request
from .sampling.noise import check_seed

# What diffusers and A1111 call things: the same thing under another name, and things that are given in another way.
ALIASES: Mapping[str, str] = {
    "cfg_scale": "guidance_scale",
    "denoising_strength": "strength",
    "num_inference_steps": "steps",
    "sampler_name": "sampler",
}
ELSEWHERE: Mapping[str, str] = {
    "batch_size": "n",
    "callback_on_step_end": "on_step",
    "generator": "seed",
    "height": "size",
    "num_images_per_prompt": "n",
    "scheduler": "sampler",
    "width": "size",
}


def expand(
    images: Sequence[Picture],
    prompts: Sequence[str],
    negatives: Sequence[str],
    seeds: Sequence[int] | int | None,
    n: int,
    options: Mapping[str, Any],
) -> list[Request]:
    """The requests of a batch: pictures and prompts in step, each `n` times, a seed for every image.

    Sequences of one are repeated to the longest. A single seed counts up over the images, as A1111 does; None draws it.
    With a variation strength the seed stays and the variation seed counts, or is drawn.
    Raises `InputError` for lengths that do not fit and for options that a request has not.
    """
    checks.whole("n", n, 1, 10_000)
    columns = {"image": images, "prompt": prompts, "negative prompt": negatives}
    count = max(map(len, columns.values()))
    for name, column in columns.items():
        if not column:
            raise InputError(f"no {name} is given; give one, or {count}")
        if len(column) not in (1, count):
            raise InputError(f"{len(column)} {name}s in a batch of {count}; give one, or {count}")
    rows = zip(*(list(column) * (count // len(column)) for column in columns.values()), strict=True)
    given, total = _options(options), count * n
    varied = bool(given.get("variation_strength"))
    drawn = _seeds(seeds, total, counting=not varied)
    variation = given.pop("variation_seed", None)
    variations = _seeds(variation, total) if varied else [variation] * total
    copies = (row for row in rows for _ in range(n))
    return [
        Request(image, prompt, negative, seed=seed, variation_seed=other, **given)
        for (image, prompt, negative), seed, other in zip(copies, drawn, variations, strict=True)
    ]


def _options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a request by their own names, from names that other programs have for them."""
    apart = {"image", "prompt", "negative_prompt", "seed"}
    known = {field.name for field in fields(Request)}
    named: dict[str, Any] = {}
    for name, value in options.items():
        own = ALIASES.get(name, name)
        if name in ELSEWHERE:
            raise InputError(f"unknown option {name!r}; it is called {ELSEWHERE[name]!r} here")
        if own not in known - apart:
            raise unknown("option", name, known | ALIASES.keys() | {"n", "on_step"})
        if own in named:
            raise InputError(f"{own} is given twice, also as {name!r}; give it once")
        if value is not None:
            named[own] = value
    return named


def _seeds(seeds: Sequence[int] | int | None, count: int, counting: bool = True) -> Sequence[int]:
    if seeds is None:
        seeds = secrets.randbelow(2**32)
    if isinstance(seeds, Sequence):
        if len(seeds) != count:
            raise InputError(f"{len(seeds)} seeds for {count} images; give one seed, or one for every image")
        return seeds
    first = check_seed(seeds)
    return range(first, first + count) if counting else [first] * count
