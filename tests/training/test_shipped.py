"""The adapters that ship for tiny: what they do to one prediction of its U-Net."""

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, ControlNetModel, DDIMScheduler, UNet2DConditionModel
from PIL import Image
from transformers import CLIPTextModel, CLIPTokenizer

from overpaint.runtime.imaging.hints import canny

MODELS = Path(__file__).parents[2] / "models"
TINY = MODELS / "tiny-checkpoint"
LEVELS = torch.tensor([700, 850, 950])


def part(kind: type, name: str) -> torch.nn.Module:
    return kind.from_pretrained(TINY, subfolder=name, torch_dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def fox() -> np.ndarray:
    with Image.open(MODELS / "examples/fox.png") as image:
        return np.asarray(image.convert("RGB"))


@torch.no_grad()
def test_the_controlnet_tells_where_lines_are(fox: np.ndarray) -> None:
    control = ControlNetModel.from_pretrained(MODELS / "tiny-controlnet", torch_dtype=torch.float32).eval()
    vae, unet, text = (
        part(AutoencoderKL, "vae"),
        part(UNet2DConditionModel, "unet"),
        part(CLIPTextModel, "text_encoder"),
    )
    tokenizer = CLIPTokenizer.from_pretrained(TINY, subfolder="tokenizer")
    noising = DDIMScheduler.from_pretrained(TINY, subfolder="scheduler")
    mirrored = np.ascontiguousarray(fox[:, ::-1])
    clean = vae.encode(torch.from_numpy(mirrored).permute(2, 0, 1)[None] / 127.5 - 1).latent_dist.mean
    clean = (clean * vae.config.scaling_factor).expand(len(LEVELS), -1, -1, -1)
    noise = torch.randn(clean.shape, generator=torch.manual_seed(0))
    ids = tokenizer([""] * len(LEVELS), padding="max_length", return_tensors="pt").input_ids
    inputs = noising.add_noise(clean, noise, LEVELS), LEVELS, text(ids).last_hidden_state

    def error(edges: np.ndarray | None) -> float:
        options = {}
        if edges is not None:
            hint = torch.from_numpy(edges / np.float32(255)).expand(len(LEVELS), 3, -1, -1)
            down, mid = control(*inputs, hint, return_dict=False)
            options = {"down_block_additional_residuals": down, "mid_block_additional_residual": mid}
        v = unet(*inputs, **options).sample
        return float((v - noising.get_velocity(clean, noise, LEVELS)).square().mean())

    assert error(canny(mirrored)) < 0.8 * min(error(None), error(np.zeros((64, 64), np.uint8)), error(canny(fox).T))
