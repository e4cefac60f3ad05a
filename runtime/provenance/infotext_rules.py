"""What the pairs of an infotext ask for: the option that each name stands for, and how its value is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ...errors import unknown

Rule = tuple[str, Callable[[str], Any]]


def size(text: str) -> tuple[int, int]:
    """(width, height) of a text such as 512x768; raises `ValueError` for another."""
    width, height = text.split("x")
    return int(width), int(height)


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))


def _blur(text: str) -> tuple[float, float]:
    return float(text), float(text)


def _choice(kind: str, values: Mapping[str, Any]) -> Callable[[str], Any]:
    """A converter of the texts that A1111 writes for a few values."""

    def convert(text: str) -> Any:
        if text not in values:
            raise unknown(kind, text, values)
        return values[text]

    return convert


_TRUTH = {"True": True, "False": False}
_NOISE = {"GPU": "gpu", "NV": "gpu", "CPU": "cpu", "field": "field"}
_CONTENT = {"fill": "fill", "original": "original", "latent noise": "noise", "latent nothing": "nothing"}

ULTIMATE = "Ultimate SD upscale"
"""How the names of that script's pairs begin."""

# By the names that A1111 and overpaint write, an option and what its value becomes.
COMMON: Mapping[str, Rule] = {
    "Steps": ("steps", int),
    "CFG scale": ("guidance_scale", float),
    "Seed": ("seed", int),
    "Denoising strength": ("strength", float),
    "Clip skip": ("clip_skip", lambda text: int(text) - 1),
    "Variation seed": ("variation_seed", int),
    "Variation seed strength": ("variation_strength", float),
    "Seed resize from": ("seed_resize_from", size),
    "ENSD": ("eta_noise_seed_delta", int),
    "RNG": ("noise", _choice("RNG", _NOISE)),
    "CFG Rescale phi": ("guidance_rescale", float),
    "Mimic scale": ("mimic_scale", float),
    "Threshold percentile": ("threshold_percentile", lambda text: round(float(text) / 100, 12)),
    "Perturbed attention": ("perturbed_attention", float),
    "Guidance interval": ("guidance_interval", _numbers),
    "Lora weight": ("lora_weight", float),
    "Cache": ("cache", str),
    "Image CFG scale": ("image_guidance_scale", float),
    "Weighting": ("weighting", str),
    "Prompt syntax": ("prompt_syntax", str),
    "Strength convention": ("convention", str),
    "Posterior": ("posterior", str),
    "Passes": ("passes", _numbers),
    "Between passes": ("through_pixels", _choice("way between passes", {"pixels": True, "latents": False})),
    "Drift correction": ("drift_correction", _choice("drift correction", _TRUTH)),
}
_COLOUR: Mapping[str, Rule] = {"Colour match": ("colour_match", str)}
OF_VERB: Mapping[str, Mapping[str, Rule]] = {
    "img2img": _COLOUR,
    "inpaint": {
        "Mask blur": ("blur", _blur),
        "Inpaint area": ("only_masked", _choice("inpaint area", {"Only masked": True, "Whole picture": False})),
        "Masked area padding": ("padding", int),
        "Masked content": ("content", _choice("masked content", _CONTENT)),
        "Mask mode": ("invert", _choice("mask mode", {"Inpaint masked": False, "Inpaint not masked": True})),
        "Soft inpainting enabled": ("levels", _choice("soft inpainting", {"True": "soft", "False": "hard"})),
        "Soft inpainting schedule bias": ("soft_bias", float),
        "Soft inpainting preservation strength": ("soft_preservation", float),
        "Soft inpainting transition contrast boost": ("soft_boost", float),
        "Soft inpainting mask influence": ("soft_influence", float),
        "Soft inpainting difference threshold": ("soft_threshold", float),
        "Soft inpainting difference contrast": ("soft_contrast", float),
    },
    "upscale": {
        **_COLOUR,
        "Upscale by": ("scale", float),
        "Upscale method": ("method", str),
        "Tile size": ("tile", int),
        "Tile overlap": ("overlap", int),
        "Tile padding": ("padding", int),
        "Mask blur": ("mask_blur", float),
        "Tile order": ("order", str),
        "Seam fix": ("seam_fix", str),
        f"{ULTIMATE} tile_width": ("tile", int),
        f"{ULTIMATE} mask_blur": ("mask_blur", float),
        f"{ULTIMATE} padding": ("padding", int),
    },
}
# Options of an upscale that belong to one method.
OF_METHOD: Mapping[str, frozenset[str]] = {
    "joint": frozenset(("overlap",)),
    "tiles": frozenset(("padding", "mask_blur", "order", "seam_fix")),
}
MASKED = frozenset(OF_VERB["inpaint"])
# Of some verb, but not of each.
OF_SOME = frozenset(("Size", *(name for rules in OF_VERB.values() for name in rules)))
SAMPLING = {
    "Sampler": "sampler",
    "Schedule type": "schedule",
    "Schedule name": "schedule",
    "Eta": "eta",
    "Eta DDIM": "eta",
}
# What asks for nothing, and what asks for what is done anyway.
USUAL = frozenset((("Emphasis", "Original"), ("Upscaler", "Lanczos")))
SILENT = frozenset(("Version", "Model", "Model hash", "Batch size", "Batch pos", "Init image hash", "Resize"))
