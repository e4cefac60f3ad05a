"""ControlNets as people have them: single files, SDXL, union models, shuffle; and what is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, ControlNetUnionModel, UNet2DConditionModel
from safetensors.torch import load_file, save_file

from overpaint import Control, InputError
from overpaint.engines.compare import psnr
from overpaint.errors import ExportError
from overpaint.export.checkpoints.controlnets import open_controlnet
from overpaint.export.controlnet import export_controlnet, facts_of, part_of
from tests.support.families import PHOTO, xl_checkpoint
from tests.support.single_files import write_controlnet
from tests.support.torch_engine import torch_controlnet, torch_pipeline

PROMPT, NEGATIVE = "a red fox", "a dog"
HINT = PHOTO.transpose(1).rotate(8)
UNION = {"num_control_type": 6, "num_trans_channel": 16, "num_trans_head": 4, "num_proj_channel": 16}
# Widths that a file's shapes tell all of: groups of 32 channels, 8 heads or heads of 64.
ONE: dict[str, Any] = {"block_out_channels": (32, 32, 32), "norm_num_groups": 32, "attention_head_dim": 8}
XL: dict[str, Any] = {"block_out_channels": (64, 64, 64), "norm_num_groups": 32, "attention_head_dim": (1, 1, 1)}
COMMON: dict[str, Any] = {"strength": 0.8, "num_inference_steps": 6, "guidance_scale": 4.0}


def save(model: Any, folder: Path) -> Path:
    """A ControlNet with zero convolutions that are none."""
    torch.manual_seed(5)
    for block in (*model.controlnet_down_blocks, model.controlnet_mid_block, model.controlnet_cond_embedding.conv_out):
        torch.nn.init.normal_(block.weight, std=0.1)
    if isinstance(model, ControlNetUnionModel):
        torch.nn.init.normal_(model.spatial_ch_projs.weight, std=0.1)
    model.save_pretrained(folder)
    return folder


def changed(model: Any, **changes: Any) -> Any:
    own = {name: value for name, value in model.config.items() if not name.startswith("_")}
    return type(model).from_config({**own, **changes})


def of(checkpoint: Path, folder: Path, **changes: Any) -> Path:
    unet = UNet2DConditionModel.from_pretrained(checkpoint / "unet")
    model = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8, 16, 32))
    return save(changed(model, **changes), folder)


def union_of(checkpoint: Path, folder: Path, **changes: Any) -> Path:
    unet = UNet2DConditionModel.from_pretrained(checkpoint / "unet")
    model = ControlNetUnionModel.from_unet(unet, conditioning_embedding_out_channels=(8, 16, 32))
    return save(changed(model, **{**UNION, **changes}), folder)


@pytest.fixture(scope="module")
def xl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Numbers as wide as those of the model that people have.
    changes = {"addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 24 + 6 * 256}
    folder = tmp_path_factory.mktemp("xl") / "checkpoint"
    return xl_checkpoint(folder, block_out_channels=(16, 64, 64), attention_head_dim=(1, 1, 1), **changes)


def peer(kind: str, checkpoint: Path, net: Any) -> Any:
    made = getattr(diffusers, kind).from_pretrained(checkpoint, controlnet=net)
    made.set_progress_bar_config(disable=True)
    return made


def alike(theirs: Any, checkpoint: Path, net: Path, tmp_path: Path, control: dict[str, Any], **options: Any) -> None:
    generator = torch.Generator().manual_seed(3)
    call = {"image": PHOTO, "control_image": HINT, "negative_prompt": NEGATIVE, **COMMON, **options}
    wanted = theirs(PROMPT, generator=generator, **call).images[0]
    own = torch_controlnet(net, tmp_path / "net").folder
    pipe = torch_pipeline(checkpoint, tmp_path / "bundle", ("control",), controlnets={"net": own})
    settings = {"negative_prompt": NEGATIVE, "seed": 3, "convention": "diffusers", **COMMON}
    made = pipe(PHOTO, PROMPT, controls=[Control("net", HINT, **control)], **settings).images[0]
    plain = pipe(PHOTO, PROMPT, **settings).images[0]
    print(f"{psnr(made, wanted):.1f} dB, without it {psnr(plain, wanted):.1f}")
    assert psnr(made, wanted) >= 50
    assert psnr(plain, wanted) < 45


def test_sdxl(xl: Path, tmp_path: Path) -> None:
    net = of(xl, tmp_path / "source")
    theirs = peer("StableDiffusionXLControlNetImg2ImgPipeline", xl, ControlNetModel.from_pretrained(net))
    alike(theirs, xl, net, tmp_path, {"weight": 0.8}, controlnet_conditioning_scale=0.8)


@pytest.mark.parametrize(("name", "mode"), [("canny", 3), ("openpose", 0)])
def test_a_union_model_by_control_type(xl: Path, tmp_path: Path, name: str, mode: int) -> None:
    net = union_of(xl, tmp_path / "source")
    theirs = peer("StableDiffusionXLControlNetUnionImg2ImgPipeline", xl, ControlNetUnionModel.from_pretrained(net))
    options = {"control_image": [HINT], "control_mode": [mode], "controlnet_conditioning_scale": 0.8}
    alike(theirs, xl, net, tmp_path, {"weight": 0.8, "control_type": name}, **options)


def test_global_pooling_counts_for_the_prompt_alone(checkpoint: Path, tmp_path: Path) -> None:
    net = of(checkpoint, tmp_path / "source", global_pool_conditions=True)
    theirs = peer("StableDiffusionControlNetImg2ImgPipeline", checkpoint, ControlNetModel.from_pretrained(net))
    alike(theirs, checkpoint, net, tmp_path, {"weight": 1.5}, controlnet_conditioning_scale=1.5)


def test_rows_of_a_union_model_do_not_mix(xl: Path, tmp_path: Path) -> None:
    """diffusers' own attends from one picture of a call to the others."""
    part = part_of(open_controlnet(union_of(xl, tmp_path / "source")))
    feeds = part.component.feeds({**part.component.checked[1]}, 1)
    rows = {name: torch.from_numpy(array) for name, array in feeds.items()}
    with torch.no_grad():
        module = part.build()
        together = module(*rows.values())
        alone = module(*(array[1:2] for array in rows.values()))
        model = ControlNetUnionModel.from_pretrained(tmp_path / "source")
        first = {name: array[1:2] for name, array in rows.items()}
        sizes = {name: first[name] for name in ("text_embeds", "time_ids")}
        kind = first["control_type"]
        down, middle = model(
            first["sample"], first["timestep"], first["encoder_hidden_states"], [first["hint"]], kind,
            [int(kind.argmax())], added_cond_kwargs=sizes, return_dict=False,
        )  # fmt: skip
    for ours, ones, theirs in zip(together, alone, (*down, middle), strict=True):
        assert torch.allclose(ours[1:2], ones, atol=1e-5)
        assert torch.allclose(ones, theirs, atol=1e-4)


def same(one: Path, other: Path) -> None:
    first, second = open_controlnet(one), open_controlnet(other)
    assert first.state.keys() == second.state.keys()
    assert all(torch.equal(first.state[name], second.state[name]) for name in first.state)
    skeletons = first.skeleton(), second.skeleton()
    assert str(skeletons[0]) == str(skeletons[1])
    a, b = (facts_of(each, "net", "file") for each in (first, second))
    assert (a.channels, a.control_types, a.text_width) == (b.channels, b.control_types, b.text_width)


@pytest.mark.parametrize("prefix", ["control_model.", ""])
def test_a_single_file_under_the_original_names(checkpoint: Path, tmp_path: Path, prefix: str) -> None:
    folder = of(checkpoint, tmp_path / "source", **ONE)
    same(folder, write_controlnet(folder, tmp_path / "net.safetensors", prefix=prefix))


def test_single_files_of_sdxl(xl: Path, tmp_path: Path) -> None:
    folder = of(xl, tmp_path / "source", **XL)
    same(folder, write_controlnet(folder, tmp_path / "net.safetensors"))
    same(folder, folder / "diffusion_pytorch_model.safetensors")
    union = union_of(
        xl, tmp_path / "union", **XL, **{**UNION, "num_trans_channel": 64, "num_proj_channel": 64, "num_trans_head": 8}
    )
    same(union, union / "diffusion_pytorch_model.safetensors")


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("lora_controlnet", "a Control-LoRA"),
        ("input_blocks.1.0.emb_layers.1.up", "a Control-LoRA"),
        ("adapter.body.0.resnets.0.block1.weight", "a T2I-Adapter"),
        ("body.0.block1.weight", "a T2I-Adapter"),
        ("lllite_unet_input_blocks_4_1.down.0.weight", "a ControlLLLite"),
        ("controlnet_blocks.0.weight", "a ControlNet for a transformer"),
        ("image_proj.proj.weight", "an IP-Adapter"),
        ("lora_unet_down.lora_up.weight", "a LoRA"),
        ("model.diffusion_model.out.2.weight", "a whole checkpoint"),
        ("something.weight", "no tensors under a ControlNet's names"),
    ],
)
def test_a_file_of_something_else_is_refused_by_name(tmp_path: Path, name: str, what: str) -> None:
    save_file({name: torch.zeros(1)}, tmp_path / "net.safetensors")
    with pytest.raises(InputError, match=f"{what}.*take a ControlNet"):
        export_controlnet(tmp_path / "net.safetensors", tmp_path / "out")


@pytest.mark.parametrize("kind", ["T2IAdapter", "FluxControlNetModel", "ControlNetXSAdapter"])
def test_a_folder_of_something_else_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    (tmp_path / "config.json").write_text(f'{{"_class_name": "{kind}"}}')
    with pytest.raises(InputError, match="take a ControlNet"):
        open_controlnet(tmp_path)


def test_weights_that_lack_some_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    folder = of(checkpoint, tmp_path / "source", **ONE)
    state = load_file(folder / "diffusion_pytorch_model.safetensors")
    del state["conv_in.bias"]
    save_file(state, tmp_path / "net.safetensors")
    with pytest.raises(ExportError, match="1 missing"):
        open_controlnet(tmp_path / "net.safetensors").skeleton()


def test_half_precision_stays_half(checkpoint: Path, tmp_path: Path) -> None:
    folder = of(checkpoint, tmp_path / "source", **ONE)
    state = load_file(folder / "diffusion_pytorch_model.safetensors")
    save_file({name: tensor.half() for name, tensor in state.items()}, tmp_path / "net.safetensors")
    made = export_controlnet(tmp_path / "net.safetensors", tmp_path / "bundle", global_pool=True)
    graph = made.by_role("controlnet")
    assert (graph.precision, graph.weights, made.model.global_pool) == ("float32", "float16", True)
    assert graph.size < 1.2 * sum(tensor.numel() * 2 for tensor in state.values()) + 1e6


@pytest.mark.slow
@pytest.mark.parametrize("union", [False, True])
def test_graphs_of_sdxl(xl: Path, tmp_path: Path, union: bool) -> None:
    net = (union_of if union else of)(xl, tmp_path / "source")
    made = export_controlnet(net, tmp_path / "bundle")
    names = [spec.name for spec in made.by_role("controlnet").inputs]
    assert names[3:] == ["text_embeds", "time_ids", "hint", *(["control_type"] if union else [])]
    assert np.all([check.error < 1e-4 for check in made.by_role("controlnet").receipt.checks])
