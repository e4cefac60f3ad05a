"""Edges: the very pixels of OpenCV's Canny, and what is refused."""

import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from overpaint.errors import InputError
from overpaint.runtime.imaging.hints import canny

Pixels = NDArray[np.uint8]
ROOT = Path(__file__).parents[3]
# By cv2.Canny of OpenCV 5.0.0, as bits.
EXPECTED = {
    (
        40,
        120,
    ): "01110900111090011109001190b0090e060090b6101191c181cf080f10918e000110900018110e40fb501b00c300180900110b1081"
    "09908ef89508109110800011080c01f301380216e00000a810001100800110",
    (
        90,
        120,
    ): "00100900010090011009001180b0010e060010b0101191c181cf080f10918e000110900018110e40fb501b00c300180900110310810"
    "8108ef88108109110800011080c01f1003802100000000010000000800000",
    (
        119,
        120,
    ): "0000010001001000100100018030010e0200108010019081808f080f00918c000110900018110e409a101b00c3001800000001108100"
    "108ef80108108010800001080c01b1003802000000000010000000800000",
}


@pytest.fixture
def smooth() -> Pixels:
    few = (96 + np.random.default_rng(5).integers(0, 256, (6, 7, 3)) // 4).astype(np.uint8)
    return np.asarray(Image.fromarray(few).resize((28, 24), Image.Resampling.BICUBIC))


@pytest.mark.parametrize(("low", "high"), EXPECTED)
def test_as_opencv(smooth: Pixels, low: int, high: int) -> None:
    edges = canny(smooth, low, high)
    assert (edges.shape, edges.dtype) == ((24, 28), np.uint8)
    assert np.packbits(edges).tobytes().hex() == EXPECTED[low, high]


def test_as_opencv_of_a_drawing() -> None:
    with Image.open(ROOT / "models/examples/fox.png") as image:
        edges = canny(np.asarray(image.convert("RGB")))
    assert np.count_nonzero(edges) == 541
    assert zlib.crc32(edges.tobytes()) == 0xA1F294A8


def test_nothing_has_no_edges() -> None:
    assert not canny(np.full((1, 9, 3), 200, np.uint8)).any()


def test_bad_input(smooth: Pixels) -> None:
    with pytest.raises(InputError, match=r"not of uint8 \[24, 28\]"):
        canny(smooth[..., 0])
    with pytest.raises(InputError, match="not 200 and 100"):
        canny(smooth, 200, 100)
