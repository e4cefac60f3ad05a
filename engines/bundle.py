"""The bundle: a folder of graphs and the manifest that describes them, the only contract of export and runtime."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn, Protocol

from .base import BundleError, InputError, NoBundleError, TensorSpec, unknown
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


@dataclass(frozen=True)
class File:
    """A file of the bundle: its path relative to the folder, its size in bytes and its SHA-256."""

    path: str
    size: int
    sha256: str

    @classmethod
    def of(cls, folder: Path, path: str) -> File:
        """Describe the file at `folder / path`."""
        return cls(path, (folder / path).stat().st_size, sha256(folder / path))


@dataclass(frozen=True)
class Range:
    """The least, the usual and the greatest length of a dynamic axis, and what it must be a multiple of."""

    least: int
    usual: int
    most: int
    multiple: int = 1

    def __str__(self) -> str:
        multiple = f", multiples of {self.multiple}" if self.multiple > 1 else ""
        return f"{self.least} to {self.most}, usually {self.usual}{multiple}"


@dataclass(frozen=True)
class Check:
    """One comparison of a graph with its source: the lengths of the dynamic axes, and the relative error
    ‖graph - source‖₂ / ‖source‖₂, the worst over the outputs."""

    axes: Mapping[str, int]
    error: float

    def __str__(self) -> str:
        return (
            f"relative error {self.error:.1e} at {', '.join(f'{axis} {length}' for axis, length in self.axes.items())}"
        )


@dataclass(frozen=True)
class Receipt:
    """The parity receipt of a graph: what it was compared with, what was tolerated, and what was seen."""

    source: str
    tolerance: float
    checks: tuple[Check, ...]


@dataclass(frozen=True)
class Graph:
    """One compiled component: its ONNX file, the files of external data, its signature and its receipt."""

    file: File
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    ranges: Mapping[str, Range]
    precision: str
    weights: str
    receipt: Receipt
    data: tuple[File, ...] = ()

    @property
    def sha256(self) -> str:
        """One hash for the graph and its weights, wherever they are stored."""
        return hashlib.sha256("".join(file.sha256 for file in self.files()).encode()).hexdigest()

    @property
    def size(self) -> int:
        """The bytes of the graph and its weights on disk."""
        return sum(file.size for file in self.files())

    def files(self) -> Iterator[File]:
        """The graph's own file, and those of its weights."""
        yield self.file
        yield from self.data

    def describe(self, name: str) -> list[str]:
        """Its signature, size and parity receipt, as lines of text."""
        lines = [f"{name}: {self.size / 1e6:.1f} MB, {self.precision}, weights {self.weights}"]
        lines += [f"  in   {spec}" for spec in self.inputs] + [f"  out  {spec}" for spec in self.outputs]
        lines += [f"  axis {axis}: {lengths}" for axis, lengths in self.ranges.items()]
        lines += [f"  parity with {self.receipt.source}, tolerance {self.receipt.tolerance:g}:"]
        return lines + [f"    {check}" for check in self.receipt.checks]


@dataclass(frozen=True)
class Tokenizer:
    """The tokenizer's file (Hugging Face `tokenizers` JSON) and the ids the runtime frames a chunk with."""

    file: File
    length: int
    bos: int
    eos: int
    pad: int


@dataclass(frozen=True)
class Defaults:
    """What a request has where its user says nothing: the length of the whole schedule, the scale of classifier-free
    guidance (at most 1 is none), and the denoising strength in [0, 1]."""

    steps: int = 20
    guidance_scale: float = 7.5
    strength: float = 0.6

    def __post_init__(self) -> None:
        """Raise `ValueError` for what no request can have."""
        if type(self.steps) is not int or not 1 <= self.steps <= 1000:
            raise ValueError(f"default steps are {self.steps!r}")
        if not 0 <= self.guidance_scale <= 100 or not 0 <= self.strength <= 1:
            raise ValueError(f"default guidance is {self.guidance_scale!r}, default strength {self.strength!r}")

    def __str__(self) -> str:
        return f"{self.steps} steps, guidance {self.guidance_scale:g}, strength {self.strength:g}"


USUAL: Mapping[str, Defaults] = {
    "img2img": Defaults(),
    "inpaint": Defaults(),
    "outpaint": Defaults(strength=1.0),
    "upscale": Defaults(strength=0.3),
}
"""By use, for models that name no others: what suits Stable Diffusion."""


def parse_defaults(words: Iterable[str], usual: Mapping[str, Defaults] = USUAL) -> dict[str, Defaults]:
    """`usual` with other values: "guidance_scale=3" of all uses, "upscale.strength=0.2" of one.

    Raises `InputError` for an unknown use or name, and a value that no request can have.
    """
    made = dict(usual)
    kinds = {"steps": int, "guidance_scale": float, "strength": float}
    for word in words:
        path, _, text = word.partition("=")
        use, _, name = path.rpartition(".")
        if name not in kinds:
            raise unknown("default", name, kinds)
        if use and use not in made:
            raise unknown("use", use, made)
        try:
            changes = {each: replace(made[each], **{name: kinds[name](text)}) for each in ([use] if use else made)}
        except ValueError as exc:
            raise InputError(f"the default {word!r} cannot be ({exc}); write one as guidance_scale=3") from exc
        made |= changes
    return made


@dataclass(frozen=True)
class ModelFacts:
    """What the runtime has to know about the model; it never guesses from a name.

    `downscale` is pixels per latent along an edge; `multiple` is what the pixel height and width must be multiples of.
    `conditioning_channels` are those that the U-Net's `sample` has after the latents: none, a mask and the masked
    picture's latents (inpainting, 1 + `latent_channels`), or a picture's latents (InstructPix2Pix, `latent_channels`).
    Latents of the denoiser are `(vae latents - shift_factor) * scaling_factor`. `scheduler` holds the fields of
    `overpaint.runtime.sampling.levels.ModelSchedule`. `default_size` is in pixels, (width, height). `default_schedule`
    is that of `default_sampler`, None what follows from `scheduler`. `defaults` are by use, see `USUAL`.
    """

    name: str
    family: str
    latent_channels: int
    downscale: int
    multiple: int
    scaling_factor: float
    shift_factor: float
    default_size: tuple[int, int]
    default_sampler: str
    scheduler: Mapping[str, Any]
    origin: Mapping[str, str] = field(default_factory=dict)
    conditioning_channels: int = 0
    default_schedule: str | None = None
    defaults: Mapping[str, Defaults] = field(default_factory=lambda: USUAL)

    @property
    def unet_channels(self) -> int:
        """The channels of the U-Net's `sample`."""
        return self.latent_channels + self.conditioning_channels

    @property
    def inpaints(self) -> bool:
        """Whether `sample` is the latents [latent_channels], a mask [1] and the masked picture's latents."""
        return self.conditioning_channels == self.latent_channels + 1


class Extent(Protocol):
    """What engines are told of the pictures that a bundle is for; the fields are those of `ModelFacts`."""

    @property
    def downscale(self) -> int: ...  # noqa: D102
    @property
    def multiple(self) -> int: ...  # noqa: D102
    @property
    def default_size(self) -> tuple[int, int]: ...  # noqa: D102


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


def conditionings(latent_channels: int) -> dict[int, str]:
    """What a U-Net may be shown beside latents of so many channels, by the channels that this takes."""
    return {
        0: "nothing",
        latent_channels: "a picture's latents (InstructPix2Pix)",
        latent_channels + 1: "a mask and the masked picture's latents (inpainting)",
    }


def sha256(path: Path) -> str:
    """The SHA-256 of a file in hexadecimal, read in bounded memory."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


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


def parse_graph(record: dict[str, Any]) -> Graph:
    """A graph from its part of a manifest; raises as Python does where a field is missing, unknown or wrong."""
    receipt = record["receipt"]
    checks = tuple(Check(**check) for check in receipt["checks"])
    parsed = {
        "file": File(**record["file"]),
        "data": tuple(File(**file) for file in record["data"]),
        "inputs": tuple(_spec(spec) for spec in record["inputs"]),
        "outputs": tuple(_spec(spec) for spec in record["outputs"]),
        "ranges": {axis: Range(**lengths) for axis, lengths in record["ranges"].items()},
        "receipt": Receipt(receipt["source"], receipt["tolerance"], checks),
    }
    return Graph(**{**record, **parsed})


def _spec(record: dict[str, Any]) -> TensorSpec:
    return TensorSpec(record["name"], record["dtype"], tuple(record["axes"]))


def check_files(folder: Path, files: Iterable[File], verify: bool) -> None:
    """Raise `BundleError` for a file that is missing or altered; `verify` also compares each with its SHA-256."""
    for file in files:
        _check_file(folder, file, verify)


def _check_file(folder: Path, file: File, verify: bool) -> None:
    def refuse(reason: str) -> NoReturn:
        raise BundleError(f"{folder / file.path}: {reason}; export the bundle again or restore the file")

    parts = PurePosixPath(file.path)
    if parts.is_absolute() or ".." in parts.parts:
        refuse("lies outside the bundle")
    path = folder / file.path
    if not path.is_file():
        refuse("is missing")
    if (size := path.stat().st_size) != file.size:
        refuse(f"is altered ({size} bytes, the manifest says {file.size})")
    if verify and sha256(path) != file.sha256:
        refuse("is altered (its SHA-256 is not the manifest's)")
