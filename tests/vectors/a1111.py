"""Makes a1111.npz with Stable Diffusion web UI's own samplers, on the model and cases of `toy`.

It wants the sources of the web UI (1.10.1 made the file) and of the k-diffusion that it pins, in the folders that
A1111_SOURCE and K_DIFFUSION_SOURCE name, and lark, einops, scipy, torchdiffeq and torchsde. Their code is loaded as
it is, image-to-image runs go through `sample_img2img`; only what has to do with the page, files and models is stood
in for. Run it from the repository's root: `python -m tests.vectors.a1111`.
"""

from __future__ import annotations

import importlib
import os
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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

OPTIONS = {
    "always_discard_next_to_last_sigma": False,
    "batch_cond_uncond": True,
    "beta_dist_alpha": 0.6,
    "beta_dist_beta": 0.6,
    "enable_quantization": False,
    "eta_ancestral": 1.0,
    "eta_ddim": 0.0,
    "eta_noise_seed_delta": 0,
    "hide_samplers": [],
    "img2img_extra_noise": 0.0,
    "img2img_fix_steps": False,
    "live_preview_content": "Prompt",
    "live_previews_enable": False,
    "no_dpmpp_sde_batch_determinism": False,
    "pad_cond_uncond": False,
    "pad_cond_uncond_v0": False,
    "randn_source": "CPU",
    "refiner_switch_by_sample_steps": False,
    "rho": 0.0,
    "s_churn": 0.0,
    "s_min_uncond_all": False,
    "s_noise": 1.0,
    "s_tmax": 0.0,
    "s_tmin": 0.0,
    "sgm_noise_multiplier": False,
    "show_progress_every_n_steps": 0,
    "sigma_max": 0.0,
    "sigma_min": 0.0,
    "skip_early_cond": 0.0,
    "uni_pc_lower_order_final": True,
    "uni_pc_order": 3,
    "uni_pc_skip_type": "time_uniform",
    "uni_pc_variant": "bh1",
    "use_old_karras_scheduler_sigmas": False,
}
"""Its settings as they come, but for the noise, which is by default the GPU's."""


class Model:
    """Stands in for the Stable Diffusion 1.x model: its noise schedule, and the toy as its U-Net."""

    is_sdxl = False
    parameterization = "eps"
    cond_stage_key = "txt"
    sd_checkpoint_info = None
    conditioning_key = "crossattn"

    def __init__(self) -> None:
        import torch

        betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
        self.alphas_cumprod = torch.cumprod(1 - betas, 0).float()
        self.device = torch.device("cpu")
        self.model = self
        self.times: list[float] = []

    def apply_model(self, x: Any, times: Any, cond: Any) -> Any:
        """Noise for rows of latents; the text is 1 for the prompt, less for the negative one."""
        self.times.append(float(times[0]))
        return toy(x, times.reshape(-1, 1, 1, 1)) * cond["c_crossattn"][0][:, :1, :1, None]


def programs() -> tuple[types.ModuleType, types.ModuleType, Model]:
    """Its modules `sd_samplers` and `prompt_parser`, and the model they see; leaves where they cannot be had."""
    web_ui, k_diffusion = os.environ.get("A1111_SOURCE"), os.environ.get("K_DIFFUSION_SOURCE")
    if not web_ui or not k_diffusion:
        sys.exit("skipped: A1111_SOURCE and K_DIFFUSION_SOURCE do not name the sources of the web UI and k-diffusion")
    sys.path.insert(0, web_ui)
    _stub("torchvision")
    _stub("torchvision.transforms", functional=None)
    _stub("k_diffusion", path=f"{k_diffusion}/k_diffusion")
    for name in ("utils", "sampling", "external"):
        setattr(sys.modules["k_diffusion"], name, importlib.import_module(f"k_diffusion.{name}"))
    model = _stand_ins()
    return importlib.import_module("modules.sd_samplers"), importlib.import_module("modules.prompt_parser"), model


def _stub(name: str, path: str | None = None, **members: Any) -> types.ModuleType:
    module = types.ModuleType(name)
    module.__path__ = [path] if path else []  # type: ignore[attr-defined]
    vars(module).update(members)
    sys.modules[name] = module
    return module


def _stand_ins() -> Model:
    import torch

    class Anything:
        def __init__(self, *given: Any) -> None:
            names = ("x", "image_cond", "sigma", "step", "steps", "text_cond", "text_uncond")
            vars(self).update(zip(names, given, strict=False))

    model, options = Model(), types.SimpleNamespace(**OPTIONS)
    state = types.SimpleNamespace(interrupted=False, skipped=False, sampling_step=0, sampling_steps=0)
    devices = _stub("modules.devices", cpu=model.device, device=model.device, test_for_nans=lambda *_: None)
    _stub(
        "modules.shared",
        opts=options,
        state=state,
        sd_model=model,
        device=model.device,
        total_tqdm=types.SimpleNamespace(update=lambda: None),
    )
    params = {f"{name}Params": Anything for name in ("CFGDenoiser", "CFGDenoised", "AfterCFGCallback", "ExtraNoise")}
    calls = ("cfg_denoiser_callback", "cfg_denoised_callback", "cfg_after_cfg_callback", "extra_noise_callback")
    _stub("modules.script_callbacks", **params, **{name: lambda *_: None for name in calls})
    for name in ("images", "sd_vae_approx", "sd_vae_taesd", "sd_models"):
        _stub(f"modules.{name}")
    devices.torch = torch
    import modules

    for name in ("images", "sd_vae_approx", "sd_vae_taesd", "sd_models", "devices", "shared", "script_callbacks"):
        setattr(modules, name, sys.modules[f"modules.{name}"])
    modules.rng = importlib.import_module("modules.rng")
    return model


def run(
    samplers: types.ModuleType, prompts: types.ModuleType, model: Model, name: str, schedule: Any, *case: Any
) -> Vector:
    """One case through `sample_img2img`, with the noise of the seed as the web UI draws it."""
    import torch

    steps, strength = case
    label = schedule.label if schedule else "Automatic"
    draws = sys.modules["modules.rng"].ImageRNG(SHAPE, [SEED])
    noise = draws.next()
    processing = types.SimpleNamespace(
        all_seeds=[SEED],
        batch_size=1,
        cfg_scale=CFG_PP_SCALE["a1111"] if "CFG++" in name else 1.0,
        denoising_strength=strength,
        eta=None,
        extra_generation_params={},
        hr_scheduler=None,
        is_hr_pass=False,
        iteration=0,
        refiner_checkpoint_info=None,
        refiner_switch_at=None,
        rng=draws,
        s_churn=0.0,
        s_min_uncond=0.0,
        s_noise=1.0,
        s_tmax=0.0,
        s_tmin=0.0,
        sampler_noise_scheduler_override=None,
        scheduler=label,
        scripts=None,
        steps=steps,
    )
    sampler = samplers.create_sampler(name, model)
    sigmas = []
    if hasattr(sampler, "get_sigmas"):
        every = sampler.get_sigmas

        def noted(*given: Any) -> Any:
            sigmas.append(every(*given))
            return sigmas[-1]

        sampler.get_sigmas = noted
    conditioning = [
        [prompts.ScheduledPromptConditioning(steps * 2 + 2, torch.full((77, 1), weight))] for weight in (1.0, UNCOND)
    ]
    if "CFG++" not in name:
        conditioning[1] = conditioning[0]
    both = prompts.MulticondLearnedConditioning(
        (1,), [[prompts.ComposableScheduledPromptConditioning(conditioning[0])]]
    )
    model.times.clear()
    latents = None
    try:
        x = sampler.sample_img2img(
            processing,
            torch.from_numpy(clean()[None]),
            noise,
            both,
            [conditioning[1]],
            image_conditioning=torch.zeros(1, 1, 1, 1),
        )
        kept = x[0].double().numpy().reshape(-1)[KEPT]
        latents = kept if np.isfinite(kept).all() and abs(kept).max() < 1e4 else None
    except FAILURES as exc:  # what fails there is part of what it does
        print(f"{name}, {label}, {steps} steps, {strength}: {type(exc).__name__} {exc}")
    handed = np.zeros(0)
    if sigmas:
        encoded = int(min(strength, 0.999) * steps)
        handed = sigmas[0][steps - encoded - 1 :].double().numpy()
    return Vector(name, label, steps, strength, handed, np.array(model.times), latents)


def every() -> Iterator[Vector]:
    """Every sampler, schedule, number of steps and strength; those that count in timesteps have no schedule."""
    samplers, prompts, model = programs()
    schedules = [None, *sys.modules["modules.sd_schedulers"].schedulers[1:]]
    for data in samplers.all_samplers:
        counts_times = data.name in ("DDIM", "DDIM CFG++", "PLMS", "UniPC")
        for schedule in [None] if counts_times else schedules:
            for steps in STEPS:
                for strength in STRENGTHS:
                    yield run(samplers, prompts, model, data.name, schedule, steps, strength)


if __name__ == "__main__":
    save(Path(__file__).with_name("a1111.npz"), list(every()))
