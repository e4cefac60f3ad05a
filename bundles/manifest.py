"""The bundle: a folder of graphs and the manifest that describes them, the only contract of export and runtime."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from ..errors import BundleError
from .facts import SIZE_IDS, USUAL, Defaults, EncoderFacts, Extent, ModelFacts, Tokenizer, conditionings
from .format import MANIFEST, read_manifest, upgrade, write_manifest
from .graph import File, Graph, check_files, name_of_role, parse_graph


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
        """Every file the manifest names, once."""
        tokenizers = (encoder.tokenizer.file for encoder in self.model.encoders)
        yield from dict.fromkeys((*tokenizers, *(file for graph in self.graphs.values() for file in graph.files())))

    def graph(self, name: str) -> Graph:
        """The graph called `name`; raises `BundleError` where the bundle has none."""
        if name not in self.graphs:
            raise BundleError(
                f"{self.folder}: has no graph {name!r}, only {', '.join(sorted(self.graphs))}; export again"
            )
        return self.graphs[name]

    def by_role(self, role: str) -> Graph:
        """The graph of a role; raises `BundleError` where there is none, or more than one."""
        return self.graphs[self.name_of(role)]

    def name_of(self, role: str) -> str:
        """The name of the graph of a role; raises `BundleError` where there is none, or more than one."""
        return name_of_role(self.folder, self.graphs, role)

    @property
    def tokenizer(self) -> Tokenizer:
        """The first text encoder's tokenizer."""
        return self.model.encoders[0].tokenizer

    def describe(self) -> str:
        """What is inside, as lines of text: the model's facts, and every graph's signature, size and parity receipt."""
        defaults = {f"default {use}": str(own) for use, own in self.model.defaults.items()}
        encoders = {encoder.graph: str(encoder) for encoder in self.model.encoders}
        facts = {name: value for name, value in asdict(self.model).items() if name not in ("defaults", "encoders")}
        return describe(self.folder, self.producer, {**facts, **defaults, **encoders}, self.graphs)

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
    if isinstance(value, tuple):
        words = all(isinstance(each, str) for each in value)
        return (", " if words else "x").join(map(str, value)) or "none"
    return str(value)


def _parse(folder: Path, record: dict[str, Any]) -> Bundle:
    try:
        record = upgrade(record)
        model = dict(record["model"])
        model["default_size"] = tuple(model["default_size"])
        model["defaults"] = {**USUAL, **{use: Defaults(**own) for use, own in model.get("defaults", {}).items()}}
        model["encoders"] = tuple(map(_parse_encoder, model["encoders"]))
        model["size_ids"] = tuple(model.get("size_ids", ()))
        graphs = {name: parse_graph(graph) for name, graph in record["graphs"].items()}
        bundle = Bundle(folder, ModelFacts(**model), graphs, record["producer"])
        _check_facts(bundle)
        return bundle
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as exc:
        raise BundleError(
            f"{folder / MANIFEST}: a field is missing, unknown or wrong ({exc}); export the bundle again"
        ) from exc


def _parse_encoder(record: Mapping[str, Any]) -> EncoderFacts:
    tokenizer = dict(record["tokenizer"])
    tokenizer["file"] = File(**tokenizer["file"])
    return EncoderFacts(**{**record, "tokenizer": Tokenizer(**tokenizer)})


def _check_facts(bundle: Bundle) -> None:
    """Raise `ValueError` for numbers that no model has."""
    model = bundle.model
    counts = {
        "latent_channels": model.latent_channels,
        "downscale": model.downscale,
        "multiple": model.multiple,
        "default width": model.default_size[0],
        "default height": model.default_size[1],
        **{f"tokenizer length of {encoder.graph}": encoder.tokenizer.length for encoder in model.encoders},
    }
    for name, count in counts.items():
        if type(count) is not int or count < 1:
            raise ValueError(f"{name} is {count!r}")
    _check_encoders(bundle)
    if unknown := model.defaults.keys() - USUAL.keys():
        raise ValueError(f"defaults are of {', '.join(sorted(unknown))}")
    if strange := set(model.size_ids) - set(SIZE_IDS):
        raise ValueError(f"size_ids are of {', '.join(sorted(map(str, strange)))}")
    if model.conditioning_channels not in conditionings(model.latent_channels):
        raise ValueError(f"conditioning_channels is {model.conditioning_channels!r}")
    if model.multiple % model.downscale:
        raise ValueError(f"multiple {model.multiple} is none of downscale {model.downscale}")
    if not float(model.scaling_factor) or not math.isfinite(model.scaling_factor + model.shift_factor):
        raise ValueError(f"scaling {model.scaling_factor!r}, shift {model.shift_factor!r}")


def _check_encoders(bundle: Bundle) -> None:
    """Raise `ValueError` where there is no text encoder, or one is none of the graphs, or lacks an output."""
    if not bundle.model.encoders:
        raise ValueError("the model has no text encoder")
    for encoder in bundle.model.encoders:
        outputs = {spec.name for spec in bundle.graphs[encoder.graph].outputs}
        if not encoder.outputs or not outputs.issuperset(encoder.outputs):
            raise ValueError(f"encoder {encoder.graph} gives {sorted(outputs)}, not {', '.join(encoder.outputs)}")
