"""Inpainting: what is masked changes, and nothing else; on the fake engine where no picture has to be good."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

import overpaint
from overpaint.engines.wrapper import Wrapper
from overpaint.errors import InputError
from overpaint.runtime.conventions.masks import A1111
from overpaint.runtime.imaging import mask as masks
from overpaint.runtime.imaging import mask_shape
from overpaint.runtime.imaging.picture import Picture
from overpaint.runtime.imaging.tiles import Window
from overpaint.runtime.model.build_job import JobBuilder
from overpaint.runtime.model.stats import RunStats
from overpaint.runtime.requests.places import InpaintMask
from overpaint.runtime.requests.request import Request
from overpaint.runtime.tools.inpaint import Inpaint
from overpaint.runtime.tools.inpainting import Inpainting
from overpaint.runtime.tools.patch import Patch, Seam, working_size
from tests.support.bundles import fake_bundle

Pixels = NDArray[np.uint8]
MODES = ("RGB", "RGBA", "L", "P", "LA")
EULER = {"sampler": "euler", "steps": 6, "strength": 0.9, "seed": 3}
RUN = {"steps": 2, "strength": 0.5, "seed": 3}


def pixels(height: int, width: int, channels: int = 3, seed: int = 0) -> Pixels:
    shape = (height, width, channels) if channels else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def image(mode: str, width: int, height: int) -> Image.Image:
    if mode in ("RGB", "RGBA"):
        return Image.fromarray(pixels(height, width, len(mode)))
    return Image.fromarray(pixels(height, width, 4)).convert("RGB" if mode == "P" else "RGBA").convert(mode)


def box(height: int, width: int, window: Window) -> Pixels:
    levels = np.zeros((height, width), np.uint8)
    levels[window.slices] = 255
    return levels


@pytest.fixture(scope="module")
def pipe(fake_folder: Path) -> overpaint.Pipeline:
    return overpaint.load(fake_folder, engine="fake")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_pixels_outside_the_mask_are_the_same(pipe: overpaint.Pipeline, data: st.DataObject) -> None:
    width, height = data.draw(st.integers(24, 90)), data.draw(st.integers(24, 90))
    mode = data.draw(st.sampled_from(MODES))
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    window = Window(top, left, data.draw(st.integers(1, 60)), data.draw(st.integers(1, 60)))
    blur = data.draw(st.sampled_from([0, 1.5, (3.0, 0.5), 6]))
    options = {
        "blur": blur,
        "grow": data.draw(st.integers(0, 4)),
        "only_masked": data.draw(st.booleans()),
        "levels": data.draw(st.sampled_from(["hard", "soft", "strength"])),
        "content": data.draw(st.sampled_from(["original", "fill", "noise", "nothing"])),
        "ring": data.draw(st.sampled_from([0, 5])),
        "padding": data.draw(st.sampled_from([0, 7, 40])),
    }
    source, levels = image(mode, width, height), box(height, width, window)
    [output] = pipe.inpaint(source, levels, "a b", **options, **RUN).outputs
    alpha = mode in ("RGBA", "LA")
    assert output.image.mode == ("RGBA" if alpha else "RGB")
    assert output.image.size == source.size
    reached = Inpainting(**options).shaped(levels) > 0
    before, after = np.asarray(source.convert(output.image.mode)), np.asarray(output.image)
    assert np.array_equal(before[~reached], after[~reached])
    assert not alpha or (after[..., 3] >= before[..., 3]).all()
    certificate = output.certificate
    assert certificate is not None
    assert certificate.exact
    assert (certificate.masked, certificate.kept) == (int(reached.sum()), int((~reached).sum()))
    assert certificate.changed > 0


def test_a_mask_is_shaped_in_its_rectangle_as_in_the_whole() -> None:
    own = Inpainting(grow=3, blur=(2.0, 5.0))
    for window in (Window(0, 20, 9, 11), Window(50, 60, 30, 40), Window(30, 0, 5, 100)):
        levels = box(80, 100, window)
        around = mask_shape.region(levels, own.reach)
        assert around is not None
        part = np.zeros_like(levels)
        part[around.slices] = own.shaped(levels[around.slices])
        assert np.array_equal(part, own.shaped(levels))


def test_only_the_crop_goes_to_the_model(pipe: overpaint.Pipeline) -> None:
    work = Inpaint(
        pipe.model, pixels(900, 1200), box(900, 1200, Window(300, 500, 40, 60)), "a", only_masked=True, **RUN
    )
    list(work)
    [output] = work.result().outputs
    assert output.request.image.size == (64, 64)
    changed = np.argwhere((np.asarray(output.image) != pixels(900, 1200)).any(axis=2))
    assert (changed.min(axis=0) >= (290, 490)).all()
    assert (changed.max(axis=0) < (350, 570)).all()


def test_a_size_is_what_the_model_works_at(pipe: overpaint.Pipeline) -> None:
    levels = box(50, 100, Window(10, 10, 30, 30))
    [output] = pipe.inpaint(pixels(50, 100), levels, "a", size=(128, 128), **RUN).outputs
    assert output.request.image.size == (128, 64)
    assert output.image.size == (100, 50)


@pytest.mark.parametrize(("window", "size", "wanted"), [((7, 64), (64, 64), (64, 8)), ((300, 300), (64, 64), (64, 64))])
def test_working_sizes_have_the_windows_shape(window: tuple[int, int], size: tuple[int, int], wanted: object) -> None:
    assert working_size(Window(0, 0, *window), size, 8) == wanted


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "I", "F", "I;16"])
def test_a_mask_of_every_mode_says_the_same(pipe: overpaint.Pipeline, mode: str) -> None:
    levels = box(40, 56, Window(8, 8, 16, 24))
    if mode == "F":
        given = Image.fromarray(levels.astype(np.float32) / 255)
    elif mode in ("I", "I;16"):
        given = Image.fromarray(levels.astype(np.int32 if mode == "I" else np.uint16) * (1 if mode == "I" else 257))
    else:
        given = Image.fromarray(levels).convert("RGB" if mode == "P" else mode).convert(mode)
    source = pixels(40, 56)
    wanted, made = (pipe.inpaint(source, each, "a", **RUN).images[0] for each in (levels, given))
    assert np.array_equal(np.asarray(wanted), np.asarray(made))


def test_what_is_erased_is_repainted(pipe: overpaint.Pipeline) -> None:
    levels = box(40, 56, Window(8, 8, 16, 24))
    erased = Image.fromarray(np.dstack([pixels(40, 56), 255 - levels]))
    wanted, made = (pipe.inpaint(pixels(40, 56), each, "a", **RUN) for each in (levels, erased))
    assert np.array_equal(np.asarray(wanted.images[0]), np.asarray(made.images[0]))
    assert any("transparent is repainted" in note for note in made.outputs[0].notes)


def test_prompts_by_steps(fake: overpaint.Pipeline) -> None:
    levels = box(64, 64, Window(16, 16, 32, 32))
    prompts = ((0.0, "a"), (0.5, "b"))
    made = fake.inpaint(image("RGB", 64, 64), levels, prompts=prompts, steps=4, seed=1).outputs[0]
    assert made.request.prompts == prompts
    assert made.record is not None


def test_an_empty_mask_gives_the_picture_back_and_runs_no_model(fake: overpaint.Pipeline) -> None:
    class Refusing(Wrapper):
        def __call__(self, feeds: Any) -> Any:
            raise AssertionError("no model must run")

    fake.denoiser.engine = Refusing(fake.denoiser.engine)
    source = image("RGBA", 30, 20)
    work = Inpaint(fake.model, source, np.zeros((20, 30), np.uint8), "a", n=2, seed=4)
    assert (work.evaluations, list(work)) == (0, [])
    result = work.result()
    assert result.seeds == [4, 5]
    for output in result.outputs:
        assert np.array_equal(np.asarray(output.image), np.asarray(source))
        assert output.certificate is not None
        assert output.certificate.masked == 0
        assert any("empty: nothing is repainted" in note for note in output.notes)


def test_a_mask_that_shrinks_away_is_empty_too(fake: overpaint.Pipeline) -> None:
    [output] = fake.inpaint(pixels(40, 40), box(40, 40, Window(10, 10, 4, 4)), "a", grow=-4).outputs
    assert np.array_equal(np.asarray(output.image), pixels(40, 40))
    assert any("nothing of the mask is left" in note for note in output.notes)


def test_strength_0_changes_nothing(pipe: overpaint.Pipeline) -> None:
    levels = box(90, 90, Window(10, 10, 60, 60))
    made = pipe.inpaint(pixels(90, 90), levels, "a", only_masked=True, strength=0.0).images[0]
    assert np.array_equal(np.asarray(made), pixels(90, 90))


@pytest.mark.parametrize("convention", ["contract", "diffusers"])
def test_a_full_mask_is_image_to_image(pipe: overpaint.Pipeline, convention: str) -> None:
    given = {"steps": 4, "strength": 0.5, "seed": 9, "convention": convention, "sampler": "ddim"}
    whole = pipe.inpaint(pixels(40, 56), np.full((40, 56), 255, np.uint8), "a", **given)
    assert np.array_equal(np.asarray(whole.images[0]), np.asarray(pipe(pixels(40, 56), "a", **given).images[0]))
    assert any("as image-to-image does" in note for note in whole.outputs[0].notes)


def test_a_batch_is_what_its_seeds_give_one_by_one(pipe: overpaint.Pipeline) -> None:
    levels = box(40, 56, Window(8, 8, 16, 24))
    together = pipe.inpaint(pixels(40, 56), levels, "a", n=3, seed=5, steps=3)
    assert together.seeds == [5, 6, 7]
    for seed, made in zip(together.seeds, together.images, strict=True):
        alone = pipe.inpaint(pixels(40, 56), levels, "a", seed=seed, steps=3).images[0]
        assert np.array_equal(np.asarray(made), np.asarray(alone))


def test_masks_have_prompts_of_their_own(pipe: overpaint.Pipeline) -> None:
    left, right = box(48, 96, Window(8, 8, 32, 24)), box(48, 96, Window(8, 64, 32, 24))
    [output] = pipe.inpaint(pixels(48, 96), [left, right], ["a b c", "x y z"], blur=0, **RUN).outputs
    [region] = output.request.regions
    assert (output.request.prompt, region.prompt) == ("a b c", "x y z")
    assert np.array_equal(region.mask, right)
    assert output.request.inpaint_mask is not None
    assert np.array_equal(output.request.inpaint_mask.mask, np.maximum(left, right))
    shared = pipe.inpaint(pixels(48, 96), [left, right], "a b c", blur=0, **RUN).outputs[0]
    assert shared.request.regions == ()


def test_strengths_by_pixel_are_shares_of_the_strength(pipe: overpaint.Pipeline) -> None:
    levels = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (64, 1))
    grey = np.full((64, 64, 3), 128, np.uint8)
    given = {"levels": "strength", "blur": 0, "ring": 0, "steps": 20, "strength": 1.0, "seed": 1}
    [output] = pipe.inpaint(grey, levels, "a", **given).outputs
    assert output.request.inpaint_mask is not None
    assert output.request.inpaint_mask.differential
    assert output.certificate is not None
    assert output.certificate.exact


def test_an_inpainting_model_runs(tmp_path: Path) -> None:
    nine = overpaint.load(fake_bundle(tmp_path / "nine", conditioning_channels=5).folder, engine="fake")
    levels = box(40, 56, Window(8, 8, 16, 24))
    for strength in (0.5, 1.0):
        [output] = nine.inpaint(pixels(40, 56), levels, "a", steps=4, strength=strength, seed=1).outputs
        assert output.certificate is not None
        assert output.certificate.exact


def test_what_is_repainted_is_opaque(pipe: overpaint.Pipeline) -> None:
    source = np.dstack([pixels(40, 56), box(40, 56, Window(0, 0, 40, 28))])
    [output] = pipe.inpaint(source, box(40, 56, Window(8, 20, 16, 24)), "a", **RUN).outputs
    made = np.asarray(output.image)
    reached = Inpainting().shaped(box(40, 56, Window(8, 20, 16, 24)))
    assert (made[reached == 255][:, 3] == 255).all()
    assert np.array_equal(made[reached == 0], source[reached == 0])
    assert any("become opaque" in note for note in output.notes)


def test_an_even_shift_is_taken_out_and_said() -> None:
    original = pixels(64, 64) // 2 + 40
    levels = box(64, 64, Window(20, 20, 24, 24))
    patch = Patch(overpaint.read(original), Window(0, 0, 64, 64), levels, (64, 64))
    made, notes = patch.put_back(Image.fromarray(original + 9), Seam(16))
    assert np.array_equal(made.pixels, original)
    assert notes == ("colours around the mask were off by 9.0 levels of 255: corrected, 0.0 are left",)


def test_what_is_no_even_shift_is_left_and_said() -> None:
    original = pixels(64, 64) // 2 + 40
    levels = box(64, 64, Window(20, 20, 24, 24))
    patch = Patch(overpaint.read(original), Window(0, 0, 64, 64), levels, (64, 64))
    repainted = original.copy()
    repainted[:, :32] += 30
    repainted[:, 32:] -= 30
    made, notes = patch.put_back(Image.fromarray(repainted), Seam(16))
    assert np.array_equal(made.pixels[20:44, 20:44], repainted[20:44, 20:44])
    assert "no even shift" in notes[0]


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({"channel": "alfa"}, "did you mean 'alpha'"),
        ({"levels": "sof"}, "did you mean 'soft'"),
        ({"content": "fil"}, "did you mean 'fill'"),
        ({"latent_mask": "diffuser"}, "did you mean 'diffusers'"),
        ({"blur_kind": "box"}, "unknown mask blur"),
        ({"ring_field": "cubic"}, "unknown shift field"),
        ({"blur": -1}, "blur is 0 to 256"),
        ({"blur": (1.0, 2.0, 3.0)}, "blur is 0 to 256"),
        ({"blur": float("nan")}, "blur is 0 to 256"),
        ({"blur": "wide"}, "blur is 0 to 256"),
        ({"padding": -1}, "padding must be"),
        ({"ring": -2}, "ring must be"),
        ({"grow": 2**20}, "grow must be"),
        ({"grow": 1.5}, "grow must be"),
        ({"resize_mode": "crop"}, "no resize mode"),
        ({"size": (0, 8)}, "width must be"),
        ({"size": "64x64"}, "size must be"),
        ({"strenght": 0.4}, "did you mean 'strength'"),
        ({"levels": "strength", "passes": (0.5, 0.3)}, "are of one pass"),
    ],
)
def test_bad_options_are_told(pipe: overpaint.Pipeline, options: dict[str, object], cause: str) -> None:
    with pytest.raises(InputError, match=cause):
        Inpaint(pipe.model, pixels(40, 56), box(40, 56, Window(8, 8, 16, 24)), "a", **options)


def test_a_mask_of_another_size_is_resized_only_if_asked(pipe: overpaint.Pipeline) -> None:
    levels = box(20, 28, Window(4, 4, 8, 12))
    with pytest.raises(InputError, match="or ask for it to be resized"):
        pipe.inpaint(pixels(40, 56), levels, "a", **RUN)
    [output] = pipe.inpaint(pixels(40, 56), levels, "a", resize_mask=True, **RUN).outputs
    assert any("the mask is scaled" in note for note in output.notes)
    with pytest.raises(InputError, match="of the picture's size"):
        pipe.inpaint(pixels(40, 56), masks.read(levels), "a")


@pytest.mark.parametrize(("given", "prompts", "cause"), [(0, "a", "no mask"), (2, ["a"] * 3, "3 prompts for 2 masks")])
def test_masks_and_prompts_go_together(pipe: overpaint.Pipeline, given: int, prompts: object, cause: str) -> None:
    levels = box(40, 56, Window(8, 8, 16, 24))
    with pytest.raises(InputError, match=cause):
        pipe.inpaint(pixels(40, 56), [levels] * given, prompts, **RUN)  # type: ignore[arg-type]


def test_a_broken_mask_is_told(pipe: overpaint.Pipeline) -> None:
    stream = BytesIO()
    Image.fromarray(box(40, 56, Window(0, 0, 4, 4))).save(stream, "png")
    with pytest.raises(InputError, match="truncated or damaged"):
        pipe.inpaint(pixels(40, 56), stream.getvalue()[:60], "a")


def stroke(width: int, level: int = 255) -> Pixels:
    """A line of so many pixels across, from the top left to the right, on 64x64."""
    levels = np.zeros((64, 64), np.uint8)
    levels[20 : 20 + width, 9:50] = level
    return levels


@pytest.mark.parametrize("kind", ["hard", "soft", "strength"])
@pytest.mark.parametrize("only_masked", [False, True])
@pytest.mark.parametrize("width", [1, 2, 5])
def test_what_is_smaller_than_its_blur_is_repainted(
    pipe: overpaint.Pipeline, kind: str, only_masked: bool, width: int
) -> None:
    levels = stroke(width)
    [output] = pipe.inpaint(pixels(64, 64), levels, "a", levels=kind, only_masked=only_masked, **RUN).outputs
    assert output.request.inpaint_mask is not None
    assert output.request.inpaint_mask.mask.max() >= 128
    # The fake VAE's own loss is what an unmasked picture would show.
    changed = (np.asarray(output.image) != pixels(64, 64)).any(axis=2)
    assert changed[levels > 0].mean() > 0.9


def test_a_small_spot_frees_latents_and_is_pasted() -> None:
    own = Inpainting()
    for side in (1, 3, 8):
        shaped = own.shaped(box(64, 64, Window(30, 30, side, side)))
        assert shaped[30 : 30 + side, 30 : 30 + side].min() >= 128


def test_what_is_larger_than_its_blur_is_blurred_only() -> None:
    levels = box(90, 90, Window(20, 30, 40, 30))
    assert np.array_equal(Inpainting(blur=4).shaped(levels), mask_shape.blur(levels, 4))


@pytest.mark.parametrize("only_masked", [False, True])
@pytest.mark.parametrize("level", [4, 60, 127])
def test_grey_below_half_is_repainted(pipe: overpaint.Pipeline, level: int, only_masked: bool) -> None:
    [output] = pipe.inpaint(pixels(64, 64), stroke(20, level), "a", only_masked=only_masked, **RUN).outputs
    mask = pipe.prepare(output.request).inpaint_mask
    assert mask is not None
    assert masks.to_latents(mask.mask, 4, mask.latent_mask).any()


@pytest.mark.parametrize("way", ["diffusers", "a1111"])
@pytest.mark.parametrize("levels", [stroke(2), stroke(20, 100)], ids=["thin", "grey"])
def test_a_mask_that_frees_nothing_the_peers_way_is_refused(pipe: overpaint.Pipeline, way: str, levels: Pixels) -> None:
    with pytest.raises(InputError, match=f"frees no latent the way of '{way}'.*latent_mask 'cover'"):
        Inpaint(pipe.model, pixels(64, 64), levels, "a", latent_mask=way, **RUN)


def test_nearly_black_is_kept_and_said(pipe: overpaint.Pipeline) -> None:
    levels = np.random.default_rng(1).integers(0, 4, (64, 64)).astype(np.uint8)
    levels[20:40, 20:40] = 255
    for only_masked in (False, True):
        [output] = pipe.inpaint(pixels(64, 64), levels, "a", only_masked=only_masked, blur=0, **RUN).outputs
        assert output.certificate is not None
        assert (output.certificate.masked, output.certificate.kept) == (400, 64 * 64 - 400)
        assert any("count as black" in note for note in output.notes)


def test_a1111_pastes_the_whole_picture_by_twice_its_blurred_mask(pipe: overpaint.Pipeline) -> None:
    """Its own formula on an edge's row at blur 4, min(255, 2 x blurred); only masked, it pastes the blurred mask."""
    row = np.array([[0, 3, 21, 67, 140, 207]], np.uint8)
    assert Inpainting().pasted(row, A1111).tolist() == [[0, 6, 42, 134, 255, 255]]
    for same in (Inpainting().pasted(row), Inpainting(only_masked=True).pasted(row, A1111)):
        assert np.array_equal(same, row)
    levels = box(64, 64, Window(16, 16, 32, 32))
    options = {"blur": 4, "ring": 0, "seed": 1, "steps": 4, "strength": 0.9, "sampler": "ddim"}
    source = pixels(64, 64)
    made = np.asarray(pipe.inpaint(source, levels, "a", convention="a1111", **options).images[0])
    doubled = np.minimum(mask_shape.blur(levels, 4).astype(int) * 2, 255)
    assert (made[doubled == 0] == source[doubled == 0]).all()
    work = Inpaint(pipe.model, source, levels, "a", convention="a1111", **options)
    assert work._patch is not None
    assert np.array_equal(work._patch.levels, doubled)


def test_a1111s_own_mask_is_the_default_under_its_convention(pipe: overpaint.Pipeline) -> None:
    source, levels = pixels(64, 64), box(64, 64, Window(16, 16, 32, 32))
    bare = pipe.inpaint(source, levels, "a", convention="a1111", **EULER).outputs[0]
    whole = pipe.inpaint(source, levels, "a", convention="a1111", latent_mask="a1111", ring=0, **EULER).outputs[0]
    assert bare.request.inpaint_mask is not None
    assert bare.request.inpaint_mask.latent_mask == "a1111"
    assert np.array_equal(np.asarray(bare.image), np.asarray(whole.image))
    own = Inpaint(pipe.model, source, levels, "a", convention="a1111", latent_mask="cover", ring=8, **EULER)
    assert (own._own.latent_mask, own._own.ring) == ("cover", 8)
    ours = Inpaint(pipe.model, source, levels, "a", **EULER)
    assert (ours._own.latent_mask, ours._own.ring) == ("cover", 16)


@pytest.mark.parametrize("only_masked", [False, True])
def test_a1111s_soft_inpainting_pastes_what_moved(pipe: overpaint.Pipeline, only_masked: bool) -> None:
    source, levels = pixels(96, 160, 4), box(96, 160, Window(32, 64, 32, 32))
    options = {"convention": "a1111", "levels": "soft", "only_masked": only_masked, "n": 2, **EULER}
    outputs = pipe.inpaint(source, levels, "a", **options).outputs
    for output in outputs:
        made, certificate = np.asarray(output.image), output.certificate
        assert made.shape == source.shape
        assert output.paste_mask is None
        assert certificate is not None
        assert certificate.exact
        changed = (made != source).any(axis=2)
        assert changed[40:56, 72:88].mean() > 0.9
        assert not changed[:, :4].any()
        assert not changed[:, -4:].any()
        assert changed[levels == 0].any() == any("beyond the mask" in note for note in output.notes)
    assert not np.array_equal(*(np.asarray(output.image) for output in outputs))


def test_a1111s_soft_inpainting_of_strength_0_is_the_picture(pipe: overpaint.Pipeline) -> None:
    source, levels = pixels(64, 64), box(64, 64, Window(16, 16, 32, 32))
    options = {**EULER, "strength": 0, "convention": "a1111", "levels": "soft"}
    assert np.array_equal(np.asarray(pipe.inpaint(source, levels, "a", **options).images[0]), source)


def test_soft_inpaintings_settings_are_followed(pipe: overpaint.Pipeline) -> None:
    source, levels = pixels(64, 64), box(64, 64, Window(16, 16, 32, 32))
    options = {"convention": "a1111", "levels": "soft", **EULER}
    usual = np.asarray(pipe.inpaint(source, levels, "a", **options).images[0])
    for name, value in {"preservation": 2, "bias": 0.5, "boost": 1, "threshold": 4}.items():
        other = np.asarray(pipe.inpaint(source, levels, "a", **options, **{f"soft_{name}": value}).images[0])
        assert not np.array_equal(other, usual), name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"soft_bias": 2.0}, "choose levels 'soft'"),
        ({"levels": "soft", "soft_bias": 2.0}, "soft_bias: of A1111's"),
        ({"levels": "soft", "soft_boost": 0.5, "convention": "a1111"}, "soft_boost must be a number from 1 to 32"),
        ({"levels": "soft", "soft_preservation": 0}, "keeps nothing"),
    ],
)
def test_settings_that_would_do_nothing_are_refused(
    pipe: overpaint.Pipeline, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        Inpaint(pipe.model, pixels(64, 64), box(64, 64, Window(16, 16, 32, 32)), "a", **options)


def test_an_inpainting_unet_sees_the_mask_as_a1111_scales_it(tmp_path: Path) -> None:
    """Rounded and every 8th pixel (here 4th) of a hard mask; a soft one as it is, and the pixels less as it says."""
    pipe = overpaint.load(fake_bundle(tmp_path, 5).folder, engine="fake")
    source = Picture(pixels(64, 64))
    grey = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (64, 1))
    for soft, expected in ((0.0, np.rint(grey / 255)), (0.5, grey / np.float32(255))):
        change = InpaintMask(grey, soft=soft, latent_mask="a1111")
        request = Request(source, "a", inpaint_mask=change, convention="a1111", **EULER)
        work = JobBuilder(pipe.model.stages, pipe.prepare(request), RunStats())
        hidden, mask = work._hidden(change)
        np.testing.assert_allclose(hidden, expected, atol=1e-6)
        np.testing.assert_allclose(mask, expected[::4, ::4], atol=1e-6)
        assert work._blends
        assert not work._keeps
