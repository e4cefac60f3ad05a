"""What gives the record of a picture once it is wanted."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ...version import __version__
from ..imaging.tiles import strips
from ..requests.result import Recorder
from ..sampling.plan import Plan
from .frozen import freeze
from .records import Record, located

# Pixels of a picture that a record may hold on to.
_SMALL = 2**20


@dataclass(frozen=True)
class Maker:
    """What of a loaded model goes into a record: its name, the hashes of its graphs, what `load` was given, the labels
    of the engines, and the hashes of the textual inversions, of the ControlNets, of the LoRAs in use and of the
    image-prompt adapters; each by name."""

    name: str
    graphs: Mapping[str, str]
    loading: Mapping[str, Any]
    engines: Mapping[str, str]
    embeddings: Mapping[str, str]
    controlnets: Mapping[str, str] = field(default_factory=dict)
    loras: Mapping[str, str] = field(default_factory=dict)
    image_adapters: Mapping[str, str] = field(default_factory=dict)


class RecordText:
    """A record of which there is only the text left."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __call__(self) -> str:
        """The text."""
        return self._text

    def located(self, path: Path) -> str:
        """The text with the paths of pictures as they are seen from the file `path`."""
        return located(self(), path)


class _Recorder:
    """Packs the record when it is wanted; pickled as its text."""

    def __init__(self, make: Callable[..., Record], call: Any, result: Callable[[], str]) -> None:
        self._make, self._call, self._result = make, call, result

    def __call__(self) -> str:
        return self._make(call=freeze(self._call), result=self._result()).text()

    def located(self, path: Path) -> str:
        return located(self(), path)

    def __reduce__(self) -> tuple[type[RecordText], tuple[str]]:
        return RecordText, (self(),)


def recorder(maker: Maker, call: Any, image: Image.Image, plan: Plan | None = None, together: int = 1) -> Recorder:
    """What gives the text of the record of a picture that a model made for a request, or for a tool's call.

    The rest is as it is now; only packing `call`, which does not change, is left until the text is wanted: it costs
    the more the larger its masks are, and of a tool's parts nobody wants it. So is the hash of a small picture, which
    takes longer than its copy.
    """
    make = partial(
        Record,
        version=__version__,
        model={"name": maker.name, "graphs": dict(maker.graphs)},
        loading=dict(maker.loading),
        engines=dict(maker.engines),
        embeddings=dict(maker.embeddings),
        loras=dict(maker.loras),
        plan=None if plan is None else plan_hash(plan),
        together=together,
        controlnets={name: maker.controlnets[name] for name in _nets(call) if name in maker.controlnets},
        image_adapters={name: maker.image_adapters[name] for name in _adapters(call) if name in maker.image_adapters},
    )
    return _Recorder(make, call, _hashed(image))


def _nets(call: Any) -> list[str]:
    """The names of the ControlNets of a request, or of a tool's call."""
    options = dict(getattr(call, "options", ()))
    return [control.net for control in getattr(call, "controls", None) or options.get("controls") or ()]


def _adapters(call: Any) -> list[str]:
    """The names of the image-prompt adapters of a request, or of a tool's call."""
    options = dict(getattr(call, "options", ()))
    prompts = getattr(call, "image_prompts", None) or options.get("image_prompts") or ()
    return sorted({prompt.adapter for prompt in prompts})


def _hashed(image: Image.Image) -> Callable[[], str]:
    """What gives the hash of an image as it is now."""
    if image.width * image.height <= _SMALL:
        return partial(image_hash, image.copy())
    known = image_hash(image)
    return lambda: known


def image_hash(image: Image.Image) -> str:
    """The SHA-256 of an image's mode, size and pixels, which are not copied as a whole."""
    digest = hashlib.sha256(f"{image.mode} {image.size}".encode())
    for rows in strips(image.height, image.width):
        digest.update(image.crop((0, rows.start, image.width, rows.stop)).tobytes())
    return digest.hexdigest()


def plan_hash(plan: Plan) -> str:
    """The SHA-256 of a table in float32: machines may differ in the last bits of float64."""
    digest = hashlib.sha256()
    for value in plan.columns():
        digest.update(value.astype(np.float32).tobytes() if isinstance(value, np.ndarray) else repr(value).encode())
    return digest.hexdigest()
