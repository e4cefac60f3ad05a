"""The data path on the fake engine: contracts that hold for any model."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import overpaint
from overpaint import InputError, ModelOutputError, Pipeline
from overpaint.bundles.tensor import Array
from overpaint.engines.base import Engine
from overpaint.engines.wrapper import Wrapper
from overpaint.runtime.imaging.metadata import split_parameters
from overpaint.runtime.sampling.names import find_schedule
from overpaint.runtime.sampling.samplers import SAMPLERS
from tests.support.bundles import edit_manifest

Pixels = NDArray[np.uint8]


def pixels(image: Image.Image) -> Pixels:
    return np.asarray(image)


class Spoilt(Wrapper):
    """An engine that gives NaN from its n-th call on."""

    def __init__(self, engine: Engine, good: int) -> None:
        super().__init__(engine)
        self.good, self.calls = good, 0

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        self.calls += 1
        outputs = super().__call__(feeds)
        return outputs if self.calls <= self.good else {name: np.full_like(a, np.nan) for name, a in outputs.items()}


class TestStrength:
    def test_0_returns_the_input_bit_for_bit_without_the_model(self, fake: Pipeline, picture: Pixels) -> None:
        fake.vae.encoder = fake.vae.decoder = fake.denoiser.engine = fake.text.engine = Spoilt(fake.vae.encoder, 0)
        result = fake(picture, "a", strength=0)
        assert np.array_equal(pixels(result.images[0]), picture)
        assert len(result.plan) == 0

    def test_1_does_not_see_the_input(self, fake: Pipeline, picture: Pixels) -> None:
        one, other = fake([picture, 255 - picture], "a", strength=1, seed=[5, 5]).images
        assert np.array_equal(pixels(one), pixels(other))

    def test_1_does_not_run_the_encoder(self, fake: Pipeline, picture: Pixels) -> None:
        assert fake(picture, "a", strength=1).timings["encode"] == 0

    def test_too_few_steps_are_an_error_with_the_mend(self, fake: Pipeline, picture: Pixels) -> None:
        with pytest.raises(InputError, match="steps"):
            fake(picture, "a", strength=0.1, steps=4)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_zero_terminal_snr_reaches_a_picture(fake_folder: Path, tmp_path: Path, picture: Pixels, sampler: str) -> None:
    """From an infinite level, or from sigma 4096, also where a soft mask raises it to a power."""
    folder = Path(shutil.copytree(fake_folder, tmp_path / "fake"))
    model = json.loads((folder / "bundle.json").read_text())["model"]
    zero = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    edit_manifest(folder, model={**model, "scheduler": {**model["scheduler"], **zero}})
    pipe, mask = overpaint.load(folder, engine="fake"), np.zeros((40, 56), np.uint8)
    mask[:, 20:] = 255
    made = pipe.inpaint(picture, mask, "a", levels="soft", sampler=sampler, strength=1, steps=4, seed=1)
    assert made.plan.start_sigma > 4000
    assert len(np.unique(pixels(made.images[0])[:, 30:])) > 100


class TestBatch:
    @pytest.mark.parametrize("sampler", ["ddim", "euler_a", "dpmpp_2m", "heun", "unipc"])
    def test_a_picture_does_not_depend_on_its_batch(self, fake: Pipeline, picture: Pixels, sampler: str) -> None:
        pictures = [picture, picture[:32, :32], 255 - picture]
        together = fake(pictures, ["a", "b", "c"], seed=[3, 4, 5], sampler=sampler, steps=7)
        for index, (source, prompt) in enumerate(zip(pictures, "abc", strict=True)):
            alone = fake(source, prompt, seed=3 + index, sampler=sampler, steps=7)
            assert np.array_equal(pixels(alone.images[0]), pixels(together.images[index]))

    def test_rows_of_a_batch_share_calls_within_the_limits(self, fake_folder: Path, picture: Pixels) -> None:
        pipe = overpaint.load(fake_folder, engine="fake", max_rows=4)
        counted = pipe.denoiser.engine = Spoilt(pipe.denoiser.engine, 10**9)
        result = pipe(picture, "a", n=3, seed=1)
        assert counted.calls == 2 * len(result.plan)  # 3 pictures x 2 rows of guidance, 4 rows a call

    def test_seeds_count_up_and_copies_differ(self, fake: Pipeline, picture: Pixels) -> None:
        result = fake(picture, "a", n=2, seed=7)
        assert result.seeds == [7, 8]
        assert not np.array_equal(pixels(result.images[0]), pixels(result.images[1]))

    def test_no_seed_draws_one_and_names_it(self, fake: Pipeline, picture: Pixels) -> None:
        first = fake(picture, "a")
        again = fake(picture, "a", seed=first.seeds[0])
        assert np.array_equal(pixels(first.images[0]), pixels(again.images[0]))

    def test_seed_0_is_a_seed(self, fake: Pipeline, picture: Pixels) -> None:
        assert fake(picture, "a", seed=0).seeds == [0]


class TestGuidance:
    def test_at_most_1_is_one_row(self, fake: Pipeline, picture: Pixels) -> None:
        counted = fake.denoiser.engine = Spoilt(fake.denoiser.engine, 10**9)
        result = fake(picture, "a", guidance_scale=1)
        assert counted.calls == len(result.plan)

    def test_negative_prompt_and_rescale_matter(self, fake: Pipeline, picture: Pixels) -> None:
        made = [
            pixels(fake(picture, "a", seed=1, **options).images[0])
            for options in ({}, {"negative_prompt": "q q q"}, {"guidance_rescale": 0.7}, {"clip_skip": 1})
        ]
        assert all(not np.array_equal(made[0], other) for other in made[1:])

    def test_more_layers_skipped_than_there_are(self, fake: Pipeline, picture: Pixels) -> None:
        with pytest.raises(InputError, match="can skip 2 layers"):
            fake(picture, "a", clip_skip=3)

    def test_a_prompt_beyond_the_models_tokens(self, fake: Pipeline, picture: Pixels) -> None:
        with pytest.raises(InputError, match="takes 128; shorten"):
            fake(picture, "a " * 300)

    def test_prompts_of_different_lengths_meet_in_one_run(self, fake: Pipeline, picture: Pixels) -> None:
        long = " ".join("abcdefghij" * 5)
        assert fake.text.tokens(long).shape == (4, 16)
        assert fake(picture, long, negative_prompt="a").images


class TestCache:
    def test_a_second_prompt_on_the_same_picture_skips_the_encoder(self, fake: Pipeline, picture: Pixels) -> None:
        first, second = fake(picture, "a", seed=1), fake(picture.copy(), "b", seed=1)
        assert first.cached["encode"] == 0
        assert second.cached["encode"] == 1

    def test_another_picture_of_equal_shape_is_encoded(self, fake: Pipeline, picture: Pixels) -> None:
        fake(picture, "a")
        assert fake(255 - picture, "a").cached["encode"] == 0


class TestProgress:
    def test_a_step_for_every_evaluation_with_a_preview(self, fake: Pipeline, picture: Pixels) -> None:
        steps = []
        result = fake(picture, "a", on_step=steps.append, sampler="heun", steps=5)
        assert [step.index for step in steps] == list(range(len(result.plan)))
        assert steps[0].preview().size == (56, 40)
        assert steps[0].sigma > steps[-1].sigma

    def test_steps_and_previews_are_of_their_pictures(self, fake: Pipeline, picture: Pixels) -> None:
        options = [{"strength": 0.0}, {"strength": 0.5}]
        requests = [overpaint.Request(overpaint.read(picture[:31, :50]), "a", steps=4, **o) for o in options]
        run = fake.run(requests)
        steps = list(run)
        assert {step.image for step in steps} == {1}
        assert steps[0].preview().size == (50, 31)
        assert len(run.result().images) == 2

    def test_a_run_goes_once(self, fake: Pipeline, picture: Pixels) -> None:
        run = fake.start(picture, "a", steps=2)
        assert list(run)
        with pytest.raises(InputError, match="once"):
            list(run)

    def test_what_is_wrong_is_known_when_the_run_is_made(self, fake: Pipeline, picture: Pixels) -> None:
        with pytest.raises(InputError, match="one step"):
            fake.start(picture, "a", strength=0.1, steps=4)
        with pytest.raises(InputError, match="at most 1024x1024"):
            fake.start(picture, "a", size=(2048, 512))
        with pytest.raises(InputError, match="no request"):
            fake.run([])

    def test_stopping_to_iterate_cancels(self, fake: Pipeline, picture: Pixels) -> None:
        counted = fake.denoiser.engine = Spoilt(fake.denoiser.engine, 10**9)
        run = fake.start(picture, "a", guidance_scale=1)
        for step in run:
            if step.index == 2:
                break
        assert counted.calls == 3
        with pytest.raises(InputError, match="not ended"):
            run.result()


class TestModelOutput:
    def test_nan_in_the_unet_names_the_evaluation(self, fake: Pipeline, picture: Pixels) -> None:
        fake.denoiser.engine = Spoilt(fake.denoiser.engine, 2)
        with pytest.raises(ModelOutputError, match=r"unet .* evaluation 3 of"):
            fake(picture, "a")

    @pytest.mark.parametrize("component", ["encoder", "decoder"])
    def test_nan_in_the_vae_names_the_half(self, fake: Pipeline, picture: Pixels, component: str) -> None:
        setattr(fake.vae, component, Spoilt(getattr(fake.vae, component), 0))
        with pytest.raises(ModelOutputError, match=f"vae_{component}"):
            fake(picture, "a")

    def test_nan_in_the_text_encoder(self, fake: Pipeline, picture: Pixels) -> None:
        fake.text.engine = Spoilt(fake.text.engine, 0)
        with pytest.raises(ModelOutputError, match="text_encoder"):
            fake(picture, "a")


class TestPicture:
    @pytest.mark.parametrize("shape", [(40, 56), (33, 47), (8, 9), (65, 64)])
    def test_the_result_has_the_inputs_size(self, fake: Pipeline, shape: tuple[int, int]) -> None:
        made = fake(np.zeros((*shape, 3), np.uint8), "a").images[0]
        assert made.size == shape[::-1]

    @pytest.mark.parametrize("mode", ["crop", "pad", "stretch"])
    def test_the_result_has_the_size_asked_for(self, fake: Pipeline, picture: Pixels, mode: str) -> None:
        assert fake(picture, "a", size=(50, 30), resize_mode=mode).images[0].size == (50, 30)

    def test_alpha_comes_back(self, fake: Pipeline, picture: Pixels) -> None:
        alpha = np.arange(40 * 56, dtype=np.uint32).reshape(40, 56, 1).astype(np.uint8)
        made = fake(np.concatenate([picture, alpha], 2), "a").images[0]
        assert made.mode == "RGBA"
        assert np.array_equal(pixels(made)[..., 3:], alpha)

    def test_what_transparent_pixels_hide_is_not_seen(self, fake: Pipeline, picture: Pixels) -> None:
        alpha = np.zeros((40, 56, 1), np.uint8)
        one, other = (
            pixels(fake(np.concatenate([hidden, alpha], 2), "a", seed=1).images[0])
            for hidden in (picture, np.full_like(picture, 255))
        )
        assert np.array_equal(one, other)

    def test_large_pictures_go_through_the_vae_in_tiles(self, fake_folder: Path) -> None:
        pipe = overpaint.load(fake_folder, engine="fake", vae_tile=64)
        counted = pipe.vae.encoder = Spoilt(pipe.vae.encoder, 10**9)
        made = pipe(np.zeros((120, 200, 3), np.uint8), "a").images[0]
        assert made.size == (200, 120)
        assert counted.calls == 3 * 4


@pytest.mark.parametrize("convention", ["contract", "continuous", "diffusers", "a1111", "comfy"])
def test_levels_between_are_cut_where_the_conventions_program_cuts(
    fake: Pipeline, picture: Pixels, convention: str
) -> None:
    class Between(Wrapper):
        """A decoder whose levels lie at n + 0.75."""

        def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
            shape = super().__call__(feeds)["pixels"].shape
            levels = np.float32(0.75) + np.arange(shape[-1], dtype=np.float32)
            return {"pixels": np.broadcast_to(levels / np.float32(255) * 2 - 1, shape)}

    fake.vae.decoder = Between(fake.vae.decoder)
    [made] = fake(picture, "a", seed=1, steps=4, strength=0.9, convention=convention).images
    cut = convention in ("a1111", "comfy")
    columns = np.arange(picture.shape[1]) + (not cut)
    assert np.array_equal(pixels(made), np.broadcast_to(columns[None, :, None], picture.shape))


def told(fake: Pipeline, picture: Pixels, **options: object) -> dict[str, str]:
    """The pairs of the parameters of a picture that nothing is run for."""
    text = fake.start(picture, "a", seed=1, **options).prepared[0].parameters
    return dict(pair for pair in split_parameters(text)[2])


class TestParameters:
    def test_passes_have_no_other_strength(self, fake: Pipeline, picture: Pixels) -> None:
        pairs = told(fake, picture, passes=(0.5, 0.3))
        assert pairs["Passes"] == "0.5, 0.3"
        assert "Denoising strength" not in pairs
        assert told(fake, picture, strength=0.6)["Denoising strength"] == "0.6"

    def test_eta_goes_by_the_samplers_name_for_it(self, fake: Pipeline, picture: Pixels) -> None:
        assert told(fake, picture, sampler="ddim", eta=0.5)["Eta DDIM"] == "0.5"
        assert "Eta" not in told(fake, picture, sampler="ddim", eta=0.5)
        assert told(fake, picture, sampler="euler_a", eta=0.5)["Eta"] == "0.5"

    @pytest.mark.parametrize("sampler", SAMPLERS)
    @pytest.mark.parametrize("schedule", [None, "karras", "leading", "align_your_steps_xl"])
    def test_the_schedule_is_always_named(
        self, fake: Pipeline, picture: Pixels, sampler: str, schedule: str | None
    ) -> None:
        """A1111 takes a missing "Schedule type" for Karras with many samplers."""
        pairs = told(fake, picture, sampler=sampler, schedule=schedule)
        assert pairs["Schedule type"] in {"Karras", "Uniform", "Align Your Steps", "Automatic"}
        assert (pairs["Schedule type"] == "Automatic") == (sampler in ("lcm", "tcd") and schedule is None)
        own = find_schedule(pairs.get("Schedule name", pairs["Schedule type"]))
        again, first = (
            fake.start(picture, "a", seed=1, sampler=sampler, schedule=name).prepared[0].plan
            for name in (own, schedule)
        )
        assert np.array_equal(again.matrix, first.matrix)

    def test_seeds_options(self, fake: Pipeline, picture: Pixels) -> None:
        pairs = told(fake, picture, seed_resize_from=(64, 32), eta_noise_seed_delta=31337)
        assert (pairs["Seed resize from"], pairs["ENSD"]) == ("64x32", "31337")
