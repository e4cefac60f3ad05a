"""The denoiser of a bundle on its engines."""

from __future__ import annotations

from collections.abc import Mapping

from ...bundles.graph import DENOISER, DENOISER_LORA, DENOISER_SHALLOW
from ...bundles.manifest import Bundle
from ...engines.base import Engine
from ...engines.lazy import LazyEngine
from ..conditioning.lora.engines import MergedEngines
from ..denoising.denoiser import Denoiser
from ..denoising.lora_denoiser import LoraDenoiser
from ..denoising.merged_denoiser import MergedDenoiser
from .loras import stand_in


def open_denoiser(
    bundle: Bundle,
    engine: Engine,
    max_rows: int,
    max_area: int,
    stand_ins: Mapping[str, LazyEngine],
    merged: MergedEngines | None = None,
) -> Denoiser:
    """The denoiser on its engine, which hands rows with LoRAs, and those with deep features, to the graphs that take
    them, where there are such; `merged` runs rows with LoRAs where these are merged into weights."""
    graph, own = bundle.by_role(DENOISER), bundle.name_of(DENOISER)
    limits = min(max_rows, graph.ranges["rows"].most), max_area

    def opened(role: str, kind: type[Denoiser]) -> Denoiser | None:
        name = stand_in(bundle, role, own)
        return kind(stand_ins[name], *limits, bundle.graphs[name].adapters) if name else None

    shallow = opened(DENOISER_SHALLOW, Denoiser)
    if merged is None:
        lora = opened(DENOISER_LORA, LoraDenoiser)
    else:
        lora = MergedDenoiser(engine, merged, *limits, graph.adapters)
    return Denoiser(engine, *limits, graph.adapters, lora, shallow)
