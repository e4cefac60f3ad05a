"""The graphs of bundles, each as one frozen specification: signature, ranges, the shapes traced and checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..bundles.facts import SIZE_IDS
from ..bundles.graph import (
    DENOISER,
    TEXT_ENCODER,
    UPSCALER,
    VAE_DECODER,
    VAE_ENCODER,
    LowRankLayer,
    Range,
)
from ..bundles.tensor import Array, TensorSpec
from ..errors import InputError

Config = Mapping[str, Any]
Lengths = Mapping[str, int]
Draw = Callable[[np.random.Generator, tuple[int, ...], Lengths], Array]

# What the text encoder gives.
HIDDEN, POOLED = "embeddings", "pooled"
# What a denoiser takes of its guidance where that is an input.
GUIDANCE = "timestep_cond"
MOST_PIXELS = 4096
MOST_CHUNKS = 16
UPSCALER_TILE = 256


@dataclass(frozen=True)
class Component:
    """A graph's signature and how to exercise it.

    `ranges` holds the dynamic axes, and `clip_skip`, which is a value rather than an axis. `traced` are the lengths at
    which the graph is captured, `checked` those at which it is compared with its source; none of them is `traced`.
    `adapters`, `base` and `low_rank` are those of `bundles.graph.Graph`.
    """

    name: str
    role: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    ranges: Mapping[str, Range]
    traced: Lengths
    checked: tuple[Lengths, ...]
    draws: Mapping[str, Draw]
    adapters: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    base: str = ""
    low_rank: tuple[LowRankLayer, ...] = ()

    def feeds(self, lengths: Lengths, seed: int) -> dict[str, Array]:
        """Random inputs of the given lengths, the same for the same seed."""
        rng = np.random.default_rng(seed)
        feeds = {}
        optional = {name for names in self.adapters.values() for name in names}
        for spec in self.inputs:
            shape = tuple(lengths[axis] if isinstance(axis, str) else axis for axis in spec.axes)
            own = [lengths[axis] for axis in spec.axes[1:] if isinstance(axis, str)]
            absent = spec.name in optional and bool(own) and set(own) == {1}
            drawn = np.zeros(shape) if absent else self.draws[spec.name](rng, shape, lengths)
            feeds[spec.name] = np.asarray(drawn, spec.dtype)
        return feeds


def text_encoder(config: Config, name: str = "text_encoder", *, skipped: int = 0, projects: bool = False) -> Component:
    """The CLIP text model of a `config.json`. It passes over its last `skipped` layers, and `projects` its pooled
    text."""
    dim, longest, layers = (
        config["hidden_size"],
        config["max_position_embeddings"],
        config["num_hidden_layers"] - skipped,
    )
    pooled = config["projection_dim"] if projects else dim

    def ids(rng: np.random.Generator, shape: tuple[int, ...], _: Lengths) -> Array:
        drawn = rng.integers(0, config["vocab_size"], shape)
        drawn[rng.random(shape) < 0.1] = -1
        drawn[:, shape[1] // 2] = min(config.get("eos_token_id", 49407), config["vocab_size"] - 1)
        return drawn

    return Component(
        name,
        TEXT_ENCODER,
        (
            TensorSpec("input_ids", "int64", ("rows", "tokens")),
            _float("vectors", "rows", "tokens", dim),
            TensorSpec("clip_skip", "int64", ()),
        ),
        (_float(HIDDEN, "rows", "tokens", dim), _float(POOLED, "rows", pooled)),
        {"rows": Range(1, 2, 64), "tokens": Range(2, longest, longest), "clip_skip": Range(0, 0, layers - 1)},
        {"rows": 2, "tokens": longest // 4, "clip_skip": 0},
        (
            {"rows": 1, "tokens": longest, "clip_skip": 0},
            {"rows": 3, "tokens": longest, "clip_skip": 1},
            {"rows": 5, "tokens": longest // 2, "clip_skip": layers - 1},
        ),
        {
            "input_ids": ids,
            "vectors": normal,
            "clip_skip": lambda _rng, _shape, lengths: np.array(lengths["clip_skip"]),
        },
    )


def unet(config: Config, downscale: int, chunk: int, pooled: int = 0) -> Component:
    """The denoiser of `unet/config.json`; `chunk` is the length of one prompt chunk in tokens. SDXL's also takes the
    pooled text and numbers of the picture's size, a consistency model's the embedding of the guidance."""
    channels, least = config["in_channels"], 2 ** (len(config["block_out_channels"]) - 1)
    width, height = latent_size(config)
    sample = ("rows", channels, "height", "width")
    besides = _besides(config, pooled)
    return Component(
        "unet",
        DENOISER,
        (
            _float("sample", *sample),
            _float("timestep", "rows"),
            _float("encoder_hidden_states", "rows", "tokens", config["cross_attention_dim"]),
            *(_float(name, "rows", width) for name, width in besides.items()),
        ),
        (_float("model_output", "rows", config["out_channels"], "height", "width"),),
        {
            "rows": Range(1, 2, 16),
            "height": Range(least, height, max(MOST_PIXELS // downscale, height)),
            "width": Range(least, width, max(MOST_PIXELS // downscale, width)),
            "tokens": Range(chunk, chunk, chunk * MOST_CHUNKS, chunk),
        },
        {"rows": 2, "height": least * 3 + 1, "width": least * 4 + 3, "tokens": chunk * 2},
        (
            {"rows": 1, "height": height, "width": width, "tokens": chunk},
            {"rows": 3, "height": least + 3, "width": least * 2 + 1, "tokens": chunk * 3},
            {"rows": 2, "height": least * 2, "width": least, "tokens": chunk},
        ),
        {"sample": normal, "timestep": _timestep, "encoder_hidden_states": normal, **dict.fromkeys(besides, normal)}
        | {"time_ids": _size_id},
    )


def _besides(config: Config, pooled: int) -> dict[str, int]:
    """The widths of what a U-Net, or a ControlNet, takes besides latents, timestep and text, by name."""
    made: dict[str, int] = {}
    if config["addition_embed_type"] is not None:
        ids = (config["projection_class_embeddings_input_dim"] - pooled) // config["addition_time_embed_dim"]
        made |= {"text_embeds": pooled, "time_ids": ids}
    if config.get("time_cond_proj_dim") is not None:
        made[GUIDANCE] = config["time_cond_proj_dim"]
    return made


def size_ids(configs: Mapping[str, Config]) -> tuple[str, ...]:
    """What the numbers of a denoiser's `time_ids` mean; none where it takes none.

    Raises `InputError` for a number of them that no model of SDXL has.
    """
    unet = configs["unet"]
    if unet["addition_embed_type"] is None:
        return ()
    pooled, each = configs["text_encoder_2"]["projection_dim"], unet["addition_time_embed_dim"]
    rest = unet["projection_class_embeddings_input_dim"] - pooled
    for ids in (SIZE_IDS[:6], (*SIZE_IDS[:4], SIZE_IDS[6])):
        if rest == each * len(ids):
            return ids
    raise InputError(
        f"unet: has room for {rest / each:g} numbers of the picture's size; SDXL has 6, its refiner 5: take all "
        "parts from one checkpoint"
    )


def vae_encoder(config: Config, downscale: int, size: tuple[int, int]) -> Component:
    """The encoding half of `vae/config.json`; `size` is the usual picture's (width, height) in pixels."""
    latents = ("rows", config["latent_channels"], "h", "w")
    names = ("mean",) if is_tiny(config) else ("mean", "std")
    return Component(
        "vae_encoder",
        VAE_ENCODER,
        (_float("pixels", "rows", 3, "height", "width"),),
        tuple(_float(name, *latents) for name in names),
        _sides("height", "width", size, downscale * 2, MOST_PIXELS, downscale),
        {"rows": 2, "height": downscale * 5, "width": downscale * 7},
        _vae_checks("height", "width", size, downscale),
        {"pixels": lambda rng, shape, _: rng.uniform(-1, 1, shape)},
    )


def vae_decoder(config: Config, downscale: int, size: tuple[int, int]) -> Component:
    """The decoding half of `vae/config.json`; `size` is the usual picture's (width, height) in pixels."""
    scale = config.get("scaling_factor") or 1.0
    return Component(
        "vae_decoder",
        VAE_DECODER,
        (_float("latents", "rows", config["latent_channels"], "h", "w"),),
        (_float("pixels", "rows", 3, "height", "width"),),
        _sides("h", "w", (size[0] // downscale, size[1] // downscale), 2, MOST_PIXELS // downscale, 1),
        {"rows": 2, "h": 5, "w": 7},
        _vae_checks("h", "w", (size[0] // downscale, size[1] // downscale), 1),
        {"latents": lambda rng, shape, _: rng.standard_normal(shape) / scale},
    )


def upscaler(scale: int, multiple: int) -> Component:
    """An upscaler, whose input's height and width are multiples of `multiple`."""
    sides = Range(multiple, UPSCALER_TILE, MOST_PIXELS, multiple)
    upscaled = Range(multiple * scale, UPSCALER_TILE * scale, MOST_PIXELS * scale, multiple * scale)
    return Component(
        "upscaler",
        UPSCALER,
        (_float("pixels", "rows", 3, "height", "width"),),
        (_float("upscaled", "rows", 3, "upscaled_height", "upscaled_width"),),
        {
            "rows": Range(1, 1, 16),
            "height": sides,
            "width": sides,
            "upscaled_height": upscaled,
            "upscaled_width": upscaled,
        },
        {"rows": 2, "height": multiple * 5, "width": multiple * 7},
        (
            {"rows": 1, "height": 64, "width": 48},
            {"rows": 3, "height": multiple * 3, "width": multiple * 8},
            {"rows": 2, "height": multiple, "width": multiple * 2},
        ),
        {"pixels": lambda rng, shape, _: rng.uniform(0, 1, shape)},
    )


def is_tiny(config: Config) -> bool:
    """Whether a VAE's configuration is that of an AutoencoderTiny."""
    return config.get("_class_name") == "AutoencoderTiny"


def latent_size(config: Config) -> tuple[int, int]:
    """The usual (width, height) of `unet/config.json` in latents."""
    size = config["sample_size"]
    return (size, size) if isinstance(size, int) else (size[1], size[0])


def _float(name: str, *axes: int | str) -> TensorSpec:
    return TensorSpec(name, "float32", axes)


def normal(rng: np.random.Generator, shape: tuple[int, ...], _: Lengths) -> Array:
    """Normally distributed numbers."""
    return rng.standard_normal(shape)


def _timestep(rng: np.random.Generator, shape: tuple[int, ...], _: Lengths) -> Array:
    return rng.uniform(0, 999, shape)


def _size_id(rng: np.random.Generator, shape: tuple[int, ...], _: Lengths) -> Array:
    return rng.integers(0, 1025, shape)


def _sides(height: str, width: str, size: tuple[int, int], least: int, most: int, multiple: int) -> dict[str, Range]:
    return {
        "rows": Range(1, 1, 16),
        height: Range(least, size[1], max(most, size[1]), multiple),
        width: Range(least, size[0], max(most, size[0]), multiple),
    }


def _vae_checks(height: str, width: str, size: tuple[int, int], unit: int) -> tuple[Lengths, ...]:
    half = size[1] // unit // 2 * unit
    return (
        {"rows": 1, height: half, width: max(half - unit, 2 * unit)},
        {"rows": 3, height: 3 * unit, width: 8 * unit},
        {"rows": 2, height: 9 * unit, width: 2 * unit},
    )
