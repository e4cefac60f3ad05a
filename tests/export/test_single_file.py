"""A single .safetensors file gives the weights and the facts of the diffusers folder it was made from."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from overpaint.engines.base import InputError
from overpaint.export import bundle as stage
from overpaint.export.facts import model_facts
from overpaint.export.load import load_text_encoder, load_unet, load_vae, supported
from tests.checkpoints import tiny_checkpoint
from tests.export.single_files import write_single_file

# What the tensors' shapes do not tell is as in the full-size models: 8 heads (1.x) or 64-wide ones (2.x), 32 groups.
FIRST = {"block_out_channels": (32, 64, 64), "layers_per_block": 2, "attention_head_dim": 8, "norm_num_groups": 32}
SECOND = {**FIRST, "block_out_channels": (64, 128, 128), "attention_head_dim": (1, 2, 2), "use_linear_projection": True}


@pytest.fixture(scope="module", params=["1.x", "2.x"])
def files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Path]:
    """The family, a diffusers folder and the single file of the same weights."""
    folder, second = tmp_path_factory.mktemp("single"), request.param == "2.x"
    text = {"num_hidden_layers": 23 if second else 3, "hidden_size": 64, "num_attention_heads": 1}
    changes = {**(SECOND if second else FIRST), "cross_attention_dim": 64}
    checkpoint = tiny_checkpoint(folder / "folder", text=text, vae="wide", seed=3, **changes)
    return request.param, checkpoint, write_single_file(checkpoint, folder / "model.safetensors", second=second)


def test_weights_and_architecture(files: tuple[str, Path, Path]) -> None:
    _, folder, path = files
    expected = supported(stage.open_checkpoint(folder))
    single = supported(stage.open_checkpoint(path, folder / "tokenizer", "epsilon"))
    for load in (load_text_encoder, load_unet, load_vae):
        ours, theirs = load(single).state_dict(), load(expected).state_dict()
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    sample, timestep, states = torch.randn(1, 4, 8, 8), torch.tensor([7.0]), torch.randn(1, 77, 64)
    with torch.no_grad():
        outputs = [load_unet(source)(sample, timestep, states).sample for source in (single, expected)]
    torch.testing.assert_close(*outputs)  # the same sums, though not always in the same order


def test_facts(files: tuple[str, Path, Path]) -> None:
    family, folder, path = files
    facts = model_facts(supported(stage.open_checkpoint(path, folder / "tokenizer", "v_prediction")), "model")
    assert (facts.name, facts.downscale, facts.latent_channels, facts.scaling_factor) == ("model", 4, 4, 0.18215)
    assert facts.default_size == ((96 * 4, 96 * 4) if family == "2.x" else (64 * 4, 64 * 4))
    assert "not followed" not in facts.origin
    assert facts.scheduler["prediction_type"] == "v_prediction"
    assert facts.scheduler["beta_schedule"] == "scaled_linear"
    assert facts.origin["format"] == f"single file, {family}"


def test_prediction_type_is_asked_for_where_weights_cannot_tell(files: tuple[str, Path, Path]) -> None:
    family, folder, path = files
    if family == "2.x":
        with pytest.raises(InputError, match="--prediction-type v_prediction"):
            stage.open_checkpoint(path, folder / "tokenizer", None)
    else:
        facts = model_facts(supported(stage.open_checkpoint(path, folder / "tokenizer", None)), "model")
        assert (facts.scheduler["prediction_type"], facts.default_sampler) == ("epsilon", "plms")


def test_tokenizer_is_asked_for(files: tuple[str, Path, Path]) -> None:
    with pytest.raises(InputError, match="--tokenizer"):
        stage.open_checkpoint(files[2], None, "epsilon")


def test_other_files_are_refused(files: tuple[str, Path, Path], tmp_path: Path) -> None:
    _, folder, path = files
    lora = tmp_path / "lora.safetensors"
    save_file({"lora_unet.weight": torch.zeros(2)}, lora)
    with pytest.raises(InputError, match="does not hold a text encoder, a U-Net and a VAE"):
        stage.open_checkpoint(lora, folder / "tokenizer", None)
    with pytest.raises(InputError, match="no such checkpoint"):
        stage.open_checkpoint(tmp_path / "nothing.safetensors", None, None)
    shutil.copy(path, tmp_path / "model.onnx")
    with pytest.raises(InputError, match="neither a diffusers folder nor"):
        stage.open_checkpoint(tmp_path / "model.onnx", None, None)
    (tmp_path / "short.safetensors").write_bytes(path.read_bytes()[:2000])
    with pytest.raises(InputError, match="cannot be read as safetensors"):
        stage.open_checkpoint(tmp_path / "short.safetensors", None, None)


def test_missing_tensors_are_named(files: tuple[str, Path, Path], tmp_path: Path) -> None:
    _, folder, path = files
    state = load_file(path)
    del state["model.diffusion_model.input_blocks.0.0.weight"]
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match="not laid out"):
        stage.open_checkpoint(tmp_path / "model.safetensors", folder / "tokenizer", "epsilon")
