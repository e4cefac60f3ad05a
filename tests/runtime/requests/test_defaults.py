"""What a request has where its user says nothing: the manifest's, by use, or so many times those."""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import overpaint
from overpaint import BundleError, InputError, Pipeline
from overpaint.bundles.facts import USUAL, Defaults, parse_defaults
from overpaint.bundles.manifest import Bundle
from overpaint.bundles.tensor import Array
from overpaint.cli import main
from overpaint.export.checkpoints.facts import defaults_of
from overpaint.runtime.imaging.picture import read
from overpaint.runtime.requests.defaults import Times, sampling
from overpaint.runtime.requests.request import Request
from overpaint.runtime.requests.settle import settled
from tests.support.bundles import edit_manifest

OWN = {
    "img2img": {"steps": 8, "guidance_scale": 3.0, "strength": 0.5},
    "inpaint": {"steps": 10, "guidance_scale": 2.0, "strength": 0.8},
    "outpaint": {"steps": 4, "guidance_scale": 4.0, "strength": 1.0},
    "upscale": {"steps": 20, "guidance_scale": 1.0, "strength": 0.2},
}
Changed = Callable[..., Path]


@pytest.fixture
def changed(fake_folder: Path, tmp_path: Path) -> Changed:
    """A copy of the fake bundle with other facts."""

    def change(**facts: Any) -> Path:
        folder = Path(shutil.copytree(fake_folder, tmp_path / "own"))
        edit_manifest(folder, model={**json.loads((folder / "bundle.json").read_text())["model"], **facts})
        return folder

    return change


@pytest.fixture
def pipe(changed: Changed) -> Pipeline:
    return overpaint.load(changed(defaults=OWN), engine="fake")


def amounts(result: Any) -> dict[str, float]:
    request = result.outputs[0].request
    return {name: getattr(request, name) for name in ("steps", "guidance_scale", "strength")}


CALLS: dict[str, Callable[..., Any]] = {
    "img2img": lambda pipe, picture, **options: pipe(picture, "a", **options),
    "inpaint": lambda pipe, picture, **options: pipe.inpaint(picture, np.full((40, 56), 255, np.uint8), "a", **options),
    "outpaint": lambda pipe, picture, **options: pipe.outpaint(picture, "a", right=8, **options),
    "upscale": lambda pipe, picture, **options: pipe.upscale(picture, "a", scale=1, **options),
}


@pytest.mark.parametrize("use", OWN)
def test_every_use_has_its_own(pipe: Pipeline, picture: Array, use: str) -> None:
    assert amounts(CALLS[use](pipe, picture)) == OWN[use]
    said = {"steps": 6, "guidance_scale": 7.0, "strength": 0.5}
    assert amounts(CALLS[use](pipe, picture, **said)) == said


@pytest.mark.parametrize("use", OWN)
def test_a_manifest_that_names_none_has_the_usual(fake: Pipeline, picture: Array, use: str) -> None:
    assert amounts(CALLS[use](fake, picture)) == asdict(USUAL[use])


@pytest.mark.parametrize("use", OWN)
def test_a_record_keeps_what_was_used(pipe: Pipeline, picture: Array, use: str, fake: Pipeline) -> None:
    output = CALLS[use](pipe, picture).outputs[0]
    record = json.loads(output.record)["call"]
    options = dict(record["options"]) if "options" in record else record
    assert {name: options[name] for name in OWN[use]} == OWN[use]


def test_a_request_takes_the_model_s_when_a_pipeline_has_it(pipe: Pipeline, picture: Array) -> None:
    request = Request(read(picture), "a", guidance_scale=9.0)
    run = pipe.run([request])
    assert amounts_of(run.prepared[0].request) == {"steps": 8, "guidance_scale": 9.0, "strength": 0.5}
    assert pipe.plan(request) == pipe.plan(run.prepared[0].request)
    assert len(pipe.plan(request)) == 4


def amounts_of(request: Request) -> dict[str, float]:
    return {name: getattr(request, name) for name in ("steps", "guidance_scale", "strength")}


@pytest.mark.parametrize("preset", ["style", "sketch", "enhance", "variation", "colour"])
def test_presets_are_relative(pipe: Pipeline, fake: Pipeline, picture: Array, preset: str) -> None:
    """With Stable Diffusion's own they are the numbers that they have always been."""
    known = {
        "style": (30, 7.0, 0.6), "sketch": (30, 8.0, 0.8), "enhance": (40, 5.0, 0.25), "variation": (30, 6.0, 0.7),
        "colour": (30, 5.0, 0.35),
    }  # fmt: skip
    options = overpaint.preset(preset).options
    usual = amounts_of(fake.start(picture, "a", **options).prepared[0].request)
    assert tuple(usual.values()) == known[preset]
    own = amounts_of(pipe.start(picture, "a", **options).prepared[0].request)
    assert own["guidance_scale"] == pytest.approx(1 + 2 * (usual["guidance_scale"] - 1) / 6.5, abs=0.06)
    assert own["strength"] == pytest.approx(usual["strength"] / 0.6 * 0.5, abs=0.011)
    assert own["steps"] == pytest.approx(usual["steps"] / 20 * 8, abs=0.5)


@pytest.mark.parametrize(
    ("name", "own", "factor", "value"),
    [
        ("guidance_scale", 1.0, 1.08, 1.0),
        ("guidance_scale", 0.0, 2.0, 0.0),
        ("strength", 0.9, 1.33, 1.0),
        ("steps", 1, 0.1, 1),
    ],
)
def test_times_at_the_ends(name: str, own: float, factor: float, value: float) -> None:
    assert Times(factor).of(name, own) == value


@pytest.mark.parametrize(("steps", "strength"), [(1, 1.0), (2, 0.5), (3, 0.34), (4, 0.3), (49, 0.3)])
def test_few_steps_of_the_model_s_strength_are_one_at_least(
    changed: Changed, picture: Array, steps: int, strength: float
) -> None:
    pipe = overpaint.load(changed(defaults={"img2img": {**OWN["img2img"], "strength": 0.3}}), engine="fake")
    [task] = pipe.start(picture, "a", steps=steps).prepared
    assert (task.request.strength, len(task.plan) > 0) == (strength, True)
    with pytest.raises(InputError, match="less than one step"):
        pipe.start(picture, "a", steps=2, strength=0.3)


def test_a_settled_request_stays(picture: Array) -> None:
    request = settled(Request(read(picture)), Defaults())
    assert settled(request, Defaults(5, 2.0, 0.1)) is request


@pytest.mark.parametrize(
    "defaults",
    [
        {"img2img": {"steps": 0}},
        {"img2img": {"strength": 2.0}},
        {"img2img": {"guidance_scale": "much"}},
        {"img2img": {"cfg": 1}},
        {"paint": {}},
        [],
    ],
)
def test_wrong_manifests(changed: Changed, defaults: Any) -> None:
    with pytest.raises(BundleError, match=r"missing, unknown or wrong"):
        Bundle.read(changed(defaults=defaults))


def test_words() -> None:
    made = parse_defaults(["guidance_scale=3", "img2img.strength=0.4", "steps=12"])
    assert made["img2img"] == Defaults(12, 3.0, 0.4)
    assert made["upscale"] == Defaults(12, 3.0, 0.3)
    for word, cause in {
        "guidance=3": "unknown default",
        "paint.steps=3": "unknown use",
        "steps=many": "cannot be",
        "strength=2": "cannot be",
    }.items():
        with pytest.raises(InputError, match=cause):
            parse_defaults([word])


def test_a_consistency_model_has_few_steps() -> None:
    assert defaults_of("lcm")["img2img"] == Defaults(8, 1.5, 0.6)
    assert defaults_of("ddim") == USUAL


class TestSchedule:
    def test_the_model_s_goes_with_its_sampler(self, changed: Changed, picture: Array) -> None:
        pipe = overpaint.load(changed(default_sampler="dpmpp_2m", default_schedule="karras"), engine="fake")
        request = Request(read(picture), "a")
        assert (pipe.plan(request).sampler, pipe.plan(request).schedule) == ("dpmpp_2m", "karras")
        facts = pipe.bundle.model
        assert sampling(facts, "DPM++ 2M", None)[1] == "karras"
        assert sampling(facts, "DPM++ 2M", "Automatic")[1] == "karras"
        assert sampling(facts, None, "exponential")[1] == "exponential"
        assert sampling(facts, "DPM++ 2M Exponential", None)[1] is None
        assert sampling(facts, "euler", None) == ("euler", None)

    def test_unknown(self, changed: Changed) -> None:
        with pytest.raises(BundleError, match="scheduler's facts are wrong"):
            overpaint.load(changed(default_schedule="karas"), engine="fake")


def test_command_line(changed: Changed, capsys: pytest.CaptureFixture[str]) -> None:
    folder = changed(defaults=OWN, default_sampler="dpmpp_2m", default_schedule="karras")
    assert main(["info", str(folder)]) == 0
    assert "default img2img  8 steps, guidance 3, strength 0.5" in capsys.readouterr().out
    assert main(["plan", "--model", str(folder)]) == 0
    assert "dpmpp_2m, schedule karras: 4 steps" in capsys.readouterr().out
    assert main(["plan", "--model", str(folder), "--steps", "20", "--strength", "1", "--sampler", "ddim"]) == 0
    assert "ddim, schedule leading: 20 steps" in capsys.readouterr().out
