"""U-Nets that are shown more than noisy latents: 9 channels for inpainting, 8 for InstructPix2Pix."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel

import overpaint
from overpaint.bundles.graph import Range
from overpaint.bundles.manifest import Bundle
from overpaint.bundles.sizes import Sizes, profiles
from overpaint.engines.compare import random_feeds, relative_error
from overpaint.engines.registry import EngineOptions, open_engine
from overpaint.errors import BundleError, InputError
from overpaint.export import bundle as stage
from overpaint.export.checkpoints.facts import model_facts
from overpaint.export.checkpoints.load import load_unet, supported
from overpaint.export.int8.quantize import Calibration, quantize_bundle
from tests.export.checkpoints.test_single_file import FIRST
from tests.support.bundles import fake_bundle
from tests.support.checkpoints import conditioned_checkpoint, tiny_checkpoint
from tests.support.single_files import write_single_file

LENGTHS = {"rows": 2, "height": 6, "width": 9, "tokens": 77}


def test_the_graph_takes_nine_channels_and_gives_four(inpainting_checkpoint: Path, inpainting_bundle: Bundle) -> None:
    model, graph = inpainting_bundle.model, inpainting_bundle.graph("unet")
    assert (model.latent_channels, model.conditioning_channels, model.sample_channels) == (4, 5, 9)
    assert model.inpaints
    axes = {spec.name: spec.axes[1] for spec in (*graph.inputs, *graph.outputs) if len(spec.axes) == 4}
    assert axes == {"sample": 9, "model_output": 4}
    feeds = random_feeds(graph.inputs, LENGTHS)
    engine = open_engine("onnxruntime", "unet", graph, inpainting_bundle.folder, EngineOptions())
    with torch.no_grad():
        unet = UNet2DConditionModel.from_pretrained(inpainting_checkpoint / "unet")
        expected = unet(*map(torch.from_numpy, feeds.values())).sample.numpy()
    assert relative_error(engine(feeds)["model_output"], expected) < 1e-4


def test_the_runtime_loads_it(inpainting_bundle: Bundle) -> None:
    assert overpaint.load(inpainting_bundle.folder).bundle.model.inpaints


def test_a_single_file_tells_by_its_tensors(tmp_path: Path) -> None:
    text = {"num_hidden_layers": 3, "hidden_size": 64, "num_attention_heads": 1}
    base = tiny_checkpoint(tmp_path / "base", text=text, vae="wide", **FIRST, cross_attention_dim=64)
    folder = conditioned_checkpoint(base, tmp_path / "folder")
    path = write_single_file(folder, tmp_path / "model.safetensors")
    single, expected = (
        supported(stage.open_checkpoint(*source)) for source in ((path, folder / "tokenizer"), (folder,))
    )
    assert model_facts(single, "model").conditioning_channels == 5
    ours, theirs = load_unet(single).state_dict(), load_unet(expected).state_dict()
    assert ours["conv_in.weight"].shape[1] == 9
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_an_instruction_model_says_so_and_begins_with_noise(checkpoint: Path, tmp_path: Path) -> None:
    source = supported(stage.open_checkpoint(conditioned_checkpoint(checkpoint, tmp_path / "edit", channels=4)))
    facts = model_facts(source, "edit")
    assert (facts.sample_channels, facts.inpaints, facts.edits) == (8, False, True)
    assert facts.defaults["img2img"].strength == 1.0
    assert overpaint.load(fake_bundle(tmp_path / "fake", 4).folder, engine="fake").bundle.model.edits


@pytest.mark.parametrize("channels", [6, 7, 12])
def test_others_are_refused(checkpoint: Path, tmp_path: Path, channels: int) -> None:
    copy = Path(shutil.copytree(checkpoint, tmp_path / "copy"))
    config = copy / "unet" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"in_channels": channels}))
    with pytest.raises(InputError, match=f"takes {channels} channels and gives 4"):
        supported(stage.open_checkpoint(copy))


def test_facts_that_fit_no_model(tmp_path: Path) -> None:
    bundle = fake_bundle(tmp_path / "fake")
    replace(bundle, model=replace(bundle.model, conditioning_channels=3)).write_manifest()
    with pytest.raises(BundleError, match="conditioning_channels is 3"):
        Bundle.read(bundle.folder)
    replace(bundle, model=replace(bundle.model, conditioning_channels=5)).write_manifest()
    with pytest.raises(BundleError, match=r"sample is .* the model's facts say 9 channels"):
        overpaint.load(bundle.folder, engine="fake")


def test_the_fake_engine_looks_at_the_latents(tmp_path: Path) -> None:
    bundle = fake_bundle(tmp_path / "fake", 5)
    graph = bundle.graph("unet")
    engine = open_engine("fake", "unet", graph, bundle.folder, EngineOptions())
    feeds = random_feeds(graph.inputs, LENGTHS | {"tokens": 16})
    first = engine(feeds)["model_output"]
    feeds["sample"][0, 3, 2, 2] += 1
    assert first.shape == (2, 4, 6, 9)
    assert engine(feeds)["model_output"][0, 3, 2, 2] > first[0, 3, 2, 2]


def test_profiles_keep_the_channels(inpainting_bundle: Bundle) -> None:
    graph = inpainting_bundle.graph("unet")
    made = profiles("unet", graph, inpainting_bundle.model, [Sizes.parse("64-128")], Range(1, 1, 1))
    assert made[0].shapes(graph.inputs[0]) == ((1, 9, 16, 16), (2, 9, 16, 16), (2, 9, 32, 32))


def test_int8_keeps_the_channels(inpainting_bundle: Bundle, tmp_path: Path) -> None:
    graph = inpainting_bundle.graph("unet")
    feeds = {"unet": [random_feeds(graph.inputs, LENGTHS | {"height": 16, "width": 16})] * 2}
    calibration = Calibration(feeds, feeds, "noise")
    made = quantize_bundle(inpainting_bundle.folder, tmp_path / "int8", lambda: calibration, graphs=["unet"], limit=0.2)
    assert made.model.conditioning_channels == 5
    assert made.graph("unet").inputs == graph.inputs
