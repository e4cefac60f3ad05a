"""Makes comfy.npz with ComfyUI's own samplers, on the model and cases of `toy`.

It wants ComfyUI's sources (0.3.64 made the file) in the folder that COMFYUI_SOURCE names, and what they import
(einops, scipy, torchsde). `KSampler` gives the sigmas, `KSAMPLER` runs on them; only the model and what guides it are
stood in for. Run it from the repository's root: `python -m tests.vectors.comfy`.
"""

from __future__ import annotations

import importlib
import os
import sys
import types
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np

from tests.vectors.toy import (
    CFG_PP_SCALE,
    FAILURES,
    KEPT,
    SEED,
    SHAPE,
    STEPS,
    STRENGTHS,
    UNCOND,
    Vector,
    clean,
    save,
    toy,
)

ON_GPU = "_gpu"
"""How the samplers are called that are on a CPU what they are without it."""


def program() -> types.ModuleType:
    """Its module `comfy.samplers`; leaves where it cannot be had."""
    source = os.environ.get("COMFYUI_SOURCE")
    if not source:
        sys.exit("skipped: COMFYUI_SOURCE does not name the sources of ComfyUI")
    sys.path.insert(0, source)
    for name in ("torchvision", "torchvision.transforms", "torchaudio", "av"):  # of other models than are run here
        try:
            importlib.import_module(name)
        except ImportError:
            sys.modules[name] = MagicMock(__spec__=ModuleSpec(name, None))
    importlib.import_module("comfy.cli_args").args.cpu = True
    return importlib.import_module("comfy.samplers")


class Guided:
    """Stands in for the model and its guidance: `model_wrap` of ComfyUI's samplers."""

    def __init__(self, guided: bool) -> None:
        sampling = importlib.import_module("comfy.model_sampling")

        class ModelSampling(sampling.ModelSamplingDiscrete, sampling.EPS):
            pass

        self.model_sampling = ModelSampling()
        self.guided = guided
        self.inner_model = self.model_patcher = self
        self.times: list[float] = []

    def get_model_object(self, name: str) -> Any:
        """The part of the model of that name."""
        return getattr(self, name)

    def __call__(self, x: Any, sigma: Any, model_options: Any, seed: int) -> Any:
        """The clean latents as the toy predicts them; the timestep is what the U-Net would be given."""
        times = self.model_sampling.timestep(sigma).float()
        self.times.append(float(times[0]))
        noise = toy(self.model_sampling.calculate_input(sigma, x), times.reshape(-1, 1, 1, 1))
        positive = self.model_sampling.calculate_denoised(sigma, noise, x)
        if not self.guided:
            return positive
        negative = self.model_sampling.calculate_denoised(sigma, UNCOND * noise, x)
        result = negative + (positive - negative) * CFG_PP_SCALE["comfy"]
        for hook in model_options.get("sampler_post_cfg_function", []):
            result = hook({"denoised": result, "uncond_denoised": negative})
        return result


def run(samplers: types.ModuleType, name: str, schedule: str, steps: int, strength: float) -> Vector:
    """One case as the node KSampler runs it."""
    import torch

    model = Guided("cfg_pp" in name)
    noise = torch.randn((1, *SHAPE), generator=torch.manual_seed(SEED))
    sigmas, latents = torch.zeros(0), None
    try:
        sigmas = samplers.KSampler(model, steps, torch.device("cpu"), name, schedule, strength).sigmas
        handed = sigmas.double().numpy().copy()
        options: dict[str, Any] = {"model_options": {}, "seed": SEED}
        sampler = samplers.sampler_object(name)
        x = sampler.sample(model, sigmas, options, None, noise, torch.from_numpy(clean()[None]), None, True)
        kept = x[0].double().numpy().reshape(-1)[KEPT]
        latents = kept if np.isfinite(kept).all() and abs(kept).max() < 1e4 else None
    except FAILURES as exc:  # what fails there is part of what it does
        print(f"{name}, {schedule}, {steps} steps, {strength}: {type(exc).__name__} {exc}")
        handed = sigmas.double().numpy()
    return Vector(name, schedule, steps, strength, handed, np.array(model.times), latents)


def every() -> Iterator[Vector]:
    """Every sampler, schedule, number of steps and strength."""
    samplers = program()
    for name in samplers.SAMPLER_NAMES:
        if not name.endswith(ON_GPU):
            for schedule in samplers.SCHEDULER_NAMES:
                for steps in STEPS:
                    for strength in STRENGTHS:
                        yield run(samplers, name, schedule, steps, strength)


if __name__ == "__main__":
    save(Path(__file__).with_name("comfy.npz"), list(every()))
