"""A single .safetensors file gives the weights and the facts of the diffusers folder it was made from."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from overpaint.errors import InputError
from overpaint.export import bundle as stage
from overpaint.export.checkpoints.facts import model_facts
from overpaint.export.checkpoints.load import load_text_encoder, load_unet, load_vae, supported, surplus
from tests.support.checkpoints import tiny_checkpoint
from tests.support.single_files import write_single_file

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


def test_tokenizer_is_asked_for_where_the_vocabulary_is_another(files: tuple[str, Path, Path]) -> None:
    with pytest.raises(InputError, match=r"CLIP's vocabulary 49408.*--tokenizer"):
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


Add = Callable[..., Path]


@pytest.fixture
def add(files: tuple[str, Path, Path], tmp_path: Path) -> Add:
    """Writes the single file with more tensors, and with texts in its header."""

    def write(tensors: dict[str, torch.Tensor] | None = None, **texts: str) -> Path:
        path = tmp_path / "more.safetensors"
        save_file(
            load_file(files[2]) | (tensors or {}), path, {name.replace("__", "."): t for name, t in texts.items()}
        )
        return path

    return write


MARK = {"v_pred": torch.tensor([]), "ztsnr": torch.tensor([])}
V = {"v_pred": torch.tensor([])}


SURPLUS = {
    "1.x": "file: betas, first_stage_model.* (2), model_ema.* (121); "
    "text_encoder: logit_scale, text_projection.weight, vision_model.embeddings.class_embedding",
    "2.x": "file: betas, cond_stage_model.* (16), first_stage_model.* (2), model_ema.* (121)",
}


def test_surplus_tensors_are_ignored_and_listed(files: tuple[str, Path, Path], add: Add) -> None:
    family, folder, _ = files
    text = "cond_stage_model.model." if family == "2.x" else "cond_stage_model.transformer."
    more = [f"model_ema.diffusion_modelinput_blocks{n}" for n in range(120)]
    more += ["first_stage_model.loss.logvar", "first_stage_model.loss.discriminator.main.0.weight", "betas"]
    more += [f"{text}logit_scale", f"{text}text_projection.weight", f"{text}vision_model.embeddings.class_embedding"]
    single = supported(
        stage.open_checkpoint(add({name: torch.zeros(2) for name in more}), folder / "tokenizer", "epsilon")
    )
    expected = supported(stage.open_checkpoint(folder))
    for load in (load_text_encoder, load_unet, load_vae):
        ours, theirs = load(single).state_dict(), load(expected).state_dict()
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert surplus(single) == SURPLUS[family]


@pytest.mark.parametrize("word", ["v", "v_prediction", "V-Prediction"])
def test_prediction_type_of_the_header(files: tuple[str, Path, Path], add: Add, word: str) -> None:
    path = add(modelspec__prediction_type=word)
    facts = model_facts(supported(stage.open_checkpoint(path, files[1] / "tokenizer")), "model")
    assert (facts.scheduler["prediction_type"], facts.default_sampler) == ("v_prediction", "ddim")
    assert facts.origin["prediction"] == "v_prediction (its modelspec.prediction_type)"
    assert facts.default_size == ((96 * 4, 96 * 4) if files[0] == "2.x" else (64 * 4, 64 * 4))


def test_prediction_type_of_a_key(files: tuple[str, Path, Path], add: Add) -> None:
    source = supported(stage.open_checkpoint(add(V), files[1] / "tokenizer"))
    facts = model_facts(source, "model")
    assert facts.scheduler["prediction_type"] == "v_prediction"
    assert facts.scheduler["rescale_betas_zero_snr"] is False
    assert "v_pred" not in surplus(source)


def test_zero_terminal_snr_of_a_key(files: tuple[str, Path, Path], add: Add) -> None:
    path = add(MARK)
    facts = model_facts(supported(stage.open_checkpoint(path, files[1] / "tokenizer")), "model")
    assert facts.scheduler["rescale_betas_zero_snr"] is True
    assert facts.scheduler["timestep_spacing"] == "trailing"
    assert facts.origin["prediction"] == "v_prediction, zero terminal SNR (its key v_pred, its key ztsnr)"
    assert "not followed" not in facts.origin
    facts = model_facts(supported(stage.open_checkpoint(path, files[1] / "tokenizer", None, False)), "model")
    assert facts.scheduler["rescale_betas_zero_snr"] is False


def test_what_is_asked_for_goes_before_what_a_file_says(files: tuple[str, Path, Path], add: Add) -> None:
    path = add(V, modelspec__prediction_type="epsilon")
    with pytest.raises(InputError, match=r"says by its key v_pred v_prediction and by its modelspec\S+ epsilon"):
        stage.open_checkpoint(path, files[1] / "tokenizer")
    facts = model_facts(supported(stage.open_checkpoint(path, files[1] / "tokenizer", "epsilon")), "model")
    assert facts.scheduler["prediction_type"] == "epsilon"
    with pytest.raises(InputError, match="--no-zero-snr"):
        stage.open_checkpoint(path, files[1] / "tokenizer", "epsilon", True)
    with pytest.raises(InputError, match="unknown prediction type of modelspec"):
        stage.open_checkpoint(add(modelspec__prediction_type="velocity"), files[1] / "tokenizer")


def test_class_labels_are_refused(files: tuple[str, Path, Path], add: Add) -> None:
    path = add({"model.diffusion_model.label_emb.0.0.weight": torch.zeros(2)})
    with pytest.raises(InputError, match="class labels"):
        stage.open_checkpoint(path, files[1] / "tokenizer", "epsilon")


def test_suffix_in_capitals(files: tuple[str, Path, Path], tmp_path: Path) -> None:
    path = Path(shutil.copy(files[2], tmp_path / "MODEL.SAFETENSORS"))
    assert stage.open_checkpoint(path, files[1] / "tokenizer", "epsilon").origin["checkpoint"] == path.name


def test_last_layer_of_open_clip_may_be_left_out(files: tuple[str, Path, Path], tmp_path: Path) -> None:
    family, folder, path = files
    if family == "2.x":
        state = {name: t for name, t in load_file(path).items() if "resblocks.23." not in name}
        save_file(state, tmp_path / "model.safetensors")
        path = tmp_path / "model.safetensors"
    single = supported(stage.open_checkpoint(path, folder / "tokenizer", "epsilon"))
    assert single.configs["text_encoder"]["num_hidden_layers"] == (23 if family == "2.x" else 3)
