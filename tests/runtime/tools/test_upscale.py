"""Tiled upscaling: nothing lost by tiles, order or batches, what is refused, and what is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import overpaint
from overpaint import InputError, Pipeline
from overpaint.bundles.tensor import Array
from overpaint.bundles.upscaler import UpscalerBundle
from overpaint.cli import main
from overpaint.engines.base import Engine
from overpaint.engines.wrapper import Wrapper
from overpaint.runtime.imaging.metadata import parse_parameters, read_parameters
from overpaint.runtime.model import build_job
from overpaint.runtime.model.planning import Planner
from overpaint.runtime.tools.enlarge import enlarged_size, lanczos
from overpaint.runtime.tools.upscale import Upscale
from overpaint.runtime.tools.upscaling import Upscaling

Pixels = NDArray[np.uint8]
FOLD = 4

TILES: dict[str, dict[str, Any]] = {
    "joint": {"tile": 32},
    "joint, much overlap": {"tile": 48, "overlap": 40},
    "joint, whole": {"tile": 512},
    "linear": {"method": "tiles", "tile": 32},
    "linear, one by one": {"method": "tiles", "tile": 32, "batch": 1},
    "chess": {"method": "tiles", "tile": 48, "order": "chess", "batch": 3},
    "bands": {"method": "tiles", "tile": 64, "seam_fix": "bands"},
    "half tiles": {"method": "tiles", "tile": 48, "seam_fix": "half_tile", "padding": 16},
    "intersections": {"method": "tiles", "tile": 32, "seam_fix": "half_tile_intersections", "mask_blur": 3},
}


class Folded(Wrapper):
    """Half of a VAE that loses nothing: squares of pixels become channels, and back."""

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        if "pixels" in feeds:
            rows, _, height, width = feeds["pixels"].shape
            blocks = feeds["pixels"].reshape(rows, 3, height // FOLD, FOLD, width // FOLD, FOLD)
            mean = blocks.transpose(0, 1, 3, 5, 2, 4).reshape(rows, 3 * FOLD**2, height // FOLD, width // FOLD)
            return {"mean": mean, "std": np.zeros_like(mean)}
        rows, _, height, width = feeds["latents"].shape
        blocks = feeds["latents"].reshape(rows, 3, FOLD, FOLD, height, width)
        return {"pixels": blocks.transpose(0, 1, 4, 2, 5, 3).reshape(rows, 3, height * FOLD, width * FOLD)}


class Answers(Wrapper):
    """A U-Net that answers each place by itself: with nothing, or with a curve of what it is shown."""

    def __init__(self, engine: Engine, gain: float) -> None:
        super().__init__(engine)
        self.gain, self.rows = gain, 0

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        self.rows += len(feeds["sample"])
        return {"model_output": np.sin(feeds["sample"]) * np.float32(self.gain)}


def pointwise(folder: Path, gain: float, **loading: Any) -> Pipeline:
    """A pipeline whose result at a place depends on nothing but that place."""
    pipe = overpaint.load(folder, engine="fake", **loading)
    facts = replace(pipe.bundle.model, latent_channels=3 * FOLD**2, scaling_factor=1.0, shift_factor=0.0)
    pipe.model.stages.bundle = replace(pipe.bundle, model=facts)
    pipe.model._planner = Planner(pipe.bundle, pipe.model.schedule)
    pipe.vae._facts = facts
    pipe.vae.encoder, pipe.vae.decoder = Folded(pipe.vae.encoder), Folded(pipe.vae.decoder)
    pipe.denoiser.engine = Answers(pipe.denoiser.engine, gain)
    return pipe


@pytest.fixture
def small() -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (30, 37, 3), np.uint8)


def pixels(result: Any) -> Pixels:
    return np.asarray(result.images[0])


@pytest.fixture
def identity(fake_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """Without noise, a U-Net that finds none gives back the picture."""
    silence = lambda *_, **__: lambda shape, origin=(0, 0): np.zeros(shape, np.float32)  # noqa: E731
    monkeypatch.setattr(build_job, "noise_stream", silence)
    return pointwise(fake_folder, 0.0, vae_tile=64)


class TestNothingIsLost:
    @pytest.mark.parametrize("name", TILES)
    @pytest.mark.parametrize("scale", [1, 2.7, 4])
    def test_an_identity_model_gives_the_enlarged_picture(
        self, identity: Pipeline, small: Pixels, name: str, scale: float
    ) -> None:
        result = identity.upscale(small, "a", scale=scale, steps=4, strength=0.5, **TILES[name])
        size = enlarged_size((37, 30), scale)
        assert np.array_equal(pixels(result), lanczos(Image.fromarray(small), size))
        assert np.array_equal(pixels(result), np.asarray(Image.fromarray(small).resize(size, Image.Resampling.LANCZOS)))

    @pytest.mark.parametrize("name", ["joint", "chess"])
    def test_nor_by_repairs(self, identity: Pipeline, small: Pixels, name: str) -> None:
        result = identity.upscale(small, "a", scale=4, steps=4, strength=0.5, seam_limit=0, **TILES[name])
        # Nothing can score better than it did, so that nothing is kept of the repairs.
        assert (result.repaired, result.seams) == ((), result.painted)
        assert any(f"scored no better: {len(result.painted.lines)}" in note for note in result.outputs[0].notes)
        assert np.array_equal(pixels(result), lanczos(Image.fromarray(small), (148, 120)))

    def test_colours_that_are_the_sources_stay(self, identity: Pipeline, small: Pixels) -> None:
        for way in ("wavelet", "mean", "histogram"):
            result = identity.upscale(small, scale=2, steps=4, strength=0.5, tile=32, colour_match=way)
            assert np.abs(pixels(result).astype(int) - lanczos(Image.fromarray(small), (74, 60))).max() <= 1

    def test_alpha_is_enlarged_beside(self, identity: Pipeline, small: Pixels) -> None:
        source = Image.fromarray(small).convert("RGBA")
        source.putalpha(Image.linear_gradient("L").resize(source.size))
        made = identity.upscale(source, scale=2, steps=4, strength=0.5, tile=32).images[0]
        assert made.mode == "RGBA"
        wanted = source.getchannel("A").resize(made.size, Image.Resampling.LANCZOS)
        assert np.abs(np.asarray(made.getchannel("A"), int) - np.asarray(wanted)).max() <= 1

    def test_strength_0_is_the_first_enlargement(self, identity: Pipeline, small: Pixels) -> None:
        for method in ("joint", "tiles"):
            result = identity.upscale(small, scale=3, strength=0, method=method)
            assert np.array_equal(pixels(result), lanczos(Image.fromarray(small), (111, 90)))
        assert identity.denoiser.engine.rows == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize("sampler", ["euler", "euler_a", "dpmpp_2m"])
def test_the_result_does_not_depend_on_tiles_order_or_batch(fake_folder: Path, small: Pixels, sampler: str) -> None:
    """Field noise is that of the place, so where the model sees only the place, so is the result."""
    options = {"scale": 4, "seed": 3, "steps": 4, "strength": 0.5, "sampler": sampler, "repair": False}
    ways: list[dict[str, Any]] = [TILES["joint"], TILES["joint, much overlap"], TILES["linear"], TILES["chess"]]
    made = []
    for way in ways:
        # Without blur a tile's edge is its own, as a window's is not but with weights that sum to 1.
        blur = {"mask_blur": 0, "colour_match": "none"} if way.get("method") else {}
        made.append(pixels(pointwise(fake_folder, 0.3).upscale(small, "a", **options, **way, **blur)).astype(int))
    whole = pixels(pointwise(fake_folder, 0.3).upscale(small, "a", **options, tile=512)).astype(int)
    for other in made:
        # Joined sums round: a level that lies between two may fall to either.
        assert np.abs(other - whole).max() <= 1
        assert (other != whole).mean() < 1e-3
    assert np.abs(whole - lanczos(Image.fromarray(small), (148, 120))).mean() > 3


def test_batches_of_tiles_are_the_tiles_one_by_one(fake: Pipeline, small: Pixels) -> None:
    """With a model that sees its surroundings, too, and whatever the order asks for."""
    for order in ("linear", "chess"):
        options = {"scale": 4, "seed": 3, "steps": 3, "strength": 0.4, "method": "tiles", "tile": 32, "order": order}
        alone, together = (fake.upscale(small, "a", batch=batch, **options) for batch in (1, 16))
        assert np.array_equal(pixels(alone), pixels(together))


class Stepped(Wrapper):
    """A decoder whose second picture is lighter, and whose later ones are smooth."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.calls = 0

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        self.calls += 1
        made = super().__call__(feeds)["pixels"]
        smooth = made.mean(axis=(-2, -1), keepdims=True) + 0 * made
        return {"pixels": smooth if self.calls > 2 else made + np.float32(0.1 * (self.calls == 2))}


@pytest.mark.parametrize("repair", [False, True])
def test_seams_over_the_limit_are_repaired_and_said(identity: Pipeline, repair: bool) -> None:
    identity.vae.decoder = Stepped(identity.vae.decoder)
    grey = np.full((16, 32, 3), 100, np.uint8)
    options = {"method": "tiles", "tile": 32, "mask_blur": 0, "padding": 0, "order": "linear", "steps": 4}
    options |= {"colour_match": "none"}
    made = identity.upscale(grey, scale=2, strength=0.5, repair=repair, seam_fix_width=24, **options)
    assert made.painted.worst > 20
    if repair:
        assert [(line.axis, line.at) for line in made.repaired] == [("column", 32)]
        assert made.seams.worst < made.painted.worst / 4
        assert f"is {made.seams.worst:.2f}" in made.outputs[0].notes[-1]
    else:
        assert made.repaired == ()
        assert not any("seams repaired" in note for note in made.outputs[0].notes)
        assert made.seams is made.painted


def test_a_repair_that_scores_no_better_is_put_back(identity: Pipeline) -> None:
    class Worse(Stepped):
        def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
            made = super().__call__(feeds)["pixels"]
            return {"pixels": np.ones_like(made) if self.calls > 2 else made}

    identity.vae.decoder = Worse(identity.vae.decoder)
    options = {"method": "tiles", "tile": 32, "mask_blur": 0, "padding": 0, "steps": 4, "colour_match": "none"}
    made = identity.upscale(np.full((16, 32, 3), 100, np.uint8), scale=2, strength=0.5, **options)
    assert made.painted.worst > 20
    assert (made.repaired, made.seams) == ((), made.painted)
    assert "scored no better: 1" in made.outputs[0].notes[-1]


def test_tiles_of_a_tinting_model_join(identity: Pipeline) -> None:
    """Every tile comes out with a tint of its own, and is painted in the colours of what it lies on."""

    class Tinting(Wrapper):
        def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
            made = super().__call__(feeds)["pixels"]
            tint = np.random.default_rng(int(1e3 * np.abs(made).sum()) % 2**31).uniform(-0.3, 0.3, (1, 3, 1, 1))
            return {"pixels": made + tint.astype(np.float32)}

    identity.vae.decoder, identity.vae._tile = Tinting(identity.vae.decoder), 512
    smooth = np.repeat(np.tile(np.linspace(60, 180, 37), (30, 1))[..., None], 3, axis=2).astype(np.uint8)
    options = {"scale": 4, "steps": 4, "strength": 0.5, "method": "tiles", "tile": 32, "repair": False}
    plain, joined = (identity.upscale(smooth, colour_match=way, **options) for way in ("none", None))
    assert plain.seams.worst > 2.5
    assert joined.seams.worst < 1.5
    source = lanczos(Image.fromarray(smooth), (148, 120)).astype(int)
    assert np.abs(pixels(joined) - source).mean() < np.abs(pixels(plain) - source).mean() / 5


class TestUpscaler:
    def test_its_scale_is_applied_as_often_as_needed(
        self, fake: Pipeline, upscaler: UpscalerBundle, small: Pixels
    ) -> None:
        first = overpaint.load_upscaler(upscaler.folder, engine="onnxruntime")
        made = fake.upscale(small, scale=3, strength=0, upscaler=first)
        twice = Image.fromarray(first(first(small)))
        assert np.array_equal(pixels(made), np.asarray(twice.resize((111, 90), Image.Resampling.LANCZOS)))
        assert np.array_equal(pixels(fake.upscale(small, scale=2, strength=0, upscaler=first)), first(small))
        assert np.array_equal(pixels(fake.upscale(small, scale=1, strength=0, upscaler=first)), small)
        text = made.outputs[0].parameters
        assert ("Upscaler", upscaler.model.name) in parse_parameters(text).extra

    def test_one_that_is_named_is_closed_again(self, fake: Pipeline, small: Pixels) -> None:
        work = Upscale(fake.model, small, scale=4, strength=0, upscaler="compact")
        opened = work._upscaler
        assert opened is not None
        list(work)
        assert work.result().images[0].size == (4 * small.shape[1], 4 * small.shape[0])
        with pytest.raises(Exception, match="closed"):
            opened(small)

    def test_a_way_through_too_many_pixels_is_refused(self, fake: Pipeline, upscaler: UpscalerBundle) -> None:
        first = overpaint.load_upscaler(upscaler.folder, engine="onnxruntime")
        with pytest.raises(InputError, match="choose a scale that is a power of its own, 2"):
            fake.upscale(np.zeros((4000, 4000, 3), np.uint8), scale=2.04, upscaler=first)


class TestRefused:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"scale": 0.5}, "scale must be a number from 1 to 16"),
            ({"scale": float("nan")}, "scale must be"),
            ({"scale": True}, "scale must be"),
            ({"method": "join"}, "unknown upscaling method 'join'; did you mean 'joint'"),
            ({"method": "tiles", "order": "ches"}, "unknown tile order 'ches'"),
            ({"method": "tiles", "seam_fix": "band"}, "unknown seam fix 'band'"),
            ({"colour_match": "lab"}, "unknown colour match 'lab'"),
            ({"colour_match": "tile"}, "colour_match 'tile' is of method 'tiles'"),
            ({"tile": 0}, "tile must be a whole number"),
            ({"tile": 36}, "give a multiple of 16"),
            ({"tile": 32, "overlap": 32}, "tiles of 32 pixels are no larger than the overlap, 32"),
            ({"method": "tiles", "tile": 32, "padding": 64}, "no larger than the padding, 64"),
            ({"padding": 8}, "padding: of method 'tiles'"),
            ({"seam_fix": "bands"}, "seam_fix: of method 'tiles'"),
            ({"method": "tiles", "overlap": 8}, "overlap is of method 'joint'"),
            ({"seam_fix_strength": 0}, "a seam fix of strength 0"),
            ({"batch": 0}, "batch must be a whole number"),
            ({"size": (64, 64)}, "an upscale sets size itself"),
            ({"window": 64}, "an upscale sets window itself"),
            ({"stength": 0.5}, "unknown option 'stength'; did you mean 'strength'"),
            ({"strength": 0.1, "steps": 4}, "steps"),
            ({"prompt": "(a"}, "prompt"),
            ({"tile": 1040, "scale": 11}, "this model takes at most 1024x1024"),
            ({"method": "tiles", "tile": 1040, "scale": 11}, "this model takes at most 1024x1024"),
        ],
        ids=str,
    )
    def test_before_the_model_runs(self, fake: Pipeline, options: dict[str, Any], message: str) -> None:
        answers = fake.denoiser.engine = Answers(fake.denoiser.engine, 0)
        source = np.zeros((96, 96, 3), np.uint8)
        with pytest.raises(InputError, match=message.replace("(", r"\(")):
            fake.upscale(source, **options)
        assert answers.rows == 0

    @pytest.mark.parametrize(("size", "scale", "most"), [((600, 600), 16, "13.65"), ((4000, 200), 8, "4.09")])
    def test_results_beyond_the_limit_name_the_scale_that_goes(
        self, size: tuple[int, int], scale: float, most: str
    ) -> None:
        with pytest.raises(InputError, match=f"choose a scale of at most {most}"):
            enlarged_size(size, scale)
        enlarged_size(size, float(most))

    def test_no_result_before_the_end(self, fake: Pipeline, small: Pixels) -> None:
        from overpaint.runtime.tools.upscale import Upscale

        work = Upscale(fake.model, small, steps=4, strength=0.5)
        with pytest.raises(InputError, match="has not ended"):
            work.result()
        list(work)
        with pytest.raises(InputError, match="goes once"):
            list(work)


def test_the_peers_lengths_are_those_of_a_tile_of_512(fake: Pipeline) -> None:
    sizes = Upscaling(tile=512).sizes(fake.bundle.model)
    assert (sizes.padding, sizes.mask_blur, sizes.fix_width, sizes.fix_padding, sizes.fix_blur) == (32, 8, 64, 32, 4)


@pytest.mark.parametrize("options", [{}, {"method": "tiles", "seam_fix": "bands"}], ids=str)
def test_tiles_are_told_to_the_last(fake: Pipeline, small: Pixels, options: dict[str, Any]) -> None:
    heard: dict[str, list[tuple[int, int]]] = {}
    steps: list[Any] = []
    common = {"scale": 4, "tile": 32, "steps": 4, "strength": 0.5, "repair": False, "on_step": steps.append}
    fake.upscale(small, progress=lambda stage, *told: heard.setdefault(stage, []).append(told), **common, **options)
    for told in heard.values():
        assert [done for done, _ in told] == sorted(done for done, _ in told)
        assert told[-1][0] == told[-1][1]
    assert set(heard) == ({"denoise", "repair"} if options else {"encode", "denoise", "decode"})
    assert steps


def test_stopping_in_a_step_ends_the_work(fake: Pipeline, small: Pixels) -> None:
    def stop(stage: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fake.upscale(small, scale=4, tile=32, progress=stop)


def test_the_command_writes_what_it_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "in.png", tmp_path / "out.png"
    Image.fromarray(np.full((40, 32, 3), 90, np.uint8)).save(source)
    arguments = ["upscale", source, "-o", out, "--scale", 2, "--prompt", "fox", "--seed", 5, "--steps", 4]
    assert main(list(map(str, [*arguments, "--strength", 0.5]))) == 0
    assert Image.open(out).size == (64, 80)
    text = read_parameters(out)
    assert text is not None
    found = parse_parameters(text)
    assert (found.size, found.seed, found.prompt) == ((64, 80), 5, "fox")
    assert {"Upscale by": "2", "Upscale method": "joint", "Tile size": "64"}.items() <= dict(found.extra).items()
    assert "seams: the worst of" in capsys.readouterr().out
    assert main(list(map(str, [*arguments, "--overlap", 64, "--overwrite"]))) == 2
    assert "no larger than the overlap" in capsys.readouterr().err


def test_tiles_under_a1111_are_ultimate_sd_upscales(fake: Pipeline, small: Pixels) -> None:
    options = {"sampler": "euler", "steps": 4, "strength": 0.6, "seed": 5, "convention": "a1111", "tile": 32}
    options |= {"padding": 16, "mask_blur": 2, "method": "tiles", "seam_fix": "half_tile_intersections"}
    large = np.tile(small, (2, 2, 1))
    work = Upscale(fake.model, large, "a", **options)
    redrawn, mended = work._passes()
    assert {item.work_size for item in redrawn} == {(64, 64)}
    assert {item.work_size for item in mended} == {(32, 32)}
    assert (work._own.matching, work._own.repair, work._request.noise_kind) == ("none", False, "gpu")
    assert (work._mending.seed, work._mending.strength) == (5, 0.35)
    own = Upscale(
        fake.model, large, "a", **options, seam_fix_strength=0.5, colour_match="tile", repair=True, noise="field"
    )
    assert (own._own.matching, own._own.repair, own._request.noise_kind) == ("tile", True, "field")
    assert own._mending.strength == 0.5
    ours = Upscale(fake.model, large, "a", **{**options, "convention": "contract"})
    assert (ours._own.matching, ours._own.repair, ours._request.noise_kind) == ("tile", True, "field")
    assert (ours._mending.seed, ours._mending.strength) == (6, 0.6)
    assert all(item.size is None for stage in ours._passes() for item in stage)
    result = fake.upscale(large, "a", **options)
    assert result.repaired == ()
    assert np.array_equal(pixels(result), pixels(fake.upscale(large, "a", batch=1, **options)))
