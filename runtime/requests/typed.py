"""The options of the verbs with their types, for editors and type checkers; a test holds them against the table.

None is what is not given.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from .controls import Control
from .defaults import Times
from .image_prompts import ImagePrompt
from .places import DepthMap, InpaintMask, Region


class Aliases(TypedDict, total=False):
    """What other programs call options."""

    cfg_scale: float | Times | None
    denoising_strength: float | Times | None
    num_inference_steps: int | Times | None
    pag_scale: float | None
    sampler_name: str | None


class Common(Aliases, total=False):
    """What every verb takes."""

    strength: float | Times | None
    steps: int | Times | None
    sampler: str | None
    schedule: str | None
    convention: str | None
    eta: float | None
    passes: tuple[float, ...] | None
    drift_correction: bool | None
    through_pixels: bool | None
    cache: str | None
    guidance_scale: float | Times | None
    guidance_rescale: float | None
    mimic_scale: float | None
    threshold_percentile: float | None
    perturbed_attention: float | None
    guidance_interval: tuple[float, ...] | None
    image_guidance_scale: float | None
    empty_negative: str | None
    clip_skip: int | None
    prompt_syntax: str | None
    weighting: str | None
    broken_prompt: str | None
    prompts: tuple[tuple[float, str], ...] | None
    pass_prompts: tuple[str, ...] | None
    loras: tuple[str, ...] | None
    lora_weight: float | None
    noise: str | None
    posterior: str | None
    variation_seed: int | None
    variation_strength: float | None
    seed_resize_from: tuple[int, int] | None
    eta_noise_seed_delta: int | None
    colour_match: str | None
    controls: tuple[Control, ...] | None
    control_weight: float | None
    original_size: tuple[int, int] | None
    target_size: tuple[int, int] | None
    crop_left: int | None
    crop_top: int | None
    aesthetic_score: float | None
    negative_aesthetic_score: float | None
    image_prompts: tuple[ImagePrompt, ...] | None
    image_weight: float | None
    image_blend: str | None


class Painting(Common, total=False):
    """What the verbs take that work at the picture's size or at another."""

    size: tuple[int, int] | None
    window: int | None
    window_overlap: int | None
    origin: tuple[int, int] | None


class RunOptions(Painting, total=False):
    """The options of `pipe.start` beside its parameters."""

    resize_mode: str | None
    depth: DepthMap | None
    inpaint_mask: InpaintMask | None
    regions: tuple[Region, ...] | None


class Images(TypedDict, total=False):
    """How many images there are, and the seed, which may be one for each."""

    seed: int | Sequence[int] | None
    n: int


class Img2ImgOptions(RunOptions, Images, total=False):
    """The options of `pipe(...)`."""

    negative_prompt: str | Sequence[str] | None


class RefinedOptions(RunOptions, total=False):
    """The options of `pipe.refined(...)`: those of one picture."""

    negative_prompt: str
    seed: int | None


class Changes(RunOptions, total=False):
    """What a run can go on with that was begun otherwise, and the limit of its time."""

    prompt: str
    negative_prompt: str
    timeout: float | None


class GridOptions(RunOptions, total=False):
    """The options of `pipe.grid`: those of every picture, and the font of the labels."""

    negative_prompt: str
    seed: int | None
    font: str | Path | None


class InpaintOptions(Painting, Images, total=False):
    """The options of `pipe.inpaint`, see `tools.inpainting.Inpainting`."""

    negative_prompt: str
    regions: tuple[Region, ...] | None
    channel: str | None
    invert: bool | None
    resize_mask: bool | None
    grow: int | None
    blur: float | tuple[float, float] | None
    blur_kind: str | None
    levels: str | None
    content: str | None
    latent_mask: str | None
    only_masked: bool | None
    padding: int | None
    ring: int | None
    ring_field: str | None
    soft_preservation: float | None
    soft_bias: float | None
    soft_boost: float | None
    soft_influence: float | None
    soft_threshold: float | None
    soft_contrast: float | None


class OutpaintOptions(Painting, Images, total=False):
    """The options of `pipe.outpaint`, see `tools.outpainting.Outpainting`."""

    negative_prompt: str
    left: int | None
    top: int | None
    right: int | None
    bottom: int | None
    fill: str | None
    colour: tuple[int, int, int] | None
    overlap: int | None
    feather: int | None
    latent_mask: str | None
    ring: int | None
    ring_field: str | None


class UpscaleOptions(Common, total=False):
    """The options of `pipe.upscale`, see `tools.upscaling.Upscaling`."""

    negative_prompt: str
    seed: int | None

    scale: float | None
    method: str | None
    tile: int | None
    overlap: int | None
    padding: int | None
    mask_blur: float | None
    order: str | None
    seam_fix: str | None
    seam_fix_strength: float | None
    seam_fix_width: int | None
    seam_fix_padding: int | None
    seam_fix_blur: float | None
    seam_limit: float | None
    repair: bool | None
    batch: int | None
