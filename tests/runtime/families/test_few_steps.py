"""Models of few steps against diffusers' pipelines with the same weights, seed and steps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

import overpaint
from overpaint.engines.compare import psnr
from overpaint.errors import InputError
from overpaint.export.checkpoints.distilled import METHODS, distilled
from overpaint.runtime.conditioning.embeds import guidance_embedding
from tests.support.checkpoints import tiny_checkpoint
from tests.support.families import PHOTO, SCHEDULER, SMALL, peer_of, variant, xl_checkpoint
from tests.support.torch_engine import torch_pipeline

PROMPT = "a photo of the red fox"
SD = {name: SMALL[name] for name in ("block_out_channels", "down_block_types", "up_block_types")}
SCHEDULERS: dict[str, tuple[str, dict[str, Any]]] = {
    "sd-turbo": ("EulerDiscreteScheduler", {"timestep_spacing": "trailing"}),
    "sdxl-turbo": ("EulerAncestralDiscreteScheduler", {"timestep_spacing": "trailing"}),
    "hyper": ("DDIMScheduler", {"timestep_spacing": "trailing", "set_alpha_to_one": False, "clip_sample": False}),
    "lcm": ("LCMScheduler", {}),
    "tcd": ("TCDScheduler", {}),
    "x0": ("EulerDiscreteScheduler", {"timestep_spacing": "trailing", "prediction_type": "sample"}),
    "zero-snr": ("DDIMScheduler", {
        "timestep_spacing": "trailing", "rescale_betas_zero_snr": True, "prediction_type": "v_prediction",
        "clip_sample": False, "set_alpha_to_one": False,
    }),
    "zero-snr-euler": ("EulerDiscreteScheduler", {
        "timestep_spacing": "trailing", "rescale_betas_zero_snr": True, "prediction_type": "v_prediction",
    }),
}  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("sd") / "checkpoint", **SD)


@pytest.fixture(scope="module")
def xl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return xl_checkpoint(tmp_path_factory.mktemp("xl") / "checkpoint", **SMALL)


def scheduler(name: str) -> Any:
    kind, settings = SCHEDULERS[name]
    return getattr(diffusers, kind)(**{**SCHEDULER, "steps_offset": 1, **settings})


def compared(folder: Path, *, ours: dict[str, Any] | None = None, **theirs: Any) -> Iterator[float]:
    """The agreement at strengths with a few steps; the first begins half way."""
    pipe, peer = torch_pipeline(folder, folder.with_name(f"{folder.name}-bundle")), as_img2img(peer_of(folder))
    for strength in (0.5, 1.0):
        options = {"strength": strength, "num_inference_steps": 4, **theirs}
        generator = torch.Generator().manual_seed(3)
        wanted = peer(PROMPT, image=PHOTO, generator=generator, **options).images[0]
        options = {name: value for name, value in options.items() if name != "eta"}
        made = pipe(PHOTO, PROMPT, seed=3, convention="diffusers", **options, **(ours or {})).images[0]
        yield psnr(made, wanted)


def as_img2img(peer: Any) -> Any:
    """A pipeline of diffusers that repaints, of one's parts."""
    if "Img2Img" in type(peer).__name__:
        return peer
    made = diffusers.StableDiffusionImg2ImgPipeline(**peer.components, requires_safety_checker=False)
    made.set_progress_bar_config(disable=True)
    return made


@pytest.mark.parametrize("name", ["sd-turbo", "hyper", "x0", "zero-snr", "zero-snr-euler"])
def test_few_steps_without_guidance(base: Path, tmp_path: Path, name: str) -> None:
    folder = variant(base, tmp_path / name, scheduler=scheduler(name))
    assert all(value >= 50 for value in compared(folder, guidance_scale=0.0))


@pytest.mark.parametrize("name", ["sdxl-turbo", "tcd"])
def test_few_steps_of_xl(xl: Path, tmp_path: Path, name: str) -> None:
    folder = variant(xl, tmp_path / name, scheduler=scheduler(name))
    theirs = {"eta": 0.3} if name == "tcd" else {}  # its own default, which diffusers' pipelines set to 0
    assert all(value >= 50 for value in compared(folder, guidance_scale=0.0, **theirs))


def test_the_gamma_of_tcd(xl: Path, tmp_path: Path) -> None:
    folder = variant(xl, tmp_path / "tcd", scheduler=scheduler("tcd"))
    assert all(value >= 50 for value in compared(folder, ours={"eta": 0.8}, guidance_scale=0.0, eta=0.8))


@pytest.mark.parametrize("guidance", [1.5, 8.5])
def test_a_consistency_model_takes_its_guidance_as_an_input(base: Path, tmp_path: Path, guidance: float) -> None:
    folder = variant(base, tmp_path / "lcm", scheduler=scheduler("lcm"), time_cond_proj_dim=48)
    assert all(value >= 50 for value in compared(folder, guidance_scale=guidance))


def test_it_runs_one_row_a_step_and_heeds_the_scale(base: Path, tmp_path: Path) -> None:
    folder = variant(base, tmp_path / "lcm", scheduler=scheduler("lcm"), time_cond_proj_dim=48)
    pipe = torch_pipeline(folder, tmp_path / "bundle")
    model = pipe.bundle.model
    assert (model.default_sampler, model.defaults["img2img"].guidance_scale) == ("lcm", 8.5)
    assert model.defaults["img2img"].steps == 8
    made = [np.asarray(pipe(PHOTO, PROMPT, seed=1, steps=4, guidance_scale=g).images[0]) for g in (1.0, 4.0, 4.0)]
    assert not np.array_equal(made[0], made[1])
    assert np.array_equal(made[1], made[2])
    pipe.denoiser.engine = counting = Rows(pipe.denoiser.engine)
    pipe(PHOTO, PROMPT, negative_prompt="ink", seed=1, steps=4, strength=1.0, guidance_scale=4.0)
    assert counting.rows == [1, 1, 1, 1]


class Rows:
    """An engine that notes the rows of each call."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self.rows: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def __call__(self, feeds: Any) -> Any:
        self.rows.append(len(feeds["sample"]))
        return self._engine(feeds)


@pytest.mark.parametrize("width", [48, 49, 256])
@pytest.mark.parametrize("scale", [1.0, 1.5, 8.5])
def test_the_embedding_is_diffusers_own(width: int, scale: float) -> None:
    peer = diffusers.LatentConsistencyModelPipeline.get_guidance_scale_embedding
    wanted = peer(None, torch.tensor([scale - 1]), width).numpy()[0]
    # Angles are up to 1000 (scale - 1), of float32 numbers.
    assert np.abs(guidance_embedding(scale, width) - wanted).max() < 1e-5 + 2e-4 * (scale - 1)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_settles_sampler_schedule_steps_and_guidance(name: str) -> None:
    tiny = overpaint.load("tiny").bundle.model
    facts, method = distilled(tiny, name), METHODS[name]
    assert (facts.default_sampler, facts.default_schedule) == (method.sampler, method.schedule)
    assert all(own.steps * 0.5 >= 1 and own.guidance_scale <= 1.5 for own in facts.defaults.values())


def test_an_unknown_method_is_named() -> None:
    with pytest.raises(InputError, match="turbo"):
        distilled(overpaint.load("tiny").bundle.model, "turbow")
