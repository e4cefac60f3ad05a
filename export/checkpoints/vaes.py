"""Another autoencoder than the checkpoint's own: that of a folder, or of a file under the original names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

from ...errors import InputError
from ..components import Config
from .checkpoint import PICKLES, STEMS, Checkpoint, State, read_config, read_tensors, refuse_pickle, weight_files
from .single_configs import VAE, vae_config


def with_vae(checkpoint: Checkpoint, vae: Path) -> Checkpoint:
    """The checkpoint with the autoencoder of `vae`: a diffusers folder with config.json (AutoencoderKL or
    AutoencoderTiny), or a .safetensors file under the original names, by themselves or within a whole checkpoint.

    Raises `InputError` for anything else, pickles first.
    """
    if vae.is_dir():
        files = weight_files(vae, STEMS["vae"]).files
        return _replaced(checkpoint, vae, read_config(vae / "config.json"), lambda: read_tensors(files))
    if vae.suffix.lower() in PICKLES:
        refuse_pickle(vae)
    if vae.suffix.lower() != ".safetensors" or not vae.is_file():
        raise InputError(f"{vae}: is no VAE; name a diffusers folder or a .safetensors file with --vae", "vae")
    tensors = read_tensors([vae])
    state = {name: tensor for name, tensor in tensors.items() if name.startswith(VAE)} or {
        f"{VAE}{name}": tensor for name, tensor in tensors.items()
    }
    try:
        config = vae_config(state, "text_encoder_2" in checkpoint.configs)
    except (KeyError, IndexError, ValueError) as exc:
        raise InputError(
            f"{vae}: is not laid out as a VAE of Stable Diffusion ({exc}); name another file", "vae"
        ) from exc
    return _replaced(checkpoint, vae, config, lambda: dict(convert_ldm_vae_checkpoint(state, config)))


def _replaced(checkpoint: Checkpoint, path: Path, config: Config, read: Callable[[], State]) -> Checkpoint:
    return replace(
        checkpoint,
        configs={**checkpoint.configs, "vae": config},
        state=lambda part: read() if part == "vae" else checkpoint.state(part),
        origin={**checkpoint.origin, "vae": path.name},
    )
