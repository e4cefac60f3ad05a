"""A ControlNet's weights become a bundle of their own kind: one verified graph, for any base model of its family."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..bundles.controlnet import ControlNetBundle, ControlNetFacts
from ..bundles.graph import CONTROLNET, Range
from ..bundles.tensor import Array, TensorSpec
from ..errors import ExportError
from ..version import __version__
from . import components
from .adapters import Residual, residuals
from .bundle import OPSET, Part, Precision, Report, check_opset, export_graph, stored_precision
from .checkpoints.controlnets import ControlNetSource, open_controlnet
from .components import Component, Config, Lengths
from .controlnet_wrapper import HINT, TYPE, ControlNet
from .publish import check_space, publish, remove_stale
from .streamed import is_half, is_large

# The numbers of the picture's size that SDXL takes.
SIZE_NUMBERS = 6
# What the types of the union models of xinsir and ProMax are called, each with its other names.
UNION_TYPES = (
    "openpose/pose",
    "depth",
    "hed/softedge/scribble",
    "canny/lineart/mlsd",
    "normal",
    "segment/seg",
    "tile",
    "repaint/inpaint",
)
UNION_COUNTS = (6, 8)
# The text's length in tokens that graphs are traced with, CLIP's.
CHUNK = 77


def export_controlnet(
    checkpoint: Path,
    bundle: Path,
    *,
    precision: Precision = "float32",
    weights: Precision | None = None,
    opset: int = OPSET,
    preprocessor: str = "none",
    global_pool: bool | None = None,
    overwrite: bool = False,
    report: Report = lambda stage: None,
) -> ControlNetBundle:
    """Export a ControlNet to the folder `bundle` and read it back.

    `checkpoint` is a diffusers folder, or a .safetensors file under the original names or diffusers', of Stable
    Diffusion 1.x, 2.x or XL; a union model's types are those of its order. Weights in half precision stay so.
    `preprocessor` is its own, see `ControlNetFacts`. With `global_pool` each residual is its mean, as that of shuffle
    has to be; None is what config.json says. The other options, and what else is raised, are those of `export_bundle`.
    Raises `InputError` for weights that are no ControlNet's that is known.
    """
    checkpoint, bundle = Path(checkpoint), Path(bundle)
    stored = stored_precision(precision, weights)
    check_opset(opset)
    source = open_controlnet(checkpoint)
    if global_pool is not None:
        source = replace(source, config={**source.config, "global_pool_conditions": global_pool})
    if weights is None and is_half(source.state):
        stored = "float16"
    facts = replace(facts_of(source, bundle.name, checkpoint.name), preprocessor=preprocessor)
    remove_stale(bundle)
    count = sum(tensor.numel() for tensor in source.state.values())
    check_space(bundle, count * torch.finfo(getattr(torch, stored)).bits // 8)
    part = part_of(source)
    with publish(bundle, overwrite) as folder:
        graph = export_graph(part, folder, precision, stored, opset, report)
        ControlNetBundle(folder, facts, {part.component.name: graph}, f"overpaint {__version__}").write_manifest()
    return ControlNetBundle.read(bundle, verify=False)


def part_of(source: ControlNetSource) -> Part:
    """The graph of a ControlNet."""
    own, large = component(source.config, _downscale(source.config)), is_large(source.state)
    others = [spec.name for spec in own.inputs[3:]]
    return Part(own, lambda: ControlNet(_load(source, large), others), streamed=large)


def component(config: Config, downscale: int) -> Component:
    """The ControlNet of a config.json: a denoiser's inputs, a hint, a union model's control type, and residuals."""
    shape = {**config, "sample_size": 64, "out_channels": config["in_channels"]}
    base = components.unet(shape, downscale, CHUNK, _pooled(config))
    hint = TensorSpec(HINT, "float32", ("rows", config["conditioning_channels"], "hint_height", "hint_width"))
    types = [TensorSpec(TYPE, "float32", ("rows", count))] if (count := config.get("num_control_type")) else []
    outputs = residuals(config)

    def with_hint(lengths: Lengths) -> Lengths:
        return {**lengths, "hint_height": lengths["height"] * downscale, "hint_width": lengths["width"] * downscale}

    return replace(
        base,
        name="controlnet",
        role=CONTROLNET,
        inputs=(*base.inputs, hint, *types),
        outputs=tuple(_output(each) for each in outputs),
        ranges={**base.ranges, **_hint_ranges(base.ranges, downscale), **_output_ranges(base.ranges, outputs)},
        traced=with_hint(base.traced),
        checked=tuple(map(with_hint, base.checked)),
        draws={**base.draws, HINT: lambda rng, shape, _: rng.uniform(0, 1, shape), TYPE: _one_each},
    )


def _pooled(config: Config) -> int:
    """The width of the pooled text that it takes; 0 for none."""
    if config["addition_embed_type"] is None:
        return 0
    width: int = config["projection_class_embeddings_input_dim"]
    return width - SIZE_NUMBERS * int(config["addition_time_embed_dim"])


def _one_each(rng: np.random.Generator, shape: tuple[int, ...], _: Lengths) -> Array:
    return np.eye(shape[1])[rng.integers(0, shape[1], shape[0])]


def _output(residual: Residual) -> TensorSpec:
    return TensorSpec(residual.name, "float32", ("rows", residual.channels, *residual.axes[1:]))


def _hint_ranges(ranges: Mapping[str, Range], downscale: int) -> dict[str, Range]:
    return {f"hint_{side}": _pixels(ranges[side], downscale) for side in ("height", "width")}


def _pixels(span: Range, downscale: int) -> Range:
    return Range(span.least * downscale, span.usual * downscale, span.most * downscale, downscale)


def _output_ranges(ranges: Mapping[str, Range], outputs: tuple[Residual, ...]) -> dict[str, Range]:
    made: dict[str, Range] = {}
    for each in outputs:
        spans = each.ranges(ranges["height"], ranges["width"])
        made |= {axis: spans[axis] for axis in each.axes[1:]}
    return made


def facts_of(source: ControlNetSource, name: str, origin: str) -> ControlNetFacts:
    """The facts of a ControlNet that shall be called `name`, from the file or folder `origin`."""
    config = source.config
    return ControlNetFacts(
        name=name,
        latent_channels=config["in_channels"],
        downscale=_downscale(config),
        text_width=config["cross_attention_dim"],
        channels=tuple(each.channels for each in residuals(config)),
        bgr=config["controlnet_conditioning_channel_order"] == "bgr",
        control_types=_control_types(config.get("num_control_type", 0)),
        global_pool=config["global_pool_conditions"],
        origin={"checkpoint": origin, "format": source.layout},
    )


def _downscale(config: Config) -> int:
    return int(2 ** (len(config["conditioning_embedding_out_channels"]) - 1))


def _control_types(count: int) -> tuple[str, ...]:
    """The names of a union model's types; their numbers where it is none of those that are known."""
    return UNION_TYPES[:count] if count in UNION_COUNTS else tuple(map(str, range(count)))


def _load(source: ControlNetSource, as_stored: bool) -> Any:
    model = source.skeleton()
    try:
        model.load_state_dict(source.state, assign=True)
    except RuntimeError as exc:
        raise ExportError(f"controlnet: the weights do not fit config.json ({exc}); copy both again") from exc
    return (model if as_stored else model.float()).eval().requires_grad_(False)
