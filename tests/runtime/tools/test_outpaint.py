"""Outpainting: a picture grows by what is asked for, in areas the model can take, and stays what it was."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

import overpaint
from overpaint.errors import InputError
from overpaint.runtime.imaging.fade import fade
from overpaint.runtime.imaging.fill import PADDINGS, Margins
from overpaint.runtime.imaging.limits import MAX_SIDE
from overpaint.runtime.tools.outpaint import Outpaint
from overpaint.runtime.tools.outpainting import enlarged, rounds
from tests.support.bundles import fake_bundle

Pixels = NDArray[np.uint8]
RUN = {"steps": 2, "seed": 3}
GROWTH = st.builds(Margins, *[st.integers(0, 150)] * 4).filter(lambda margins: margins != Margins())


def pixels(height: int, width: int, channels: int = 3) -> Pixels:
    return np.random.default_rng(height).integers(0, 256, (height, width, channels), np.uint8)


@pytest.fixture(scope="module")
def pipe(fake_folder: Path) -> overpaint.Pipeline:
    return overpaint.load(fake_folder, engine="fake")


@given(st.integers(8, 200), st.integers(8, 200), GROWTH, st.integers(8, 96), st.integers(8, 96))
def test_rounds_paint_every_new_pixel_in_areas_of_the_models_size(
    width: int, height: int, margins: Margins, wide: int, high: int
) -> None:
    size = width, height
    for each in rounds(size, margins, (wide, high)):
        todo = each.margins.mask(size)
        size = enlarged(size, each.margins)
        for area in each.areas:
            assert area.width <= min(wide, size[0])
            assert area.height <= min(high, size[1])
            part = todo[area.slices]
            assert part.shape == (area.height, area.width)
            # There is something to paint, and something to go on.
            assert part.any()
            assert not part.all()
            part[...] = 0
        assert not todo.any()
    assert size == enlarged((width, height), margins)


def test_what_fits_is_painted_at_once() -> None:
    [only] = rounds((40, 30), Margins(8, 8, 16, 0), (64, 64))
    assert only.areas[0] == Margins().window((64, 38))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_the_pictures_own_pixels_are_the_same(pipe: overpaint.Pipeline, data: st.DataObject) -> None:
    mode = data.draw(st.sampled_from(["RGB", "RGBA", "L", "P"]))
    width, height = data.draw(st.integers(20, 70)), data.draw(st.integers(20, 70))
    left, top, right, bottom = (data.draw(st.integers(0, 40)) for _ in range(4))
    sides = {"left": left + 1, "top": top, "right": right, "bottom": bottom}
    given_fill = data.draw(st.sampled_from(sorted(PADDINGS)))
    feather, overlap = data.draw(st.sampled_from([0, 6])), data.draw(st.sampled_from([0, 1, 7]))
    source = Image.fromarray(pixels(height, width, 4)).convert("RGB" if mode == "P" else mode).convert(mode)
    options = {"fill": given_fill, "feather": feather, "overlap": overlap, **RUN}
    [output] = pipe.outpaint(source, "a", **sides, **options).outputs
    assert output.image.size == (width + left + 1 + right, height + top + bottom)
    assert output.image.mode == ("RGBA" if mode == "RGBA" else "RGB")
    before = np.asarray(source.convert(output.image.mode))
    kept = np.asarray(output.image)[top : top + height, left + 1 : left + 1 + width]
    # The sides that do not grow have no overlap either; a margin of it on all sides is more than enough.
    inner = np.s_[overlap : height - overlap, overlap : width - overlap]
    assert np.array_equal(before[inner], kept[inner])
    certificate = output.certificate
    assert certificate is not None
    assert certificate.exact
    if not overlap:
        assert np.array_equal(before, kept)
        assert certificate.kept == width * height
    if mode == "RGBA":
        # Where the original is repainted, beside what is new, it is as opaque as that.
        assert (kept[..., 3] >= before[..., 3]).all()
        assert (np.asarray(output.image)[:, 0, 3] == 255).all()


def test_steps_are_counted_and_images_have_seeds(pipe: overpaint.Pipeline) -> None:
    work = Outpaint(pipe.model, pixels(64, 64), "a", left=70, bottom=10, n=2, seed=5, steps=3)
    with pytest.raises(InputError, match="not ended"):
        work.result()
    assert len(list(work)) == work.evaluations
    result = work.result()
    assert result.seeds == [5, 6]
    assert work.size == result.images[0].size
    assert any("areas of 64x64" in note for note in result.outputs[0].notes)
    alone = pipe.outpaint(pixels(64, 64), "a", left=70, bottom=10, seed=6, steps=3).images[0]
    assert np.array_equal(np.asarray(alone), np.asarray(result.images[1]))
    with pytest.raises(InputError, match="goes once"):
        list(work)


def test_areas_do_not_begin_with_the_same_noise(pipe: overpaint.Pipeline) -> None:
    flat = np.full((64, 64, 3), 128, np.uint8)
    made = np.asarray(pipe.outpaint(flat, "a", left=64, seed=1, steps=4, feather=0).images[0])
    assert not np.array_equal(made[:, :32], made[:, 32:64])


def test_an_inpainting_model_paints_around(tmp_path: Path) -> None:
    nine = overpaint.load(fake_bundle(tmp_path / "nine", conditioning_channels=5).folder, engine="fake")
    [output] = nine.outpaint(pixels(40, 56), "a", right=20, **RUN).outputs
    assert output.certificate is not None
    assert output.certificate.exact


def test_a_constant_difference_is_gone_at_the_border_and_fades() -> None:
    original = np.full((40, 40, 3), 100, np.uint8)
    levels = np.zeros((40, 40), np.uint8)
    levels[:, 20:] = 255
    made = fade(original, original + 20, levels, 8)
    row = made[20, 20:, 0].astype(int)
    assert row[0] <= 102
    assert (np.diff(row) >= 0).all()
    assert (row[9:] == 120).all()
    assert np.array_equal(made[:, :20], (original + 20)[:, :20])
    assert np.array_equal(fade(original, original + 20, levels, 0), original + 20)


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({}, "grow by 0 pixels"),
        ({"left": -3}, "left must be"),
        ({"left": 1.5}, "left must be"),
        ({"top": MAX_SIDE}, "the grown picture is 64x16448"),
        ({"left": 6000, "top": 16000}, "more than"),
        ({"right": MAX_SIDE + 1}, "right must be"),
        ({"left": 8, "fill": "mirror"}, "unknown padding 'mirror'"),
        ({"left": 8, "fill": "colour", "colour": (1, 2)}, "a colour is three levels"),
        ({"left": 8, "overlap": -1}, "overlap must be"),
        ({"left": 8, "feather": -1}, "feather must be"),
        ({"left": 8, "strength": 2}, "strength must be"),
        ({"left": 8, "size": (8192, 0)}, "height must be"),
        ({"left": 1900, "size": (2048, 2048)}, "takes at most"),
        ({"left": 8, "resize_mode": "crop"}, "no resize mode"),
        ({"left": 8, "rigth": 3}, "did you mean"),
    ],
)
def test_bad_options_are_told(pipe: overpaint.Pipeline, options: dict[str, object], cause: str) -> None:
    with pytest.raises(InputError, match=cause):
        Outpaint(pipe.model, pixels(64, 64), "a", **options)


def test_a_strength_that_is_none_is_outpaintings_own(fake: overpaint.Pipeline) -> None:
    source = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    made = fake.outpaint(source, "a", right=8, steps=4, seed=1, strength=None).outputs[0]
    assert made.request.strength == 1.0
