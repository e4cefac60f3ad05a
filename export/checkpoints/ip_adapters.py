"""An IP-Adapter's projection, keys and values, and its image encoder, wherever they are kept; others are refused."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusers.loaders.unet import UNet2DConditionLoadersMixin
from diffusers.models.embeddings import ImageProjection, IPAdapterFullImageProjection, IPAdapterPlusImageProjection
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from ...errors import ExportError, InputError
from ..streamed import is_half
from .checkpoint import PICKLES, State, check_state, read_json, read_tensors, refuse_pickle, weight_files

HEAD = 64
"""The width of an attention head of Plus."""
TAKE = "IP-Adapter, Full and Plus can be exported"
# As diffusers calls them in the U-Net that an adapter was loaded into.
PROJECTION = "encoder_hid_proj.image_projection_layers."
LAYER = re.compile(r"(?P<layer>(?:down|up|mid)_block.*\.attn2)\.processor\.(?P<kind>to_[kv]_ip)\.0\.weight")
KINDS = ("to_k_ip", "to_v_ip")
ORDER = ("down", "up", "mid")
"""How diffusers' attentions follow one another."""
# What is none, by how a tensor of it begins.
OTHERS = {
    "id_encoder.": "a PhotoMaker or PuLID, which reads faces",
    "pulid_": "a PuLID, which reads faces",
    "lora_weights.": "a PhotoMaker, which reads faces",
    "input_hint_block.": "a ControlNet; overpaint export-controlnet makes a bundle of it",
    "control_model.": "a ControlNet; overpaint export-controlnet makes a bundle of it",
    "controlnet_": "a ControlNet; overpaint export-controlnet makes a bundle of it",
    "double_blocks.": "an adapter for FLUX",
    "redux_": "FLUX's Redux",
    "lora_unet": "a LoRA; pictures take it with --lora",
    "model.diffusion_model.": "a whole checkpoint; overpaint export makes a bundle of it",
}


@dataclass(frozen=True)
class IPAdapter:
    """The parts of an IP-Adapter: its projection, the weights of keys and values by layer, and its image encoder;
    `half` where all are stored in 16 bits."""

    projection: nn.Module
    keys: list[Tensor]
    values: list[Tensor]
    encoder: CLIPVisionModelWithProjection
    layout: str
    half: bool

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


@dataclass(frozen=True)
class _Weights:
    projection: nn.Module
    keys: list[Tensor]
    values: list[Tensor]
    layout: str


def open_ip_adapter(path: Path, encoder: Path | None = None) -> IPAdapter:
    """Open a .safetensors file in the original layout (`image_proj.*`, `ip_adapter.*`), or a pipeline's folder that
    diffusers saved with an adapter loaded, and the folder of its image encoder, by default the one beside it.

    Raises `InputError` for a pickle, for what is no IP-Adapter, by its name, and for an encoder of another width.
    """
    if path.suffix.lower() in PICKLES:
        refuse_pickle(path)
    if path.is_dir() and not (path / "unet").is_dir():
        there = ", ".join(sorted(each.name for each in path.glob("*.safetensors"))) or "none"
        raise InputError(f"{path}: is a folder without a unet; name one of its .safetensors files ({there})")
    if not path.exists():
        raise InputError(f"{path}: no such file; name an IP-Adapter's .safetensors file")
    files = weight_files(path / "unet", "diffusion_pytorch_model").files if path.is_dir() else [path]
    state = read_tensors(files)
    weights = _of_diffusers(path, state) if path.is_dir() else _original(path, state)
    vision, half = _encoder(encoder or (path if path.is_dir() else path.parent) / "image_encoder")
    adapter = IPAdapter(
        weights.projection, weights.keys, weights.values, vision, weights.layout, half and is_half(state)
    )
    _check_width(path, adapter)
    return adapter


def _check_width(path: Path, adapter: IPAdapter) -> None:
    """Raise `InputError` where the encoder gives other features than the projection takes."""
    projection, (_, width) = adapter.projection, adapter.features
    first = next(module for module in projection.modules() if isinstance(module, nn.Linear))
    if first.in_features != width:
        raise InputError(
            f"{path}: takes {first.in_features} numbers of its image encoder, this one gives {width}; name the one it "
            "was trained with by --encoder: models/image_encoder for those of ViT-H, sdxl_models/image_encoder else"
        )


def _original(path: Path, state: State) -> _Weights:
    state = {name: tensor.float() for name, tensor in state.items()}
    image, layers = (_under(state, prefix) for prefix in ("image_proj.", "ip_adapter."))
    if not image or not layers:
        found = next((what for start, what in OTHERS.items() if any(name.startswith(start) for name in state)), None)
        raise InputError(
            f"{path}: is {found or 'no IP-Adapter, which has image_proj.* and ip_adapter.*'}; name another file"
        )
    if any("lora" in name for name in layers):
        raise InputError(f"{path}: is an IP-Adapter for faces with a LoRA in its layers (FaceID); {TAKE}")
    numbers = {name: int(name.split(".")[0]) for name in layers}  # of all attentions of diffusers
    kinds = ([name for name in sorted(layers, key=numbers.__getitem__) if f".{kind}." in name] for kind in KINDS)
    keys, values = ([layers[name] for name in names] for names in kinds)
    return _Weights(_projection(path, image), keys, values, "single file")


def _of_diffusers(path: Path, state: State) -> _Weights:
    own = _under(state, f"{PROJECTION}0.")
    layers = {name: match for name in state if (match := LAYER.fullmatch(name))}
    if not own or not layers:
        raise InputError(f"{path}: its U-Net was saved without an IP-Adapter; load one before, or name its own file")
    if any(name.startswith(f"{PROJECTION}1.") for name in state):
        raise InputError(f"{path}: its U-Net has several IP-Adapters; name the file of one")
    named = sorted(layers, key=lambda name: _place(layers[name]["layer"]))
    keys, values = ([state[name].float() for name in named if layers[name]["kind"] == kind] for kind in KINDS)
    return _Weights(_loaded(path, own), keys, values, "diffusers folder")


def _place(layer: str) -> tuple[int, ...]:
    """Where a layer comes: down, up, the middle, and in each by its numbers."""
    return ORDER.index(layer.partition("_")[0]), *map(int, re.findall(r"\.(\d+)", layer))


def _under(state: State, prefix: str) -> State:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def _projection(path: Path, state: State) -> nn.Module:
    """The projection of weights in the original layout."""
    try:
        convert = UNet2DConditionLoadersMixin._convert_ip_adapter_image_proj_to_diffusers
        made = convert(None, state, low_cpu_mem_usage=False)
    except (KeyError, RuntimeError, AttributeError) as exc:
        raise ExportError(f"{path}: its image projection is none that diffusers knows ({exc})") from exc
    if not isinstance(made, (ImageProjection, IPAdapterFullImageProjection, IPAdapterPlusImageProjection)):
        raise InputError(
            f"{path}: is an IP-Adapter for faces ({type(made).__name__}), whose recogniser is not a CLIP image "
            f"encoder; {TAKE}"
        )
    projection: nn.Module = made.float().eval()
    return projection


def _loaded(path: Path, state: State) -> nn.Module:
    """The projection of weights under diffusers' names."""
    shapes = {name: tensor.shape for name, tensor in state.items()}
    made: Any
    if "image_embeds.weight" in state:
        (out, width), text = shapes["image_embeds.weight"], shapes["norm.weight"][0]
        made = ImageProjection(width, text, out // text)
    elif "latents" in state:
        made = IPAdapterPlusImageProjection(**_plus(shapes))
    elif "ff.net.0.proj.weight" in state:
        made = IPAdapterFullImageProjection(shapes["ff.net.0.proj.weight"][1], shapes["norm.weight"][0])
    else:
        raise InputError(f"{path}: its IP-Adapter is for faces, or of a kind that is not known; {TAKE}")
    try:
        made.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    except RuntimeError as exc:
        raise InputError(f"{path}: its IP-Adapter is of a kind that is not known ({exc}); {TAKE}") from exc
    projection: nn.Module = made.eval()
    return projection


def _plus(shapes: Mapping[str, Any]) -> dict[str, int]:
    _, queries, hidden = shapes["latents"]
    return {
        "embed_dims": shapes["proj_in.weight"][1],
        "output_dims": shapes["proj_out.weight"][0],
        "hidden_dims": hidden,
        "heads": shapes["layers.0.attn.to_q.weight"][0] // HEAD,
        "num_queries": queries,
        "depth": len({name.split(".")[1] for name in shapes if name.startswith("layers.")}),
    }


def _encoder(folder: Path) -> tuple[CLIPVisionModelWithProjection, bool]:
    """The image encoder, and whether it is stored in 16 bits."""
    if not folder.is_dir():
        raise InputError(f"{folder}: is no folder; name the adapter's CLIP image encoder with --encoder")
    config = CLIPVisionConfig.from_dict(read_json(folder / "config.json"))
    state = read_tensors(weight_files(folder, "model").files)
    half = is_half(state)
    state = {name: tensor.float() for name, tensor in state.items() if "position_ids" not in name}
    model = CLIPVisionModelWithProjection(config)
    own = {name for name in model.state_dict() if "position_ids" not in name}
    check_state("image_encoder", sorted(own - state.keys()), sorted(state.keys() - own))
    model.load_state_dict(state, strict=False)
    return model.eval().requires_grad_(False), half
