"""Bundles made by hand, for the fake engine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers

from overpaint.bundles.controlnet import ControlNetBundle, ControlNetFacts
from overpaint.bundles.facts import EncoderFacts, ModelFacts
from overpaint.bundles.facts import Tokenizer as TokenizerFacts
from overpaint.bundles.graph import Check, File, Graph, LowRankLayer, Range, Receipt, StoredWeight
from overpaint.bundles.image_prompt import ImagePromptBundle, ImagePromptFacts
from overpaint.bundles.manifest import Bundle
from overpaint.bundles.tensor import TensorSpec

CHANNELS, DOWNSCALE, DIM, LENGTH = 4, 4, 8, 16
DEEP_CHANNELS = 6
SAMPLE = ("rows", CHANNELS, "height", "width")
LATENT = ("rows", CHANNELS, "latent_height", "latent_width")
PIXELS = ("rows", 3, "height", "width")
SIGNATURES: dict[str, tuple[dict[str, tuple[str, tuple[int | str, ...]]], dict[str, tuple[int | str, ...]]]] = {
    "text_encoder": (
        {"input_ids": ("int64", ("rows", "tokens")), "clip_skip": ("int64", ())},
        {"embeddings": ("rows", "tokens", DIM)},
    ),
    "unet": (
        {
            "sample": ("float32", SAMPLE),
            "timestep": ("float32", ("rows",)),
            "encoder_hidden_states": ("float32", ("rows", "tokens", DIM)),
        },
        {"model_output": SAMPLE},
    ),
    "vae_encoder": ({"pixels": ("float32", PIXELS)}, {"mean": LATENT, "std": LATENT}),
    "vae_decoder": ({"latents": ("float32", LATENT)}, {"pixels": PIXELS}),
}
ROLES = {"unet": "denoiser"}
RANGES = {
    "rows": Range(1, 1, 16),
    "clip_skip": Range(0, 0, 2),
    "tokens": Range(LENGTH, LENGTH, 8 * LENGTH),
    "height": Range(8, 64, 1024, 8),
    "width": Range(8, 64, 1024, 8),
    "latent_height": Range(2, 16, 256, 2),
    "latent_width": Range(2, 16, 256, 2),
}
# The U-Net counts its sides in latents, the VAE in pixels.
SMALL = {
    "height": RANGES["latent_height"],
    "width": RANGES["latent_width"],
    "pixel_height": RANGES["height"],
    "pixel_width": RANGES["width"],
}
Axes = tuple[int | str, ...]
# Of image prompts the inputs, and the widths of the layers that attend to them.
IMAGE_INPUTS, IMAGE_LAYERS = ("image_keys", "image_values"), (5, 7)
# What a ControlNet gives: of each residual its channels, and how many latents a position is.
RESIDUALS = {"control_down_0": (8, 1), "control_down_1": (8, 2), "control_mid": (16, 2)}


# Layers of graphs that take LoRAs, by the graph: the name, the inputs and the outputs. The second is a half of GEGLU's.
LORA_LAYERS = {
    "unet": (
        ("down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k", DIM, 6, 0),
        ("down_blocks.0.attentions.0.transformer_blocks.0.ff.net.0.proj", 6, 4, 0),
        ("down_blocks.0.attentions.0.transformer_blocks.0.ff.net.0.proj", 6, 4, 4),
        ("up_blocks.0.resnets.1.time_emb_proj", 5, 3, 0),
    ),
    "text_encoder": (("text_model.encoder.layers.0.self_attn.q_proj", DIM, DIM, 0),),
}


def with_lora(folder: Path, graph: Graph, name: str) -> Graph:
    """The graph beside a fake one that takes LoRAs."""
    (folder / f"{name}_lora.onnx").write_bytes(name.encode())
    layers, start = [], 0
    for layer, inputs, outputs, first in LORA_LAYERS[name]:
        layers.append(LowRankLayer(layer, start, inputs, outputs, first))
        start += inputs + outputs
    own = TensorSpec("lora", "float32", (start, "lora_rank")), TensorSpec("lora_gate", "float32", ("rows", "lora_rank"))
    return replace(
        graph,
        role=f"{graph.role}_lora",
        file=File.of(folder, f"{name}_lora.onnx"),
        inputs=(*graph.inputs, *own),
        ranges={**graph.ranges, "lora_rank": Range(1, 32, 1024)},
        adapters={**graph.adapters, "lora": ("lora", "lora_gate")},
        base=name,
        low_rank=tuple(layers),
    )


def with_stored(folder: Path, graph: Graph, name: str) -> Graph:
    """A fake graph whose file has weights of `LORA_LAYERS`, which LoRAs can be merged into."""
    path, places = folder / graph.file.path, []
    data = path.read_bytes()
    for number, (layer, inputs, outputs, first) in enumerate(LORA_LAYERS[name]):
        weights = np.random.default_rng(number).standard_normal((outputs, inputs)).astype(np.float32)
        shape = weights.shape
        places.append(StoredWeight(layer, f"{layer}.{first}", path.name, len(data), "float32", shape, first=first))
        data += weights.tobytes()
    path.write_bytes(data)
    return replace(graph, file=File.of(folder, path.name), stored=tuple(places))


def fake_bundle(
    folder: Path,
    conditioning_channels: int = 0,
    inputs: Mapping[str, Axes] | None = None,
    control: bool = False,
    lora: bool = False,
    image: bool = False,
    deep: bool = False,
    stored: bool = False,
    perturbed: bool = False,
) -> Bundle:
    """Write and read back a bundle whose graphs are empty files; its U-Net takes so many channels beside latents, and
    float32 inputs of these axes besides; with `control` the residuals of ControlNets, with `lora` LoRAs of
    `LORA_LAYERS`, with `image` the keys and values of image prompts; with `deep` it gives deep features, and a shallow
    graph takes them; with `stored` its file has weights of those layers; with `perturbed` its attention can be left
    out."""
    (folder / "tokenizer").mkdir(parents=True)
    words = {word: index for index, word in enumerate(["<pad>", "<s>", "</s>", *"abcdefghijklmnopqrstuvwxyz"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="z"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer/tokenizer.json"))
    graphs = {name: _graph(folder, name, conditioning_channels, inputs or {}) for name in SIGNATURES}
    if control:
        graphs["unet"] = _controlled(graphs["unet"])
    if image:
        graphs["unet"] = _prompted(graphs["unet"])
    if perturbed:
        unet = graphs["unet"]
        own = TensorSpec("perturbed", "float32", ("rows",))
        adapters = {**unet.adapters, "perturbed": ("perturbed",)}
        graphs["unet"] = replace(unet, inputs=(*unet.inputs, own), adapters=adapters)
    if deep:
        graphs |= _cached(folder, graphs["unet"])
    if stored:
        graphs |= {name: with_stored(folder, graphs[name], name) for name in LORA_LAYERS}
    if lora:
        graphs |= {f"{name}_lora": with_lora(folder, graphs[name], name) for name in LORA_LAYERS}
    facts = TokenizerFacts(File.of(folder, "tokenizer/tokenizer.json"), LENGTH, 1, 2, 0)
    scheduler = {
        "prediction_type": "epsilon",
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "beta_end": 0.012,
    }
    model = ModelFacts(
        "fake",
        "stable-diffusion",
        CHANNELS,
        DOWNSCALE,
        8,
        0.5,
        0.1,
        (64, 64),
        "ddim",
        scheduler,
        conditioning_channels=conditioning_channels,
        encoders=(EncoderFacts("text_encoder", facts, "embeddings"),),
    )
    Bundle(folder, model, graphs, "test").write_manifest()
    return Bundle.read(folder)


def fake_controlnet(folder: Path, **facts: Any) -> ControlNetBundle:
    """Write and read back a ControlNet for `fake_bundle(control=True)`, but for the `facts` that are given."""
    folder.mkdir(parents=True)
    (folder / "controlnet.onnx").write_bytes(hashlib.sha256(folder.name.encode()).digest())
    own = {"latent_channels": CHANNELS, "downscale": DOWNSCALE, "text_width": DIM}
    model = ControlNetFacts(folder.name, **{**own, "channels": tuple(c for c, _ in RESIDUALS.values()), **facts})
    channels = dict(zip(RESIDUALS, model.channels, strict=True))
    unet = SIGNATURES["unet"][0] | {"hint": ("float32", ("rows", 3, "hint_height", "hint_width"))}
    if model.control_types:
        unet |= {"control_type": ("float32", ("rows", len(model.control_types)))}
    sides = {f"hint_{side}": RANGES[side] for side in ("height", "width")}
    graph = Graph(
        "controlnet",
        File.of(folder, "controlnet.onnx"),
        tuple(TensorSpec(key, dtype, axes) for key, (dtype, axes) in unet.items()),
        tuple(TensorSpec(key, "float32", ("rows", channels[key], *_axes(key)[1:])) for key in RESIDUALS),
        RANGES | SMALL | sides | _residual_ranges(),
        "float32",
        "float32",
        Receipt("test", 1e-4, (Check({"rows": 1}, 0.0),)),
    )
    ControlNetBundle(folder, model, {"controlnet": graph}, "test").write_manifest()
    return ControlNetBundle.read(folder)


def fake_image_prompt(folder: Path, layers: tuple[int, ...] = IMAGE_LAYERS) -> ImagePromptBundle:
    """Write and read back an image-prompt adapter for `fake_bundle(image=True)`, or with layers of other widths."""
    folder.mkdir(parents=True)
    signatures: Mapping[str, tuple[tuple[str, Axes], Mapping[str, Axes]]] = {
        "image_encoder": (("pixels", ("rows", 3, 16, 16)), {"features": ("rows", 1, DIM)}),
        "image_projection": (
            ("features", ("rows", 1, DIM)),
            {name: ("rows", 2, sum(layers)) for name in IMAGE_INPUTS},
        ),
    }
    graphs = {}
    for role, ((name, axes), outputs) in signatures.items():
        (folder / f"{role}.onnx").write_bytes(hashlib.sha256(f"{folder.name} {role}".encode()).digest())
        graphs[role] = Graph(
            role,
            File.of(folder, f"{role}.onnx"),
            (TensorSpec(name, "float32", axes),),
            tuple(TensorSpec(key, "float32", shape) for key, shape in outputs.items()),
            {"rows": RANGES["rows"]},
            "float32",
            "float32",
            Receipt("test", 1e-4, (Check({"rows": 1}, 0.0),)),
        )
    facts = ImagePromptFacts(folder.name, 16, layers, "zeros", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    ImagePromptBundle(folder, facts, graphs, "test").write_manifest()
    return ImagePromptBundle.read(folder)


def _prompted(unet: Graph) -> Graph:
    """The graph with the keys and values of image prompts among its inputs."""
    inputs = tuple(TensorSpec(key, "float32", ("rows", "image_tokens", sum(IMAGE_LAYERS))) for key in IMAGE_INPUTS)
    ranges = {**unet.ranges, "image_tokens": Range(1, 2, 8)}
    adapters = {**unet.adapters, "image": IMAGE_INPUTS}
    return replace(unet, inputs=(*unet.inputs, *inputs), ranges=ranges, adapters=adapters)


def _controlled(unet: Graph) -> Graph:
    """The graph with the residuals of ControlNets among its inputs."""
    inputs = tuple(TensorSpec(key, "float32", ("rows", *_axes(key))) for key in RESIDUALS)
    ranges = {**unet.ranges, **_residual_ranges()}
    return replace(
        unet, inputs=(*unet.inputs, *inputs), ranges=ranges, adapters={**unet.adapters, "control": tuple(RESIDUALS)}
    )


def _cached(folder: Path, unet: Graph) -> dict[str, Graph]:
    """The graph with deep features among its outputs, and the shallow one that takes them."""
    features = TensorSpec("deep_features", "float32", ("rows", DEEP_CHANNELS, "height", "width"))
    (folder / "unet_shallow.onnx").write_bytes(b"shallow")
    controls = unet.adapters.get("control", ())
    rest = replace(
        unet,
        role="denoiser_shallow",
        file=File.of(folder, "unet_shallow.onnx"),
        inputs=(*(spec for spec in unet.inputs if spec.name not in controls[2:]), features),
        adapters={kind: names[:2] for kind, names in unet.adapters.items()},
        base="unet",
    )
    return {"unet": replace(unet, outputs=(*unet.outputs, features)), "unet_shallow": rest}


def _axes(name: str) -> tuple[str, str, str]:
    return f"{name}_channels", f"{name}_height", f"{name}_width"


def _residual_ranges() -> dict[str, Range]:
    made: dict[str, Range] = {}
    for name, (channels, divisor) in RESIDUALS.items():
        made[f"{name}_channels"] = Range(1, 1, channels)
        for side in ("height", "width"):
            made[f"{name}_{side}"] = Range(1, 1, 256, follows=side, divisor=divisor)
    return made


def edit_manifest(folder: Path, **changes: object) -> None:
    """Replace top-level fields of a manifest."""
    path = folder / "bundle.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def _graph(folder: Path, name: str, more: int, besides: Mapping[str, Axes]) -> Graph:
    (folder / f"{name}.onnx").write_bytes(hashlib.sha256(name.encode()).digest())
    inputs, outputs = SIGNATURES[name]
    if name == "unet":
        inputs = inputs | {"sample": ("float32", ("rows", CHANNELS + more, *SAMPLE[2:]))}
        inputs |= {key: ("float32", axes) for key, axes in besides.items()}
    return Graph(
        ROLES.get(name, name),
        File.of(folder, f"{name}.onnx"),
        tuple(TensorSpec(key, dtype, axes) for key, (dtype, axes) in inputs.items()),
        tuple(TensorSpec(key, "float32", axes) for key, axes in outputs.items()),
        RANGES | (SMALL if name == "unet" else {}),
        "float32",
        "float32",
        Receipt("test", 1e-4, (Check({"rows": 1}, 0.0),)),
    )
