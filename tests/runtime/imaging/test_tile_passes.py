"""Passes of tiled upscaling cover their area, and the seams between tiles are found by their score."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from overpaint.errors import InputError
from overpaint.runtime.imaging.compose import paste
from overpaint.runtime.imaging.seams import seams
from overpaint.runtime.imaging.tile_passes import ORDERS, SEAM_FIXES, Tiling, bands, redraw, waves
from overpaint.runtime.requests.options import default
from tests.support.examples import EXAMPLES

LIMIT = default("seam_limit", "upscaling")

tilings = st.builds(
    Tiling,
    height=st.integers(1, 200),
    width=st.integers(1, 200),
    tile=st.sampled_from([32, 48, 64]),
    padding=st.integers(0, 20),
    blur=st.sampled_from([0, 1, 2.5, 4]),
    multiple=st.sampled_from([1, 8]),
)


def check(tiling, passes):
    for item in passes:
        window = item.window
        assert item.weights.shape == (window.height, window.width)
        assert window.top >= 0
        assert window.left >= 0
        assert window.top + window.height <= tiling.height
        assert window.left + window.width <= tiling.width
        for length, whole in ((window.height, tiling.height), (window.width, tiling.width)):
            assert length % tiling.multiple == 0 or length == whole


@settings(max_examples=60, deadline=None)
@given(tilings, st.sampled_from(ORDERS))
def test_redraw_replaces_every_pixel(tiling, order):
    passes = redraw(tiling, order)
    check(tiling, passes)
    assert len(passes) == tiling.rows * tiling.columns
    assert len({(item.window.height, item.window.width) for item in passes}) == 1
    total = np.zeros((tiling.height, tiling.width))
    for item in passes:
        total[item.window.slices] += item.weights
    # Tiles share what is blurred between them: together they replace each pixel once, to a level's rounding a tile.
    np.testing.assert_allclose(total, 255, atol=9)


@settings(max_examples=40, deadline=None)
@given(tilings, st.sampled_from(ORDERS))
def test_without_blur_the_last_word_on_each_pixel_is_a_tiles(tiling, order):
    tiling = Tiling(tiling.height, tiling.width, tiling.tile, tiling.padding, 0, tiling.multiple)
    canvas = np.zeros((tiling.height, tiling.width), np.uint8)
    for item in redraw(tiling, order):
        canvas[item.window.slices] = paste(canvas[item.window.slices], np.full_like(item.weights, 9), item.weights)
    assert (canvas == 9).all()


@settings(max_examples=40, deadline=None)
@given(tilings, st.sampled_from(sorted(SEAM_FIXES)))
def test_seam_fixes_lie_on_the_borders(tiling, name):
    passes = SEAM_FIXES[name](tiling)
    check(tiling, passes)
    expected = {
        "none": 0,
        "bands": tiling.rows + tiling.columns - 2,
        "half_tile": (tiling.rows - 1) * tiling.columns + tiling.rows * (tiling.columns - 1),
    }
    corners = (tiling.rows - 1) * (tiling.columns - 1)
    assert len(passes) == expected.get(name, expected["half_tile"] + corners)
    if name == "half_tile" and tiling.blur == 0:
        strongest = np.zeros((tiling.height, tiling.width), np.uint8)
        for item in passes:
            strongest[item.window.slices] = np.maximum(strongest[item.window.slices], item.weights)
        rows, columns = tiling.borders
        assert (strongest[list(rows)] > 230).all()
        assert (strongest[:, list(columns)] > 230).all()


def test_chess_takes_one_colour_first():
    tiling = Tiling(96, 96, 32, 0, 0)
    starts = [(item.window.top + item.window.left) // 32 % 2 for item in redraw(tiling, "chess")]
    assert starts == [0] * 5 + [1] * 4
    order = [(item.window.top, item.window.left) for item in redraw(tiling, "linear")]
    assert order == sorted(order)


def test_gradients_fall_to_the_sides():
    tiling = Tiling(128, 128, 64, 0, 0)
    row, *_, corner = SEAM_FIXES["half_tile_intersections"](tiling)
    assert row.weights[32].min() > 245
    assert row.weights[0].max() < 8
    assert corner.weights[32, 32] > 240
    assert max(corner.weights[0].max(), corner.weights[:, 0].max()) < 8
    (band, _) = SEAM_FIXES["bands"](Tiling(128, 128, 64, 16, 0))
    assert (band.window.left, band.window.width, band.window.height) == (16, 96, 128)


def test_inner_passes_share_their_weights():
    passes = redraw(Tiling(4096, 4096, 256))
    assert len({id(item.weights) for item in passes}) <= 25


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: Tiling(64, 64, 0), "1 or more"),
        (lambda: Tiling(64, 64, 32, -1), "0 or more"),
        (lambda: redraw(Tiling(64, 64, 32), "chequers"), "unknown tile order"),
        (lambda: seams(np.zeros((64, 64, 3), np.uint8), [64], []), "leave it out"),
    ],
)
def test_bad_input_names_cause_and_mend(wrong, message):
    with pytest.raises(InputError, match=message):
        wrong()


def enlarged(path, size=512):
    return np.asarray(Image.open(path).convert("RGB").resize((size, size), Image.Resampling.BICUBIC))


def stepped(pixels, tile, step):
    """Every other tile of the board is off by `step` levels."""
    row, column = np.indices(pixels.shape[:2]) // tile
    shift = np.where((row + column) % 2, step, 0)[..., None] * np.where(pixels > 127, -1, 1)
    return (pixels + shift).astype(np.uint8)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_seams_are_found_where_there_are_some(path):
    pixels, tiling = enlarged(path), Tiling(512, 512, 128)
    clean = seams(pixels, *tiling.borders)
    assert len(clean.lines) == 6
    assert np.median([line.score for line in clean.lines]) == pytest.approx(1, abs=0.2)
    assert clean.over(2.0) == ()
    scores = [seams(stepped(pixels, 128, step), *tiling.borders) for step in (2, 4, 8)]
    assert all(min(line.score for line in scored.lines) > LIMIT for scored in scores)
    assert scores[0].worst < scores[1].worst < scores[2].worst
    assert len(scores[0].over(2.0)) == 6


def test_a_step_in_noise_is_found_as_it_grows():
    noisy = np.random.default_rng(0).normal(90, 5, (512, 512, 3)).round().astype(np.uint8)
    assert seams(noisy, [128, 256], [300]).worst < 1.4
    by_step = [seams(stepped(noisy, 256, step), [256], []).worst for step in (2, 4, 8)]
    assert by_step == sorted(by_step)
    assert by_step[2] > LIMIT


def test_flat_pictures_and_no_borders_score_one():
    flat = np.full((64, 64, 3), 50, np.uint8)
    assert seams(flat, [32], [1, 2, 62, 63]).worst == 1
    assert seams(flat, [], []).worst == 1
    assert seams(stepped(flat, 32, 2), [32], []).worst == pytest.approx(9)


@settings(max_examples=40, deadline=None)
@given(tilings, st.sampled_from(ORDERS), st.sampled_from(sorted(SEAM_FIXES)))
def test_waves_keep_the_order_of_tiles_that_touch(tiling, order, fix):
    def touch(one, other):
        (a, b), (c, d) = one.window.slices, other.window.slices
        return a.start < c.stop and c.start < a.stop and b.start < d.stop and d.start < b.stop

    passes = redraw(tiling, order) + SEAM_FIXES[fix](tiling)
    groups = waves(passes)
    assert sorted(map(id, passes)) == sorted(id(item) for group in groups for item in group)
    number = {id(item): index for index, group in enumerate(groups) for item in group}
    for index, item in enumerate(passes):
        for before in passes[:index]:
            assert not touch(before, item) or number[id(before)] < number[id(item)]


def test_nothing_is_in_no_waves():
    assert waves([]) == []


@settings(max_examples=40, deadline=None)
@given(tilings)
def test_windows_begin_where_latents_do(tiling):
    if tiling.height % tiling.multiple or tiling.width % tiling.multiple:
        return
    for item in redraw(tiling) + SEAM_FIXES["half_tile_intersections"](tiling):
        assert item.window.top % tiling.multiple == item.window.left % tiling.multiple == 0


def test_bands_of_chosen_lines_are_broad_enough_for_a_model():
    passes = bands(Tiling(4096, 512, 64, 0, 0), 8, ([100], [40]))
    assert [(item.window.height, item.window.width) for item in passes] == [(4096, 128), (72, 512)]
    assert passes[0].window.left <= 40 - 4
    assert passes[0].weights[:, 40 - passes[0].window.left].min() > 200


def seamed(pixels, kind, size):
    """A picture with a seam in its middle: a tinted half, that with a soft edge, a dark line, dashes, lost detail."""
    made, middle = pixels.astype(np.float32), pixels.shape[1] // 2
    away = np.arange(pixels.shape[1]) - middle + 0.5
    if kind in ("tint", "soft tint"):
        share = np.clip(away / 8 + 0.5, 0, 1) if kind == "soft tint" else (away > 0).astype(float)
        made += share[None, :, None] * np.array([-1, 0.5, -1]) * size
    elif kind in ("line", "dashes"):
        made[:, middle - 2 : middle + 2] -= size
        if kind == "dashes":
            for top in range(0, len(made), 16):
                made[top : top + 5] = pixels[top : top + 5]
    else:
        for _ in range(size):
            smooth = (np.roll(made, 1, 0) + np.roll(made, -1, 0) + 2 * made) / 4
            made[:, middle - 6 : middle + 6] = smooth[:, middle - 6 : middle + 6]
    return np.clip(made, 0, 255).round().astype(np.uint8), middle


@pytest.mark.parametrize("kind", ["tint", "soft tint", "line", "dashes", "blur"])
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_made_seams_score_by_how_much_they_show(path, kind):
    """What a model paints over an enlarged picture has its own detail; a seam in it scores, more of it more."""
    source = (enlarged(path, 256) * 0.8 + 25).astype(np.uint8)
    detail = np.random.default_rng(0).normal(0, 6, source.shape)
    painted = np.clip(source + detail, 0, 255).round().astype(np.uint8)
    scores = []
    for size in (0, 12, 24) if kind != "blur" else (0, 2, 8):
        pixels, middle = seamed(painted, kind, size)
        scores.append(seams(pixels, [], [middle], source).worst)
    assert scores[0] < 1.6
    assert scores[0] < scores[1] < scores[2]
    # Lost detail is seen last, and less where a sketch has little.
    assert scores[2] > (LIMIT if kind != "blur" else 1.6)


def test_an_original_of_another_size_is_refused():
    with pytest.raises(InputError, match="scale that first"):
        seams(np.zeros((64, 64, 3), np.uint8), [32], [], np.zeros((32, 32, 3), np.uint8))


@pytest.mark.parametrize("tile", [64, 512])
def test_intersections_under_a1111_are_ultimate_sd_upscales(tile):
    """That scales Pillow's radial gradient, which ends at the corners; of half tiles its linear one."""
    first, *_, corner = SEAM_FIXES["half_tile_intersections"](Tiling(2 * tile, 2 * tile, tile, 0, 0, ultimate=True))
    scaled = Image.radial_gradient("L").resize((tile, tile), Image.Resampling.BICUBIC)
    half = np.asarray(Image.linear_gradient("L").resize((tile, tile // 2), Image.Resampling.BICUBIC), int)
    middle, top = np.s_[tile // 2 : -tile // 2, tile // 2 : -tile // 2], np.s_[tile // 2 : -tile // 2, :tile]
    for item, part, expected, most in (
        (corner, middle, 255 - np.asarray(scaled, int), 4),
        (first, top, np.concatenate([half, half[::-1]]), 1),
    ):
        placed = np.zeros((2 * tile, 2 * tile), int)
        placed[item.window.slices] = item.weights
        np.testing.assert_allclose(placed[part], expected, atol=most)
        placed[part] = 0
        assert not placed.any()


ULTIMATE = {
    (1536, 1200): {
        ("redraw", 0): (0, 0, 565, 565),
        ("redraw", 1): (460, 0, 1077, 617),
        ("redraw", 4): (460, 460, 1077, 1077),
        ("redraw", 5): (919, 460, 1536, 1077),
        ("fix", 0): (0, 238, 548, 786),
        ("fix", 1): (486, 230, 1050, 794),
        ("fix", 8): (230, 486, 794, 1050),
        ("fix", 12): (247, 247, 777, 777),
    },
    (1024, 1024): {
        ("redraw", 0): (0, 0, 565, 565),
        ("redraw", 1): (459, 0, 1024, 565),
        ("redraw", 3): (460, 460, 1024, 1024),
        ("fix", 1): (476, 238, 1024, 786),
        ("fix", 3): (238, 476, 786, 1024),
        ("fix", 4): (247, 247, 777, 777),
    },
}
"""Left, top, right and bottom that A1111's masking.py gives for the masks of "Ultimate SD Upscale", by the picture's
(width, height), the stage and the pass's place; tiles of 512, padding 32 and 16, blur 8 and 4."""


@pytest.mark.parametrize("size", ULTIMATE)
def test_ultimate_passes_are_that_scripts(size):
    width, height = size
    stages = {
        "redraw": redraw(Tiling(height, width, ultimate=True)),
        "fix": SEAM_FIXES["half_tile_intersections"](Tiling(height, width, padding=16, blur=4, ultimate=True)),
    }
    sides = {"redraw": 576, "fix": 512}
    for (stage, place), box in ULTIMATE[size].items():
        item = stages[stage][place]
        window = item.window
        assert (window.left, window.top, window.left + window.width, window.top + window.height) == box
        assert item.size == (sides[stage], sides[stage])
        assert item.weights.shape == (window.height, window.width)


@settings(max_examples=40, deadline=None)
@given(tilings, st.sampled_from(["redraw", "half_tile_intersections"]))
def test_ultimate_passes_lie_in_the_area(tiling, stage):
    tiling = replace(tiling, ultimate=True)
    for item in redraw(tiling) if stage == "redraw" else SEAM_FIXES[stage](tiling):
        window = item.window
        assert item.weights.shape == (window.height, window.width)
        assert min(window.top, window.left) >= 0
        assert window.top + window.height <= tiling.height
        assert window.left + window.width <= tiling.width
        assert item.weights.any()
