"""LoRAs and ControlNets of workflows, on the fake engine, beside those of requests."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import overpaint
from overpaint.workflow.bench import Workbench
from overpaint.workflow.execute import NodeFailedError
from overpaint.workflow.run import run_workflow
from overpaint.workflow.validate import InvalidWorkflowError
from tests.support import loras
from tests.support.bundles import fake_bundle, fake_controlnet
from tests.support.engines import Counting


def workflow(**more: Any) -> dict[str, Any]:
    steps = {
        "1": ("CheckpointLoaderSimple", {"ckpt_name": "fake"}),
        "2": ("CLIPTextEncode", {"text": "a fox", "clip": ["1", 1]}),
        "3": ("CLIPTextEncode", {"text": "", "clip": ["1", 1]}),
        "4": ("LoadImage", {"image": "fox.png"}),
        "5": ("VAEEncode", {"pixels": ["4", 0], "vae": ["1", 2]}),
        "6": ("KSampler", {
            "model": ["1", 0], "seed": 3, "steps": 4, "cfg": 3.0, "sampler_name": "euler", "scheduler": "normal",
            "positive": ["2", 0], "negative": ["3", 0], "latent_image": ["5", 0], "denoise": 0.5,
        }),
        "7": ("VAEDecode", {"samples": ["6", 0], "vae": ["1", 2]}),
        "8": ("SaveImage", {"images": ["7", 0], "filename_prefix": "x"}),
    }  # fmt: skip
    return {id: {"class_type": kind, "inputs": inputs} for id, (kind, inputs) in {**steps, **more}.items()}


def test_a_lora_is_a_requests(tmp_path: Path, folder: Path) -> None:
    loras.write(tmp_path / "ink.safetensors", loras.unet(1) | loras.text(1))
    pipe = overpaint.load(fake_bundle(tmp_path / "lora", lora=True).folder, engine="fake", loras=tmp_path)
    bench = Workbench({"fake": pipe.model}, folder=folder)
    plain = np.asarray(run_workflow(workflow(), bench).images[0])
    document = workflow(
        lora=("LoraLoader", {
            "model": ["1", 0], "clip": ["1", 1], "lora_name": "ink.safetensors", "strength_model": 0.8,
            "strength_clip": 0.5,
        })
    )  # fmt: skip
    document["6"]["inputs"]["model"] = ["lora", 0]
    document["2"]["inputs"]["clip"] = document["3"]["inputs"]["clip"] = ["lora", 1]
    ours = np.asarray(run_workflow(document, bench).images[0])
    theirs = pipe(
        folder / "input/fox.png", "a fox", strength=0.5, steps=4, seed=3, guidance_scale=3.0,
        sampler="euler", schedule="normal", convention="comfy", loras=["ink:0.5:0.8"],
    ).images[0]  # fmt: skip
    assert not np.array_equal(ours, plain)
    np.testing.assert_array_equal(ours, np.asarray(theirs))
    loras.write(tmp_path / "ink.safetensors", loras.unet(2) | loras.text(2))
    assert not np.array_equal(run_workflow(document, bench).images[0], ours)
    with pytest.raises(InvalidWorkflowError, match="not in"):
        run_workflow(document, bench, values={"lora.lora_name": "other.safetensors"})


def test_a_controlnet_is_a_requests(tmp_path: Path, folder: Path) -> None:
    fake_controlnet(tmp_path / "edges")
    bundle = fake_bundle(tmp_path / "bundle", control=True).folder
    pipe = overpaint.load(bundle, engine="fake", controlnets={"edges": tmp_path / "edges"})
    net = pipe.model.stages.controlnets.get("edges")
    bench = Workbench({"fake": pipe.model}, folder=folder, controlnets={"edges": net})
    plain = np.asarray(run_workflow(workflow(), bench).images[0])
    document = workflow(
        hint=("LoadImage", {"image": "cat.png"}),
        net=("ControlNetLoader", {"control_net_name": "edges"}),
        apply=("ControlNetApplyAdvanced", {
            "positive": ["2", 0], "negative": ["3", 0], "control_net": ["net", 0], "image": ["hint", 0],
            "strength": 0.7, "start_percent": 0.0, "end_percent": 1.0,
        }),
    )  # fmt: skip
    document["6"]["inputs"] |= {"positive": ["apply", 0], "negative": ["apply", 1]}
    ours = np.asarray(run_workflow(document, bench).images[0])
    theirs = pipe(
        folder / "input/fox.png", "a fox", strength=0.5, steps=4, seed=3, guidance_scale=3.0, sampler="euler",
        schedule="normal", convention="comfy",
        controls=[overpaint.Control("edges", folder / "input/cat.png", weight=0.7)],
    ).images[0]  # fmt: skip
    assert not np.array_equal(ours, plain)
    np.testing.assert_array_equal(ours, np.asarray(theirs))
    old = workflow(
        hint=("LoadImage", {"image": "cat.png"}),
        net=("ControlNetLoader", {"control_net_name": "edges"}),
        apply=("ControlNetApply", {
            "conditioning": ["2", 0], "control_net": ["net", 0], "image": ["hint", 0], "strength": 0.7,
        }),
    )  # fmt: skip
    old["6"]["inputs"]["positive"] = ["apply", 0]
    np.testing.assert_array_equal(np.asarray(run_workflow(old, bench).images[0]), ours)


def test_a_unions_type_is_a_requests(tmp_path: Path, folder: Path) -> None:
    fake_controlnet(tmp_path / "union", control_types=("depth", "canny/lineart"))
    bundle = fake_bundle(tmp_path / "bundle", control=True).folder
    pipe = overpaint.load(bundle, engine="fake", controlnets={"union": tmp_path / "union"})
    net = pipe.model.stages.controlnets.get("union")
    bench = Workbench({"fake": pipe.model}, folder=folder, controlnets={"union": net})
    document = workflow(
        net=("ControlNetLoader", {"control_net_name": "union"}),
        kind=("SetUnionControlNetType", {"control_net": ["net", 0], "type": "canny/lineart/anime_lineart/mlsd"}),
        apply=("ControlNetApply", {
            "conditioning": ["2", 0], "control_net": ["kind", 0], "image": ["4", 0], "strength": 1.0,
        }),
    )  # fmt: skip
    document["6"]["inputs"]["positive"] = ["apply", 0]
    seen: list[Any] = []
    net.denoiser.engine = Counting(net.denoiser.engine, lambda feeds: seen.append(feeds["control_type"].tolist()))
    ours = np.asarray(run_workflow(document, bench).images[0])
    assert seen[-1] == [[0, 1]] * len(seen[-1])
    run_workflow(document, bench, values={"kind.type": "depth"})
    assert seen[-1] == [[1, 0]] * len(seen[-1])
    theirs = pipe(
        folder / "input/fox.png", "a fox", strength=0.5, steps=4, seed=3, guidance_scale=3.0, sampler="euler",
        schedule="normal", convention="comfy",
        controls=[overpaint.Control("union", folder / "input/fox.png", control_type="canny")],
    ).images[0]  # fmt: skip
    np.testing.assert_array_equal(ours, np.asarray(theirs))
    with pytest.raises(NodeFailedError, match="choose what the picture is"):
        run_workflow(document, bench, values={"kind.type": "auto"})
    document["apply"]["inputs"]["control_net"] = ["net", 0]
    with pytest.raises(NodeFailedError, match="say its hint's type"):
        run_workflow(document, bench)


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_perturbed_attention_is_a_requests(tmp_path: Path, folder: Path, guidance: float) -> None:
    pipe = overpaint.load(fake_bundle(tmp_path / "bundle", perturbed=True).folder, engine="fake")
    bench = Workbench({"fake": pipe.model}, folder=folder)
    document = workflow(pag=("PerturbedAttentionGuidance", {"model": ["1", 0], "scale": 2.0}))
    document["6"]["inputs"] |= {"model": ["pag", 0], "cfg": guidance}
    ours = np.asarray(run_workflow(document, bench).images[0])
    theirs = pipe(
        folder / "input/fox.png", "a fox", strength=0.5, steps=4, seed=3, guidance_scale=guidance, sampler="euler",
        schedule="normal", convention="comfy", perturbed_attention=2.0,
    ).images[0]  # fmt: skip
    assert np.abs(ours.astype(int) - np.asarray(theirs)).max() <= 1
    assert not np.array_equal(ours, run_workflow(document, bench, values={"pag.scale": 0.0}).images[0])
    plain = overpaint.load(fake_bundle(tmp_path / "plain").folder, engine="fake")
    with pytest.raises(NodeFailedError, match="--adapters perturbed"):
        run_workflow(document, Workbench({"fake": plain.model}, folder=folder))
