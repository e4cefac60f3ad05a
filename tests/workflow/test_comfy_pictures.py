"""Whole pictures of workflows beside those that ComfyUI's own nodes made (`tests.vectors.comfy_pictures`)."""

from pathlib import Path

import numpy as np
import pytest

from overpaint.engines.compare import psnr
from overpaint.runtime.pipeline import Pipeline
from overpaint.workflow.bench import Workbench
from overpaint.workflow.run import run_workflow
from tests.support.torch_engine import NAME as ENGINE
from tests.support.torch_engine import torch_controlnet, torch_pipeline
from tests.vectors.comfy_pictures import PICTURES
from tests.vectors.comfy_workflows import NAME, NET, workflows, write_inputs, write_models

WORKFLOWS = workflows()
# In decibels, over 8-bit levels that are rounded down; most have 60 to 64.
LEAST = 45


@pytest.fixture(scope="module")
def pipe(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    folder = tmp_path_factory.mktemp("comfy")
    write_models(folder)
    write_inputs(folder / "input")
    torch_controlnet(folder / "controlnet", folder / "net")
    return torch_pipeline(folder / "checkpoint", folder / "bundle", ("control",), lora=True, loras=[folder])


@pytest.fixture(scope="module")
def bench(pipe: Pipeline) -> Workbench:
    folder = pipe.bundle.folder.parent
    nets: dict[str, str | Path] = {NET: folder / "net"}
    return Workbench({NAME: pipe.model}, folder=folder, controlnets=nets, loading={"engine": ENGINE, "loras": [folder]})


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_picture_is_comfyuis(name: str, bench: Workbench) -> None:
    result = run_workflow(WORKFLOWS[name], bench)
    [saved] = [step for step in WORKFLOWS[name].values() if step["class_type"] == "SaveImage"]
    node, slot = saved["inputs"]["images"]
    ours = (255 * result.outcome.values[node][slot]).clip(0, 255).astype(np.uint8)
    with np.load(PICTURES) as pictures:
        theirs = pictures[name]
    found = psnr(ours, theirs)
    print(f"{name}: {found:.1f} dB")
    assert found >= LEAST


def test_another_seed_is_seen(bench: Workbench) -> None:
    result = run_workflow(WORKFLOWS["img2img"], bench, values={"6.seed": 8})
    with np.load(PICTURES) as pictures:
        assert psnr(np.asarray(result.images[0])[None], pictures["img2img"]) < 30
