"""A ControlNet's weights become a bundle of their own kind: one verified graph, for any base model of its family."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers import ControlNetModel
from torch import Tensor, nn

from ..bundles.controlnet import ControlNetBundle, ControlNetFacts
from ..bundles.graph import CONTROLNET, Range
from ..bundles.tensor import TensorSpec
from ..errors import ExportError, InputError
from ..version import __version__
from . import components
from .adapters import Addend, Residual, residuals
from .bundle import OPSET, Part, Precision, Report, check_opset, export_graph, stored_precision
from .checkpoints.checkpoint import PICKLES, State, check_state, read_json, read_tensors, refuse_pickle
from .components import Component, Config, Lengths
from .publish import check_space, publish, remove_stale

HINT = "hint"
# The text's length in tokens that graphs are traced with, CLIP's.
CHUNK = 77


class ControlNet(nn.Module):
    """A denoiser's inputs and `hint` [rows, 3, height, width] in [0, 1], in pixels -> the residuals of
    `adapters.residuals`, each [rows, channels, h, w]."""

    def __init__(self, model: ControlNetModel) -> None:
        super().__init__()
        self.model = model
        self.embed = model.controlnet_cond_embedding
        # What diffusers adds to the latents: for a capture a sum of the latents' shape, whatever the hint's is.
        model.controlnet_cond_embedding = _Embedded(self.embed)

    def forward(
        self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor, hint: Tensor
    ) -> tuple[Tensor, ...]:
        """Evaluate the ControlNet once for each row."""
        dtype = self.model.dtype
        down, middle = self.model(
            sample.to(dtype), timestep, encoder_hidden_states.to(dtype), hint.to(dtype), return_dict=False
        )
        return tuple(each.float() for each in (*down, middle))


class _Embedded(nn.Module):
    def __init__(self, embed: nn.Module) -> None:
        super().__init__()
        self._embed = [embed]  # its weights are the model's already

    def forward(self, hint: Tensor) -> Addend:
        return Addend(self._embed[0](hint))


def export_controlnet(
    checkpoint: Path,
    bundle: Path,
    *,
    precision: Precision = "float32",
    weights: Precision | None = None,
    opset: int = OPSET,
    preprocessor: str = "none",
    overwrite: bool = False,
    report: Report = lambda stage: None,
) -> ControlNetBundle:
    """Export a ControlNet to the folder `bundle` and read it back.

    `checkpoint` is a diffusers folder with config.json and .safetensors weights. The options, and what else is raised,
    are those of `export_bundle`. `preprocessor` is its own, see `ControlNetFacts`. Raises `InputError` for weights that
    are no ControlNet's that is known.
    """
    checkpoint, bundle = Path(checkpoint), Path(bundle)
    stored = stored_precision(precision, weights)
    check_opset(opset)
    config, state = _open(checkpoint)
    facts = replace(_facts(config, bundle.name, checkpoint.name), preprocessor=preprocessor)
    remove_stale(bundle)
    count = sum(tensor.numel() for tensor in state.values())
    check_space(bundle, count * torch.finfo(getattr(torch, stored)).bits // 8)
    part = Part(component(config, facts.downscale), lambda: ControlNet(_load(config, state)))
    with publish(bundle, overwrite) as folder:
        graph = export_graph(part, folder, precision, stored, opset, report)
        ControlNetBundle(folder, facts, {part.component.name: graph}, f"overpaint {__version__}").write_manifest()
    return ControlNetBundle.read(bundle, verify=False)


def component(config: Config, downscale: int) -> Component:
    """The ControlNet of a config.json: a denoiser's inputs and a hint, and residuals."""
    side = 64
    base = components.unet({**config, "sample_size": side, "out_channels": config["in_channels"]}, downscale, CHUNK)
    hint = TensorSpec(HINT, "float32", ("rows", config["conditioning_channels"], "hint_height", "hint_width"))
    outputs = residuals(config)

    def with_hint(lengths: Lengths) -> Lengths:
        return {**lengths, "hint_height": lengths["height"] * downscale, "hint_width": lengths["width"] * downscale}

    return replace(
        base,
        name="controlnet",
        role=CONTROLNET,
        inputs=(*base.inputs, hint),
        outputs=tuple(_output(each) for each in outputs),
        ranges={**base.ranges, **_hint_ranges(base.ranges, downscale), **_output_ranges(base.ranges, outputs)},
        traced=with_hint(base.traced),
        checked=tuple(map(with_hint, base.checked)),
        draws={**base.draws, HINT: lambda rng, shape, _: rng.uniform(0, 1, shape)},
    )


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


def _open(checkpoint: Path) -> tuple[Config, State]:
    if checkpoint.suffix.lower() in PICKLES:
        refuse_pickle(checkpoint)
    if not checkpoint.is_dir():
        raise InputError(f"{checkpoint}: is no folder; name a ControlNet's diffusers folder, with its config.json")
    config = read_json(checkpoint / "config.json")
    if (kind := config.get("_class_name")) != "ControlNetModel":
        raise InputError(f"{checkpoint}: is a {kind or 'model of no class'}, not a ControlNetModel")
    files = sorted(checkpoint.glob("diffusion_pytorch_model*.safetensors"))
    if not files:
        raise InputError(f"{checkpoint}: has no diffusion_pytorch_model.safetensors; copy the whole ControlNet again")
    return _completed(config), read_tensors(files)


def _completed(config: Mapping[str, Any]) -> Config:
    with torch.device("meta"):
        return dict(ControlNetModel.from_config(dict(config)).config)


def _facts(config: Config, name: str, origin: str) -> ControlNetFacts:
    return ControlNetFacts(
        name=name,
        latent_channels=config["in_channels"],
        downscale=2 ** (len(config["conditioning_embedding_out_channels"]) - 1),
        text_width=config["cross_attention_dim"],
        channels=tuple(each.channels for each in residuals(config)),
        bgr=config["controlnet_conditioning_channel_order"] == "bgr",
        origin={"checkpoint": origin, "format": "diffusers folder"},
    )


def _load(config: Config, state: State) -> ControlNetModel:
    with torch.device("meta"):
        model = ControlNetModel.from_config(dict(config))
    own = model.state_dict()
    check_state("controlnet", sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys()))
    try:
        model.load_state_dict(state, assign=True)
    except RuntimeError as exc:
        raise ExportError(f"controlnet: the weights do not fit config.json ({exc}); copy both again") from exc
    loaded: ControlNetModel = model.float().eval().requires_grad_(False)
    return loaded
