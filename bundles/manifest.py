"""The bundle: a folder of graphs and the manifest that describes them, the only contract of export and runtime."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from ..errors import BundleError, NoBundleError
from .facts import USUAL, Defaults, Extent, ModelFacts, Tokenizer, conditionings
from .graph import File, Graph, check_files, parse_graph
from .textfile import decode

# 2 brought `conditioning_channels` and `kind`, 3 `default_schedule` and `defaults`; older manifests are read with what
# these are where nothing is said.
FORMAT = 3
MANIFEST = "bundle.json"
# What a bundle may be, what loads it and what makes one. A manifest that does not say is a model's.
KINDS = {
    "model": ("overpaint.load", "overpaint export"),
    "upscaler": ("overpaint.load_upscaler", "overpaint export-upscaler"),
}


class Graphs(Protocol):
    """What a bundle of any kind is to engines."""

    @property
    def folder(self) -> Path: ...  # noqa: D102
    @property
    def model(self) -> Extent: ...  # noqa: D102
    @property
    def graphs(self) -> Mapping[str, Graph]: ...  # noqa: D102

    def graph(self, name: str) -> Graph:
        """The graph called `name`; raises `BundleError` where the bundle has none."""
        ...


@dataclass(frozen=True)
class Bundle:
    """A manifest and the folder it was read from."""

    folder: Path
    model: ModelFacts
    tokenizer: Tokenizer
    graphs: Mapping[str, Graph]
    producer: str

    @classmethod
    def read(cls, folder: Path, *, verify: bool = True) -> Bundle:
        """Read a bundle; `verify` also compares every file with its SHA-256.

        Raises `BundleError` for a folder without a readable manifest, a newer format, and a missing or altered file.
        """
        bundle = _parse(folder, read_manifest(folder, "model"))
        check_files(folder, bundle.files(), verify)
        return bundle

    def files(self) -> Iterator[File]:
        """Every file the manifest names."""
        yield self.tokenizer.file
        for graph in self.graphs.values():
            yield from graph.files()

    def graph(self, name: str) -> Graph:
        """The graph called `name`; raises `BundleError` where the bundle has none."""
        if name not in self.graphs:
            raise BundleError(
                f"{self.folder}: has no graph {name!r}, only {', '.join(sorted(self.graphs))}; export again"
            )
        return self.graphs[name]

    def describe(self) -> str:
        """What is inside, as lines of text: the model's facts, and every graph's signature, size and parity receipt."""
        defaults = {f"default {use}": str(own) for use, own in self.model.defaults.items()}
        facts = {name: value for name, value in asdict(self.model).items() if name != "defaults"}
        return describe(self.folder, self.producer, {**facts, **defaults}, self.graphs)

    def write_manifest(self) -> None:
        """Write `bundle.json` into the folder; the last step of an export."""
        write_manifest(self.folder, "model", asdict(self))


def describe(folder: Path, producer: str, facts: Mapping[str, Any], graphs: Mapping[str, Graph]) -> str:
    """What is inside a bundle, as lines of text."""
    lines = [f"{folder} (by {producer})", ""]
    lines += [f"  {key.replace('_', ' '):<16} {_fact(value)}" for key, value in facts.items()]
    for name, graph in graphs.items():
        lines += ["", *graph.describe(name)]
    return "\n".join(lines)


def _fact(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {each}" for key, each in value.items())
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)


def write_manifest(folder: Path, kind: str, bundle: Mapping[str, Any]) -> None:
    """Write the fields of a bundle, but for its folder, as the manifest of a kind in `KINDS`."""
    record = {"format": FORMAT, "kind": kind, **{key: value for key, value in bundle.items() if key != "folder"}}
    text = json.dumps(record, indent=2, ensure_ascii=False)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def read_manifest(folder: Path, kind: str) -> dict[str, Any]:
    """The manifest of a bundle of this kind; raises `BundleError` where there is none, or it is of another."""
    record = read_any(folder, KINDS[kind][1])
    if (found := kind_of(record)) != kind:
        mend = KINDS.get(str(found), ("a version of overpaint that knows it",))[0]
        raise BundleError(f"{folder}: is a bundle of kind {found!r}, not {kind!r}; load it with {mend}")
    return record


def kind_of(record: Mapping[str, Any]) -> Any:
    """Of which kind a manifest is."""
    return record.get("kind", "model")


def read_any(folder: Path, command: str = "overpaint export") -> dict[str, Any]:
    """The manifest of a bundle of any kind; raises `BundleError` where there is none, or it is newer.

    `command` is what makes one, for the message.
    """
    path = folder / MANIFEST
    if not folder.is_dir():
        raise NoBundleError(f"{folder}: no such bundle; make one with `{command} CHECKPOINT {folder}`")
    if not path.is_file():
        raise NoBundleError(
            f"{folder}: not a bundle, it has no {MANIFEST}; make one with `{command} CHECKPOINT BUNDLE`"
        )
    try:
        record = json.loads(decode(path.read_bytes()))
    except (OSError, ValueError, RecursionError) as exc:
        raise BundleError(f"{path}: not readable as JSON ({exc}); export the bundle again") from exc
    if not isinstance(record, dict) or type(record.get("format")) is not int or record["format"] < 1:
        raise BundleError(f"{path}: not a bundle's manifest; export the bundle again")
    if record["format"] > FORMAT:
        raise BundleError(
            f"{path}: format {record['format']} is newer than {FORMAT}, which this version reads; update overpaint"
        )
    return record


def _parse(folder: Path, record: dict[str, Any]) -> Bundle:
    try:
        model = dict(record["model"])
        model["default_size"] = tuple(model["default_size"])
        model["defaults"] = {**USUAL, **{use: Defaults(**own) for use, own in model.get("defaults", {}).items()}}
        tokenizer = dict(record["tokenizer"])
        tokenizer["file"] = File(**tokenizer["file"])
        graphs = {name: parse_graph(graph) for name, graph in record["graphs"].items()}
        bundle = Bundle(folder, ModelFacts(**model), Tokenizer(**tokenizer), graphs, record["producer"])
        _check_facts(bundle)
        return bundle
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as exc:
        raise BundleError(
            f"{folder / MANIFEST}: a field is missing, unknown or wrong ({exc}); export the bundle again"
        ) from exc


def _check_facts(bundle: Bundle) -> None:
    """Raise `ValueError` for numbers that no model has."""
    model = bundle.model
    counts = {
        "latent_channels": model.latent_channels,
        "downscale": model.downscale,
        "multiple": model.multiple,
        "default width": model.default_size[0],
        "default height": model.default_size[1],
        "tokenizer length": bundle.tokenizer.length,
    }
    for name, count in counts.items():
        if type(count) is not int or count < 1:
            raise ValueError(f"{name} is {count!r}")
    if unknown := model.defaults.keys() - USUAL.keys():
        raise ValueError(f"defaults are of {', '.join(sorted(unknown))}")
    if model.conditioning_channels not in conditionings(model.latent_channels):
        raise ValueError(f"conditioning_channels is {model.conditioning_channels!r}")
    if model.multiple % model.downscale:
        raise ValueError(f"multiple {model.multiple} is none of downscale {model.downscale}")
    if not float(model.scaling_factor) or not math.isfinite(model.scaling_factor + model.shift_factor):
        raise ValueError(f"scaling {model.scaling_factor!r}, shift {model.shift_factor!r}")
