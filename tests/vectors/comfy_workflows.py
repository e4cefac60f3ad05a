"""Workflows whose pictures ComfyUI made, and the small checkpoint that it and overpaint make them with.

The shipped examples, and changes of them that reach the other nodes. The checkpoint has random weights, the layout of
Stable Diffusion 1.x with fewer channels, 8 pixels a latent, and predicts v, so that its latents stay of one size.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from PIL import Image
from safetensors.torch import save_file
from transformers import CLIPTokenizer

from overpaint.export.checkpoints.clip import SIZE, Clip
from overpaint.runtime.model.shipped import MODELS
from tests.support.checkpoints import save_checkpoint, tiny_text_encoder
from tests.support.single_files import write_controlnet, write_single_file

EXAMPLES = MODELS / "examples"
NAME, NET, LORA = "small.safetensors", "net.safetensors", "lora.safetensors"
CHANNELS, WIDTHS = 32, (32, 64, 64)
TEXT = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3, "num_attention_heads": 1}
VAE_WIDTHS = (32, 32, 64, 64)
# How much larger than at random weights are, so that words and latents alter pictures as much as trained ones do.
WORDS, ATTENDED, PREDICTED, DECODED = 20, 6, 4, 1.5

Document = dict[str, Any]
RECORDED: dict[str, Document] = {
    "areas": {"9.strength": 1.0}, "img2img": {"2.text": "cat, watercolor style"},
    "inpaint": {"2.text": "cat", "6.seed": 7},
}  # fmt: skip
"""What the examples had when ComfyUI made the pictures."""


def write_models(folder: Path) -> None:
    """Write the checkpoint, a ControlNet and a LoRA into `folder`, as diffusers' folders and as ComfyUI's files."""
    torch.manual_seed(0)
    source = folder / "checkpoint"
    (source / "tokenizer").mkdir(parents=True)
    Clip().write(source / "tokenizer")
    tokenizer = CLIPTokenizer.from_pretrained(source / "tokenizer", local_files_only=True)
    text = tiny_text_encoder(tokenizer, vocab_size=SIZE, **TEXT)
    unet = UNet2DConditionModel(
        sample_size=8,
        cross_attention_dim=TEXT["hidden_size"],
        block_out_channels=WIDTHS,
        layers_per_block=1,
        attention_head_dim=8,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    )
    vae = AutoencoderKL(
        block_out_channels=VAE_WIDTHS,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=4,
        sample_size=64,
    )
    with torch.no_grad():
        text.get_input_embeddings().weight.mul_(WORDS)
        for name, weight in unet.named_parameters():
            if name.endswith(("attn2.to_v.weight", "attn2.to_out.0.weight")):
                weight.mul_(ATTENDED)
        unet.conv_out.weight.mul_(PREDICTED)
        vae.decoder.conv_out.weight.mul_(DECODED)
    scheduler = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
    save_checkpoint(source, text, unet, vae, tokenizer, scheduler, "v_prediction", torch.float32)
    write_single_file(source, folder / NAME)
    net = ControlNetModel.from_unet(unet)
    with torch.no_grad():
        for module in (net.controlnet_cond_embedding.conv_out, net.controlnet_mid_block, *net.controlnet_down_blocks):
            torch.nn.init.normal_(module.weight, std=0.1)
    net.save_pretrained(folder / "controlnet")
    write_controlnet(folder / "controlnet", folder / NET)
    save_file(dict(_lora({"unet": unet, "te": text})), folder / LORA)


def _lora(models: dict[str, torch.nn.Module]) -> Iterator[tuple[str, torch.Tensor]]:
    """A LoRA of the attentions, in kohya's names."""
    for kind, model in models.items():
        for name, module in model.named_modules():
            if isinstance(module, torch.nn.Linear) and "attn" in name:
                place = f"text_model.{name.removeprefix('text_model.')}" if kind == "te" else name
                own = f"lora_{kind}_{place.replace('.', '_')}"
                yield f"{own}.lora_down.weight", torch.randn(4, module.in_features) * module.in_features**-0.5
                yield f"{own}.lora_up.weight", torch.randn(module.out_features, 4) * 0.2
                yield f"{own}.alpha", torch.tensor(2.0)


def write_inputs(folder: Path) -> None:
    """Write the pictures that the workflows load: examples, and one with a hole in its alpha."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("cat.png", "fox.png"):
        (folder / name).write_bytes((EXAMPLES / name).read_bytes())
    hole = np.asarray(Image.open(EXAMPLES / "fox.png").convert("RGBA")).copy()
    hole[..., 3] = 255
    hole[16:48, 20:52, 3] = 0
    Image.fromarray(hole).save(folder / "hole.png")


def workflows() -> dict[str, Document]:
    """The workflows by name."""
    return dict(_examples()) | dict(_samplers()) | dict(_changes())


def _examples() -> Iterator[tuple[str, Document]]:
    for name in ("areas", "custom-sampling", "img2img", "inpaint", "outpaint", "two-pass-hires"):
        yield name, _read(name)


def _samplers() -> Iterator[tuple[str, Document]]:
    """img2img by one sampler of each kind, with another schedule each."""
    for sampler, scheduler in (
        ("euler_ancestral", "karras"), ("heun", "simple"), ("dpm_2", "exponential"), ("lms", "sgm_uniform"),
        ("dpmpp_2s_ancestral", "beta"), ("dpmpp_sde", "karras"), ("dpmpp_3m_sde", "exponential"), ("lcm", "normal"),
        ("ddim", "ddim_uniform"), ("uni_pc", "normal"), ("ddpm", "linear_quadratic"), ("deis", "kl_optimal"),
    ):  # fmt: skip
        yield f"{sampler}-{scheduler}", _edited("img2img", {"6.sampler_name": sampler, "6.scheduler": scheduler})


def _changes() -> Iterator[tuple[str, Document]]:
    yield "weights", _edited("img2img", {"2.text": "(cat:1.4), [fox] (((house))) \\(x\\) (a (b:0.5) c:1.2)"})
    yield "long-prompt", _edited("img2img", {"2.text": "a red fox in the snow, " * 16})
    yield "clip-skip", _wired("img2img", {"9": ("CLIPSetLastLayer", {"clip": ["1", 1], "stop_at_clip_layer": -2})}, {
        "2.clip": ["9", 0], "3.clip": ["9", 0]})  # fmt: skip
    second = ("CLIPTextEncode", {"text": "house", "clip": ["1", 1]})
    half = {"start": 0.0, "end": 0.5}
    for name, joint in {
        "average": {"10": ("ConditioningAverage", {
            "conditioning_to": ["2", 0], "conditioning_from": ["9", 0], "conditioning_to_strength": 0.4})},
        "concat": {"10": ("ConditioningConcat", {"conditioning_to": ["2", 0], "conditioning_from": ["9", 0]})},
        "combine": {"10": ("ConditioningCombine", {"conditioning_1": ["2", 0], "conditioning_2": ["9", 0]})},
        "timesteps": {
            "11": ("ConditioningSetTimestepRange", {"conditioning": ["2", 0], **half}),
            "12": ("ConditioningSetTimestepRange", {"conditioning": ["9", 0], "start": 0.5, "end": 1.0}),
            "10": ("ConditioningCombine", {"conditioning_1": ["11", 0], "conditioning_2": ["12", 0]})},
        "masked": {
            "13": ("LoadImageMask", {"image": "hole.png", "channel": "alpha"}),
            "11": ("ConditioningSetMask", {
                "conditioning": ["9", 0], "mask": ["13", 0], "strength": 1.0, "set_cond_area": "default"}),
            "10": ("ConditioningCombine", {"conditioning_1": ["2", 0], "conditioning_2": ["11", 0]})},
        "zeroed": {"10": ("ConditioningZeroOut", {"conditioning": ["2", 0]})},
    }.items():  # fmt: skip
        yield name, _wired("img2img", {"9": second, **joint}, {"6.positive": ["10", 0]})
    rescale = ("RescaleCFG", {"model": ["1", 0], "multiplier": 0.7})
    yield "rescaled", _wired("img2img", {"9": rescale}, {"6.model": ["9", 0], "6.cfg": 6.0})
    lora = {"lora_name": LORA, "strength_model": 0.8, "strength_clip": 0.6, "model": ["1", 0], "clip": ["1", 1]}
    yield "lora", _wired("img2img", {"9": ("LoraLoader", lora)}, {
        "6.model": ["9", 0], "2.clip": ["9", 1], "3.clip": ["9", 1]})  # fmt: skip
    net = {"control_net": ["9", 0], "image": ["4", 0], "strength": 0.7, "start_percent": 0.1, "end_percent": 0.8}
    yield "controlled", _wired("img2img", {
        "9": ("ControlNetLoader", {"control_net_name": NET}),
        "10": ("ControlNetApplyAdvanced", {**net, "positive": ["2", 0], "negative": ["3", 0]})}, {
        "6.positive": ["10", 0], "6.negative": ["10", 1]})  # fmt: skip
    yield "text-to-image", _edited("two-pass-hires", {"5.batch_size": 2, "9.upscale_method": "nearest-exact"})
    yield "advanced", _advanced()
    texts = {"positive": ["2", 0], "negative": ["3", 0]}
    masked = {"vae": ["1", 2], "pixels": ["4", 0], "mask": ["10", 0], "noise_mask": True}
    yield "inpaint-model", _wired("inpaint", {"13": ("InpaintModelConditioning", {**texts, **masked})}, {
        "6.positive": ["13", 0], "6.negative": ["13", 1], "6.latent_image": ["13", 2]})  # fmt: skip
    yield "differential", _wired("inpaint", {"13": ("DifferentialDiffusion", {"model": ["1", 0]})}, {
        "6.model": ["13", 0]})  # fmt: skip
    tiles = {"tile_size": 64, "temporal_size": 64, "temporal_overlap": 8}
    scale = {"upscale_method": "bicubic", "width": 128, "height": 96, "crop": "center"}
    yield "tiled-vae", _wired("img2img", {
        "9": ("ImageScale", {"image": ["4", 0], **scale}),
        "5": ("VAEEncodeTiled", {"pixels": ["9", 0], "vae": ["1", 2], "overlap": 0, **tiles}),
        "7": ("VAEDecodeTiled", {"samples": ["6", 0], "vae": ["1", 2], "overlap": 16, **tiles})}, {})  # fmt: skip


def _advanced() -> Document:
    """img2img in two samplers, the first of which leaves noise."""
    document = _read("img2img")
    own = document["6"]["inputs"]
    shared = {name: own[name] for name in ("model", "cfg", "sampler_name", "scheduler", "positive", "negative")}
    first, last = {"start_at_step": 4, "end_at_step": 7}, {"start_at_step": 7, "end_at_step": 10000}
    return _wired("img2img", {
        "9": ("KSamplerAdvanced", {
            **shared, **first, "noise_seed": 7, "steps": 10, "add_noise": "enable", "latent_image": ["5", 0],
            "return_with_leftover_noise": "enable"}),
        "6": ("KSamplerAdvanced", {
            **shared, **last, "noise_seed": 7, "steps": 10, "add_noise": "disable", "latent_image": ["9", 0],
            "return_with_leftover_noise": "disable"}),
    }, {})  # fmt: skip


def _read(name: str) -> Document:
    document: Document = json.loads((EXAMPLES / f"workflows/{name}.json").read_text())
    for step in document.values():
        if "ckpt_name" in step["inputs"]:
            step["inputs"]["ckpt_name"] = NAME
    _set(document, RECORDED.get(name, {}))
    return document


def _set(document: Document, values: dict[str, Any]) -> None:
    for place, value in values.items():
        id, _, input = place.partition(".")
        document[id]["inputs"][input] = value


def _edited(name: str, values: dict[str, Any]) -> Document:
    return _wired(name, {}, values)


def _wired(name: str, steps: dict[str, tuple[str, dict[str, Any]]], values: dict[str, Any]) -> Document:
    """An example with more steps, or others in their place, and other values for inputs."""
    document = _read(name)
    for id, (kind, inputs) in steps.items():
        document[id] = {"class_type": kind, "inputs": deepcopy(inputs)}
    _set(document, values)
    return document
