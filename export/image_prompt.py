"""An IP-Adapter's weights become a bundle of their own kind: an image encoder, and what makes keys and values of its
features for every layer of the denoiser."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers.models.embeddings import ImageProjection
from torch import Tensor, nn
from transformers import CLIPVisionModelWithProjection

from ..bundles.graph import IMAGE_ENCODER, IMAGE_PROJECTION, Range
from ..bundles.image_prompt import ImagePromptBundle, ImagePromptFacts
from ..bundles.tensor import TensorSpec
from ..version import __version__
from .adapters import KEYS, VALUES
from .bundle import OPSET, Part, Precision, Report, check_opset, export_graph, stored_precision
from .checkpoints.ip_adapters import IPAdapter, open_ip_adapter
from .components import Component, normal
from .publish import check_space, publish, remove_stale

PIXELS, FEATURES = "pixels", "features"
MOST_PICTURES = 16
# What CLIP's pictures are normalised by, of red, green and blue in [0, 1].
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class ImageEncoder(nn.Module):
    """`pixels` [rows, 3, side, side], normalised -> `features` [rows, count, width]: the projected picture, or with
    `sequence` the hidden states of the last layer but one."""

    def __init__(self, model: CLIPVisionModelWithProjection, sequence: bool) -> None:
        super().__init__()
        self.model = model
        self._sequence = sequence

    def forward(self, pixels: Tensor) -> tuple[Tensor]:
        """Encode pictures."""
        outputs = self.model(pixels.to(self.model.dtype), output_hidden_states=self._sequence)
        features = outputs.hidden_states[-2] if self._sequence else outputs.image_embeds[:, None]
        return (features.float(),)


class Projection(nn.Module):
    """`features` [rows, count, width] -> `image_keys` and `image_values` [rows, tokens, width of all layers]."""

    def __init__(self, projection: nn.Module, keys: list[Tensor], values: list[Tensor]) -> None:
        super().__init__()
        self.projection = projection
        self.single = isinstance(projection, ImageProjection)
        self.keys, self.values = (nn.Parameter(torch.cat(each), requires_grad=False) for each in (keys, values))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Make what the denoiser attends to."""
        features = features.to(self.keys.dtype)
        tokens = self.projection(features[:, 0] if self.single else features)
        return (tokens @ self.keys.T).float(), (tokens @ self.values.T).float()


def export_image_prompt(
    checkpoint: Path,
    bundle: Path,
    *,
    encoder: Path | None = None,
    precision: Precision = "float32",
    weights: Precision | None = None,
    opset: int = OPSET,
    overwrite: bool = False,
    report: Report = lambda stage: None,
) -> ImagePromptBundle:
    """Export an IP-Adapter to the folder `bundle` and read it back.

    `checkpoint` is an IP-Adapter, Full or Plus: a .safetensors file in the original layout (`image_proj.*`,
    `ip_adapter.*`), or a pipeline's folder that diffusers saved with one loaded. `encoder` is the folder of its CLIP
    image encoder; None: `image_encoder` beside it. Weights in half precision stay so. The options, and what else is
    raised, are those of `export_bundle`. Raises `InputError` for weights that are no such adapter's, and for an encoder
    that it was not trained with.
    """
    checkpoint, bundle = Path(checkpoint), Path(bundle)
    stored = stored_precision(precision, weights)
    check_opset(opset)
    source = open_ip_adapter(checkpoint, encoder)
    if weights is None and source.half:
        stored = "float16"
    remove_stale(bundle)
    count = sum(each.numel() for each in (*source.encoder.parameters(), *source.keys, *source.values))
    check_space(bundle, count * torch.finfo(getattr(torch, stored)).bits // 8)
    with publish(bundle, overwrite) as folder:
        graphs = {
            part.component.name: export_graph(part, folder, precision, stored, opset, report)
            for part in parts_of(source)
        }
        facts = facts_of(source, bundle.name, checkpoint.name)
        ImagePromptBundle(folder, facts, graphs, f"overpaint {__version__}").write_manifest()
    return ImagePromptBundle.read(bundle, verify=False)


def parts_of(source: IPAdapter) -> tuple[Part, Part]:
    """The graphs of an IP-Adapter."""
    side, (count, width) = source.encoder.config.image_size, source.features
    total = sum(len(each) for each in source.keys)
    tokens = _tokens(source)
    rows = {"rows": Range(1, 1, MOST_PICTURES)}
    lengths = ({"rows": 1}, {"rows": 3})
    features = TensorSpec(FEATURES, "float32", ("rows", count, width))
    encoder = Component(
        "image_encoder",
        IMAGE_ENCODER,
        (TensorSpec(PIXELS, "float32", ("rows", 3, side, side)),),
        (features,),
        rows,
        {"rows": 2},
        lengths,
        {PIXELS: normal},
    )
    projection = Component(
        "image_projection",
        IMAGE_PROJECTION,
        (features,),
        tuple(TensorSpec(name, "float32", ("rows", tokens, total)) for name in (KEYS, VALUES)),
        rows,
        {"rows": 2},
        lengths,
        {FEATURES: normal},
    )
    return (
        Part(encoder, lambda: ImageEncoder(source.encoder, source.sequence)),
        Part(projection, lambda: Projection(source.projection, source.keys, source.values)),
    )


def _tokens(source: IPAdapter) -> int:
    count, width = source.features
    with torch.no_grad():
        features = torch.zeros(1, count, width)
        return int(source.projection(features if source.sequence else features[:, 0]).shape[1])


def facts_of(source: IPAdapter, name: str, origin: str) -> ImagePromptFacts:
    """The facts of an IP-Adapter that shall be called `name`, from the file or folder `origin`."""
    return ImagePromptFacts(
        name=name,
        image_size=source.encoder.config.image_size,
        layers=tuple(len(each) for each in source.keys),
        negative="picture" if source.sequence else "zeros",
        mean=MEAN,
        std=STD,
        origin={"checkpoint": origin, "format": source.layout, "projection": type(source.projection).__name__},
    )
