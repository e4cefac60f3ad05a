"""Bundles of every kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .controlnet import ControlNetBundle
from .format import kind_of, read_any
from .image_prompt import ImagePromptBundle
from .manifest import Bundle
from .single import SingleBundle
from .upscaler import UpscalerBundle

SINGLE: dict[str, type[SingleBundle[Any]]] = {
    each.kind: each for each in (UpscalerBundle, ControlNetBundle, ImagePromptBundle)
}


def open_bundle(folder: Path, *, verify: bool = True) -> Bundle | SingleBundle[Any]:
    """Read a bundle of any kind; raises `BundleError` as its own `read` does."""
    kind = SINGLE.get(str(kind_of(read_any(folder))), Bundle)
    return kind.read(folder, verify=verify)
