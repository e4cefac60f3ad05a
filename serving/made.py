"""What comes of a job: pictures that can be encoded, and what they took."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from ..runtime.imaging.output import encode
from ..runtime.requests.result import Output, Recorder, Result

MEDIA_TYPES: Mapping[str, str] = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}


@dataclass(frozen=True)
class MadePicture:
    """One picture: its image, the text of its parameters, its seed where it has one, and notes on how it came."""

    image: Image.Image
    parameters: str
    seed: int | None = None
    notes: tuple[str, ...] = ()
    recorder: Recorder | None = field(default=None, repr=False)

    @classmethod
    def of(cls, output: Output) -> MadePicture:
        """That of an output."""
        return cls(output.image, output.parameters, output.request.seed, output.notes, output.recorder)

    def encoded(self, kind: str = "png", *, quality: int = 95, strip: bool = False) -> bytes:
        """The file, of a kind of `MEDIA_TYPES`, with its parameters and its record unless they are to be left out."""
        record = self.recorder() if self.recorder and not strip else None
        return encode(self.image, f".{kind}", self.parameters, record=record, quality=quality, strip=strip)[0]

    def document(self) -> dict[str, Any]:
        """What JSON says of it beside its file."""
        width, height = self.image.size
        return {
            "width": width,
            "height": height,
            "seed": self.seed,
            "parameters": self.parameters,
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class Made:
    """The pictures of a job, seconds by stage, and encodings by stage that came from a cache."""

    pictures: tuple[MadePicture, ...]
    timings: Mapping[str, float]
    cached: Mapping[str, int]

    @classmethod
    def of(cls, result: Result) -> Made:
        """That of a run or a tool."""
        return cls(tuple(map(MadePicture.of, result.outputs)), dict(result.timings), dict(result.cached))

    def document(self) -> dict[str, Any]:
        """What JSON says of it beside the files."""
        timings = {stage: round(seconds, 4) for stage, seconds in self.timings.items()}
        return {"pictures": [picture.document() for picture in self.pictures], "timings": timings}
