"""How programs seed the noise of their steps."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SeedRule:
    """Whether the noise of the steps goes on after the first noise, or begins again from the seed."""

    again: bool = False
    cpu_offset: int = 0
    """What is added to the seed where it begins again on a CPU's generator."""

    def seed(self, seed: int, noise: str) -> int | None:
        """The seed of the steps' noise, of a kind of `noise.KINDS`; None where it goes on."""
        if not self.again:
            return None
        return (seed + self.cpu_offset * (noise == "cpu")) % 2**64


GOES_ON = SeedRule()
COMFY = SeedRule(again=True)
"""ComfyUI to 0.3.64 (k_diffusion/sampling.py, default_noise_sampler)."""

COMFY_NEWER = SeedRule(again=True, cpu_offset=1)
"""ComfyUI later than 0.3.64, whose first step on a CPU would else have the noise of the beginning."""
