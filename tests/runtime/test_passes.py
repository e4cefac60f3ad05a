"""Several passes, variations and late changes: against diffusers and A1111's formulas, and against themselves."""

from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

import overpaint
from overpaint import InputError, Pipeline
from overpaint.bundles.tensor import Array
from overpaint.engines.compare import psnr
from overpaint.runtime.imaging.lab import to_lab
from overpaint.runtime.model.shipped import MODELS
from overpaint.runtime.sampling.noise import noise_stream, slerp
from overpaint.runtime.sampling.passes import loopback
from tests.runtime.test_parity import CHECKPOINT, SCHEDULERS
from tests.runtime.test_parity import picture as example

PROMPTS = ("fox, ink style", "fox, flat style")
STRENGTHS = (0.7, 0.5)
OPTIONS: dict[str, Any] = {"num_inference_steps": 6, "guidance_scale": 4.0}


@pytest.fixture(scope="module")
def pipe() -> Pipeline:
    return overpaint.load("tiny", engine="onnxruntime", precision="float32")


@pytest.fixture(scope="module")
def peer() -> Any:
    pipeline = diffusers.StableDiffusionImg2ImgPipeline.from_pretrained(CHECKPOINT, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def fed_into_itself(peer: Any, sampler: str, between: str) -> Image.Image:
    """diffusers' pipeline on its own latents or pictures; every pass's noise is the next draw of one generator."""
    name, settings = SCHEDULERS[sampler]
    peer.scheduler = getattr(diffusers, name).from_config(peer.scheduler.config, **settings)
    generator = torch.Generator().manual_seed(11)
    image: Any = example()
    for prompt, strength, output in zip(PROMPTS, STRENGTHS, (between, "pil"), strict=True):
        made = peer(prompt, image=image, strength=strength, generator=generator, output_type=output, **OPTIONS)
        image = made.images if output == "latent" else made.images[0]
    return image


# diffusers' ancestral samplers draw noise of weight 0 on their last step, so that the next pass gets another draw.
@pytest.mark.parametrize("sampler", ["ddim", "heun", "dpmpp_2m", "unipc"])
def test_passes_are_diffusers_fed_with_its_own_latents(pipe: Pipeline, peer: Any, sampler: str) -> None:
    ours = {"sampler": sampler, "seed": 11, "convention": "diffusers", **OPTIONS}
    made = pipe(example(), PROMPTS[0], passes=STRENGTHS, pass_prompts=PROMPTS, **ours)
    assert psnr(made.images[0], fed_into_itself(peer, sampler, "latent")) >= 45
    assert len(made.outputs[0].drift) == 2


@pytest.mark.parametrize("sampler", ["ddim", "dpmpp_2m"])
def test_passes_through_pixels_are_diffusers_fed_with_its_own_pictures(
    pipe: Pipeline, peer: Any, sampler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_img2img.retrieve_latents"
    monkeypatch.setattr(module, lambda encoded, generator=None: encoded.latent_dist.mode())
    ours = {"sampler": sampler, "seed": 11, "convention": "diffusers", "posterior": "mode", **OPTIONS}
    made = pipe(example(), passes=STRENGTHS, pass_prompts=PROMPTS, through_pixels=True, **ours).images[0]
    assert psnr(made, fed_into_itself(peer, sampler, "pil")) >= 45
    in_latents = pipe(example(), passes=STRENGTHS, pass_prompts=PROMPTS, **ours).images[0]
    assert not np.array_equal(np.asarray(made), np.asarray(in_latents))


@pytest.mark.parametrize(
    ("curve", "wanted"),
    [
        ("linear", (0.9, 0.7, 0.5, 0.3)),
        ("aggressive", (0.9, 0.9 - 0.6 * 0.5, 0.9 - 0.6 * 3**0.5 / 2, 0.3)),
        ("lazy", (0.9, 0.9 - 0.6 * (1 - 3**0.5 / 2), 0.9 - 0.6 * 0.5, 0.3)),
    ],
)
def test_loopbacks_curves_are_sine_and_cosine_of_a_quarter_turn(curve: str, wanted: tuple[float, ...]) -> None:
    assert loopback(4, 0.9, 0.3, curve) == pytest.approx(wanted)
    assert loopback(1, 0.9, 0.3, curve) == (0.9,)


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({"passes": (0.5, 0.0)}, "strength 0 does nothing"),
        ({"passes": (1.5,)}, "from 0 to 1"),
        ({"passes": (float("nan"),)}, "from 0 to 1"),
        ({"passes": (0.5, 0.5), "pass_prompts": ("a",)}, "1 prompt for 2 passes"),
        ({"through_pixels": True}, "of several passes"),
        ({"drift_correction": True}, "of several passes"),
        ({"passes": (1, 0.5), "drift_correction": True}, "no original to drift from"),
        ({"passes": (0.5, 0.01)}, "less than one step"),
        ({"colour_match": "histogramm"}, "did you mean 'histogram'"),
    ],
)
def test_passes_that_cannot_be(fake: Pipeline, picture: Array, options: dict[str, Any], cause: str) -> None:
    with pytest.raises(InputError, match=cause):
        fake.start(picture, "a", **options)


def test_passes_from_noise_have_no_drift_and_do_not_see_the_input(fake: Pipeline, picture: Array) -> None:
    made = fake([picture, 255 - picture], "a", passes=(1.0, 0.5), seed=[5, 5], steps=4).outputs
    assert np.array_equal(np.asarray(made[0].image), np.asarray(made[1].image))
    assert made[0].drift == ()


def test_loops_that_cannot_be() -> None:
    with pytest.raises(InputError, match="did you mean 'lazy'"):
        loopback(4, 0.9, 0.3, "lazi")
    with pytest.raises(InputError, match="1 to 32"):
        loopback(33, 0.9, 0.3)


class TestVariations:
    def test_slerp_is_a1111s(self) -> None:
        low, high = (torch.randn(4, 8, 12, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
        # The rule of modules/rng.py: on the sphere of every column.
        angle = torch.acos((low / low.norm(dim=1, keepdim=True) * high / high.norm(dim=1, keepdim=True)).sum(1))
        weights = [torch.sin(share * angle) / torch.sin(angle) for share in (0.7, 0.3)]
        wanted = weights[0].unsqueeze(1) * low + weights[1].unsqueeze(1) * high
        assert slerp(0.3, low.numpy(), high.numpy()) == pytest.approx(wanted.numpy(), abs=1e-5)

    @pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
    @pytest.mark.parametrize("shape", [(4, 1, 8), (4, 1, 1), (4, 9, 3)])
    def test_ends_are_the_seeds_own_noise_and_nothing_is_nan(self, share: float, shape: tuple[int, ...]) -> None:
        one, other = (noise_stream("cpu", seed)(shape) for seed in (1, 2))
        for high in (other, one, -one):
            mixed = slerp(share, one, high)
            assert np.isfinite(mixed).all()
            if share in (0, 1):
                assert mixed == pytest.approx(high if share else one, abs=1e-5)

    def test_the_seed_stays_and_the_variation_seed_counts(self, fake: Pipeline, picture: Array) -> None:
        made = fake(picture, "a", n=3, seed=7, variation_seed=20, variation_strength=0.2)
        assert [(o.request.seed, o.request.variation_seed) for o in made.outputs] == [(7, 20), (7, 21), (7, 22)]
        drawn = fake(picture, "a", n=2, seed=7, variation_strength=0.2).outputs
        assert drawn[1].request.variation_seed == drawn[0].request.variation_seed + 1
        assert "Variation seed: 21, Variation seed strength: 0.2" in made.outputs[1].parameters

    def test_without_strength_the_seed_counts(self, fake: Pipeline, picture: Array) -> None:
        assert fake(picture, "a", n=2, seed=7, variation_seed=20).seeds == [7, 8]


class TestCheckpoints:
    @pytest.mark.parametrize(
        "sampler", ["ddim", "euler", "euler_a", "dpmpp_2m", "dpmpp_2m_sde", "unipc", "heun", "plms"]
    )
    @pytest.mark.parametrize("model", ["fake", "tiny"])
    def test_a_late_prompt_from_a_checkpoint_is_the_whole_runs(
        self, request: pytest.FixtureRequest, model: str, sampler: str
    ) -> None:
        pipe: Pipeline = request.getfixturevalue("fake" if model == "fake" else "pipe")
        words = ("a b", "c d") if model == "fake" else PROMPTS
        common = {"sampler": sampler, "steps": 10, "strength": 1.0, "seed": 5}
        source = overpaint.read(MODELS / "examples/fox.png")
        whole = pipe(source, prompts=((0, words[0]), (0.6, words[1])), **common)
        run = pipe.start(source, words[0], **common)
        for step in run:
            if step.step == 5 and run._jobs[0].plan.step[step.index + 1] == 6:
                break
        late = pipe.resume(run.snapshot(), prompt=words[1])
        taken = list(late)
        assert np.array_equal(np.asarray(late.result().images[0]), np.asarray(whole.images[0]))
        assert 0 < len(taken) < 0.5 * len(whole.plan)

    @pytest.mark.parametrize(
        "changes", [{"sampler": "euler"}, {"steps": 12}, {"strength": 0.5}, {"size": (64, 64)}, {"schedule": "karras"}]
    )  # fmt: skip
    def test_other_steps_before_it_are_refused(self, fake: Pipeline, picture: Array, changes: dict[str, Any]) -> None:
        run = fake.start(picture, "a", sampler="dpmpp_2m", steps=10, strength=0.8, seed=1)
        next(iter(run))
        with pytest.raises(InputError, match=r"would have (been others|altered)"):
            fake.resume(run.snapshot(), **changes)

    @pytest.mark.parametrize("changes", [{"seed": 2}, {"noise": "gpu"}, {"variation_seed": 4}])
    def test_what_it_hangs_on_stays(self, fake: Pipeline, picture: Array, changes: dict[str, Any]) -> None:
        run = fake.start(picture, "a", seed=1)
        next(iter(run))
        with pytest.raises(InputError, match=f"another {next(iter(changes))} would have altered"):
            fake.resume(run.snapshot(), **changes)

    def test_it_is_of_a_picture_on_its_way(self, fake: Pipeline, picture: Array) -> None:
        with pytest.raises(InputError, match="between the run's steps"):
            fake.start(picture, "a").snapshot()

    def test_the_drift_of_the_passes_before_it_is_kept(self, fake: Pipeline, picture: Array) -> None:
        options: dict[str, Any] = {"passes": (0.5, 0.5), "steps": 4, "seed": 1, "through_pixels": True}
        whole = fake(picture, "a", **options).outputs[0]
        run = fake.start(picture, "a", **options)
        for step in run:
            if step.index == 2:
                break
        late = fake.resume(run.snapshot())
        assert list(late)
        assert late.result().outputs[0].drift == whole.drift
        assert np.array_equal(np.asarray(late.result().images[0]), np.asarray(whole.image))


@pytest.mark.parametrize("method", ["histogram", "mean", "wavelet"])
def test_a_colour_match_brings_the_result_to_the_inputs_colours(pipe: Pipeline, method: str) -> None:
    source = overpaint.read(example())
    free = pipe(source, "rocket, ink style", strength=0.9, seed=3)
    matched = pipe(source, "rocket, ink style", strength=0.9, seed=3, colour_match=method)
    colours = [to_lab(np.asarray(image)).mean((0, 1))[1:] for image in (source.image, *free.images, *matched.images)]
    distances = [np.abs(colour - colours[0]).max() for colour in colours[1:]]
    assert distances[1] < 0.6 * distances[0]
    assert any(method in note for note in matched.outputs[0].notes)
    kept = pipe(source, "rocket", strength=0, colour_match=method)
    assert np.array_equal(np.asarray(kept.images[0]), source.pixels)
    assert not kept.outputs[0].notes


def test_drift_correction_brings_the_colours_back_and_tints_no_white() -> None:
    """On the trained model: the channels' means are no colours, and moving them back tinted the white ground."""
    pipe = overpaint.load("tiny", engine="onnxruntime")
    picture = Image.open(MODELS / "examples/fox.png").convert("RGB").resize((64, 64))
    source = np.asarray(picture).astype(float)
    options = {"passes": (0.5, 0.4, 0.3), "seed": 1, "guidance_scale": 3, "steps": 12}
    shifts, tints = [], []
    for correct in (False, True):
        made = np.asarray(pipe(picture, "fox", drift_correction=correct, **options).images[0]) - source
        shifts.append(np.abs(made.mean(axis=(0, 1))).max())
        tints.append(np.abs(np.median(made[(source >= 250).all(axis=2)], axis=0)).max())
    assert shifts[1] < 0.7 * shifts[0]
    assert tints[1] <= 3
