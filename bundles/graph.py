"""One graph of a bundle: its files, its signature, the lengths of its axes and its parity receipt."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from ..errors import BundleError, counted
from .tensor import TensorSpec

# What a graph is to the runtime. Another role is kept, and its graph left alone.
DENOISER, TEXT_ENCODER = "denoiser", "text_encoder"
VAE_ENCODER, VAE_DECODER = "vae_encoder", "vae_decoder"
UPSCALER, CONTROLNET = "upscaler", "controlnet"
DENOISER_LORA, TEXT_ENCODER_LORA = "denoiser_lora", "text_encoder_lora"
DENOISER_SHALLOW = "denoiser_shallow"
IMAGE_ENCODER, IMAGE_PROJECTION = "image_encoder", "image_projection"

DEEP_FEATURES = "deep_features"
"""What a denoiser may give besides, and its shallow graph takes: the states that its last layers go on from."""


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
    """The least, the usual and the greatest length of a dynamic axis, and what it must be a multiple of.

    An axis of an adapter's input is 1 long where the adapter is absent; where it `follows` another axis, it is else as
    long as that one divided by `divisor`, rounded up.
    """

    least: int
    usual: int
    most: int
    multiple: int = 1
    follows: str = ""
    divisor: int = 1

    def __str__(self) -> str:
        multiple = f", multiples of {self.multiple}" if self.multiple > 1 else ""
        return f"{self.least} to {self.most}, usually {self.usual}{multiple}"


@dataclass(frozen=True)
class LowRankLayer:
    """Where the LoRAs of a layer lie in the graph's input "lora" [rows of all layers, rank].

    From row `start` there are `inputs` rows of the transposed down projection, then `outputs` of the up projection.
    `name` is the layer's in diffusers' model, of whose outputs the layer here has those from `first` on.
    """

    name: str
    start: int
    inputs: int
    outputs: int
    first: int = 0


@dataclass(frozen=True)
class StoredWeight:
    """Where a layer's weights lie, so that adapters can be merged into them when the graph is opened.

    `name` is the layer's in diffusers' model, of whose outputs the tensor here has those from `first` on; `tensor` is
    the tensor's name in the graph. It begins at byte `offset` of `file`: numbers of a `dtype`, little-endian, in a
    `shape` that is the layer's own, or where it is `turned` that with its two axes exchanged.
    """

    name: str
    tensor: str
    file: str
    offset: int
    dtype: str
    shape: tuple[int, ...]
    turned: bool = False
    first: int = 0

    @property
    def outputs(self) -> int:
        """How many of the layer's outputs are here."""
        return self.shape[-1 if self.turned else 0]


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
    """One compiled component: its role, its ONNX file, the files of external data, its signature and its receipt.

    `adapters` names the inputs that belong to each kind of adapter, such as "control", in the order of the adapter's
    outputs. They may be absent: zeros whose dynamic axes are 1 long change nothing. A graph in whose favour another one
    stands back, for rows with LoRAs or deep features, names that one as its `base`; one that takes LoRAs names its
    layers as `low_rank`. `stored` says where the weights lie that adapters can be merged into; none where
    they are quantized.
    """

    role: str
    file: File
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    ranges: Mapping[str, Range]
    precision: str
    weights: str
    receipt: Receipt
    data: tuple[File, ...] = ()
    adapters: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    base: str = ""
    low_rank: tuple[LowRankLayer, ...] = ()
    stored: tuple[StoredWeight, ...] = ()

    @property
    def optional(self) -> frozenset[str]:
        """The names of the inputs that may be absent."""
        return frozenset(name for names in self.adapters.values() for name in names)

    @property
    def optional_axes(self) -> frozenset[str]:
        """The dynamic axes that only those inputs have."""
        axes: dict[bool, set[str]] = {True: set(), False: set()}
        for spec in self.inputs:
            axes[spec.name in self.optional].update(axis for axis in spec.axes if isinstance(axis, str))
        return frozenset(axes[True] - axes[False])

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
        lines = [f"{name}: {self.role}, {self.size / 1e6:.1f} MB, {self.precision}, weights {self.weights}"]
        lines += [f"  in   {spec}" for spec in self.inputs] + [f"  out  {spec}" for spec in self.outputs]
        lines += [f"  axis {axis}: {lengths}" for axis, lengths in self.ranges.items()]
        lines += [f"  adapter {kind}: {counted(len(names), 'input')}" for kind, names in self.adapters.items()]
        if self.low_rank:
            lines.append(f"  {self.base} with LoRAs of each row, of {counted(len(self.low_rank), 'layer')}")
        lines += [f"  parity with {self.receipt.source}, tolerance {self.receipt.tolerance:g}:"]
        return lines + [f"    {check}" for check in self.receipt.checks]


def name_of_role(folder: Path, graphs: Mapping[str, Graph], role: str) -> str:
    """The name of the one graph of that role; raises `BundleError` where there is none, or more than one."""
    names = [name for name, graph in graphs.items() if graph.role == role]
    if not names:
        there = ", ".join(f"{name} ({graph.role})" for name, graph in graphs.items())
        raise BundleError(f"{folder}: has no graph of the role {role!r}, only {there}; export again")
    if len(names) > 1:
        raise BundleError(f"{folder}: has {len(names)} graphs of the role {role!r}, {', '.join(names)}; ask by name")
    return names[0]


def sha256(path: Path) -> str:
    """The SHA-256 of a file in hexadecimal, read in bounded memory."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


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
        "adapters": {kind: tuple(names) for kind, names in record.get("adapters", {}).items()},
        "low_rank": tuple(LowRankLayer(**layer) for layer in record.get("low_rank", ())),
        "stored": tuple(StoredWeight(**{**own, "shape": tuple(own["shape"])}) for own in record.get("stored", ())),
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
