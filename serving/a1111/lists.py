"""What there is to choose from, as A1111 lists it."""

from __future__ import annotations

import os
import resource
import sys
from typing import Any

from ...bundles.graph import DENOISER
from ...errors import InputError
from ...runtime.conditioning.lora.library import read_metadata
from ...runtime.model.model import Model
from ..service import Service

SAMPLERS = {
    "DPM++ 2M": "k_dpmpp_2m",
    "DPM++ SDE": "k_dpmpp_sde",
    "DPM++ 2M SDE": "k_dpmpp_2m_sde",
    "DPM++ 2M SDE Heun": "k_dpmpp_2m_sde_heun",
    "DPM++ 2S a": "k_dpmpp_2s_a",
    "DPM++ 3M SDE": "k_dpmpp_3m_sde",
    "Euler a": "k_euler_a",
    "Euler": "k_euler",
    "LMS": "k_lms",
    "Heun": "k_heun",
    "DPM2": "k_dpm_2",
    "DPM2 a": "k_dpm_2_a",
    "DPM fast": "k_dpm_fast",
    "Restart": "restart",
    "DDIM": "ddim",
    "PLMS": "plms",
    "UniPC": "unipc",
    "LCM": "k_lcm",
}
"""A1111's samplers that there are here, with an alias of each."""
SCHEDULERS = {
    "automatic": "Automatic",
    "uniform": "Uniform",
    "karras": "Karras",
    "exponential": "Exponential",
    "polyexponential": "Polyexponential",
    "sgm_uniform": "SGM Uniform",
    "kl_optimal": "KL Optimal",
    "align_your_steps": "Align Your Steps",
    "simple": "Simple",
    "normal": "Normal",
    "ddim": "DDIM",
    "beta": "Beta",
}
_RHO = {"karras": 7.0, "polyexponential": 1.0}
NONE, LANCZOS, NEAREST = "None", "Lanczos", "Nearest"
_KIB = 1024


def model_hash(model: Model) -> str:
    """The SHA-256 that stands for a model."""
    return model.bundle.by_role(DENOISER).sha256


def title(name: str, model: Model) -> str:
    """A model's title."""
    return f"{name} [{model_hash(model)[:10]}]"


def samplers() -> list[dict[str, Any]]:
    """The samplers."""
    return [{"name": name, "aliases": [alias], "options": {}} for name, alias in SAMPLERS.items()]


def schedulers() -> list[dict[str, Any]]:
    """The schedulers."""
    return [
        {"name": name, "label": label, "aliases": None, "default_rho": _RHO.get(name, -1.0), "need_inner_model": False}
        for name, label in SCHEDULERS.items()
    ]


def models(service: Service) -> list[dict[str, Any]]:
    """The models, without the paths that they lie at."""
    return [
        {
            "title": title(name, model),
            "model_name": name,
            "hash": model_hash(model)[:10],
            "sha256": model_hash(model),
            "filename": name,
            "config": None,
        }
        for name, model in service.models.items()
    ]


def upscalers(service: Service) -> list[dict[str, Any]]:
    """What enlarges."""
    scales = dict.fromkeys((NONE, LANCZOS, NEAREST), 4) | {
        name: upscaler.scale for name, upscaler in service.upscalers.items()
    }
    return [
        {"name": name, "model_name": None, "model_path": None, "model_url": None, "scale": scale}
        for name, scale in scales.items()
    ]


def upscaler_name(service: Service, wanted: Any, field: str, pixels: bool = False) -> str:
    """The name of what enlarges, by index or name; of `pixels` not "None". Raises `InputError` for another."""
    names = (NONE, LANCZOS, NEAREST, *service.upscalers)
    if isinstance(wanted, int) and not isinstance(wanted, bool) and 0 <= wanted < len(names):
        wanted = names[wanted]
    known = names[1:] if pixels else names
    found = next((name for name in known if name.lower() == str(wanted).lower()), None)
    if found is None:
        cause = f"the upscaler {str(wanted)[:64]!r} is not served; choose one of {', '.join(known)}"
        raise InputError(f"{field}: {cause}", field)
    return found


def embeddings(model: Model) -> dict[str, Any]:
    """The textual inversions of a model."""
    unknown = dict.fromkeys(("step", "sd_checkpoint", "sd_checkpoint_name", "shape", "vectors"))
    loaded = {name: dict(unknown) for name in model.stages.text.embeddings}
    return {"loaded": loaded, "skipped": {}}


def loras(model: Model) -> list[dict[str, Any]]:
    """The LoRAs of a model, without the paths that they lie at."""
    made = []
    for name, path in sorted(model.loras.paths.items()):
        metadata = read_metadata(path)
        made.append({"name": name, "alias": metadata.get("ss_output_name") or name, "path": name, "metadata": metadata})
    return made


def memory() -> dict[str, Any]:
    """The host's memory in bytes; `used` is the most that this process had."""
    page = os.sysconf("SC_PAGE_SIZE")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else _KIB)
    total = os.sysconf("SC_PHYS_PAGES") * page
    free = os.sysconf("SC_AVPHYS_PAGES") * page if "SC_AVPHYS_PAGES" in os.sysconf_names else total - peak
    return {"ram": {"free": free, "used": peak, "total": total}, "cuda": {"error": "not measured; see /metrics"}}


def flags(service: Service) -> dict[str, Any]:
    """The command line's flags that have an equal here; keys are not among them."""
    settings = service.settings
    return {
        "api": True,
        "api_log": settings.log != "none",
        "listen": settings.host == "0.0.0.0",
        "port": settings.port,
        "nowebui": False,
        "api_server_stop": False,
        "cors_allow_origins": ",".join(settings.origins) or None,
        "max_batch_count": settings.max_images,
    }
