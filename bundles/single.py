"""What bundles have in common that go with any model of a kind: facts, graphs, and the rules of a model's bundle."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

from ..errors import BundleError
from .facts import Extent
from .format import MANIFEST, read_manifest, upgrade, write_manifest
from .graph import File, Graph, check_files, name_of_role, parse_graph
from .manifest import describe

Facts = TypeVar("Facts", bound=Extent)


@dataclass(frozen=True)
class SingleBundle(ABC, Generic[Facts]):
    """A manifest of one of the kinds besides models, and the folder it was read from."""

    folder: Path
    model: Facts
    graphs: Mapping[str, Graph]
    producer: str

    kind: ClassVar[str]
    title: ClassVar[str]
    """What messages call it."""

    @classmethod
    def read(cls, folder: Path, *, verify: bool = True) -> Self:
        """Read a bundle; `verify` also compares every file with its SHA-256.

        Raises `BundleError` as `Bundle.read` does, and for a bundle of another kind.
        """
        record = read_manifest(folder, cls.kind)
        try:
            record = upgrade(record)
            graphs = {name: parse_graph(graph) for name, graph in record["graphs"].items()}
            bundle = cls(folder, cls.parse_facts(dict(record["model"])), graphs, record["producer"])
            bundle.check()
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as exc:
            raise BundleError(
                f"{folder / MANIFEST}: a field is missing, unknown or wrong ({exc}); export the {cls.title} again"
            ) from exc
        check_files(folder, bundle.files(), verify)
        return bundle

    @classmethod
    @abstractmethod
    def parse_facts(cls, record: dict[str, Any]) -> Facts:
        """The facts of a manifest; raises as Python does where a field is missing, unknown or wrong."""

    @abstractmethod
    def check(self) -> None:
        """Raise `ValueError` for facts that there cannot be, and for graphs that do not go with them."""

    def files(self) -> Iterator[File]:
        """Every file the manifest names."""
        for graph in self.graphs.values():
            yield from graph.files()

    def graph(self, name: str) -> Graph:
        """The graph called `name`; raises `BundleError` where the bundle has none."""
        if name not in self.graphs:
            raise BundleError(f"{self.folder}: has no graph {name!r}; export the {self.title} again")
        return self.graphs[name]

    def by_role(self, role: str) -> Graph:
        """The graph of a role; raises `BundleError` where there is none, or more than one."""
        return self.graphs[self.name_of(role)]

    def name_of(self, role: str) -> str:
        """The name of the graph of a role; raises `BundleError` where there is none, or more than one."""
        return name_of_role(self.folder, self.graphs, role)

    def describe(self) -> str:
        """What is inside, as lines of text."""
        return describe(self.folder, self.producer, asdict(self)["model"], self.graphs)

    def write_manifest(self) -> None:
        """Write `bundle.json` into the folder; the last step of an export."""
        write_manifest(self.folder, self.kind, asdict(self))


def check_counts(counts: Mapping[str, object]) -> None:
    """Raise `ValueError` for what is no whole number of at least 1."""
    for name, count in counts.items():
        if type(count) is not int or count < 1:
            raise ValueError(f"{name} is {count!r}")
