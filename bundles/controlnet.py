"""The bundle of a ControlNet: one graph whose outputs a base model's denoiser adds to its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..errors import BundleError
from .format import MANIFEST, read_manifest, upgrade, write_manifest
from .graph import CONTROLNET, File, Graph, check_files, name_of_role, parse_graph
from .manifest import describe

KIND = "controlnet"


@dataclass(frozen=True)
class ControlNetFacts:
    """What the runtime has to know of a ControlNet.

    The base model has to have its `latent_channels`, `downscale` and `text_width`, and residuals of its `channels`.
    Its hints are blue, green, red where it is `bgr`. `control_types` are what a union model tells hints apart by, in
    the order of its input.
    """

    name: str
    latent_channels: int
    downscale: int
    text_width: int
    channels: tuple[int, ...]
    bgr: bool = False
    control_types: tuple[str, ...] = ()
    origin: Mapping[str, str] = field(default_factory=dict)

    @property
    def multiple(self) -> int:
        """What the sides of a hint are multiples of, in pixels."""
        return self.downscale

    @property
    def default_size(self) -> tuple[int, int]:
        """The usual (width, height) of a hint."""
        return 64 * self.downscale, 64 * self.downscale


@dataclass(frozen=True)
class ControlNetBundle:
    """The manifest of a ControlNet and the folder it was read from.

    Its graph of the role "controlnet" takes what a denoiser takes, and `hint` float32 [rows, 3, height, width] in
    [0, 1], in pixels; its outputs have the names of the denoiser's inputs for them.
    """

    folder: Path
    model: ControlNetFacts
    graphs: Mapping[str, Graph]
    producer: str

    @classmethod
    def read(cls, folder: Path, *, verify: bool = True) -> ControlNetBundle:
        """Read a ControlNet; raises `BundleError` as `Bundle.read` does, and for a bundle of another kind."""
        record = read_manifest(folder, KIND)
        try:
            record = upgrade(record)
            model = dict(record["model"])
            model |= {name: tuple(model[name]) for name in ("channels", "control_types")}
            graphs = {name: parse_graph(graph) for name, graph in record["graphs"].items()}
            bundle = cls(folder, ControlNetFacts(**model), graphs, record["producer"])
            _check_facts(bundle)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as exc:
            raise BundleError(
                f"{folder / MANIFEST}: a field is missing, unknown or wrong ({exc}); export the ControlNet again"
            ) from exc
        check_files(folder, bundle.files(), verify)
        return bundle

    def files(self) -> Iterator[File]:
        """Every file the manifest names."""
        for graph in self.graphs.values():
            yield from graph.files()

    def graph(self, name: str) -> Graph:
        """The graph called `name`; raises `BundleError` where the bundle has none."""
        if name not in self.graphs:
            raise BundleError(f"{self.folder}: has no graph {name!r}; export the ControlNet again")
        return self.graphs[name]

    def by_role(self, role: str) -> Graph:
        """The graph of a role; raises `BundleError` where there is none, or more than one."""
        return self.graphs[self.name_of(role)]

    def name_of(self, role: str) -> str:
        """The name of the graph of a role; raises `BundleError` where there is none, or more than one."""
        return name_of_role(self.folder, self.graphs, role)

    def describe(self) -> str:
        """What is inside, as lines of text."""
        return describe(self.folder, self.producer, asdict(self.model), self.graphs)

    def write_manifest(self) -> None:
        """Write `bundle.json` into the folder; the last step of an export."""
        write_manifest(self.folder, KIND, asdict(self))


def _check_facts(bundle: ControlNetBundle) -> None:
    """Raise `ValueError` for facts that no ControlNet has, and for a graph that does not go with them."""
    facts = bundle.model
    counts = {"latent_channels": facts.latent_channels, "downscale": facts.downscale, "text_width": facts.text_width}
    for name, count in counts.items():
        if type(count) is not int or count < 1:
            raise ValueError(f"{name} is {count!r}")
    outputs = bundle.by_role(CONTROLNET).outputs
    if tuple(spec.axes[1] for spec in outputs) != facts.channels:
        raise ValueError(f"the graph gives {', '.join(map(str, outputs))}, not residuals of {facts.channels} channels")
