"""An IP-Adapter's weights become a bundle of their own kind: an image encoder, and what makes keys and values of its
features for every layer of the denoiser."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers.loaders.unet import UNet2DConditionLoadersMixin
from diffusers.models.embeddings import ImageProjection, IPAdapterFullImageProjection, IPAdapterPlusImageProjection
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from ..bundles.graph import IMAGE_ENCODER, IMAGE_PROJECTION, Range
from ..bundles.image_prompt import ImagePromptBundle, ImagePromptFacts
from ..bundles.tensor import TensorSpec
from ..errors import ExportError, InputError
from ..version import __version__
from .adapters import KEYS, VALUES
from .bundle import OPSET, Part, Precision, Report, check_opset, export_graph, stored_precision
from .checkpoints.checkpoint import PICKLES, State, check_state, read_json, read_tensors, refuse_pickle
from .components import Component, normal
from .publish import check_space, publish, remove_stale

PIXELS, FEATURES = "pixels", "features"
MOST_PICTURES = 16
# What CLIP's pictures are normalised by, of red, green and blue in [0, 1].
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
PROJECTIONS = (ImageProjection, IPAdapterFullImageProjection, IPAdapterPlusImageProjection)


@dataclass(frozen=True)
class _Source:
    """The parts of an IP-Adapter: its projection, the weights of keys and values by layer, and its image encoder."""

    projection: nn.Module
    keys: list[Tensor]
    values: list[Tensor]
    encoder: CLIPVisionModelWithProjection

    @property
    def sequence(self) -> bool:
        """Whether it reads the encoder's hidden states, as Plus does, rather than the projected picture."""
        return not isinstance(self.projection, ImageProjection)

    @property
    def features(self) -> tuple[int, int]:
        """How many features a picture has, and how wide they are."""
        config = self.encoder.config
        patches = (config.image_size // config.patch_size) ** 2 + 1
        return (patches, config.hidden_size) if self.sequence else (1, config.projection_dim)


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

    `checkpoint` is a .safetensors file in the original layout (`image_proj.*`, `ip_adapter.*`), as diffusers loads it:
    IP-Adapter, Full or Plus. `encoder` is the folder of its CLIP image encoder; None: `image_encoder` beside it. The
    options, and what else is raised, are those of `export_bundle`. Raises `InputError` for weights that are no such
    adapter's.
    """
    checkpoint, bundle = Path(checkpoint), Path(bundle)
    stored = stored_precision(precision, weights)
    check_opset(opset)
    source = _open(checkpoint, encoder or checkpoint.parent / "image_encoder")
    remove_stale(bundle)
    count = sum(each.numel() for each in (*source.encoder.parameters(), *source.keys, *source.values))
    check_space(bundle, count * torch.finfo(getattr(torch, stored)).bits // 8)
    with publish(bundle, overwrite) as folder:
        graphs = {
            part.component.name: export_graph(part, folder, precision, stored, opset, report) for part in _parts(source)
        }
        facts = _facts(source, bundle.name, checkpoint.name)
        ImagePromptBundle(folder, facts, graphs, f"overpaint {__version__}").write_manifest()
    return ImagePromptBundle.read(bundle, verify=False)


def _parts(source: _Source) -> tuple[Part, Part]:
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


def _tokens(source: _Source) -> int:
    count, width = source.features
    with torch.no_grad():
        features = torch.zeros(1, count, width)
        return int(source.projection(features if source.sequence else features[:, 0]).shape[1])


def _facts(source: _Source, name: str, origin: str) -> ImagePromptFacts:
    return ImagePromptFacts(
        name=name,
        image_size=source.encoder.config.image_size,
        layers=tuple(len(each) for each in source.keys),
        negative="picture" if source.sequence else "zeros",
        mean=MEAN,
        std=STD,
        origin={"checkpoint": origin, "projection": type(source.projection).__name__},
    )


def _open(checkpoint: Path, encoder: Path) -> _Source:
    if checkpoint.suffix.lower() in PICKLES:
        refuse_pickle(checkpoint)
    if not checkpoint.is_file():
        raise InputError(f"{checkpoint}: no such file; name an IP-Adapter's .safetensors file")
    state = {name: tensor.float() for name, tensor in read_tensors([checkpoint]).items()}
    image = {
        name.removeprefix("image_proj."): tensor for name, tensor in state.items() if name.startswith("image_proj.")
    }
    layers = {
        name.removeprefix("ip_adapter."): tensor for name, tensor in state.items() if name.startswith("ip_adapter.")
    }
    if not image or not layers:
        raise InputError(f"{checkpoint}: is no IP-Adapter, which has image_proj.* and ip_adapter.*; name another file")
    keys, values = _by_layer(layers, "to_k_ip"), _by_layer(layers, "to_v_ip")
    return _Source(_projection(checkpoint, image), keys, values, _encoder(encoder))


def _by_layer(layers: Mapping[str, Tensor], kind: str) -> list[Tensor]:
    """The weights of a kind in the order of the denoiser's layers: their numbers count all attentions of diffusers."""
    own = {int(name.split(".")[0]): tensor for name, tensor in layers.items() if f".{kind}." in name}
    return [own[number] for number in sorted(own)]


def _projection(checkpoint: Path, state: State) -> nn.Module:
    try:
        convert = UNet2DConditionLoadersMixin._convert_ip_adapter_image_proj_to_diffusers
        made = convert(None, state, low_cpu_mem_usage=False)
    except (KeyError, RuntimeError, AttributeError) as exc:
        raise ExportError(f"{checkpoint}: its image projection is none that diffusers knows ({exc})") from exc
    if not isinstance(made, PROJECTIONS):
        raise InputError(
            f"{checkpoint}: is an IP-Adapter for faces ({type(made).__name__}), whose recogniser is not a CLIP image "
            "encoder; IP-Adapter, Full and Plus can be exported"
        )
    projection: nn.Module = made.float().eval()
    return projection


def _encoder(folder: Path) -> CLIPVisionModelWithProjection:
    config = CLIPVisionConfig.from_dict(read_json(folder / "config.json"))
    files = sorted(folder.glob("model*.safetensors"))
    if not files:
        raise InputError(f"{folder}: has no model.safetensors; name the adapter's image encoder with --encoder")
    state = {name: tensor.float() for name, tensor in read_tensors(files).items() if "position_ids" not in name}
    model = CLIPVisionModelWithProjection(config)
    own = {name for name in model.state_dict() if "position_ids" not in name}
    check_state("image_encoder", sorted(own - state.keys()), sorted(state.keys() - own))
    model.load_state_dict(state, strict=False)
    return model.eval().requires_grad_(False)
