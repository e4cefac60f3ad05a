"""ControlNets exported and run: against diffusers' pipeline with the same weights, noise and steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, StableDiffusionControlNetImg2ImgPipeline, UNet2DConditionModel
from PIL import Image

import overpaint
from overpaint import Control, InputError, Pipeline
from overpaint.bundles.controlnet import ControlNetBundle
from overpaint.bundles.kinds import open_bundle
from overpaint.bundles.manifest import Bundle
from overpaint.engines.compare import psnr
from overpaint.export.controlnet import export_controlnet

PROMPT, NEGATIVE = "a red fox", "a dog"


def controlnet(checkpoint: Path, folder: Path, seed: int, **changes: Any) -> Path:
    """A ControlNet of a checkpoint's U-Net, whose zero convolutions are none."""
    unet = UNet2DConditionModel.from_pretrained(checkpoint / "unet")
    torch.manual_seed(seed)
    made = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8, 16, 32), **changes)
    for block in (*made.controlnet_down_blocks, made.controlnet_mid_block):
        torch.nn.init.normal_(block.weight, std=0.1)
    torch.nn.init.normal_(made.controlnet_cond_embedding.conv_out.weight, std=0.1)
    made.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def sources(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("controlnets")
    bgr = {"controlnet_conditioning_channel_order": "bgr"}
    return controlnet(checkpoint, folder / "one", 1), controlnet(checkpoint, folder / "two", 2, **bgr)


@pytest.fixture(scope="session")
def nets(sources: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[ControlNetBundle, ...]:
    folder = tmp_path_factory.mktemp("exported")
    return tuple(export_controlnet(source, folder / source.name, preprocessor="none") for source in sources)


@pytest.fixture(scope="session", params=["onnxruntime", "openvino"])
def pipe(request: pytest.FixtureRequest, adapted: Bundle, nets: tuple[ControlNetBundle, ...]) -> Pipeline:
    named = {net.model.name: net.folder for net in nets}
    return overpaint.load(adapted.folder, engine=request.param, precision="float32", controlnets=named)


def picture(seed: int, size: tuple[int, int] = (64, 48)) -> Image.Image:
    random = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return Image.fromarray(random).resize(size, Image.Resampling.BICUBIC)


CASES: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "plain": ([{}], {"controlnet_conditioning_scale": 1.0}),
    "weighted, a part of the steps": (
        [{"weight": 0.7, "start": 0.2, "end": 0.7}],
        {"controlnet_conditioning_scale": 0.7, "control_guidance_start": 0.2, "control_guidance_end": 0.7},
    ),
    "guess": ([{"mode": "guess", "weight": 0.8}], {"guess_mode": True, "controlnet_conditioning_scale": 0.8}),
    "two": (
        [{"weight": 0.5}, {"weight": 0.9, "end": 0.5}],
        {"controlnet_conditioning_scale": [0.5, 0.9], "control_guidance_end": [1.0, 0.5]},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_picture_is_diffusers_picture(
    pipe: Pipeline, checkpoint: Path, sources: tuple[Path, Path], case: str
) -> None:
    controls, options = CASES[case]
    several = len(controls) > 1
    models = [ControlNetModel.from_pretrained(source) for source in sources[: len(controls)]]
    peer = StableDiffusionControlNetImg2ImgPipeline.from_pretrained(
        checkpoint, controlnet=models if several else models[0], safety_checker=None
    )
    peer.set_progress_bar_config(disable=True)
    peer.scheduler = diffusers.DDIMScheduler.from_config(peer.scheduler.config)
    hints = [picture(index) for index in range(1, len(controls) + 1)]
    common = {"strength": 0.8, "num_inference_steps": 10, "guidance_scale": 4.0}
    wanted = peer(
        PROMPT,
        image=picture(0),
        control_image=hints if several else hints[0],
        negative_prompt=NEGATIVE,
        generator=torch.Generator().manual_seed(3),
        **common,
        **options,
    ).images[0]
    names = ("one", "two")
    own = [Control(name, hint, **fields) for name, hint, fields in zip(names, hints, controls, strict=False)]
    settings = {"negative_prompt": NEGATIVE, "seed": 3, "sampler": "ddim", "convention": "diffusers", **common}
    made = pipe(picture(0), PROMPT, controls=own, **settings).images[0]
    assert psnr(made, wanted) >= 50
    plain = pipe(picture(0), PROMPT, **settings).images[0]
    print(psnr(made, wanted), psnr(plain, wanted))
    assert psnr(plain, wanted) < psnr(made, wanted) - 5


def test_the_bundle_says_what_it_needs(nets: tuple[ControlNetBundle, ...]) -> None:
    first, second = nets
    assert open_bundle(first.folder) == first
    assert (first.model.channels, first.model.downscale, first.model.text_width) == (
        (16, 16, 16, 32, 32, 32, 32),
        4,
        32,
    )
    assert second.model.bgr
    assert "channels" in first.describe()


def test_what_is_no_controlnet_is_refused(checkpoint: Path, sources: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="UNet2DConditionModel, not a ControlNetModel"):
        export_controlnet(checkpoint / "unet", tmp_path / "out")
    (tmp_path / "net.pth").write_bytes(b"x")
    with pytest.raises(InputError, match="pickle"):
        export_controlnet(tmp_path / "net.pth", tmp_path / "out")
    with pytest.raises(InputError, match="is no diffusers folder"):
        export_controlnet(tmp_path / "nowhere", tmp_path / "out")
