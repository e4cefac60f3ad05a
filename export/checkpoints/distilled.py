"""What suits models that were distilled to few steps: sampler, schedule, steps and guidance, by the method's name.

A checkpoint's scheduler tells consistency models by its class. The other methods leave weights that look like any
other's, so that whoever exports them names the method.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ...bundles.facts import Defaults, ModelFacts
from ...errors import unknown

EMBEDDED_GUIDANCE = 8.5
"""Of a model that takes its guidance as an input: diffusers' LatentConsistencyModelPipeline."""


@dataclass(frozen=True)
class Method:
    """A way of distilling: what its model is sampled with. Half of a few steps must still be some."""

    sampler: str
    schedule: str | None = None
    steps: int = 8
    guidance_scale: float = 1.0

    def defaults(self, usual: Defaults) -> Defaults:
        """The usual defaults with its steps and guidance."""
        return replace(usual, steps=self.steps, guidance_scale=self.guidance_scale)


METHODS: Mapping[str, Method] = {
    # Luo et al. (arXiv:2310.04378) and the card of LCM LoRA.
    "lcm": Method("lcm", guidance_scale=1.5),
    # Zheng et al. (arXiv:2402.19159).
    "tcd": Method("tcd"),
    # Sauer et al. (arXiv:2311.17042), and the cards of SD-Turbo and SDXL-Turbo.
    "turbo": Method("euler_a", "trailing", steps=4),
    # Lin et al. (arXiv:2402.13929).
    "lightning": Method("euler", "trailing"),
    # Ren et al. (arXiv:2404.13686).
    "hyper": Method("ddim", "trailing"),
}


def of_sampler(sampler: str) -> Method | None:
    """The method whose models come with this sampler; None where the sampler tells none."""
    return next((method for method in METHODS.values() if method.sampler == sampler and method.schedule is None), None)


def distilled(facts: ModelFacts, name: str) -> ModelFacts:
    """The facts of a model that was distilled by a method; raises `InputError` for an unknown one.

    A consistency model that takes its guidance as an input keeps its own.
    """
    if name not in METHODS:
        raise unknown("method of distilling", name, METHODS)
    method = METHODS[name]
    defaults = {use: method.defaults(usual) for use, usual in facts.defaults.items()}
    return replace(facts, default_sampler=method.sampler, default_schedule=method.schedule, defaults=defaults)
