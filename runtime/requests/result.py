"""What comes back: pictures with their parameters, their record and what was done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

from PIL import Image

from ...bundles.tensor import Array
from ...errors import counted
from ..imaging.compose import Certificate
from ..imaging.output import write
from ..sampling.plan import Plan
from .options import default
from .request import Request


class Recorder(Protocol):
    """Gives the record of a picture, see `provenance.records.recorder`."""

    def __call__(self) -> str:
        """The text of the record, with the paths of pictures as they are seen from the current folder."""
        ...

    def located(self, path: Path) -> str:
        """The text with those paths as they are seen from the file `path`."""
        ...


@dataclass(frozen=True)
class Output:
    """One repainted picture: the image, the request it answers, and the table that was run.

    `parameters` is the text that tells other programs how it was made, `record` that by which `replay` makes it again
    (see `provenance.records.Record`), `notes` are on what was done to the input on its way. `drift` is the
    latents' of each pass where there are several (see `step_hooks.Drift`), `certificate` says of an edit under a mask
    what was left alone. `paste_mask`, uint8 of the image's size, is how much of it counts, where A1111's soft
    inpainting decided that.
    """

    image: Image.Image
    request: Request
    plan: Plan
    parameters: str
    notes: tuple[str, ...]
    drift: tuple[float, ...] = ()
    recorder: Recorder | None = field(default=None, repr=False)
    certificate: Certificate | None = None
    paste_mask: Array | None = field(default=None, repr=False)

    @cached_property
    def record(self) -> str | None:
        """The record as it is written into files, see `provenance.records.recorder`."""
        return self.recorder() if self.recorder else None

    def save(
        self, path: str | Path, *, quality: int = default("quality", "file"), strip_metadata: bool = False
    ) -> tuple[str, ...]:
        """Write the picture with its parameters and its record, in the format that the path's suffix names.

        A file that is there is replaced. Returns notes on what the format could not keep; raises `OutputError` where
        the file cannot be written and `InputError` for another suffix.
        """
        record = self.recorder.located(Path(path)) if self.recorder else None
        return write(path, self.image, self.parameters, record=record, quality=quality, strip=strip_metadata)

    def __repr__(self) -> str:
        width, height = self.image.size
        evaluations = counted(len(self.plan), "evaluation")
        return f"Output({width}x{height}, seed {self.request.seed}, {self.plan.sampler}, {evaluations})"


@dataclass(frozen=True)
class Result:
    """What a run gives.

    `timings` are seconds by stage: text, encode, denoise, decode and total. `cached` counts, by stage, the encodings
    that were not computed again. `engines` say, by graph, what ran it.
    """

    outputs: tuple[Output, ...]
    timings: Mapping[str, float]
    cached: Mapping[str, int]
    engines: Mapping[str, str]

    @property
    def images(self) -> list[Image.Image]:
        """The repainted pictures."""
        return [output.image for output in self.outputs]

    @property
    def plan(self) -> Plan:
        """The table used; the first picture's, where the requests were of different kinds."""
        return self.outputs[0].plan

    @property
    def seeds(self) -> list[int]:
        """The seed of each picture."""
        return [output.request.seed for output in self.outputs]
