"""A diffusers checkpoint in the folder layout that openvino-genai reads, as optimum-intel would export it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import nncf
import openvino as ov
import openvino_tokenizers
import torch
from diffusers import StableDiffusionImg2ImgPipeline
from PIL import Image
from torch import Tensor, nn

from benchmarks.peers.openvino_part import Part, convert

CALIBRATION_PICTURES = ("fox", "octopus", "pizza")
CALIBRATION_STEPS = 4


class _Text(nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.model(input_ids)[0]


class _UNet(nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor) -> Tensor:
        return self.model(sample, timestep, encoder_hidden_states, return_dict=False)[0]


class _Encoder(nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, sample: Tensor) -> Tensor:
        return self.model.encode(sample).latent_dist.parameters


class _Decoder(nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, latent_sample: Tensor) -> Tensor:
        return self.model.decode(latent_sample).sample


def write(checkpoint: Path, folder: Path, weights: str) -> None:
    """Write the layout; `weights` are "float32", "float16", "int8" (of the U-Net, arithmetic as it is loaded for) or
    "ptq" (the U-Net quantised after training, weights and activations)."""
    pipe = StableDiffusionImg2ImgPipeline.from_pretrained(checkpoint, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    if type(pipe.vae).__name__ != "AutoencoderKL":
        raise SystemExit(f"openvino-genai reads AutoencoderKL only, not {type(pipe.vae).__name__}")
    for name, part in _parts(pipe).items():
        model = convert(part)
        if name == "unet" and weights == "int8":
            model = nncf.compress_weights(model)
        if name == "unet" and weights == "ptq":
            model = _quantise(model, pipe, checkpoint)
        ov.save_model(model, folder / name / "openvino_model.xml", compress_to_fp16=weights != "float32")
        source = {"vae_encoder": "vae", "vae_decoder": "vae"}.get(name, name)
        shutil.copy(checkpoint / source / "config.json", folder / name)
    shutil.copy(checkpoint / "model_index.json", folder)
    shutil.copytree(checkpoint / "scheduler", folder / "scheduler", dirs_exist_ok=True)
    _write_tokenizer(pipe.tokenizer, folder / "tokenizer")


def _parts(pipe: StableDiffusionImg2ImgPipeline) -> dict[str, Part]:
    unet, tokens = pipe.unet, pipe.tokenizer.model_max_length
    channels, dim, side = unet.config.in_channels, unet.config.cross_attention_dim, 16
    latents = torch.randn(2, channels, side, side)
    pixels = torch.randn(1, 3, side * pipe.vae_scale_factor, side * pipe.vae_scale_factor)
    return {
        "text_encoder": Part(
            _Text(pipe.text_encoder),
            {"input_ids": (torch.ones(2, tokens, dtype=torch.int64), (-1, tokens))},
            "last_hidden_state",
        ),
        "unet": Part(
            _UNet(unet),
            {
                "sample": (latents, (-1, channels, -1, -1)),
                "timestep": (torch.tensor([500]), (1,)),
                "encoder_hidden_states": (torch.randn(2, tokens, dim), (-1, -1, dim)),
            },
            "out_sample",
        ),
        # The name tells genai that it is mean and log-variance, to be sampled.
        "vae_encoder": Part(_Encoder(pipe.vae), {"sample": (pixels, (-1, 3, -1, -1))}, "latent_parameters"),
        "vae_decoder": Part(_Decoder(pipe.vae), {"latent_sample": (latents, (-1, channels, -1, -1))}, "sample"),
    }


def _quantise(model: ov.Model, pipe: StableDiffusionImg2ImgPipeline, checkpoint: Path) -> ov.Model:
    """Post-training quantisation, calibrated on what the U-Net is fed while pictures are painted."""
    fed: list[dict[str, Any]] = []

    def record(_: nn.Module, arguments: tuple[Tensor, Tensor], options: dict[str, Any]) -> None:
        sample, timestep = arguments
        states = options["encoder_hidden_states"]
        fed.append({"sample": sample, "timestep": timestep.reshape(1), "encoder_hidden_states": states})

    hook = pipe.unet.register_forward_pre_hook(record, with_kwargs=True)
    side = pipe.unet.config.sample_size * pipe.vae_scale_factor
    for name in CALIBRATION_PICTURES:
        with Image.open(Path("models/examples") / f"{name}.png") as image:
            picture = image.convert("RGB").resize((side, side))
        pipe(name, image=picture, strength=1.0, num_inference_steps=CALIBRATION_STEPS)
    hook.remove()
    data = nncf.Dataset([{name: tensor.numpy() for name, tensor in each.items()} for each in fed])
    return nncf.quantize(model, data, model_type=nncf.ModelType.TRANSFORMER, subset_size=len(fed))


def _write_tokenizer(tokenizer: Any, folder: Path) -> None:
    tokenizer.save_pretrained(folder)
    model = openvino_tokenizers.convert_tokenizer(tokenizer, with_detokenizer=False)
    ov.save_model(model, folder / "openvino_tokenizer.xml")
    # genai pads with this token itself.
    settings = folder / "tokenizer_config.json"
    known = json.loads(settings.read_text())
    settings.write_text(json.dumps(known | {"pad_token_id": tokenizer.pad_token_id}))
