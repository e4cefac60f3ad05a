"""The shipped workflows on the shipped model, and sampler nodes beside the pipeline."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from overpaint.runtime.model.shipped import MODELS
from overpaint.runtime.pipeline import Pipeline
from overpaint.workflow.bench import Workbench
from overpaint.workflow.run import read_workflow, run_workflow
from tests.workflow.conftest import WORKFLOWS

SIZES = {
    "img2img": (64, 64), "inpaint": (64, 64), "outpaint": (96, 64), "two-pass-hires": (96, 96), "upscale": (128, 128),
    "areas": (128, 64), "custom-sampling": (64, 64), "controlnet": (64, 64), "ip-adapter": (64, 64),
}  # fmt: skip


@pytest.mark.parametrize("name", SIZES)
def test_an_example_runs(name: str, bench: Workbench) -> None:
    result = run_workflow(WORKFLOWS / f"{name}.json", bench)
    picture = result.images[-1]
    assert picture.size == SIZES[name]
    assert np.asarray(picture).std() > 5


def test_all_examples_are_tested() -> None:
    assert {path.stem for path in WORKFLOWS.glob("*.json")} == {*SIZES, "lora"}


def test_the_lora_example_paints_in_blue(folder: Path) -> None:
    bench = Workbench({"tiny": "tiny"}, folder=folder, loading={"loras": MODELS / "loras", "lora_mode": "merged"})
    plain, blue = (
        np.asarray(run_workflow(WORKFLOWS / "lora.json", bench, values={"2.strength_model": strength}).images[0], float)
        for strength in (0.0, 1.0)
    )
    redder = [float((made[..., 2] - made[..., 0]).mean()) for made in (plain, blue)]
    assert redder[1] > redder[0] + 10
    bench.close()


@pytest.mark.parametrize(
    ("sampler", "scheduler", "denoise", "seed"),
    [
        ("euler", "normal", 0.6, 7), ("dpmpp_2m", "karras", 0.5, 1), ("uni_pc", "simple", 0.7, 2),
        ("dpmpp_2m_sde", "exponential", 0.6, 3), ("euler_ancestral", "sgm_uniform", 1.0, 4),
    ],
)  # fmt: skip
def test_a_sampler_node_gives_the_pipelines_pixels(
    sampler: str, scheduler: str, denoise: float, seed: int, bench: Workbench, tiny: Pipeline, folder: Path
) -> None:
    values = {
        "6.sampler_name": sampler, "6.scheduler": scheduler, "6.denoise": denoise, "6.seed": seed, "6.steps": 5,
    }  # fmt: skip
    [ours] = run_workflow(WORKFLOWS / "img2img.json", bench, values=values).images
    theirs = tiny(
        folder / "input/fox.png", "cat face", negative_prompt="blurry", strength=denoise, steps=5,
        seed=seed, guidance_scale=2.0, sampler=sampler, schedule=scheduler, convention="comfy",
    ).images[0]  # fmt: skip
    np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))


def test_two_advanced_samplers_are_one(bench: Workbench) -> None:
    source = read_workflow(WORKFLOWS / "img2img.json").source
    document = json.loads(json.dumps(source))
    inputs = document["6"]["inputs"]
    shared = {name: inputs[name] for name in ("model", "cfg", "sampler_name", "scheduler", "positive", "negative")}
    shared |= {"noise_seed": 7, "steps": 10}
    first = {"add_noise": "enable", "start_at_step": 4, "end_at_step": 7, "return_with_leftover_noise": "enable"}
    second = {"add_noise": "disable", "start_at_step": 7, "end_at_step": 99, "return_with_leftover_noise": "disable"}
    document["9"] = {"class_type": "KSamplerAdvanced", "inputs": {**shared, **first, "latent_image": ["5", 0]}}
    document["6"] = {"class_type": "KSamplerAdvanced", "inputs": {**shared, **second, "latent_image": ["9", 0]}}
    [parts] = run_workflow(document, bench).images
    document["6"]["inputs"] |= {"add_noise": "enable", "start_at_step": 4, "latent_image": ["5", 0]}
    [whole] = run_workflow(document, bench).images
    assert np.abs(np.asarray(parts).astype(int) - np.asarray(whole)).max() <= 1


def test_what_a_mask_hides_stays(bench: Workbench, folder: Path) -> None:
    [picture] = run_workflow(WORKFLOWS / "inpaint.json", bench).images
    original = np.asarray(Image.open(folder / "input/fox.png").convert("RGB")).astype(int)
    moved = np.abs(np.asarray(picture).astype(int) - original)
    assert moved[:10].max() == 0
    assert moved[20:44, 24:48].mean() > 3


def test_items_of_a_batch_are_as_alone(bench: Workbench) -> None:
    document = json.loads(json.dumps(dict(read_workflow(WORKFLOWS / "two-pass-hires.json").source)))
    document["6"]["inputs"]["steps"] = 4
    document["5"]["inputs"]["batch_size"] = 2
    document["13"] = {"class_type": "LatentFromBatch", "inputs": {"samples": ["5", 0], "batch_index": 1, "length": 1}}
    document["14"] = {"class_type": "KSampler", "inputs": {**document["6"]["inputs"], "latent_image": ["13", 0]}}
    document["15"] = {"class_type": "VAEDecode", "inputs": {"samples": ["14", 0], "vae": ["1", 2]}}
    document["12"]["inputs"]["images"] = ["11", 0]
    document["16"] = {"class_type": "PreviewImage", "inputs": {"images": ["15", 0]}}
    for id in ("9", "10", "20", "21"):
        del document[id]
    result = run_workflow(document, bench)
    pictures = {id: value[0] for id, value in result.outcome.values.items() if id in ("11", "15")}
    np.testing.assert_allclose(pictures["11"][1], pictures["15"][0], atol=2e-2)


def test_a_saved_picture_holds_its_workflow(bench: Workbench) -> None:
    result = run_workflow(WORKFLOWS / "img2img.json", bench, values={"6.steps": 2})
    again = read_workflow(result.files[0])
    assert again.steps["6"].inputs["steps"] == 2
    assert run_workflow(again, bench).outcome.executed == ()
