"""The graphs of a bundle that take LoRAs in place of those that do not, and what a request gives them."""

from __future__ import annotations

from collections.abc import Sequence

from ...bundles.graph import DENOISER_LORA, TEXT_ENCODER_LORA
from ...bundles.manifest import Bundle
from ..conditioning.encoders import PromptEncoder
from ..conditioning.lora.fit import LoraLayers
from ..conditioning.lora.library import UsedLora
from ..conditioning.low_rank import LowRank


def stand_in(bundle: Bundle, role: str, base: str) -> str | None:
    """The name of the graph of a role that some rows go to in place of another; None where there is none."""
    return next((name for name, graph in bundle.graphs.items() if (graph.role, graph.base) == (role, base)), None)


def lora_layers(bundle: Bundle) -> LoraLayers | None:
    """The layers that take LoRAs; None where the denoiser takes none."""
    own = stand_in(bundle, DENOISER_LORA, bundle.name_of("denoiser"))
    if own is None:
        return None
    encoders = [stand_in(bundle, TEXT_ENCODER_LORA, facts.graph) for facts in bundle.model.encoders]
    return LoraLayers(
        bundle.graphs[own].low_rank, [bundle.graphs[name].low_rank if name else None for name in encoders]
    )


def denoiser_loras(used: Sequence[UsedLora], device: str) -> tuple[LowRank, ...]:
    """The LoRAs of each row of a request."""
    return tuple(each.denoiser.low_rank(each.use.unet, device) for each in used if each.denoiser and each.use.unet)


def encoder_loras(used: Sequence[UsedLora], prompts: PromptEncoder) -> Sequence[Sequence[LowRank]]:
    """The LoRAs of each text encoder."""
    own: list[list[LowRank]] = [[] for _ in prompts.encoders]
    for each in used:
        weight = each.use.text * each.use.base
        for place, encoder, fitted in zip(own, prompts.encoders, each.encoders, strict=True):
            if fitted and weight:
                place.append(fitted.low_rank(weight, encoder.engine.device))
    return own
