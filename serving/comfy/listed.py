"""The models by ComfyUI's folders: what the nodes that load them may choose from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...workflow.node import Nodes
from ...workflow.sockets import Choice
from ..service import Service

FOLDERS: Mapping[str, tuple[str, str]] = {
    "checkpoints": ("CheckpointLoaderSimple", "ckpt_name"),
    "vae": ("VAELoader", "vae_name"),
    "loras": ("LoraLoader", "lora_name"),
    "controlnet": ("ControlNetLoader", "control_net_name"),
    "upscale_models": ("UpscaleModelLoader", "model_name"),
    "clip_vision": ("CLIPVisionLoader", "clip_name"),
    "style_models": ("StyleModelLoader", "style_model_name"),
    "diffusion_models": ("UNETLoader", "unet_name"),
    "text_encoders": ("CLIPLoader", "clip_name"),
    "ipadapter": ("IPAdapterModelLoader", "ipadapter_file"),
    "embeddings": ("", ""),
}
"""The folders, each with the node that loads from it and the input that names the file."""


def listed(folder: str, service: Service, nodes: Nodes, bench: Any) -> list[str]:
    """The names of a folder's models."""
    if folder == "embeddings":
        return [Path(each).name for each in service.settings.embeddings]
    kind, name = FOLDERS[folder]
    node = nodes.get(kind)
    socket = node.inputs.get(name) if node else None
    return socket.known(bench) if isinstance(socket, Choice) else []
