"""Sizes in pixels and batches, the words in which people ask for an engine's shapes, and the profiles they mean."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..errors import InputError
from .facts import Extent
from .graph import DENOISER, TEXT_ENCODER, UPSCALER, VAE_DECODER, VAE_ENCODER, Graph, Range
from .manifest import Graphs
from .profile import Profile

# The longest prompt that engines are built for, in chunks of the tokenizer's length.
MOST_CHUNKS = 3
# By role, the rows of a call for one picture: at least, usually, at most. Guidance doubles the denoiser's; the VAE and
# upscalers are given one picture a call, the text encoder one prompt in chunks.
ROWS: Mapping[str, Range] = {
    DENOISER: Range(1, 2, 2),
    TEXT_ENCODER: Range(1, 1, MOST_CHUNKS),
    VAE_ENCODER: Range(1, 1, 1),
    VAE_DECODER: Range(1, 1, 1),
    UPSCALER: Range(1, 1, 1),
}

_SIDE = r"([0-9]{1,6})(?:x([0-9]{1,6}))?"
_SIZES = re.compile(f"{_SIDE}(?:-{_SIDE})?")
_BATCH = re.compile("([0-9]{1,6})(?:-([0-9]{1,6}))?")


@dataclass(frozen=True)
class Sizes:
    """Pictures from `least` to `most`, each (width, height) in pixels."""

    least: tuple[int, int]
    most: tuple[int, int]

    @classmethod
    def parse(cls, word: str) -> Sizes:
        """Read "512", "512x768" (width x height), "512-1024" or "512x768-1024x1024"; raises `InputError`."""
        match = _SIZES.fullmatch(word.strip().lower())
        if not match:
            raise InputError(
                f"profile {word!r} is no size in pixels; say 512, 512x768 (width x height), or from least to most: "
                "512-1024"
            )
        width, height, wider, higher = match.groups()
        least = int(width), int(height or width)
        most = (int(wider), int(higher or wider)) if wider else least
        if min(least) < 1 or least[0] > most[0] or least[1] > most[1]:
            raise InputError(f"profile {word!r} holds no size; put the smaller one first, of at least 1 pixel")
        return cls(least, most)

    def __str__(self) -> str:
        ends = (_side(self.least), _side(self.most))
        return ends[0] if self.least == self.most else "-".join(ends)


def parse_batch(word: str) -> Range:
    """Read how many pictures run together, "4" or "1-4"; raises `InputError`."""
    match = _BATCH.fullmatch(word.strip())
    least, most = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 1 <= least <= most:
        raise InputError(f"batch {word!r} is no number of pictures; say 4, or from least to most: 1-4")
    return Range(least, least, most)


def profiles(name: str, graph: Graph, facts: Extent, sizes: Iterable[Sizes], batch: Range) -> tuple[Profile, ...]:
    """The profiles of the graph `name` for pictures of these sizes, narrowest first.

    A single size makes two: one of nothing but the usual rows and tokens, which is fastest, and one of all of them.
    Raises `InputError` for a size or a batch that the model does not take, and for a graph of an unknown role.
    """
    if graph.role not in ROWS:
        raise InputError(
            f"{name}: its role {graph.role!r} is unknown here, so that no engine can be built; name other graphs with "
            "--graph, or update overpaint"
        )
    by_text: dict[str, Profile] = {}
    for wanted in sizes:
        wide = Profile(_axes(name, graph, facts, wanted, batch))
        fixed = Profile({axis: Range(span.usual, span.usual, span.usual) for axis, span in wide.axes.items()})
        by_text |= {str(profile): profile for profile in ([fixed, wide] if wanted.least == wanted.most else [wide])}
    return tuple(sorted(by_text.values(), key=lambda profile: (profile.volume, str(profile))))


def advice(bundle: Graphs, library: str, name: str, wanted: Sequence[Mapping[str, Range]]) -> str:
    """What gives an engine of the graph `name` for these lengths of its axes: the command that builds it.

    Where the prompt is too long for any engine, it is to shorten that.
    """
    graph = bundle.graph(name)
    if any(_too_long(graph, axes) for axes in wanted):
        return f"shorten the prompt, engines are built for {MOST_CHUNKS} chunks of tokens"
    sides = sides_of(graph, bundle.model)
    words = {str(_sizes(axes, sides)) if sides else _side(bundle.model.default_size): None for axes in wanted}
    rows = _rows(graph.role, Range(1, 1, 1)).most
    most = max((math.ceil(axes["rows"].most / rows) for axes in wanted if "rows" in axes), default=1)
    batch = f" --batch 1-{most}" if most > 1 else ""
    options = "".join(f" --profile {word}" for word in words)
    return f"run: overpaint build {shlex.quote(str(bundle.folder))} --engine {library} --graph {name}{options}{batch}"


def _too_long(graph: Graph, axes: Mapping[str, Range]) -> bool:
    chunks = axes["tokens"].most / graph.ranges["tokens"].usual if "tokens" in axes else 0
    prompts = axes["rows"].most if graph.role == TEXT_ENCODER and "rows" in axes else 0
    return max(chunks, prompts) > MOST_CHUNKS


@dataclass(frozen=True)
class Sides:
    """The axes of a graph that are a picture's sides, and how many pixels one step along them is."""

    width: str
    height: str
    pixels: int


def sides_of(graph: Graph, facts: Extent) -> Sides | None:
    """Which axes of a graph are a picture's sides: the last two of its inputs of four; None where it has none.

    An input called "pixels" counts those, any other latents.
    """
    for spec in graph.inputs:
        if len(spec.axes) == 4 and isinstance(spec.axes[2], str) and isinstance(spec.axes[3], str):
            return Sides(spec.axes[3], spec.axes[2], 1 if spec.name == "pixels" else facts.downscale)
    return None


def _axes(name: str, graph: Graph, facts: Extent, sizes: Sizes, batch: Range) -> dict[str, Range]:
    spans, optional = {}, graph.optional_axes
    for axis in dict.fromkeys(axis for spec in graph.inputs for axis in spec.axes if isinstance(axis, str)):
        usual, most = graph.ranges[axis].usual, graph.ranges[axis].most
        spans[axis] = Range(usual, usual, most if axis in optional else min(MOST_CHUNKS * usual, most))
    spans["rows"] = _rows(graph.role, batch)
    if sides := sides_of(graph, facts):
        for axis, index in ((sides.width, 0), (sides.height, 1)):
            spans[axis] = _span(sizes, index, sides.pixels, facts)
    for axis in spans:
        if followed := graph.ranges[axis].follows:
            spans[axis] = Range(1, 1, -(-spans[followed].most // graph.ranges[axis].divisor))
    for axis, span in spans.items():
        limits = graph.ranges[axis]
        if span.least < limits.least or span.most > limits.most:
            raise InputError(
                f"{name}: {axis} {span.least} to {span.most} (profile {sizes}, batch {batch.least}-{batch.most}) "
                f"is outside what the model takes, {limits}; ask for less"
            )
    return spans


def _rows(role: str, batch: Range) -> Range:
    """The rows of a call; only the denoiser sees several pictures at once."""
    rows = ROWS[role]
    if role != DENOISER:
        return rows
    return Range(rows.least * batch.least, rows.usual * batch.usual, rows.most * batch.most)


def _span(sizes: Sizes, index: int, pixels: int, facts: Extent) -> Range:
    """One side of the pictures along a graph's axis; the usual one is the model's default, or the nearest to that."""
    least, most = sizes.least[index], sizes.most[index]
    for length in (least, most):
        if length % facts.multiple:
            below = length // facts.multiple * facts.multiple
            raise InputError(
                f"profile {sizes}: {length} pixels are no multiple of {facts.multiple}, as this model needs; "
                f"take {below or facts.multiple} or {below + facts.multiple}"
            )
    usual = min(max(facts.default_size[index], least), most)
    return Range(least // pixels, usual // pixels, most // pixels)


def _sizes(axes: Mapping[str, Range], sides: Sides) -> Sizes:
    width, height = axes[sides.width], axes[sides.height]
    return Sizes(
        (width.least * sides.pixels, height.least * sides.pixels),
        (width.most * sides.pixels, height.most * sides.pixels),
    )


def _side(size: tuple[int, int]) -> str:
    return str(size[0]) if size[0] == size[1] else "x".join(map(str, size))
