"""The graphs of a bundle that take LoRAs in place of those that do not, and what a request gives them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...bundles.graph import DENOISER_LORA, TEXT_ENCODER_LORA
from ...bundles.manifest import Bundle
from ...engines.lazy import LazyEngine
from ...engines.registry import takes_weights
from ...errors import InputError, unknown
from ..conditioning.encoders import PromptEncoder, WithLoras
from ..conditioning.lora.engines import LoraInputs, MergedEngines
from ..conditioning.lora.fit import LoraLayers
from ..conditioning.lora.library import Layers, UsedLora
from ..conditioning.lora.merge import StoredLayers
from ..conditioning.low_rank import RowLora

INPUTS, MERGED = LORA_MODES = ("inputs", "merged")
"""How LoRAs reach a model: as inputs of graphs that take them, or merged into the weights of engines of their own."""


def check_mode(mode: str, bundle: Bundle, engine: str) -> None:
    """Raise `InputError` for a mode that there is not, and where LoRAs cannot be merged into a bundle on an engine."""
    if mode not in LORA_MODES:
        raise unknown("LoRA mode", mode, LORA_MODES, "lora_mode")
    if mode != MERGED:
        return
    if not takes_weights(engine):
        raise InputError(
            f"engine {engine} opens graphs with their own weights alone, which no LoRAs can be merged into; take "
            "lora_mode 'inputs' or the engine openvino or onnxruntime, or export the bundle with the LoRAs, by "
            "overpaint export --merge-lora FILE:0.8",
            "lora_mode",
        )
    graph = bundle.by_role("denoiser")
    if not graph.stored:
        why = "quantized to int8" if graph.weights == "int8" else "of an older version"
        raise InputError(
            f"{bundle.folder}: is {why}, and does not say where weights lie that LoRAs could be merged into; export "
            "its checkpoint again, with the LoRAs by --merge-lora FILE:0.8 or without",
            "lora_mode",
        )


def stand_in(bundle: Bundle, role: str, base: str) -> str | None:
    """The name of the graph of a role that some rows go to in place of another; None where there is none."""
    return next((name for name, graph in bundle.graphs.items() if (graph.role, graph.base) == (role, base)), None)


def encoder_with_loras(
    bundle: Bundle, graph: str, stand_ins: Mapping[str, LazyEngine], merged: Mapping[str, MergedEngines]
) -> WithLoras | None:
    """What runs a text encoder with LoRAs, by its graph's name; None where nothing does."""
    if merged:
        return merged[graph]
    name = stand_in(bundle, TEXT_ENCODER_LORA, graph)
    return LoraInputs(stand_ins[name]) if name else None


def lora_layers(bundle: Bundle, mode: str) -> Layers | None:
    """The layers that LoRAs change; None where the denoiser takes none."""
    if mode == MERGED:
        texts = [bundle.graphs[facts.graph].stored for facts in bundle.model.encoders]
        return StoredLayers(bundle.by_role("denoiser").stored, texts)
    own = stand_in(bundle, DENOISER_LORA, bundle.name_of("denoiser"))
    if own is None:
        return None
    encoders = [stand_in(bundle, TEXT_ENCODER_LORA, facts.graph) for facts in bundle.model.encoders]
    return LoraLayers(
        bundle.graphs[own].low_rank, [bundle.graphs[name].low_rank if name else None for name in encoders]
    )


def denoiser_loras(used: Sequence[UsedLora], device: str) -> tuple[RowLora, ...]:
    """The LoRAs of each row of a request."""
    return tuple(each.denoiser.low_rank(each.use.unet, device) for each in used if each.denoiser and each.use.unet)


def encoder_loras(used: Sequence[UsedLora], prompts: PromptEncoder) -> Sequence[Sequence[RowLora]]:
    """The LoRAs of each text encoder."""
    own: list[list[RowLora]] = [[] for _ in prompts.encoders]
    for each in used:
        weight = each.use.text * each.use.base
        for place, encoder, fitted in zip(own, prompts.encoders, each.encoders, strict=True):
            if fitted and weight:
                place.append(fitted.low_rank(weight, encoder.engine.device))
    return own
