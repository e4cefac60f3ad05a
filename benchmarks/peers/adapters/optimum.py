"""optimum-onnx's img2img pipeline on ONNX Runtime."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import torch
from optimum.onnxruntime import ORTStableDiffusionImg2ImgPipeline
from PIL import Image
from safetensors.torch import load_file, save_file

from benchmarks.peers.work import Loaded, Work

PREFIX = "text_model."


def prepare(checkpoint: Path, folder: Path) -> None:
    """Export a checkpoint with optimum's own exporter."""
    with tempfile.TemporaryDirectory() as scratch:
        older = Path(scratch) / "checkpoint"
        shutil.copytree(checkpoint, older, ignore=shutil.ignore_patterns("unet"))
        (older / "unet").symlink_to((checkpoint / "unet").resolve())
        _rename_text(older / "text_encoder/model.safetensors")
        ORTStableDiffusionImg2ImgPipeline.from_pretrained(str(older), export=True).save_pretrained(folder)


def _rename_text(path: Path) -> None:
    """Give the text encoder's weights the prefix of transformers 4: without it they are silently drawn at random."""
    state = load_file(path)
    save_file(
        {f"{PREFIX}{name.removeprefix(PREFIX)}": tensor for name, tensor in state.items()}, path, {"format": "pt"}
    )


def load(folder: Path, work: Work) -> Loaded:
    pipe = ORTStableDiffusionImg2ImgPipeline.from_pretrained(folder, provider="CPUExecutionProvider")
    pipe.set_progress_bar_config(disable=True)
    options = {"strength": work.strength, "num_inference_steps": work.steps, "guidance_scale": work.guidance}

    def paint(image: Image.Image, prompt: str, seed: int) -> Image.Image:
        return pipe(prompt, image=image, generator=torch.Generator().manual_seed(seed), **options).images[0]

    config = pipe.unet.config
    side = work.size // pipe.vae_scale_factor
    latents, pixels = torch.randn(1, config["in_channels"], side, side), torch.rand(1, 3, work.size, work.size)
    sample, timestep = latents.repeat(work.rows, 1, 1, 1), torch.tensor(500)
    conditioning = torch.randn(work.rows, pipe.tokenizer.model_max_length, config["cross_attention_dim"])
    stages = {
        "unet": lambda: pipe.unet(sample, timestep, conditioning),
        "encode": lambda: pipe.vae.encode(pixels),
        "decode": lambda: pipe.vae.decode(latents),
    }
    return Loaded(paint, stages)
