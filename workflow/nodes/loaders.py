"""Nodes that name a model."""

from __future__ import annotations

from ...errors import InputError
from ..bench import Workbench
from ..context import Context
from ..node import node, outputs
from ..sockets import choice
from ..values import Diffusion, Texts, UpscaleNet, Vae


def checkpoints(bench: Workbench) -> list[str]:
    """The names of the models."""
    return bench.checkpoints


def upscalers(bench: Workbench) -> list[str]:
    """The names of the upscalers."""
    return bench.upscalers


@node(
    "CheckpointLoaderSimple",
    needed={"ckpt_name": choice(checkpoints)},
    outputs=outputs("MODEL", "CLIP", "VAE"),
    display="Load Checkpoint",
    category="loaders",
)
def checkpoint_loader(context: Context, ckpt_name: str) -> tuple[Diffusion, Texts, Vae]:
    """A model by its name: the denoiser, its text encoders, its VAE."""
    model = context.bench.model(ckpt_name)
    return Diffusion(model), Texts(model), Vae(model)


@node(
    "VAELoader",
    needed={"vae_name": choice(checkpoints)},
    outputs=outputs("VAE"),
    display="Load VAE",
    category="loaders",
)
def vae_loader(context: Context, vae_name: str) -> Vae:
    """The VAE of a model."""
    return Vae(context.bench.model(vae_name))


@node(
    "UNETLoader",
    needed={
        "unet_name": choice(checkpoints),
        "weight_dtype": choice(("default", "fp8_e4m3fn", "fp8_e4m3fn_fast", "fp8_e5m2")),
    },
    outputs=outputs("MODEL"),
    display="Load Diffusion Model",
    category="advanced/loaders",
    check=lambda bench, unet_name, weight_dtype="default": (
        ""
        if weight_dtype == "default"
        else f"weight_dtype - {weight_dtype} is not served; bundles have their precision"
    ),
)
def unet_loader(context: Context, unet_name: str, weight_dtype: str) -> Diffusion:
    """The denoiser of a model, in the precision of its bundle."""
    return Diffusion(context.bench.model(unet_name))


@node(
    "CLIPLoader",
    needed={"clip_name": choice(checkpoints), "type": choice(("stable_diffusion",))},
    optional={"device": choice(("default", "cpu"), advanced=True)},
    outputs=outputs("CLIP"),
    display="Load CLIP",
    category="advanced/loaders",
)
def clip_loader(context: Context, clip_name: str, type: str, device: str = "default") -> Texts:
    """The text encoders of a model, on the device that it was loaded for."""
    return Texts(context.bench.model(clip_name))


@node(
    "DualCLIPLoader",
    needed={"clip_name1": choice(checkpoints), "clip_name2": choice(checkpoints), "type": choice(("sdxl",))},
    optional={"device": choice(("default", "cpu"), advanced=True)},
    outputs=outputs("CLIP"),
    category="advanced/loaders",
)
def dual_clip_loader(context: Context, clip_name1: str, clip_name2: str, type: str, device: str = "default") -> Texts:
    """The text encoders of a model, which both names stand for."""
    first, second = context.bench.model(clip_name1), context.bench.model(clip_name2)
    if first.bundle.folder != second.bundle.folder:
        raise InputError(
            f"{clip_name1} and {clip_name2} are text encoders of two bundles; have both names stand for the same one"
        )
    return Texts(first)


@node(
    "UpscaleModelLoader",
    needed={"model_name": choice(upscalers)},
    outputs=outputs("UPSCALE_MODEL"),
    display="Load Upscale Model",
    category="loaders",
)
def upscale_model_loader(context: Context, model_name: str) -> UpscaleNet:
    """A network that enlarges pictures."""
    upscaler = context.bench.upscaler(model_name)
    return UpscaleNet(model_name, upscaler, upscaler.scale)
