"""The ways in which a diffusers folder may keep its weights."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from overpaint.errors import ExportError, InputError
from overpaint.export import bundle as stage
from overpaint.export import export_bundle
from overpaint.export.checkpoints.facts import model_facts
from overpaint.export.checkpoints.load import load_text_encoder, load_unet, load_vae, supported, surplus


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


def add_tensors(part: Path, *names: str) -> None:
    path = weights_of(part)
    save_file(load_file(path) | {name: torch.zeros(3) for name in names}, path)


SURPLUS = (
    "text_encoder: logit_scale, text_projection.weight, vision_model.* (2); unet: ema.decay; "
    "vae: loss.* (2), model_ema.num_updates"
)


def test_surplus_weights_are_ignored_and_listed(checkpoint: Path, copy: Path, tmp_path: Path) -> None:
    add_tensors(
        copy / "text_encoder", "logit_scale", "text_projection.weight", "vision_model.a.weight", "vision_model.b.weight"
    )
    add_tensors(copy / "unet", "ema.decay")
    add_tensors(copy / "vae", "loss.logvar", "loss.discriminator.main.0.weight", "model_ema.num_updates")
    ours, theirs = (supported(stage.open_checkpoint(folder)) for folder in (copy, checkpoint))
    for load in (load_text_encoder, load_unet, load_vae):
        assert same(load(ours), load(theirs))
    assert (surplus(ours), surplus(theirs)) == (SURPLUS, "")
    seen: list[str] = []

    def report(stage: str) -> None:
        seen.append(stage)
        if stage == "tokenizer":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_bundle(copy, tmp_path / "bundle", report=report)
    assert seen == [f"weights: these are of no use here, and ignored: {SURPLUS}", "tokenizer"]


def test_missing_weights_are_told_before_anything_is_exported(copy: Path, tmp_path: Path) -> None:
    path = weights_of(copy / "vae")
    state = load_file(path)
    del state["decoder.conv_out.bias"]
    save_file(state, path)
    seen: list[str] = []
    with pytest.raises(ExportError, match=r"vae: .*1 missing \(as decoder.conv_out.bias\)"):
        export_bundle(copy, tmp_path / "bundle", report=seen.append)
    assert seen == []


def _edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("text_encoder/config.json", {"architectures": None}),
        ("text_encoder/config.json", {"architectures": []}),
        ("text_encoder/config.json", {"architectures": [None]}),
        ("text_encoder/config.json", {"architectures": ["CLIPTextModelWithProjection"], "projection_dim": 16}),
        ("unet/config.json", {"_class_name": ["models", "UNet2DConditionModel"]}),
        ("vae/config.json", {"_class_name": None}),
        ("vae/config.json", {"scaling_factor": None, "shift_factor": None}),
        ("model_index.json", {"_class_name": ["pipeline", "StableDiffusionPipeline"]}),
        ("scheduler/scheduler_config.json", {"_class_name": ["schedulers", "DDIMScheduler"]}),
    ],
)
def test_ways_to_name_a_class(checkpoint: Path, copy: Path, file: str, changes: dict[str, object]) -> None:
    expected = model_facts(supported(stage.open_checkpoint(checkpoint)), "name")
    _edit(copy / file, **changes)
    source = supported(stage.open_checkpoint(copy))
    facts = model_facts(source, "name")
    assert (facts.default_sampler, facts.scaling_factor) == (expected.default_sampler, expected.scaling_factor)
    assert facts.scheduler == expected.scheduler
    assert surplus(source) == ""


def test_text_encoder_of_a_whole_clip(checkpoint: Path, copy: Path) -> None:
    path = copy / "text_encoder" / "config.json"
    text = json.loads(path.read_text())
    path.write_text(json.dumps({"architectures": ["CLIPModel"], "text_config": text, "vision_config": {}}))
    ours, theirs = (supported(stage.open_checkpoint(folder)) for folder in (copy, checkpoint))
    assert same(load_text_encoder(ours), load_text_encoder(theirs))


@pytest.mark.parametrize("name", [None, [], ["pipeline", "FluxPipeline"], 3])
def test_pipelines_of_another_class(copy: Path, name: object) -> None:
    _edit(copy / "model_index.json", _class_name=name)
    with pytest.raises(InputError, match=r"is a (pipeline of no class|FluxPipeline|3); only"):
        stage.open_checkpoint(copy)


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        ("diffusion_pytorch_model.non_ema.safetensors", "non_ema"),
        ("diffusion_pytorch_model.bf16.safetensors", "bf16"),
        ("diffusion_pytorch_model.SAFETENSORS", ""),
        ("diffusion_pytorch_model.FP16.SafeTensors", "fp16"),
    ],
)
def test_variants(checkpoint: Path, copy: Path, name: str, variant: str) -> None:
    path = weights_of(copy / "unet")
    path.rename(path.with_name(name))
    source = supported(stage.open_checkpoint(copy))
    assert same(load_unet(source), load_unet(supported(stage.open_checkpoint(checkpoint))))
    assert source.origin.get("variants", "") == (f"unet {variant}" if variant else "")


def test_the_plain_weights_go_before_variants(checkpoint: Path, copy: Path) -> None:
    path = weights_of(copy / "unet")
    other = path.with_name("diffusion_pytorch_model.non_ema.safetensors")
    save_file({name: tensor + 1 for name, tensor in load_file(path).items()}, other)
    theirs = load_unet(supported(stage.open_checkpoint(checkpoint)))
    assert same(load_unet(supported(stage.open_checkpoint(copy))), theirs)
    path.rename(path.with_name("diffusion_pytorch_model.ema.safetensors"))
    with pytest.raises(InputError, match=r"only variants .* \(ema, non_ema\); rename"):
        stage.open_checkpoint(copy)


@pytest.mark.parametrize("index", ["safetensors.index.fp16.json", "fp16.safetensors.index.json"])
@pytest.mark.parametrize("shard", ["model.fp16-0000{}-of-00002.safetensors", "model-0000{}-of-00002.fp16.safetensors"])
def test_shards_in_half(checkpoint: Path, copy: Path, index: str, shard: str) -> None:
    path = weights_of(copy / "unet")
    state = {name: tensor.half() for name, tensor in load_file(path).items()}
    path.unlink()
    files = {name: f"diffusion_pytorch_{shard.format(i % 2 + 1)}" for i, name in enumerate(state)}
    for file in set(files.values()):
        save_file({name: state[name] for name in state if files[name] == file}, copy / "unet" / file)
    (copy / "unet" / f"diffusion_pytorch_model.{index}").write_text(json.dumps({"weight_map": files}))
    source = supported(stage.open_checkpoint(copy))
    assert same(load_unet(source), load_unet(supported(stage.open_checkpoint(checkpoint))).half().float())
    assert source.origin["variants"] == "unet fp16"
