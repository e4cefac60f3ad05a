"""A bundle whose manifest says flow matching, from the request to the picture on the fake engine."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import overpaint
from overpaint import Pipeline
from overpaint.errors import BundleError, InputError
from overpaint.runtime.requests.request import Request
from overpaint.runtime.sampling.flow import FlowSchedule
from tests.support.bundles import edit_manifest

DYNAMIC = {"kind": "flow", "use_dynamic_shifting": True, "timestep_spacing": "trailing", "patch_size": 1}


@pytest.fixture
def flowing(fake_folder: Path, tmp_path: Path) -> Callable[..., Pipeline]:
    """Loads the fake bundle with other facts of its scheduler."""

    def load(**scheduler: object) -> Pipeline:
        folder = Path(shutil.copytree(fake_folder, tmp_path / "flow", dirs_exist_ok=True))
        model = json.loads((folder / "bundle.json").read_text())["model"]
        edit_manifest(folder, model={**model, "scheduler": {"kind": "flow"} | scheduler})
        return overpaint.load(folder, engine="fake")

    return load


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image)


def picture_of(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_strength_is_a_contract(flowing: Callable[..., Pipeline]) -> None:
    pipe, picture = flowing(shift=3.0), picture_of(40, 56)
    untouched = pipe(picture, "a", strength=0)
    np.testing.assert_array_equal(pixels(untouched.images[0]), picture)
    whole = [pixels(pipe(image, "a", strength=1, seed=1).images[0]) for image in (picture, 255 - picture)]
    np.testing.assert_array_equal(*whole)
    part = pipe(picture, "a", strength=0.5, steps=8, seed=1)
    assert part.plan.start.tolist() == [1 - part.plan.start_sigma, part.plan.start_sigma]


def test_the_plan_depends_on_the_size_where_the_shift_does(flowing: Callable[..., Pipeline]) -> None:
    pipe = flowing(**DYNAMIC)

    def plan(height: int, width: int, **options: object) -> np.ndarray:
        return pipe(picture_of(height, width), "a", strength=1, steps=4, sampler="euler", **options).plan.sigmas

    small, large = plan(40, 56), plan(80, 56)
    assert (large[1:] > small[1:]).all()
    side = pipe.bundle.model.downscale
    for sigmas, (height, width) in ((small, (40, 56)), (large, (80, 56))):
        tokens = (height // side) * (width // side)
        facts = FlowSchedule.from_config({**DYNAMIC, "tokens": tokens})
        np.testing.assert_allclose(sigmas, facts.spaced("trailing", 4))
    np.testing.assert_array_equal(plan(40, 56, size=(56, 80)), large)


def test_a_window_is_what_the_model_sees(flowing: Callable[..., Pipeline]) -> None:
    pipe = flowing(**DYNAMIC)
    picture = pipe.read(picture_of(80, 80))
    windows = pipe.plan(Request(picture, strength=1.0, sampler="euler", window=40))
    assert windows == pipe.plan(Request(pipe.read(picture_of(40, 40)), strength=1.0, sampler="euler"))
    assert windows != pipe.plan(Request(picture, strength=1.0, sampler="euler"))
    assert pipe.plan(Request(picture, strength=1.0, sampler="euler"), (10, 10)) == windows


@pytest.mark.parametrize("sampler", ["euler", "heun", "dpmpp_2m", "dpmpp_2m_sde", "unipc", "euler_a", "lcm"])
def test_masks_and_passes_reach_a_picture(flowing: Callable[..., Pipeline], sampler: str) -> None:
    pipe, picture, mask = flowing(shift=3.0), picture_of(40, 56), np.zeros((40, 56), np.uint8)
    mask[:, 20:] = 255
    for levels in ("hard", "soft", "strength"):
        made = pixels(pipe.inpaint(picture, mask, "a", levels=levels, sampler=sampler, strength=1, seed=1).images[0])
        np.testing.assert_array_equal(made[:, :8], picture[:, :8])
        assert len(np.unique(made[:, 30:])) > 50
    passes = pipe(picture, "a", passes=(0.6, 0.3), sampler=sampler, steps=8, seed=1)
    assert passes.plan.passes == 2


def test_what_flow_matching_does_not_have_is_refused_before_the_run(flowing: Callable[..., Pipeline]) -> None:
    with pytest.raises(InputError, match="'plms' cannot run a flow-matching model"):
        flowing()(picture_of(40, 56), "a", sampler="plms")


def test_facts_that_make_no_schedule_are_the_bundles_fault(flowing: Callable[..., Pipeline]) -> None:
    for wrong in ({"invert_sigmas": True}, {"kind": "flows"}, {"shift": -1}):
        with pytest.raises(BundleError, match="scheduler's facts are wrong"):
            flowing(**wrong)
