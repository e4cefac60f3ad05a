"""A batch of pictures, prompts and seeds as requests, with options by the names that other programs have for them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from ...errors import InputError, counted, unknown
from ..imaging.picture import Picture
from ..sampling.noise import drawn
from . import checks
from .options import TABLE, aliases, elsewhere, of_tool, offered
from .request import Request

# What diffusers and A1111 call things: the same thing under another name, and things that are given in another way.
ALIASES: Mapping[str, str] = aliases()
ELSEWHERE: Mapping[str, str] = elsewhere()
OPTIONS = frozenset(option.name for option in TABLE)
REQUEST = frozenset(field.name for field in fields(Request))
# Fields of a request that verbs take by themselves.
APART = ("image", "prompt", "negative_prompt", "seed")

# What `Pipeline.start` takes: its steps are iterated over instead.
START = offered("img2img") - {"on_step"}


def expand(
    images: Sequence[Picture],
    prompts: Sequence[str],
    negatives: Sequence[str],
    seeds: Sequence[int] | int | None,
    n: int,
    options: Mapping[str, Any],
) -> list[Request]:
    """The requests of a batch: pictures and prompts in step, each `n` times, a seed for every image.

    Sequences of one are repeated to the longest. A single seed counts up over the images, as A1111 does; None and -1
    draw it.
    With a variation strength the seed stays and the variation seed counts, or is drawn.
    Raises `InputError` for lengths that do not fit and for options that a request has not.
    """
    checks.option(of_tool("img2img")["n"], n)
    columns = {"image": images, "prompt": prompts, "negative_prompt": negatives}
    count = max(map(len, columns.values()))
    for name, column in columns.items():
        word = name.replace("_", " ")
        if not column:
            raise InputError(f"no {word} is given; give one, or {count}", name)
        if len(column) not in (1, count):
            raise InputError(f"{len(column)} {word}s in a batch of {count}; give one, or {count}", name)
    rows = zip(*(list(column) * (count // len(column)) for column in columns.values()), strict=True)
    given, total = {name: value for name, value in named(options, START).items() if value is not None}, count * n
    varied = bool(given.get("variation_strength"))
    own = _seeds(seeds, total, counting=not varied)
    variation = given.pop("variation_seed", None)
    variations = _seeds(variation, total) if varied else [variation] * total
    copies = (row for row in rows for _ in range(n))
    return [
        Request(image, prompt, negative, seed=seed, variation_seed=other, **given)
        for (image, prompt, negative), seed, other in zip(copies, own, variations, strict=True)
    ]


def named(options: Mapping[str, Any], offer: Collection[str], apart: Collection[str] = APART) -> dict[str, Any]:
    """The fields of a request by their own names, from names that other programs have for them.

    `apart` are fields that are given in another way. Raises `InputError` for an option that a request has not, with the
    nearest names that the verb takes (`offer`), and for one that is given twice.
    """
    check_names(options, REQUEST - set(apart), offer)
    fields_: dict[str, Any] = {}
    for name, value in options.items():
        own = ALIASES.get(name, name)
        if own in fields_:
            raise InputError(f"{own} is given twice, also as {name!r}; give it once", own)
        fields_[own] = value
    return fields_


def check_names(options: Iterable[str], known: Collection[str], offer: Collection[str]) -> None:
    """Raise `InputError` for an option that is none of those known, nor another program's name for one of them; it
    advises what is on `offer`."""
    for name in options:
        if name in known or ALIASES.get(name) in known:
            continue
        if ELSEWHERE.get(name) in {*known, *offer}:
            raise InputError(f"unknown option {name!r}; it is called {ELSEWHERE[name]!r} here", name)
        if name in OPTIONS:
            raise InputError(f"the option {name!r} is not taken here; leave it out", name)
        raise unknown("option", name, {*offer, *(alias for alias, own in ALIASES.items() if own in offer)}, name)


def _seeds(seeds: Sequence[int] | int | None, count: int, counting: bool = True) -> Sequence[int]:
    if isinstance(seeds, Sequence):
        if len(seeds) != count:
            cause = f"{counted(len(seeds), 'seed')} for {counted(count, 'image')}"
            raise InputError(f"{cause}; give one seed, or one for every image", "seed")
        return [drawn(seed) for seed in seeds]
    first = drawn(-1 if seeds is None else seeds)
    return range(first, first + count) if counting else [first] * count
