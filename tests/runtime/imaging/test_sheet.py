from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from overpaint.runtime.imaging.sheet import Row, contact_sheet

COLOURS = {"red": (255, 0, 0), "lime": (0, 255, 0), "blue": (0, 0, 255)}


def places(sheet, colour):
    rows, columns = np.nonzero((np.asarray(sheet) == colour).all(axis=2))
    return rows.min(), rows.max() + 1, columns.min(), columns.max() + 1


@pytest.mark.parametrize("side", [16, 40, 64, 100, 300])
def test_every_picture_is_there_in_its_row_and_fills_its_cell(side):
    red, lime, blue = (Image.new("RGB", (side, side), colour) for colour in COLOURS)
    sheet = contact_sheet([Row("one", [("a", red), ("b", lime)]), Row("two", [("c", blue)])], cell=64, title="title")
    found = {name: places(sheet, colour) for name, colour in COLOURS.items()}
    for top, bottom, left, right in found.values():
        assert bottom - top == right - left
        assert 48 <= bottom - top <= 64
    assert found["red"][:2] == found["lime"][:2]
    assert found["red"][3] < found["lime"][2]
    assert found["red"][1] < found["blue"][0]
    assert found["red"][2:] == found["blue"][2:]


def test_shapes_are_kept():
    sheet = contact_sheet([Row("", [("", Image.new("RGB", (100, 25), "red"))])], cell=80)
    top, bottom, left, right = places(sheet, (255, 0, 0))
    assert (bottom - top, right - left) == (20, 80)


def test_small_pictures_keep_hard_pixels():
    pixels = np.zeros((2, 2, 3), np.uint8)
    pixels[0, 0] = pixels[1, 1] = (255, 0, 0)
    sheet = contact_sheet([Row("", [("", Image.fromarray(pixels))])], cell=64)
    top, bottom, left, right = places(sheet, (255, 0, 0))
    assert (bottom - top, right - left) == (64, 64)
    assert len(np.unique(np.asarray(sheet)[top:bottom, left:right].reshape(-1, 3), axis=0)) == 2


def test_transparency_shows_a_checkerboard():
    sheet = contact_sheet([Row("", [("", Image.new("RGBA", (64, 64), (255, 0, 0, 0)))])], cell=64)
    middle = np.asarray(sheet)[sheet.height // 2 - 16 : sheet.height // 2 + 16, sheet.width // 2 - 16 :][:, :32]
    assert len(np.unique(middle)) == 2


def test_long_texts_stay_within_their_place():
    red = Image.new("RGB", (64, 64), "red")
    short = contact_sheet([Row("x", [("x", red), ("x", red)])], cell=64, title="x")
    long = contact_sheet([Row("long " * 99, [("long " * 99, red), ("x", red)])], cell=64, title="long " * 99)
    assert short.size == long.size
    margin = np.asarray(long)[:, -4:]
    assert (margin == 255).all()


def test_nothing_to_show():
    assert contact_sheet([], title="empty").mode == "RGB"
