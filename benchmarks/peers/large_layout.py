"""An SDXL checkpoint's U-Net in the folder layout that openvino-genai reads, as optimum-intel would export it.

python -m benchmarks.peers.large_layout CHECKPOINT FOLDER
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import openvino as ov
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from benchmarks.peers.openvino_part import Part, convert

TOKENS = 77


class _UNet(nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor, text_embeds: Tensor, time_ids: Tensor
    ) -> Tensor:
        added = {"text_embeds": text_embeds, "time_ids": time_ids}
        return self.model(sample, timestep, encoder_hidden_states, added_cond_kwargs=added, return_dict=False)[0]


def write(checkpoint: Path, folder: Path) -> None:
    """Write the U-Net with its weights in half precision, unless it is there."""
    made = folder / "unet" / "openvino_model.xml"
    if made.exists():
        return
    model = UNet2DConditionModel.from_pretrained(checkpoint / "unet", torch_dtype=torch.float32)
    channels, dim = model.config.in_channels, model.config.cross_attention_dim
    ids = 6
    pooled = model.config.projection_class_embeddings_input_dim - ids * model.config.addition_time_embed_dim
    part = Part(
        _UNet(model),
        {
            "sample": (torch.randn(2, channels, 16, 16), (-1, channels, -1, -1)),
            "timestep": (torch.tensor([500]), (1,)),
            "encoder_hidden_states": (torch.randn(2, TOKENS, dim), (-1, -1, dim)),
            "text_embeds": (torch.randn(2, pooled), (-1, pooled)),
            "time_ids": (torch.randn(2, ids), (-1, ids)),
        },
        "out_sample",
    )
    ov.save_model(convert(part), made, compress_to_fp16=True)
    for name, source in {"unet": "unet", "vae_decoder": "vae"}.items():
        (folder / name).mkdir(exist_ok=True)
        shutil.copy(checkpoint / source / "config.json", folder / name)


if __name__ == "__main__":
    write(*map(Path, sys.argv[1:]))
