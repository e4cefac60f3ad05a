"""Textual inversion against diffusers, with the weights of the shipped model."""

from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from overpaint.runtime.conditioning.encoders import TextEncoder
from overpaint.runtime.conditioning.prompt.embeddings import read_embedding
from overpaint.runtime.model.shipped import MODELS

PROMPTS = ["a fox", "a <cat-toy>, with a <one>", "a<cat-toy>b <ONE>", "<one>", "<cat-toy> <cat-toy>,x", "easyneg: ink"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("embeddings")
    torch.manual_seed(0)
    for name, tensor in {
        "<cat-toy>": torch.randn(3, 128),
        "<one>": torch.randn(128),
        "easyneg": torch.randn(5, 128),
    }.items():
        save_file({name: tensor}, folder / f"{name.strip('<>')}.safetensors")
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def peer(files: list[Path]) -> Any:
    unused = dict.fromkeys(("unet", "vae", "scheduler", "safety_checker", "feature_extractor"))
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(
        MODELS / "tiny-checkpoint", torch_dtype=torch.float32, **unused
    )
    for file in files:
        pipeline.load_textual_inversion(str(file))
    return pipeline


@pytest.mark.parametrize("prompt", PROMPTS)
def test_prompts_with_embeddings(text: TextEncoder, files: list[Path], peer: Any, prompt: str) -> None:
    for file in files:
        text.add_embedding(read_embedding(file))
    converted = peer.maybe_convert_prompt(prompt, peer.tokenizer)
    ids = peer.tokenizer(converted, padding="max_length", max_length=77, return_tensors="pt").input_ids
    with torch.no_grad():
        wanted = peer.text_encoder(ids)[0][0].numpy()
    np.testing.assert_allclose(text.encode(prompt)[0], wanted, atol=2e-5)
