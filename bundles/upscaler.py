"""The bundle of an upscaler: one graph that enlarges pictures, under the same manifest and rules as a model's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..errors import BundleError
from .format import MANIFEST, kind_of, read_any, read_manifest, upgrade, write_manifest
from .graph import UPSCALER, File, Graph, check_files, name_of_role, parse_graph
from .manifest import Bundle, describe

KIND = "upscaler"


@dataclass(frozen=True)
class UpscalerFacts:
    """What the runtime has to know of an upscaler.

    `scale` is how many pixels it makes of one along an edge; `multiple` is what the height and width of its input must
    be multiples of; `default_size` is the (width, height) of the tiles that it is usually given.
    """

    name: str
    architecture: str
    scale: int
    multiple: int
    default_size: tuple[int, int]
    origin: Mapping[str, str] = field(default_factory=dict)

    downscale = 1


@dataclass(frozen=True)
class UpscalerBundle:
    """The manifest of an upscaler and the folder it was read from.

    Its graph of the role "upscaler" takes `pixels` float32 [rows, 3, height, width] in [0, 1] and gives `upscaled`,
    `scale` times as high and wide, about in [0, 1].
    """

    folder: Path
    model: UpscalerFacts
    graphs: Mapping[str, Graph]
    producer: str

    @classmethod
    def read(cls, folder: Path, *, verify: bool = True) -> UpscalerBundle:
        """Read an upscaler; raises `BundleError` as `Bundle.read` does, and for the bundle of a model."""
        record = read_manifest(folder, KIND)
        try:
            record = upgrade(record)
            model = dict(record["model"])
            model["default_size"] = tuple(model["default_size"])
            graphs = {name: parse_graph(graph) for name, graph in record["graphs"].items()}
            bundle = cls(folder, UpscalerFacts(**model), graphs, record["producer"])
            _check_facts(bundle)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as exc:
            raise BundleError(
                f"{folder / MANIFEST}: a field is missing, unknown or wrong ({exc}); export the upscaler again"
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
            raise BundleError(f"{self.folder}: has no graph {name!r}; export the upscaler again")
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


def open_bundle(folder: Path, *, verify: bool = True) -> Bundle | UpscalerBundle:
    """Read a bundle of any kind; raises `BundleError` as its own `read` does."""
    kind = UpscalerBundle if kind_of(read_any(folder)) == KIND else Bundle
    return kind.read(folder, verify=verify)


def _check_facts(bundle: UpscalerBundle) -> None:
    """Raise `ValueError` for facts that no upscaler has, and for a graph that does not go with them."""
    facts = bundle.model
    for name, count in {"scale": facts.scale, "multiple": facts.multiple, "width": facts.default_size[0]}.items():
        if type(count) is not int or count < 1:
            raise ValueError(f"{name} is {count!r}")
    graph = bundle.by_role(UPSCALER)
    for specs, name in ((graph.inputs, "pixels"), (graph.outputs, "upscaled")):
        if [(spec.name, spec.axes[1], len(spec.axes)) for spec in specs] != [(name, 3, 4)]:
            raise ValueError(f"the graph has {', '.join(map(str, specs))}, not {name} [rows, 3, height, width]")
