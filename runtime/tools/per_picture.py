"""Hints and image prompts that each picture of a batch has of its own: files of the pictures' names in a folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InputError
from ..imaging.formats import endings
from ..imaging.picture import Picture, read
from ..provenance.frozen import freeze
from ..requests.controls import Control
from ..requests.image_prompts import ImagePrompt
from .folder import content

FIELDS: Mapping[str, str] = {"controls": "control_weight", "image_prompts": "image_weight"}
"""The options that may have some, each with that of what all of it counts."""


@dataclass(frozen=True)
class PerPicture:
    """A `Control` or an `ImagePrompt`, by `kind`, with the `fields` that all pictures of a batch have alike; its image
    is, of each, the file of the picture's name in a `folder`.

    Raises `InputError` for fields that cannot be used.
    """

    folder: Path
    kind: type[Control] | type[ImagePrompt]
    fields: Mapping[str, Any]

    def __post_init__(self) -> None:
        self._with(Picture(np.zeros((8, 8, 3), np.uint8)))

    def of(self, place: Path) -> Control | ImagePrompt:
        """That of the picture at a place in the batch's folder; raises `InputError` where it has no file here."""
        return self._with(read(self._file(place)))

    def content(self, place: Path) -> str:
        """The hash of a picture's file; raises `InputError` as `of` does."""
        return content(self._file(place))

    @property
    def record(self) -> list[Any]:
        """What all pictures have alike, as JSON."""
        return [self.kind.__name__, {name: freeze(value) for name, value in self.fields.items()}]

    def _with(self, picture: Picture) -> Control | ImagePrompt:
        return self.kind(image=picture, **self.fields)

    def _file(self, place: Path) -> Path:
        own = self.folder / place
        if own.is_file():
            return own
        found = [path for ending in sorted(endings()) if (path := own.with_suffix(ending)).is_file()]
        if len(found) == 1:
            return found[0]
        if not found:
            raise InputError(f"{own.parent} has no picture {place.stem}.*")
        raise InputError(f"{own.parent} has {found[0].name} and {found[1].name}; leave one")


def resolved(options: Mapping[str, Any], place: Path | None) -> dict[str, Any]:
    """Options with what the picture at a place has of its own; without a place that is left out."""
    made = dict(options)
    for name, weight in FIELDS.items():
        if any(isinstance(each, PerPicture) for each in made.get(name) or ()):
            own = [each.of(place) if place and isinstance(each, PerPicture) else each for each in made[name]]
            made[name] = tuple(each for each in own if not isinstance(each, PerPicture))
            if not made[name]:
                made.pop(weight, None)
    return made


def per_picture(options: Mapping[str, Any]) -> list[PerPicture]:
    """What pictures have of their own among options."""
    return [each for name in FIELDS for each in options.get(name) or () if isinstance(each, PerPicture)]


def as_json(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as JSON, to tell whether they are the same."""
    made = {}
    for name, value in options.items():
        if name in FIELDS:
            made[name] = [each.record if isinstance(each, PerPicture) else freeze(each) for each in value or ()]
        else:
            made[name] = freeze(value)
    return made
