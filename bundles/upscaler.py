"""The bundle of an upscaler: one graph that enlarges pictures, under the same manifest and rules as a model's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from .graph import UPSCALER
from .single import SingleBundle, check_counts


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

    downscale: ClassVar[int] = 1


@dataclass(frozen=True)
class UpscalerBundle(SingleBundle[UpscalerFacts]):
    """The manifest of an upscaler and the folder it was read from.

    Its graph of the role "upscaler" takes `pixels` float32 [rows, 3, height, width] in [0, 1] and gives `upscaled`,
    `scale` times as high and wide, about in [0, 1].
    """

    kind = title = "upscaler"

    @classmethod
    def parse_facts(cls, record: dict[str, Any]) -> UpscalerFacts:
        """The facts of a manifest."""
        return UpscalerFacts(**{**record, "default_size": tuple(record["default_size"])})

    def check(self) -> None:
        """Raise `ValueError` for facts that no upscaler has, and for a graph that does not go with them."""
        facts = self.model
        check_counts({"scale": facts.scale, "multiple": facts.multiple, "width": facts.default_size[0]})
        graph = self.by_role(UPSCALER)
        for specs, name in ((graph.inputs, "pixels"), (graph.outputs, "upscaled")):
            if [(spec.name, spec.axes[1], len(spec.axes)) for spec in specs] != [(name, 3, 4)]:
                raise ValueError(f"the graph has {', '.join(map(str, specs))}, not {name} [rows, 3, height, width]")
