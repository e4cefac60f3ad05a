"""What the machine can do at most: large matrix products, and how many operations the model's parts are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import openvino as ov
import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from openvino import opset13 as ops
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.peers.work import Loaded, Work

SIDE = 3072
PRODUCT = 2 * SIDE**3


def load(checkpoint: Path, work: Work) -> Loaded:
    stages = {f"matmul torch {name}": _torch(kind) for name, kind in (("f32", torch.float32), ("bf16", torch.bfloat16))}
    stages |= {f"matmul openvino {name}": _openvino(name) for name in ("f32", "bf16")}
    return Loaded(None, stages, facts={"matmul flop": PRODUCT, **_flop(checkpoint, work)})


def _torch(kind: torch.dtype) -> Callable[[], object]:
    left, right = torch.randn(SIDE, SIDE).to(kind), torch.randn(SIDE, SIDE).to(kind)
    return lambda: left @ right


def _openvino(precision: str) -> Callable[[], object]:
    left = ops.parameter([SIDE, SIDE], np.float32)
    right = ops.constant(np.random.default_rng(0).standard_normal((SIDE, SIDE)).astype(np.float32))
    model = ov.Model([ops.matmul(left, right, False, False)], [left])
    request = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": precision}).create_infer_request()
    return request.infer


def _flop(checkpoint: Path, work: Work) -> dict[str, float]:
    """The operations of each stage, counted without weights."""
    kind = json.loads((checkpoint / "vae/config.json").read_text())["_class_name"]
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(checkpoint, subfolder="unet"))
        autoencoder = AutoencoderTiny if kind == "AutoencoderTiny" else AutoencoderKL
        vae = autoencoder.from_config(autoencoder.load_config(checkpoint, subfolder="vae"))
        unet.set_attn_processor(AttnProcessor())
        side = work.size // 2 ** (len(vae.config.block_out_channels) - 1)
        latents = torch.empty(1, unet.config.in_channels, side, side)
        sample = latents.expand(work.rows, -1, -1, -1)
        conditioning = torch.empty(work.rows, 77, unet.config.cross_attention_dim)
        pixels = torch.empty(1, 3, work.size, work.size)
    return {
        "unet flop": _counted(lambda: unet(sample, torch.tensor(1, device="meta"), conditioning)),
        "encode flop": _counted(lambda: vae.encode(pixels)),
        "decode flop": _counted(lambda: vae.decode(latents)),
    }


@torch.no_grad()
def _counted(call: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()
