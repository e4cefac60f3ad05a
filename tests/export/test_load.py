"""The ways in which a diffusers folder may keep its weights."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from overpaint.engines.base import InputError
from overpaint.export import bundle as stage
from overpaint.export.load import load_text_encoder, load_unet, load_vae, supported


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint, tmp_path / "copy"))


def weights_of(part: Path) -> Path:
    (path,) = part.glob("*.safetensors")
    return path


def same(ours: torch.nn.Module, theirs: torch.nn.Module) -> bool:
    ours_state, theirs_state = ours.state_dict(), theirs.state_dict()
    return ours_state.keys() == theirs_state.keys() and all(
        torch.equal(ours_state[name], theirs_state[name]) for name in theirs_state
    )


def test_fp16_variant(checkpoint: Path, copy: Path) -> None:
    path = weights_of(copy / "unet")
    half = {name: tensor.half() for name, tensor in load_file(path).items()}
    path.unlink()
    save_file(half, copy / "unet" / "diffusion_pytorch_model.fp16.safetensors")
    model = load_unet(supported(stage.open_checkpoint(copy)))
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert same(model, load_unet(supported(stage.open_checkpoint(checkpoint))).half().float())


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"metadata": {}}, "has no weight_map"),
        ({"weight_map": []}, "has no weight_map"),
        ({"weight_map": {"a": "../../secret.safetensors"}}, "no file beside it"),
        ({"weight_map": {"a": "/secret.safetensors"}}, "no file beside it"),
        ({"weight_map": {"a": "C:\\secret.safetensors"}}, "no file beside it"),
        ({"weight_map": {"a": ".."}}, "no file beside it"),
        ({"weight_map": {"a": 3}}, "no file beside it"),
    ],
)
def test_shards_that_are_not_beside_their_index(copy: Path, record: dict[str, object], message: str) -> None:
    weights_of(copy / "unet").unlink()
    (copy / "unet" / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=message):
        stage.open_checkpoint(copy)


def test_shards(checkpoint: Path, copy: Path) -> None:
    path = weights_of(copy / "unet")
    state = load_file(path)
    path.unlink()
    files = {
        name: f"diffusion_pytorch_model-0000{index % 2 + 1}-of-00002.safetensors" for index, name in enumerate(state)
    }
    for file in set(files.values()):
        save_file({name: state[name] for name in state if files[name] == file}, copy / "unet" / file)
    index = copy / "unet" / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": files}))
    ours = load_unet(supported(stage.open_checkpoint(copy)))
    assert same(ours, load_unet(supported(stage.open_checkpoint(checkpoint))))
    (copy / "unet" / next(iter(files.values()))).unlink()
    with pytest.raises(InputError, match="cannot be read as safetensors"):
        load_unet(supported(stage.open_checkpoint(copy)))


def test_old_names(checkpoint: Path, copy: Path) -> None:
    """VAE attention before diffusers 0.15, and text encoders before transformers 5.6."""
    old = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
    vae = load_file(weights_of(copy / "vae"))
    for new, name in old.items():
        vae = {key.replace(new, name): tensor for key, tensor in vae.items()}
    assert any(".proj_attn." in key for key in vae)
    save_file(vae, weights_of(copy / "vae"))
    text = {
        f"text_model.{name.removeprefix('text_model.')}": tensor
        for name, tensor in load_file(weights_of(copy / "text_encoder")).items()
    }
    text["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    save_file(text, weights_of(copy / "text_encoder"))
    ours, theirs = (supported(stage.open_checkpoint(folder)) for folder in (copy, checkpoint))
    assert same(load_vae(ours), load_vae(theirs))
    assert same(load_text_encoder(ours), load_text_encoder(theirs))


def test_defaults_complete_a_short_config(checkpoint: Path, copy: Path) -> None:
    """Early checkpoints leave out fields that diffusers has defaults for."""
    path = copy / "vae" / "config.json"
    config = json.loads(path.read_text())
    for field in ("scaling_factor", "latent_channels", "shift_factor", "in_channels"):
        del config[field]
    path.write_text(json.dumps(config))
    source = supported(stage.open_checkpoint(copy))
    assert (source.configs["vae"]["scaling_factor"], source.configs["vae"]["latent_channels"]) == (0.18215, 4)
    assert same(load_vae(source), load_vae(supported(stage.open_checkpoint(checkpoint))))
