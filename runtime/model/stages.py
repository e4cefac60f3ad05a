"""The stages of a loaded model: its text encoder, its autoencoder, its denoiser, and the engines behind them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ...bundles.facts import ModelFacts
from ...bundles.manifest import Bundle
from ...engines.base import Engine
from ...engines.lazy import LazyEngine
from ..conditioning.encoders import PromptEncoder, TextEncoder
from ..conditioning.lora.engines import MergedEngines
from ..denoising.denoiser import Denoiser
from .autoencoder import Autoencoder
from .controlnet import ControlNets
from .image_adapters import ImagePromptAdapters


@dataclass(eq=False)
class Stages:
    """What the scheduler alone calls. Each stage holds its engine, which tests and calibration may wrap."""

    bundle: Bundle
    prompts: PromptEncoder
    vae: Autoencoder
    denoiser: Denoiser
    image_adapters: ImagePromptAdapters
    controlnets: ControlNets = field(default_factory=ControlNets)
    stand_ins: Mapping[str, LazyEngine] = field(default_factory=dict)
    """What runs the graphs that rows with LoRAs, or deep features, go to, by the graph's name; each is opened when it
    is first wanted."""
    merged_engines: Mapping[str, MergedEngines] = field(default_factory=dict)
    """What runs graphs with LoRAs merged into their weights, by the graph's name."""

    @property
    def facts(self) -> ModelFacts:
        """The model's facts."""
        return self.bundle.model

    @property
    def text(self) -> TextEncoder:
        """The first text encoder, whose tokens are the model's and which takes textual inversions."""
        return self.prompts.encoders[0]

    def input_width(self, name: str) -> int | None:
        """The last axis of one of the denoiser's inputs; None where it has none of that name."""
        specs = self.bundle.by_role("denoiser").inputs
        return next((int(spec.axes[-1]) for spec in specs if spec.name == name), None)

    @property
    def denoiser_name(self) -> str:
        """The name of the denoiser's graph, for errors."""
        return self.bundle.name_of("denoiser")

    @property
    def all_engines(self) -> list[Engine]:
        """The engines of all stages, those of ControlNets last."""
        return [*self.engines.values(), *(net.denoiser.engine for net in self.controlnets.loaded)]

    @property
    def engines(self) -> Mapping[str, Engine]:
        """What runs each of the bundle's graphs, by the graph's name; of stand-ins, and of those with
        merged LoRAs, the opened ones."""
        encoders = {encoder.facts.graph: encoder.engine for encoder in self.prompts.encoders}
        others = {"denoiser": self.denoiser.engine, "vae_encoder": self.vae.encoder, "vae_decoder": self.vae.decoder}
        named = {self.bundle.name_of(role): engine for role, engine in others.items()}
        merged = {
            f"{name}_merged_{number}": engine
            for name, own in self.merged_engines.items()
            for number, engine in enumerate(own.opened)
        }
        return {**encoders, **named, **{name: own for name, own in self.stand_ins.items() if own.is_open}, **merged}

    @property
    def device(self) -> str:
        """Where something of the work is done that the host does not wait for: "cuda", or else "cpu"."""
        return "cuda" if any(engine.device == "cuda" for engine in self.all_engines) else "cpu"

    def forget_nonfinite(self) -> None:
        """Let go of cached encodings with NaN or infinity; waits for the device."""
        for encoder in self.prompts.encoders:
            encoder.forget_nonfinite()
        self.vae.forget_nonfinite()
        self.image_adapters.forget_nonfinite()
