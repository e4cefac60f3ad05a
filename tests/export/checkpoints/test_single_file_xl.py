"""Single files of SDXL and its refiner give the weights and the facts of the folders that they were made from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from overpaint.errors import InputError
from overpaint.export import bundle as stage
from overpaint.export.checkpoints.checkpoint import Checkpoint
from overpaint.export.checkpoints.facts import model_facts
from overpaint.export.checkpoints.load import load_text_encoder, load_unet, load_vae, supported, surplus
from tests.support.families import POOLED, xl_checkpoint
from tests.support.single_files import write_xl_file

# What shapes do not tell is as in the full-size models: heads 64 wide, 32 groups, numbers embedded 256 wide.
UNET: dict[str, Any] = {
    "block_out_channels": (64, 128, 128), "layers_per_block": 2, "attention_head_dim": (1, 2, 2),
    "norm_num_groups": 32, "addition_time_embed_dim": 256,
}  # fmt: skip
BASE = {
    **UNET, "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 3), "cross_attention_dim": 128,
    "projection_class_embeddings_input_dim": POOLED + 6 * 256,
}  # fmt: skip
REFINER = {
    **UNET, "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), "transformer_layers_per_block": (1, 2, 2),
    "cross_attention_dim": 64, "projection_class_embeddings_input_dim": POOLED + 5 * 256,
}  # fmt: skip
TEXT = {"hidden_size": 64, "num_attention_heads": 1, "intermediate_size": 128}


@pytest.fixture(scope="module", params=["XL", "XL refiner"])
def files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Path]:
    """The layout's name, a diffusers folder, and the single file of the same weights."""
    folder, refiner = tmp_path_factory.mktemp("xl"), request.param == "XL refiner"
    changes = REFINER if refiner else BASE
    checkpoint = xl_checkpoint(folder / "folder", refiner=refiner, vae="wide", text=TEXT, text_2=TEXT, **changes)
    return request.param, checkpoint, write_xl_file(checkpoint, folder / "model.safetensors")


def opened(path: Path, folder: Path, **options: Any) -> Checkpoint:
    return supported(stage.open_checkpoint(path, folder / "tokenizer_2", **options))


def test_weights_and_architecture(files: tuple[str, Path, Path]) -> None:
    _, folder, path = files
    single, expected = opened(path, folder), supported(stage.open_checkpoint(folder))
    assert single.parts == expected.parts
    for part in single.encoders:
        same(load_text_encoder(single, part), load_text_encoder(expected, part))
    same(load_unet(single), load_unet(expected))
    same(load_vae(single), load_vae(expected))
    generator = torch.Generator().manual_seed(0)
    width = single.configs["unet"]["cross_attention_dim"]
    sample, states = (torch.randn(shape, generator=generator) for shape in ((1, 4, 8, 8), (1, 77, width)))
    numbers = len(model_facts(single, "xl").size_ids)
    added = {
        "text_embeds": torch.randn((1, POOLED), generator=generator),
        "time_ids": torch.arange(numbers)[None] * 99.0,
    }
    with torch.no_grad():
        outputs = [
            load_unet(source)(sample, torch.tensor([7.0]), states, added_cond_kwargs=added).sample
            for source in (single, expected)
        ]
    torch.testing.assert_close(*outputs)


def same(ours: torch.nn.Module, theirs: torch.nn.Module) -> None:
    own, others = ours.state_dict(), theirs.state_dict()
    assert own.keys() == others.keys()
    assert all(torch.equal(own[name], others[name]) for name in others)


def test_facts(files: tuple[str, Path, Path]) -> None:
    name, folder, path = files
    facts, expected = (
        model_facts(source, "xl") for source in (opened(path, folder), supported(stage.open_checkpoint(folder)))
    )
    assert facts.size_ids == expected.size_ids
    assert facts.zero_empty_negative == expected.zero_empty_negative == (name == "XL")
    assert (facts.family, facts.scaling_factor) == ("stable-diffusion-xl", 0.13025)
    assert (facts.default_sampler, facts.scheduler["timestep_spacing"]) == ("euler", "leading")
    assert facts.default_size == (128 * 4, 128 * 4)
    assert facts.origin["format"] == f"single file, {name}"
    assert "model_ema" in surplus(opened(path, folder))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(files: tuple[str, Path, Path], tmp_path: Path, dtype: torch.dtype) -> None:
    _, folder, _ = files
    single = opened(write_xl_file(folder, tmp_path / "half.safetensors", dtype=dtype), folder)
    expected = load_unet(supported(stage.open_checkpoint(folder))).state_dict()
    assert all(
        torch.equal(tensor, expected[name].to(dtype).float()) for name, tensor in load_unet(single).state_dict().items()
    )
    assert load_unet(single, as_stored=True).conv_in.weight.dtype == dtype


def test_a_missing_vae_is_asked_for_and_taken_from_elsewhere(files: tuple[str, Path, Path], tmp_path: Path) -> None:
    _, folder, path = files
    bare = write_xl_file(folder, tmp_path / "bare.safetensors", vae=False)
    with pytest.raises(InputError, match="--vae"):
        opened(bare, folder)
    expected = load_vae(supported(stage.open_checkpoint(folder)))
    names = {name: tensor for name, tensor in load_file(path).items() if name.startswith("first_stage_model.")}
    save_file(names, tmp_path / "vae.safetensors")
    save_file({name.removeprefix("first_stage_model."): t for name, t in names.items()}, tmp_path / "names.safetensors")
    for vae in (folder / "vae", path, tmp_path / "vae.safetensors", tmp_path / "names.safetensors"):
        single = opened(bare, folder, vae=vae)
        same(load_vae(single), expected)
        assert single.origin["vae"] == vae.name
    (tmp_path / "vae.ckpt").write_bytes(b"pickle")
    with pytest.raises(InputError, match="pickle"):
        opened(bare, folder, vae=tmp_path / "vae.ckpt")


def test_a_v_model_says_so(files: tuple[str, Path, Path], tmp_path: Path) -> None:
    _, folder, path = files
    save_file({**load_file(path), "v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)}, tmp_path / "v.safetensors")
    facts = model_facts(opened(tmp_path / "v.safetensors", folder), "xl")
    assert facts.scheduler["prediction_type"] == "v_prediction"
    assert facts.scheduler["rescale_betas_zero_snr"]
    assert facts.scheduler["timestep_spacing"] == "trailing"


def test_another_tokenizer_is_asked_for(files: tuple[str, Path, Path]) -> None:
    with pytest.raises(InputError, match="--tokenizer"):
        stage.open_checkpoint(files[2])
