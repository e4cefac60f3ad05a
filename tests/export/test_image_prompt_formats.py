"""IP-Adapters as people have them: for SDXL, in diffusers' layout, in half precision; and what is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionXLImg2ImgPipeline, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPVisionModelWithProjection

from overpaint import ImagePrompt, InputError
from overpaint.engines.compare import psnr
from overpaint.export.checkpoints.ip_adapters import open_ip_adapter
from overpaint.export.image_prompt import export_image_prompt
from tests.support.families import PHOTO, SMALL, xl_checkpoint
from tests.support.ip_adapters import EMBEDDING, ENCODER, WEIGHTS, ip_adapter
from tests.support.torch_engine import torch_image_prompt, torch_pipeline

KINDS = ("base", "plus")
SHOWN = PHOTO.rotate(90)
COMMON: dict[str, Any] = {"strength": 0.8, "num_inference_steps": 6, "guidance_scale": 4.0, "negative_prompt": "ink"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of SDXL's kind, and two adapters for it."""
    place = tmp_path_factory.mktemp("image-prompts")
    xl_checkpoint(place / "checkpoint", **{**SMALL, "mid_block_type": "UNetMidBlock2DCrossAttn"})
    unet = UNet2DConditionModel.from_pretrained(place / "checkpoint/unet")
    for kind in KINDS:
        ip_adapter(place / kind, unet, kind, seed=3)
    return place


def peer(folder: Path, kind: str) -> Any:
    made = StableDiffusionXLImg2ImgPipeline.from_pretrained(folder / "checkpoint")
    made.load_ip_adapter(folder / kind, subfolder="", weight_name=WEIGHTS, image_encoder_folder=ENCODER)
    made.set_progress_bar_config(disable=True)
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_of_sdxl_is_diffusers_picture(folder: Path, tmp_path: Path, kind: str) -> None:
    theirs = peer(folder, kind)
    theirs.set_ip_adapter_scale(0.7)
    generator = torch.Generator().manual_seed(7)
    wanted = theirs("a red fox", image=PHOTO, ip_adapter_image=SHOWN, generator=generator, **COMMON).images[0]
    own = torch_image_prompt(folder / kind / WEIGHTS, tmp_path / kind).folder
    adapters = {"image_prompt_adapters": {kind: own}}
    pipe = torch_pipeline(folder / "checkpoint", tmp_path / "bundle", ("image",), **adapters)
    settings = {**COMMON, "seed": 7, "convention": "diffusers"}
    made = pipe(PHOTO, "a red fox", image_prompts=[ImagePrompt(np.asarray(SHOWN), 0.7)], **settings).images[0]
    plain = pipe(PHOTO, "a red fox", **settings).images[0]
    print(f"{psnr(made, wanted):.1f} dB, without it {psnr(plain, wanted):.1f}")
    assert psnr(made, wanted) >= 50
    assert psnr(plain, wanted) < 45


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_that_diffusers_saved_has_the_same_adapter(folder: Path, tmp_path: Path, kind: str) -> None:
    peer(folder, kind).save_pretrained(tmp_path)
    saved, original = open_ip_adapter(tmp_path), open_ip_adapter(folder / kind / WEIGHTS)
    assert saved.layout == "diffusers folder"
    for one, other in ((saved.keys, original.keys), (saved.values, original.values)):
        assert len(one) == len(other)
        assert all(torch.equal(*pair) for pair in zip(one, other, strict=True))
    state, wanted = saved.projection.state_dict(), original.projection.state_dict()
    assert state.keys() == wanted.keys()
    assert all(torch.equal(state[name], wanted[name]) for name in state)


def halved(folder: Path, target: Path) -> Path:
    """An adapter and its encoder in half precision."""
    target.mkdir()
    state = {name: tensor.half() for name, tensor in load_file(folder / WEIGHTS).items()}
    save_file(state, target / WEIGHTS)
    CLIPVisionModelWithProjection.from_pretrained(folder / ENCODER).half().save_pretrained(target / ENCODER)
    return target / WEIGHTS


def test_half_precision_stays_half(folder: Path, tmp_path: Path) -> None:
    made = export_image_prompt(halved(folder / "base", tmp_path / "half"), tmp_path / "bundle")
    assert {graph.weights for graph in made.graphs.values()} == {"float16"}


def test_an_encoder_of_another_width_is_refused(folder: Path, tmp_path: Path) -> None:
    state = load_file(folder / "base" / WEIGHTS)
    state["image_proj.proj.weight"] = torch.zeros(len(state["image_proj.proj.weight"]), EMBEDDING + 8)
    save_file(state, tmp_path / WEIGHTS)
    with pytest.raises(InputError, match=f"takes {EMBEDDING + 8} numbers.*gives {EMBEDDING}.*--encoder"):
        open_ip_adapter(tmp_path / WEIGHTS, folder / "base" / ENCODER)
    with pytest.raises(InputError, match="name the adapter's CLIP image encoder"):
        open_ip_adapter(folder / "base" / WEIGHTS, tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("names", "what"),
    [
        (["image_proj.proj.0.weight", "ip_adapter.1.to_k_ip.weight", "ip_adapter.1.to_k_lora.down.weight"], "FaceID"),
        (["id_encoder.visual.weight"], "reads faces"),
        (["control_model.out.weight"], "a ControlNet; overpaint export-controlnet"),
        (["lora_unet_down.lora_up.weight"], "a LoRA"),
        (["something.weight"], "no IP-Adapter"),
    ],
)
def test_a_file_of_something_else_is_refused_by_name(tmp_path: Path, names: list[str], what: str) -> None:
    save_file({name: torch.zeros(1) for name in names}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match=what):
        open_ip_adapter(tmp_path / "other.safetensors")


def test_pickles_and_folders_of_files_are_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "ip-adapter.bin").write_bytes(b"x")
    with pytest.raises(InputError, match="pickle"):
        open_ip_adapter(tmp_path / "ip-adapter.bin")
    with pytest.raises(InputError, match=f"name one of its .safetensors files \\({WEIGHTS}\\)"):
        open_ip_adapter(folder / "base")
    with pytest.raises(InputError, match="without an IP-Adapter"):
        open_ip_adapter(folder / "checkpoint")
