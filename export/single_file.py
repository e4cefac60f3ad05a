"""A checkpoint kept as one .safetensors file."""

from __future__ import annotations

from pathlib import Path

from ..engines.base import InputError
from .checkpoint import Checkpoint


def open_single_file(path: Path, tokenizer: Path | None, prediction_type: str | None) -> Checkpoint:
    """Open a .safetensors file of Stable Diffusion 1.x or 2.x."""
    raise InputError(f"{path}: single files cannot be exported yet; convert it to a diffusers folder")
