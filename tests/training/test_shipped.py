"""The adapters that ship for tiny: what they do to predictions of its U-Net."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, StableDiffusionPipeline
from PIL import Image
from torch import Tensor

from overpaint.runtime.imaging.hints import canny

MODELS = Path(__file__).parents[2] / "models"
LEVELS = torch.tensor([700, 850, 950])


def example(name: str) -> np.ndarray:
    with Image.open(MODELS / f"examples/{name}.png") as image:
        return np.asarray(image.convert("RGB"))


@pytest.fixture
def tiny() -> StableDiffusionPipeline:
    return StableDiffusionPipeline.from_pretrained(MODELS / "tiny-checkpoint", torch_dtype=torch.float32)


@torch.no_grad()
def error(
    pipe: StableDiffusionPipeline, pixels: np.ndarray, prompt: str, extra: Callable[..., dict[str, Any]]
) -> float:
    """The squared error of v at LEVELS, where the U-Net takes what `extra` makes of its other inputs."""
    clean = pipe.vae.encode(torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None] / 127.5 - 1).latent_dist.mean
    clean = (clean * pipe.vae.config.scaling_factor).expand(len(LEVELS), -1, -1, -1)
    noise = torch.randn(clean.shape, generator=torch.manual_seed(0))
    ids = pipe.tokenizer([prompt] * len(LEVELS), padding="max_length", return_tensors="pt").input_ids
    inputs = pipe.scheduler.add_noise(clean, noise, LEVELS), LEVELS, pipe.text_encoder(ids).last_hidden_state
    v = pipe.unet(*inputs, **extra(*inputs)).sample
    return float((v - pipe.scheduler.get_velocity(clean, noise, LEVELS)).square().mean())


def test_the_controlnet_says_where_lines_are(tiny: StableDiffusionPipeline) -> None:
    control = ControlNetModel.from_pretrained(MODELS / "tiny-controlnet", torch_dtype=torch.float32).eval()
    fox = example("fox")[:, ::-1]

    def with_edges(edges: np.ndarray) -> float:
        hint = torch.from_numpy(edges / np.float32(255)).expand(len(LEVELS), 3, -1, -1)

        def residuals(*inputs: Tensor) -> dict[str, Any]:
            down, mid = control(*inputs, hint, return_dict=False)
            return {"down_block_additional_residuals": down, "mid_block_additional_residual": mid}

        return error(tiny, fox, "", residuals)

    right, wrong, none = (with_edges(edges) for edges in (canny(fox), canny(example("pizza")), canny(fox) * 0))
    assert right < 0.7 * min(wrong, none, error(tiny, fox, "", lambda *inputs: {}))


def test_the_image_prompt_says_which_style(tiny: StableDiffusionPipeline) -> None:
    folder = MODELS / "tiny-image-prompt"
    tiny.load_ip_adapter(
        str(folder), subfolder="", weight_name="ip-adapter.safetensors", image_encoder_folder="image_encoder"
    )
    house = example("house-sketch")

    def with_picture(name: str) -> float:
        seen, _ = tiny.encode_image(Image.fromarray(example(name)), "cpu", len(LEVELS))
        return error(tiny, house, "house", lambda *inputs: {"added_cond_kwargs": {"image_embeds": [seen[:, None]]}})

    right, wrong = with_picture("hamburger-sketch"), with_picture("pizza")
    assert right < 0.9 * wrong
