"""What made a picture, as JSON in its file: everything that is needed to make it again."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from ...errors import InputError
from .frozen import CLASS, Reference, damaged, references, seen_from, upgraded

FORMAT = 2


@dataclass(frozen=True)
class Record:
    """What made a picture.

    `call` is the request, or a tool's options, as JSON; `model` the bundle's name and hashes by graph;
    `loading` what `overpaint.load` was given; `engines` their labels by graph; `embeddings` the hashes of textual
    inversions by name, `controlnets` and `loras` those of the request's ControlNets and LoRAs,
    `image_adapters` that of its image-prompt adapter; `plan` the hash of the
    table; `together` how many pictures the run had; `result` the hash of the picture's pixels.
    """

    version: str
    call: Any
    model: Mapping[str, Any]
    loading: Mapping[str, Any]
    engines: Mapping[str, str]
    embeddings: Mapping[str, str]
    plan: str | None
    together: int
    result: str
    controlnets: Mapping[str, str] = field(default_factory=dict)
    loras: Mapping[str, str] = field(default_factory=dict)
    image_adapters: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        hashes = (self.embeddings, self.controlnets, self.loras, self.image_adapters)
        tables = (self.model, self.loading, self.engines, *hashes)
        if not all(isinstance(table, dict) for table in tables) or not isinstance(self.model.get("graphs"), dict):
            raise damaged()
        if not isinstance(self.model.get("name"), str) or not isinstance(self.together, int):
            raise damaged()
        if not isinstance(self.call, dict) or CLASS not in self.call:
            raise damaged()

    def text(self) -> str:
        """The record as it is written into files."""
        data = {each.name: getattr(self, each.name) for each in fields(self)}
        for name in ("controlnets", "loras", "image_adapters"):
            if not data[name]:  # which an older version does not know
                del data[name]
        return json.dumps({"format": FORMAT, **data})

    @classmethod
    def read(cls, text: str) -> Record:
        """The record of a text; raises `InputError` for one of another format and one that is none."""
        try:
            data = json.loads(text)
            version = data.pop("format")
            if version == 1:
                return cls(call=upgraded(data.pop("asked")), **data)
            if version == FORMAT:
                return cls(**data)
        except InputError:
            raise
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as exc:
            raise damaged() from exc
        raise InputError(f"the picture's record has format {version}, this version reads {FORMAT}; update overpaint")

    def references(self) -> list[Reference]:
        """The pictures that it names, in their order."""
        try:
            return list(references(self.call))
        except (KeyError, TypeError, ValueError, RecursionError) as exc:
            raise damaged() from exc

    def seen_from(self, folder: Path) -> Record:
        """The record with its pictures' paths, which are seen from the current folder, seen from `folder`."""
        return replace(self, call=seen_from(self.call, os.path.realpath(folder)))


def located(text: str, path: Path) -> str:
    """The text of a record that is written into the file `path`: its pictures' paths are seen from there."""
    return Record.read(text).seen_from(Path(os.path.realpath(path)).parent).text()
