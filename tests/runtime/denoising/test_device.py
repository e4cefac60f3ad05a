"""The loop on a device's arrays: the host's results, nothing waited for within a step, errors that name theirs."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from overpaint import InpaintMask, ModelOutputError, Pipeline, Region
from overpaint.engines import arrays
from overpaint.engines.base import Engine
from overpaint.engines.wrapper import Wrapper
from overpaint.runtime.sampling.samplers import SAMPLERS
from tests.support.device import Array

Pixels = NDArray[np.uint8]
pytestmark = pytest.mark.usefixtures("cupy")


class OnDevice(Wrapper):
    """An engine of the host behind device arrays; the outputs are nonfinite from the n-th call on."""

    device, profiles = "cuda", ()

    def __init__(self, engine: Engine, good: int = 10**9) -> None:
        super().__init__(engine)
        self.good, self.calls = good, 0
        self.progress = lambda: None

    def __call__(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        self.progress()
        self.calls += 1
        nonfinite = np.nan if self.calls > self.good else 1
        outputs = self.engine({name: array.host for name, array in feeds.items()})
        return {name: Array(array * np.float32(nonfinite)) for name, array in outputs.items()}


@pytest.fixture
def device(fake_folder: Any) -> Pipeline:
    """A pipeline all of whose engines live on the device."""
    import overpaint

    pipe = overpaint.load(fake_folder, engine="fake")
    pipe.text.engine, pipe.denoiser.engine = OnDevice(pipe.text.engine), OnDevice(pipe.denoiser.engine)
    pipe.vae.encoder, pipe.vae.decoder = OnDevice(pipe.vae.encoder), OnDevice(pipe.vae.decoder)
    return pipe


@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
def test_a_picture_is_the_hosts_bit_for_bit(device: Pipeline, fake: Pipeline, picture: Pixels, sampler: str) -> None:
    made, wanted = ([], [])
    options = {"seed": 1, "sampler": sampler, "steps": 4, "strength": 0.8}
    image = device(picture, "a", on_step=made.append, **options).images[0]
    expected = fake(picture, "a", on_step=wanted.append, **options).images[0]
    assert np.array_equal(np.asarray(image), np.asarray(expected))
    for ours, theirs in zip(made, wanted, strict=True):
        assert np.array_equal(ours.denoised.host, theirs.denoised)


@pytest.mark.parametrize(
    "options",
    [
        {"guidance_scale": 1.0},
        {"guidance_rescale": 0.7},
        {"posterior": "mode"},
        {"passes": (0.5, 0.5), "through_pixels": True, "drift_correction": True},
        {"colour_match": "wavelet"},
    ],
    ids=str,
)
def test_guidance_is_the_hosts(device: Pipeline, fake: Pipeline, picture: Pixels, options: dict[str, Any]) -> None:
    ours, theirs = (pipe([picture, 255 - picture], "a", seed=1, steps=4, **options).images for pipe in (device, fake))
    assert all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in zip(ours, theirs, strict=True))


HALF = np.tile(np.repeat(np.uint8([255, 0]), 28), (40, 1))
TOOLS: dict[str, dict[str, Any]] = {
    "kept": {"inpaint_mask": InpaintMask(HALF), "strength": 0.8},
    "differential": {"inpaint_mask": InpaintMask(HALF // 2, differential=True)},
    "regions": {"regions": (Region("b", HALF),), "guidance_rescale": 0.7},
    "passes": {"passes": (0.8, 0.6)},
    "editing": {"prompt": "[a:b:0.5] AND c:0.5"},
    "windows": {"window": 32, "noise": "field"},
    "variation": {"variation_seed": 5, "variation_strength": 0.3},
}


@pytest.mark.parametrize("tool", TOOLS)
def test_tools_are_the_hosts(device: Pipeline, fake: Pipeline, picture: Pixels, tool: str) -> None:
    options = {"prompt": "a", "seed": 1, "steps": 6, "sampler": "dpmpp_2m"} | TOOLS[tool]
    ours, theirs = (pipe(picture, **options).images[0] for pipe in (device, fake))
    assert np.array_equal(np.asarray(ours), np.asarray(theirs))


@pytest.mark.parametrize("options", [{}, {"guidance_rescale": 0.7}], ids=str)
def test_nothing_waits_for_the_device_before_the_pictures(
    device: Pipeline, picture: Pixels, options: dict[str, Any]
) -> None:
    run = device.start([picture, picture[:32]], "a", seed=1, sampler="euler_a", steps=6, **options)
    before = Array.waits
    assert {Array.waits for _ in run} == {before}
    assert Array.waits == before + 2 * 3  # for the pixels, and for whether the decoder and the U-Net are to be trusted


@pytest.mark.parametrize("tool", TOOLS)
def test_no_step_of_a_tool_waits_for_the_device(device: Pipeline, picture: Pixels, tool: str) -> None:
    run = device.start(picture, **{"prompt": "a", "seed": 1, "sampler": "euler_a", "steps": 6} | TOOLS[tool])
    before = Array.waits
    assert {Array.waits for _ in run} == {before}


def test_a_tiled_picture_stays_on_the_device(device: Pipeline, fake: Pipeline) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (96, 160, 3), np.uint8)
    for pipe in (device, fake):
        pipe.vae._tile, pipe.vae._overlap = 64, 8
    ours, theirs = (pipe(pixels, "a", seed=1, steps=2, strength=1).images[0] for pipe in (device, fake))
    assert np.array_equal(np.asarray(ours), np.asarray(theirs))


def test_windows_are_joined_on_the_device(device: Pipeline, fake: Pipeline) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (96, 160, 3), np.uint8)
    options = {"seed": 1, "steps": 3, "window": 64, "noise": "field", "sampler": "euler_a"}
    ours, theirs = (pipe(pixels, "a", **options).images[0] for pipe in (device, fake))
    assert np.array_equal(np.asarray(ours), np.asarray(theirs))


def test_a_spoilt_output_is_named_by_its_line_when_the_run_ends(device: Pipeline, picture: Pixels) -> None:
    nonfinite = device.denoiser.engine = OnDevice(device.denoiser.engine.engine, good=2)
    run = device.start(picture, "a", steps=10)
    with pytest.raises(ModelOutputError, match=r"unet .* evaluation 3 of 6, timestep"):
        list(run)
    assert nonfinite.calls == 6


def test_a_spoilt_output_is_named_by_a_preview(device: Pipeline, picture: Pixels) -> None:
    device.denoiser.engine = OnDevice(device.denoiser.engine.engine, good=0)
    step = next(iter(device.start(picture, "a", steps=10)))
    with pytest.raises(ModelOutputError, match="evaluation 1 of"):
        step.preview()


class Passing(OnDevice):
    """An engine that makes NaN of NaN, as models do."""

    def __call__(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        nonfinite = any(not np.isfinite(array.host).all() for array in feeds.values())
        return {name: array * np.float32(np.nan if nonfinite else 1) for name, array in super().__call__(feeds).items()}


THROUGH: dict[str, Any] = {"passes": (0.5, 0.5), "through_pixels": True}
SPOILT: list[tuple[str, int, dict[str, Any]]] = [
    ("text_encoder", 0, {}),
    ("text_encoder", 0, {"strength": 1}),
    ("text_encoder", 0, THROUGH),
    ("unet", 1, {}),
    ("unet", 0, THROUGH),
    ("vae_encoder", 0, {}),
    ("vae_encoder", 0, {"inpaint_mask": InpaintMask(HALF), "strength": 1}),
    ("vae_encoder", 0, {"passes": (1.0, 0.5), "through_pixels": True}),
    ("vae_encoder", 1, THROUGH),
    ("vae_decoder", 0, {}),
    ("vae_decoder", 0, {"passes": (0.8, 0.5)}),
]


@pytest.mark.parametrize(("component", "good", "options"), SPOILT, ids=str)
def test_the_first_that_spoils_something_is_named_and_forgotten(
    device: Pipeline, picture: Pixels, component: str, good: int, options: dict[str, Any]
) -> None:
    engines = {name: Passing(engine.engine) for name, engine in device.engines.items()}  # type: ignore[attr-defined]
    device.text.engine, device.denoiser.engine = engines["text_encoder"], engines["unet"]
    device.vae.encoder, device.vae.decoder = engines["vae_encoder"], engines["vae_decoder"]
    engines[component].good = good
    asked = {"prompt": "a", "steps": 4, "sampler": "euler_a"} | options
    with pytest.raises(ModelOutputError, match=f"^{component} returned NaN"):
        device(picture, **asked)
    engines[component].good = 10**9
    device(picture, **asked)


def test_engines_of_both_sides_meet(device: Pipeline, fake: Pipeline, picture: Pixels) -> None:
    wanted = np.asarray(fake(picture, "a", seed=1, steps=4).images[0])
    device.text.engine, device.vae.decoder = fake.text.engine, fake.vae.decoder
    assert np.array_equal(np.asarray(device(picture, "a", seed=1, steps=4).images[0]), wanted)
    device.vae.encoder, device.denoiser.engine = fake.vae.encoder, fake.denoiser.engine
    device.vae.decoder = OnDevice(fake.vae.decoder)
    assert np.array_equal(np.asarray(device(picture, "b", seed=1, steps=4).images[0]).shape, wanted.shape)


def test_threads_take_turns_on_a_device(device: Pipeline, picture: Pixels) -> None:
    """What another one queued meanwhile would come into a graph that is being captured."""

    def others_may() -> bool:
        def take() -> bool:
            taken = arrays._device_lock.acquire(blocking=False)
            if taken:
                arrays._device_lock.release()
            return taken

        with ThreadPoolExecutor(1) as another:
            return another.submit(take).result()

    within: list[bool] = []
    engines = [device.text.engine, device.denoiser.engine, device.vae.encoder, device.vae.decoder]
    for engine in engines:
        engine.progress = lambda: within.append(others_may())
    run = device.start(picture, "a", seed=1, steps=4, strength=0.5)
    between = [(step.preview(), others_may())[1] for step in run]
    assert between == [True, True]
    assert len(within) > 6
    assert not any(within)
    assert others_may()
