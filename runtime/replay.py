"""Making a picture again from the record in its file, and saying what is no longer as it was."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..errors import InputError
from ..version import __version__
from .imaging.limits import MAX_PIXELS
from .imaging.metadata import read_parameters, read_record
from .imaging.opening import open_image
from .imaging.picture import Picture, read
from .model.load import find
from .pipeline import Pipeline, load
from .provenance.frozen import Reference, thaw
from .provenance.recorder import image_hash, plan_hash
from .provenance.records import Record
from .requests.guidance import parse_prompts
from .requests.request import Request
from .requests.result import Output

LOSSLESS = ("PNG",)


@dataclass(frozen=True)
class Replay:
    """A picture made again.

    `equal` says whether its pixels are those of the first time, `differences` what is no longer as it was, and
    `distance` how far the pixels are from the file's, where those are kept without loss: see `distance`.
    """

    output: Output
    equal: bool
    differences: tuple[str, ...]
    distance: str | None


class Again:
    """A picture's file, read and ready to be made again: what it asks for, and what is known to differ before it runs.

    `file` is a path or the file's bytes. `inputs` are pictures to take instead of those that the record names, in its
    order or found by their hashes; a picture that is not where the record says is looked for beside the file too, and
    taken where its pixels are the record's. Raises `InputError` for a file without a record, a record of another kind
    or version, and an input that is not found.
    """

    def __init__(self, file: str | Path | bytes, inputs: Sequence[str | Path | bytes] = ()) -> None:
        self.file = Path("the picture") if isinstance(file, bytes) else Path(file)
        self._source = file
        self._folder = None if isinstance(file, bytes) else Path(os.path.realpath(file)).parent
        self.record = Record.read(_record_text(file, self.file))
        self.differences: list[str] = []
        found = iter(self._found([self._read(path) for path in inputs]))
        self.call = thaw(self.record.call, lambda _: next(found))

    def load(self, model: str | Path | None = None, **options: Any) -> Pipeline:
        """Load the model as it was loaded then, but for `model` and the `options` that are given."""
        known = {name: value for name, value in self.record.loading.items() if value is not None}
        if strange := known.keys() - signature(load).parameters.keys():
            raise InputError(f"{self.file}: was loaded with {', '.join(sorted(strange))}, which this version has not")
        place = known.pop("model", self.record.model["name"])
        if model is None and not os.path.isdir(find(place)):
            raise InputError(f"{self.file}: was made with the model {place}, which is not there; say where it is")
        return load(model or place, **{**known, **options})

    def changed(self, pipe: Pipeline) -> list[str]:
        """What is known to differ before anything runs, in words."""
        return [*self.differences, *_changed(self.record, pipe, self.call)]

    def run(self, pipe: Pipeline) -> Replay:
        """Make the picture again."""
        before = self.changed(pipe)
        output = _made(pipe, self.call)
        now = Record.read(output.record or "")
        after = [*before, *_engines(self.record, now)]
        equal = now.result == self.record.result
        if not equal and not after and self.record.together > 1:
            after.append(f"{self.record.together} pictures ran together then, in calls that may round otherwise")
        with open_image(self._source) as first:
            kept = first.format in LOSSLESS
            if kept and image_hash(_plain(first)) != self.record.result:
                after.append("the file's own pixels are no longer those that the record is of")
            apart = None if equal or not kept else distance(_plain(first), output.image)
        return Replay(output, equal, tuple(after), apart)

    def _found(self, given: list[Picture]) -> list[Picture]:
        """The record's pictures: of those given, one by its hash or the next; else where the record says."""
        references = self.record.references()
        if len(given) > len(references):
            raise InputError(f"{len(given)} inputs are given, the record names {len(references)}")
        exact = {picture.sha256: picture for picture in given}
        wanted = {reference.sha256 for reference in references}
        others = iter([picture for picture in given if picture.sha256 not in wanted])
        return [exact.get(ref.sha256) or self._looked_up(ref, next(others, None)) for ref in references]

    def _looked_up(self, reference: Reference, given: Picture | None) -> Picture:
        named = [given] if given else list(self._read_all(self._places(reference)))
        beside = [] if given else self._read_all(self._siblings(reference))
        for picture in (*named, *beside):
            if picture.sha256 == reference.sha256:
                return picture
        if not named:
            raise InputError(f"{self.file}: was made from {reference}, which is not found; give it as an input")
        self.differences.append(f"the input {named[0].path or 'given'} has other pixels than {reference}")
        return named[0]

    def _read(self, path: str | Path | bytes) -> Picture:
        """A picture as it was read then: one above the usual limit was reduced, or the limit was raised to its size."""
        most = max((width * height for width, height in (ref.size for ref in self.record.references())), default=0)
        return read(path, max_pixels=max(MAX_PIXELS, most), reduce=True)

    def _places(self, reference: Reference) -> Iterator[Path]:
        """Where the record says that a picture is, seen from the file's folder, or from the current one."""
        if reference.path is not None:
            yield from (folder / reference.path for folder in (self._folder, Path()) if folder)

    def _siblings(self, reference: Reference) -> Iterator[Path]:
        """Where a picture is that has moved along with the file."""
        if reference.path is not None and self._folder:
            yield self._folder / Path(reference.path).name

    def _read_all(self, places: Iterable[Path]) -> Iterator[Picture]:
        """The pictures at some places, but for the file itself, which has the name of its input in a batch's folder."""
        for place in dict.fromkeys(places):
            if os.path.isfile(place) and not (self._folder and place.samefile(self.file)):
                yield self._read(place)


def replay(file: str | Path | bytes, inputs: Sequence[str | Path | bytes] = (), pipe: Pipeline | None = None) -> Replay:
    """Make a picture again from the record in its file, with the model that made it or another pipeline.

    Raises `InputError` as `Again` does, and as loading the model does.
    """
    again = Again(file, inputs)
    if pipe:
        return again.run(pipe)
    with again.load() as loaded:
        return again.run(loaded)


def distance(first: Image.Image, again: Image.Image) -> str:
    """How far two pictures are from each other, in words."""
    if first.size != again.size or first.mode != again.mode:
        return f"it is {_shape(again)}, was {_shape(first)}"
    difference = np.abs(np.asarray(first, np.int16) - np.asarray(again, np.int16))
    changed = difference.any(axis=2).mean() if difference.ndim == 3 else (difference > 0).mean()
    return (
        f"{changed:.2%} of the pixels differ, by at most {difference.max()} of 255, {difference.mean():.3g} on average"
    )


def _shape(image: Image.Image) -> str:
    return f"{image.width}x{image.height} {image.mode}"


def _record_text(source: str | Path | bytes, file: Path) -> str:
    text = read_record(source)
    if text is not None:
        return text
    if read_parameters(source) is not None:
        raise InputError(f"{file}: has A1111's parameters but no record of overpaint; use their values with img2img")
    raise InputError(f"{file}: has no record; it was stripped, edited by another program, or not made by overpaint")


def _made(pipe: Pipeline, call: Any) -> Output:
    if not isinstance(call, Request):
        made: Output = call.make(pipe)
        return made
    run = pipe.run([call])
    for _ in run:
        pass
    return run.result().outputs[0]


def _plain(image: Image.Image) -> Image.Image:
    return image if image.mode in ("RGB", "RGBA") else image.convert("RGB")


def _changed(record: Record, pipe: Pipeline, call: Any) -> Iterator[str]:
    if record.version != __version__:
        yield f"overpaint {record.version} made it, this is {__version__}"
    facts = pipe.bundle.model
    if record.model["name"] != facts.name:
        yield f"the model {record.model['name']} made it, this is {facts.name}"
    graphs = {name: graph.sha256 for name, graph in pipe.bundle.graphs.items()}
    yield from _compared("graph", record.model["graphs"], graphs)
    yield from _compared("embedding", record.embeddings, pipe.text.embeddings)
    if isinstance(call, Request):
        yield from _compared("LoRA", record.loras, pipe.model.loras.hashes(parse_prompts(call).loras))
    # Where model and adapters lie makes no difference.
    where = {"model": None, "controlnets": None, "loras": None, "image_prompt_adapters": None, "preprocessors": None}
    yield from _compared("loading option", {**record.loading, **where}, {**pipe.loading, **where})
    nets = pipe.model.stages.controlnets
    yield from _compared("ControlNet", record.controlnets, {name: nets.get(name).sha256 for name in record.controlnets})
    adapters = pipe.model.stages.image_adapters
    now = {name: adapters.get(name)[1].sha256 for name in record.image_adapters}
    yield from _compared("image-prompt adapter", record.image_adapters, now)
    if isinstance(call, Request) and record.plan != plan_hash(pipe.plan(call)):
        yield "the table of the sampler's steps is another"


def _engines(record: Record, now: Record) -> Iterator[str]:
    return _compared("engine of", record.engines, now.engines)


def _compared(kind: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for name in dict.fromkeys((*old, *new)):
        if old.get(name) != new.get(name):
            yield f"the {kind} {name} was {_short(old.get(name))}, is {_short(new.get(name))}"


def _short(value: Any) -> str:
    """A value in words, a hash by its beginning."""
    text = "nothing" if value is None else str(value)
    return text[:10] if len(text) == 64 else text
