"""What `Pipeline` offers around a run: options by name, drawn seeds, limits of time, pickles, pictures from streams."""

import pickle
import threading
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import overpaint
from overpaint.bundles.tensor import Array
from overpaint.engines.fake import FakeEngine
from overpaint.errors import CancelledError, EngineError, InputError, RunTimeoutError
from overpaint.runtime.requests.request import Request

Pixels = NDArray[np.uint8]
RUN = {"steps": 4, "strength": 0.5, "seed": 3}


@pytest.fixture
def mask(picture: Pixels) -> Pixels:
    levels = np.zeros(picture.shape[:2], np.uint8)
    levels[8:24, 8:24] = 255
    return levels


def png(pixels: Pixels) -> bytes:
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def call(pipe: overpaint.Pipeline, verb: str, picture: Any, mask: Any, **options: Any) -> Any:
    """A verb of a pipeline, with all that it needs besides options."""
    needs: dict[str, dict[str, Any]] = {"outpaint": {"right": 8}, "upscale": {"scale": 1.5, "tile": 32}}
    if verb == "grid":
        return pipe.grid(picture, "a", {"strength": (0.3, 0.5)}, **options)
    if verb == "inpaint":
        return pipe.inpaint(picture, mask, "a", **options)
    return getattr(pipe, verb)(picture, "a", **needs.get(verb, {}), **options)


class TestOptions:
    @pytest.mark.parametrize("verb", ["__call__", "start", "inpaint", "outpaint", "upscale", "grid"])
    def test_a_typo_names_the_nearest_option(
        self, fake: overpaint.Pipeline, picture: Pixels, mask: Pixels, verb: str
    ) -> None:
        with pytest.raises(InputError, match=r"unknown option 'strenght'; did you mean 'strength'"):
            call(fake, verb, picture, mask, strenght=0.5)

    @pytest.mark.parametrize(
        ("verb", "typo", "meant"),
        [
            ("inpaint", "only_maskd", "only_masked"),
            ("outpaint", "fether", "feather"),
            ("upscale", "seam_limt", "seam_limit"),
            ("grid", "guidance_scal", "guidance_scale"),
        ],
    )
    def test_so_does_one_of_a_verb_of_its_own(
        self, fake: overpaint.Pipeline, picture: Pixels, mask: Pixels, verb: str, typo: str, meant: str
    ) -> None:
        with pytest.raises(InputError, match=f"did you mean '{meant}'"):
            call(fake, verb, picture, mask, **{typo: 1})

    def test_a_grid_takes_the_names_of_other_programs(self, fake: overpaint.Pipeline, picture: Pixels) -> None:
        sheets = [
            fake.grid(picture, "a", {"strength": (0.3, 0.5)}, **{name: 4}) for name in ("steps", "num_inference_steps")
        ]
        assert np.array_equal(*map(np.asarray, sheets))


class TestResume:
    @pytest.fixture
    def checkpoint(self, fake: overpaint.Pipeline, picture: Pixels) -> overpaint.RunSnapshot:
        run = fake.start(picture, "a", **RUN)
        next(iter(run))
        return run.snapshot()

    def test_it_translates_other_programs_names(
        self, fake: overpaint.Pipeline, checkpoint: overpaint.RunSnapshot
    ) -> None:
        assert fake.resume(checkpoint, cfg_scale=3.0).prepared[0].request.guidance_scale == 3.0

    @pytest.mark.parametrize(
        ("option", "hint"),
        [
            ("promt", "did you mean 'prompt'"),
            ("generator", "called 'seed'"),
            ("batch_size", "unknown option"),
            ("on_step", "not taken here"),
        ],
    )
    def test_an_unknown_option_is_an_input_error(
        self, fake: overpaint.Pipeline, checkpoint: overpaint.RunSnapshot, option: str, hint: str
    ) -> None:
        with pytest.raises(InputError, match=hint):
            fake.resume(checkpoint, **{option: "b"})

    def test_what_it_advises_it_takes(self, fake: overpaint.Pipeline, checkpoint: overpaint.RunSnapshot) -> None:
        with pytest.raises(InputError, match="choose one of") as raised:
            fake.resume(checkpoint, **{"qqq": 1})
        advised = set(str(raised.value).partition("choose one of: ")[2].split(", "))
        assert {"prompt", "guidance_scale", "cfg_scale", "timeout"} <= advised
        assert not {"image", "n", "on_step", "seed", "batch_size"} & advised

    def test_a_checkpoint_can_be_pickled(self, fake: overpaint.Pipeline, checkpoint: overpaint.RunSnapshot) -> None:
        images = []
        for each in (checkpoint, pickle.loads(pickle.dumps(checkpoint))):
            run = fake.resume(each)
            for _ in run:
                pass
            images.append(np.asarray(run.result().images[0]))
        assert np.array_equal(*images)


class TestSeeds:
    def test_minus_one_draws_a_seed_that_the_result_names(self, fake: overpaint.Pipeline, picture: Pixels) -> None:
        first = fake(picture, "a", steps=2, seed=-1)
        assert first.seeds[0] >= 0
        again = fake(picture, "a", steps=2, seed=first.seeds[0])
        assert np.array_equal(np.asarray(first.images[0]), np.asarray(again.images[0]))

    def test_a_drawn_seed_counts_up_and_lists_may_draw(self, fake: overpaint.Pipeline, picture: Pixels) -> None:
        first, second = (task.request.seed for task in fake.start(picture, "a", n=2, seed=-1).prepared)
        assert second == first + 1
        drawn, kept = (task.request.seed for task in fake.start(picture, "a", n=2, seed=[-1, 7]).prepared)
        assert drawn >= 0
        assert kept == 7

    def test_every_request_and_axis_draws(self, picture: Pixels) -> None:
        from overpaint.runtime.tools.grid import Axis

        request = Request(overpaint.read(picture), seed=-1, variation_seed=-1, variation_strength=0.5)
        assert min(request.seed, request.variation_seed or 0) >= 0
        assert min(Axis("seed", (-1, 5)).values) >= 0

    @pytest.mark.parametrize("verb", ["inpaint", "outpaint", "upscale"])
    def test_tools_draw_too(self, fake: overpaint.Pipeline, picture: Pixels, mask: Pixels, verb: str) -> None:
        assert call(fake, verb, picture, mask, steps=4, seed=-1).seeds[0] >= 0


class TestPickle:
    @pytest.mark.parametrize("verb", ["__call__", "inpaint", "outpaint", "upscale"])
    def test_a_result_and_everything_in_it(
        self, fake: overpaint.Pipeline, picture: Pixels, mask: Pixels, verb: str
    ) -> None:
        result = call(fake, verb, picture, mask, **RUN)
        again = pickle.loads(pickle.dumps(result))
        assert type(again) is type(result)
        assert np.array_equal(np.asarray(again.images[0]), np.asarray(result.images[0]))
        assert again.plan == result.plan
        assert (again.seeds, again.timings, again.engines) == (result.seeds, result.timings, result.engines)
        assert again.outputs[0].record == result.outputs[0].record
        assert again.outputs[0].request.image.sha256 == result.outputs[0].request.image.sha256

    def test_it_holds_on_to_no_pipeline(self, fake: overpaint.Pipeline, picture: Pixels) -> None:
        assert b"Pipeline" not in pickle.dumps(fake(picture, "a", **RUN))


class TestStopping:
    def test_cancel_ends_the_run_before_its_next_evaluation(self, fake: overpaint.Pipeline, picture: Pixels) -> None:
        run, seen = fake.start(picture, "a", steps=10, strength=1), 0
        for step in run:
            seen += 1
            if step.index == 2:
                threading.Thread(target=run.cancel).run()
        assert seen == 3
        with pytest.raises(CancelledError, match="was cancelled"):
            run.result()
        assert fake(picture, "a", **RUN).images

    @pytest.mark.parametrize("verb", ["__call__", "inpaint", "outpaint", "upscale"])
    def test_a_timeout_stops_between_evaluations_and_names_its_option(
        self, fake: overpaint.Pipeline, picture: Pixels, mask: Pixels, verb: str
    ) -> None:
        steps: list[overpaint.Step] = []
        options = {"steps": 6, "strength": 0.9, "on_step": steps.append}
        with pytest.raises(RunTimeoutError, match="timeout of 1e-06 s; raise timeout"):
            call(fake, verb, picture, mask, timeout=1e-6, **options)
        assert len(steps) == 1
        assert len(call(fake, verb, picture, mask, timeout=600, **options).plan) == 5

    def test_a_run_that_ends_in_time_is_left_alone(self, fake: overpaint.Pipeline, picture: Pixels) -> None:
        run = fake.start(picture, "a", steps=4, strength=0.25, timeout=1e-6)
        assert len(list(run)) == 1
        assert run.result().images

    @pytest.mark.parametrize("timeout", [0, -1, "1", True, float("nan")])
    def test_a_timeout_that_is_none(self, fake: overpaint.Pipeline, picture: Pixels, timeout: Any) -> None:
        with pytest.raises(InputError, match="timeout"):
            fake.start(picture, "a", timeout=timeout)


class TestSources:
    def test_streams_and_bytes_are_pictures_and_masks(
        self, fake: overpaint.Pipeline, picture: Pixels, mask: Pixels, tmp_path: Path
    ) -> None:
        (tmp_path / "in.png").write_bytes(png(picture))
        whole = np.asarray(fake.inpaint(picture, mask, "a", **RUN).images[0])
        with (tmp_path / "in.png").open("rb") as stream:
            result = fake.inpaint(stream, BytesIO(png(mask)), "a", **RUN)
        assert np.array_equal(np.asarray(result.images[0]), whole)
        result = fake.inpaint(bytearray(png(picture)), memoryview(png(mask)), "a", **RUN)
        assert np.array_equal(np.asarray(result.images[0]), whole)

    @pytest.mark.parametrize("verb", ["__call__", "outpaint", "upscale", "grid"])
    def test_every_verb_takes_a_stream(
        self, fake: overpaint.Pipeline, picture: Pixels, mask: Pixels, verb: str
    ) -> None:
        assert call(fake, verb, BytesIO(png(picture)), mask, steps=4) is not None

    def test_a_stream_of_text_or_a_closed_one(self, fake: overpaint.Pipeline, tmp_path: Path) -> None:
        (tmp_path / "in.txt").write_text("no picture")
        with (tmp_path / "in.txt").open() as stream, pytest.raises(InputError, match="mode 'rb'"):
            fake.start(stream, "a")
        with pytest.raises(InputError, match="keep it open"):
            fake.start(stream, "a")


class TestWarmUp:
    def test_each_size_runs_every_graph(self, fake_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        shapes: set[tuple[str, tuple[int, ...]]] = set()
        ran = FakeEngine.__call__

        def watched(self: FakeEngine, feeds: dict[str, Array]) -> dict[str, Array]:
            shapes.add((self.name, next(iter(feeds.values())).shape))
            return ran(self, feeds)

        monkeypatch.setattr(FakeEngine, "__call__", watched)
        pipe = overpaint.load(fake_folder, engine="fake")
        pipe.warm_up([(64, 32), (32, 32)])
        assert {("vae_encoder", (1, 3, 32, 64)), ("vae_encoder", (1, 3, 32, 32))} <= shapes
        assert {("unet", (2, 4, 8, 16)), ("unet", (2, 4, 8, 8))} <= shapes

    def test_a_size_that_cannot_be_is_known_before_anything_runs(
        self, fake: overpaint.Pipeline, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(FakeEngine, "__call__", lambda *_: pytest.fail("nothing may run"))
        for sizes in ([(64, 64), (64, 4096)], [(0, 64)], [64]):
            with pytest.raises(InputError):
                fake.warm_up(sizes)  # type: ignore[arg-type]


class TestWeights:
    @pytest.mark.parametrize(
        "prompt",
        ["(a:1e39)", "((a:1e8):1e8)", "(a:-1e39)", "a AND b:1e39", "[a:(b:1e39):0.5]", "[a|(b:1e39)]"],
    )
    @pytest.mark.parametrize("place", ["prompt", "negative_prompt", "pass_prompts", "regions"])
    def test_what_overflows_is_known_before_the_run(
        self, fake: overpaint.Pipeline, picture: Pixels, prompt: str, place: str
    ) -> None:
        if place == "negative_prompt" and "AND" in prompt:
            pytest.skip("a negative prompt is never composed")
        levels = np.full(picture.shape[:2], 255, np.uint8)
        options: dict[str, Any] = {
            "prompt": {"prompt": prompt},
            "negative_prompt": {"negative_prompt": prompt},
            "pass_prompts": {"passes": (0.5, 0.5), "pass_prompts": ("a", prompt)},
            "regions": {"regions": (overpaint.Region(prompt, levels),)},
        }[place]
        with pytest.raises(InputError, match="a weight of the prompt comes to"):
            fake.start(picture, **options)

    def test_large_weights_still_run(self, fake: overpaint.Pipeline, picture: Pixels) -> None:
        try:
            assert fake(picture, "(a:1e6) (b:-3)", **RUN).images
        except EngineError:
            pytest.fail("a weight that fits must run")


class TestResults:
    def test_a_saved_output_carries_what_made_it(
        self, fake: overpaint.Pipeline, picture: Pixels, tmp_path: Path
    ) -> None:
        (output,) = fake(picture, "a", **RUN).outputs
        assert output.save(tmp_path / "out.png") == ()
        with Image.open(tmp_path / "out.png") as saved:
            assert saved.info["parameters"] == output.parameters
            assert np.array_equal(np.asarray(saved), np.asarray(output.image))
        output.save(tmp_path / "bare.png", strip_metadata=True)
        with Image.open(tmp_path / "bare.png") as saved:
            assert "parameters" not in saved.info

    def test_they_are_shown_on_one_line(self, fake: overpaint.Pipeline, picture: Pixels) -> None:
        result = fake(picture, "a", **RUN)
        assert "Output(56x40, seed 3" in repr(result)
        assert len(repr(result)) < 1000
        assert repr(overpaint.read(picture)) == "Picture(56x40)"
