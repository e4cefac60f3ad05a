"""Checkpoints of the Stable Diffusion family with seeded random weights, for tests: tiny ones and one of full size."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    ControlNetModel,
    DDIMScheduler,
    ModelMixin,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

CONDITIONED = {5: "StableDiffusionInpaintPipeline", 4: "StableDiffusionInstructPix2PixPipeline"}
SD15_UNET: dict[str, Any] = {"sample_size": 64, "cross_attention_dim": 768}
BOS, EOS = "<|startoftext|>", "<|endoftext|>"
WORDS = "the a photo of red green blue fox cat dog style sketch ink painting castle on hill at night it's you're 1girl"


def byte_characters() -> list[str]:
    """The 256 characters that stand for bytes in byte-level BPE (GPT-2), in CLIP's order: "!" is the first."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [*map(chr, printable), *(chr(256 + index) for index in range(256 - len(printable)))]


def vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """A small made-up CLIP vocabulary laid out as the real one: bytes, bytes that end a word, merges, specials."""
    merges: dict[tuple[str, str], None] = {}
    for word in WORDS.split():
        pieces = [*word[:-1], word[-1] + "</w>"]
        while len(pieces) > 1:
            merges.setdefault((pieces[0], pieces[1]))
            pieces[:2] = [pieces[0] + pieces[1]]
    characters = byte_characters()
    tokens = [*characters, *(c + "</w>" for c in characters), *(a + b for a, b in merges), BOS, EOS]
    return {token: index for index, token in enumerate(dict.fromkeys(tokens))}, list(merges)


def write_tokenizer(folder: Path, pad_token: str = EOS) -> CLIPTokenizer:
    """Write `vocab.json`, `merges.txt` and the settings of a CLIP tokenizer as diffusers checkpoints hold them."""
    folder.mkdir(parents=True, exist_ok=True)
    vocab, merges = vocabulary()
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    special = {"bos_token": BOS, "eos_token": EOS, "unk_token": EOS, "pad_token": pad_token}
    (folder / "special_tokens_map.json").write_text(json.dumps(special))
    config = {**special, "model_max_length": 77, "tokenizer_class": "CLIPTokenizer", "do_lower_case": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return CLIPTokenizer.from_pretrained(folder, local_files_only=True)


def tiny_unet(**changes: Any) -> UNet2DConditionModel:
    """A U-Net of three levels: with and without attention, so that odd sizes meet both kinds of block."""
    config = {
        "sample_size": 16,
        "block_out_channels": (16, 32, 32),
        "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        "layers_per_block": 1,
        "cross_attention_dim": 32,
        "attention_head_dim": 4,
        "norm_num_groups": 8,
    }
    return UNet2DConditionModel(**{**config, **changes})


def tiny_vae(kind: str) -> ModelMixin:
    """An AutoencoderKL (`kl`, or `wide` with 32 groups) or an AutoencoderTiny (`tiny`): 4 pixels a latent."""
    if kind == "tiny":
        return AutoencoderTiny(
            encoder_block_out_channels=(16, 16, 16),
            decoder_block_out_channels=(16, 16, 16),
            num_encoder_blocks=(1, 1, 1),
            num_decoder_blocks=(1, 1, 1),
        )
    wide = kind == "wide"
    return AutoencoderKL(
        block_out_channels=(32, 32, 64) if wide else (16, 16, 32),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=32 if wide else 8,
        sample_size=64,
    )


def tiny_text_encoder(tokenizer: CLIPTokenizer, **changes: Any) -> CLIPTextModel:
    """A CLIP text model of three layers."""
    config = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    return CLIPTextModel(CLIPTextConfig(**{**config, **changes}))


def tiny_checkpoint(
    path: Path,
    *,
    prediction_type: str = "epsilon",
    vae: str = "kl",
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    pad_token: str = EOS,
    text: dict[str, Any] | None = None,
    **unet: Any,
) -> Path:
    """Save a tiny diffusers checkpoint (2.5 MB) under `path` and return it.

    `vae` is a kind of `tiny_vae`; `text` and `unet` are changes to those parts' configurations.
    """
    torch.manual_seed(seed)
    tokenizer = write_tokenizer(path / "tokenizer", pad_token)
    text_encoder = tiny_text_encoder(tokenizer, **(text or {}))
    scheduler = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
    return save_checkpoint(
        path, text_encoder, tiny_unet(**unet), tiny_vae(vae), tokenizer, scheduler, prediction_type, dtype
    )


def conditioned_checkpoint(base: Path, path: Path, *, channels: int = 5, seed: int = 0) -> Path:
    """Save the diffusers checkpoint `base` under `path` with `channels` more on the U-Net's `sample`, and return it.

    5 make an inpainting model (mask and masked latents), 4 an InstructPix2Pix one. Their weights in `conv_in` are
    normal, with a third of the standard deviation of the others.
    """
    shutil.copytree(base, path)
    _edit(path / "model_index.json", _class_name=CONDITIONED[channels])
    config = _edit(path / "unet" / "config.json")
    _edit(path / "unet" / "config.json", in_channels=config["in_channels"] + channels)
    (weights,) = (path / "unet").glob("*.safetensors")
    state = load_file(weights)
    kernel = state["conv_in.weight"]
    generator = torch.Generator().manual_seed(seed)
    more = torch.randn((len(kernel), channels, *kernel.shape[2:]), generator=generator) * kernel.float().std() / 3
    state["conv_in.weight"] = torch.cat([kernel, more.to(kernel.dtype)], dim=1)
    save_file(state, weights, {"format": "pt"})
    return path


def _edit(path: Path, **changes: Any) -> dict[str, Any]:
    record = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps(record, indent=2))
    return record


def sd15_checkpoint(path: Path, *, seed: int = 0, dtype: torch.dtype = torch.float32, vae: str = "kl") -> Path:
    """Save a checkpoint with the full-size Stable Diffusion 1.5 configuration and random weights (about 4.3 GB).

    `vae` is `kl`, or `tiny` for an AutoencoderTiny in its usual size.
    """
    torch.manual_seed(seed)
    tokenizer = write_tokenizer(path / "tokenizer")
    text_encoder = tiny_text_encoder(
        tokenizer,
        vocab_size=49408,
        hidden_size=768,
        intermediate_size=3072,
        num_hidden_layers=12,
        num_attention_heads=12,
    )
    unet = UNet2DConditionModel(**SD15_UNET)
    autoencoder = AutoencoderTiny() if vae == "tiny" else _sd15_vae()
    scheduler = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
    return save_checkpoint(path, text_encoder, unet, autoencoder, tokenizer, scheduler, "epsilon", dtype)


def sd15_controlnet(path: Path, *, seed: int = 1) -> Path:
    """Save a ControlNet of Stable Diffusion 1.5's size with random weights, none of its residuals zero (1.4 GB)."""
    torch.manual_seed(seed)
    net = ControlNetModel.from_unet(UNet2DConditionModel(**SD15_UNET))
    for layer in (*net.controlnet_down_blocks, net.controlnet_mid_block):
        torch.nn.init.normal_(layer.weight, std=0.01)
    net.save_pretrained(path)
    return path


def _sd15_vae() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        sample_size=512,
    )


def save_checkpoint(
    path: Path,
    text_encoder: CLIPTextModel,
    unet: UNet2DConditionModel,
    vae: ModelMixin,
    tokenizer: CLIPTokenizer,
    scheduler: dict[str, Any],
    prediction_type: str,
    dtype: torch.dtype,
) -> Path:
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=DDIMScheduler(
            **scheduler, clip_sample=False, set_alpha_to_one=False, prediction_type=prediction_type
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.to(dtype=dtype).save_pretrained(path, safe_serialization=True)
    return path
