"""The bundle of an image-prompt adapter: its image encoder, and what makes keys and values of a picture's features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from .graph import IMAGE_ENCODER, IMAGE_PROJECTION
from .single import SingleBundle, check_counts


@dataclass(frozen=True)
class ImagePromptFacts:
    """What the runtime has to know of an image-prompt adapter (IP-Adapter; Ye et al., arXiv:2308.06721).

    Pictures are squares of `image_size` pixels, normalised by `mean` and `std` of red, green and blue in [0, 1].
    `layers` are the widths of the denoiser's layers that attend to its tokens, in their order. With `negative` "zeros"
    the negative prompt has the projection of features that are zeros, with "picture" that of the features of a picture
    whose normalised pixels are.
    """

    name: str
    image_size: int
    layers: tuple[int, ...]
    negative: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    origin: Mapping[str, str] = field(default_factory=dict)

    downscale: ClassVar[int] = 1
    multiple: ClassVar[int] = 1

    @property
    def default_size(self) -> tuple[int, int]:
        """The (width, height) of its pictures."""
        return self.image_size, self.image_size


@dataclass(frozen=True)
class ImagePromptBundle(SingleBundle[ImagePromptFacts]):
    """The manifest of an image-prompt adapter and the folder it was read from.

    Its graph of the role "image_encoder" makes `features` [rows, count, width] of `pixels` [rows, 3, side, side], that
    of the role "image_projection" makes `image_keys` and `image_values` [rows, tokens, width of all layers] of them.
    """

    kind = "image-prompt"
    title = "image-prompt adapter"

    @classmethod
    def parse_facts(cls, record: dict[str, Any]) -> ImagePromptFacts:
        """The facts of a manifest."""
        return ImagePromptFacts(**{**record, **{name: tuple(record[name]) for name in ("layers", "mean", "std")}})

    def check(self) -> None:
        """Raise `ValueError` for facts that no such adapter has, and for graphs that do not go with them."""
        facts = self.model
        check_counts({"image_size": facts.image_size, "layers": len(facts.layers)})
        if facts.negative not in ("zeros", "picture"):
            raise ValueError(f"negative is {facts.negative!r}")
        encoder, projection = self.by_role(IMAGE_ENCODER), self.by_role(IMAGE_PROJECTION)
        if encoder.outputs != projection.inputs:
            raise ValueError(f"the projection takes {projection.inputs}, the encoder gives {encoder.outputs}")
        for spec in projection.outputs:
            if spec.axes[-1] != sum(facts.layers):
                raise ValueError(f"the projection gives {spec}, not the width of {facts.layers}")
