"""Soft inpainting's blend and paste against numbers that A1111 1.10.1's extension gave for the same arrays."""

import numpy as np
import pytest

from overpaint.errors import InputError
from overpaint.runtime.imaging.soft import Soft, adaptive, blended, kernel, paste_levels, window_mean

LEVELS = np.array([[0.0, 0.25, 0.5], [0.75, 0.9, 1.0]], np.float32)
BLENDED = {
    (1.0, 0.5, 4.0, 1.7): [
        0.999997, 3.194782, 3.297199, -0.615207, -1.997826, -0.843153, -1.77553, -0.111651, 0.579244, -1.146834,
        -2.591006, -1.760837, 2.700809, 0.597048, 1.328658, -2.930338, -1.741625, -0.827311, -0.220143, 0.833834,
        0.360732, -1.805239, -2.0268, -0.530834,
    ],
    (2.5, 1.2, 1.0, 0.6): [
        0.999997, 2.948574, 2.669982, -0.989001, -1.982086, -0.843153, -1.77553, 0.960974, 1.628031, -1.056035,
        -2.686081, -1.760837, 2.700809, 1.493788, 1.566936, -2.470981, -1.58787, -0.827311, -0.220143, 1.053475,
        -0.498335, -2.214101, -2.093297, -0.530834,
    ],
    (0.5, 0.3, 16.0, 9.0): [
        0.999997, 3.740081, 3.36054, -0.582216, -2.012152, -0.843153, -1.77553, -0.223009, 0.484847, -1.170434,
        -2.597799, -1.760837, 2.700809, 0.617172, 1.309474, -3.015207, -1.768405, -0.827311, -0.220143, 0.951529,
        0.439631, -1.782769, -2.032918, -0.530834,
    ],
}  # fmt: skip
"""By power, scale, detail preservation and sigma."""
PASTED = {
    (0.5, Soft()): [
        [0, 0, 0, 2, 93, 212, 245, 252, 253, 254, 254, 253], [0, 0, 0, 63, 230, 252, 254, 254, 254, 254, 254, 254],
        [0, 0, 1, 187, 251, 254, 254, 254, 254, 254, 254, 254], [0, 0, 11, 224, 253, 254, 254, 254, 254, 254, 254, 254],
        [0, 0, 16, 229, 253, 254, 254, 254, 254, 254, 254, 254], [0, 0, 8, 215, 252, 254, 254, 254, 254, 254, 254, 254],
        [0, 0, 2, 175, 248, 254, 254, 254, 254, 254, 254, 254], [0, 0, 1, 132, 235, 253, 254, 254, 254, 254, 254, 254],
    ],
    (0.8, Soft(influence=0.6, threshold=1.25, contrast=3.5)): [
        [0] * 12, [0, 0, 0, 0, 0, 0, 0, 2, 8, 11, 9, 7],
        [0, 0, 0, 0, 178, 254, 254, 255, 255, 255, 255, 255], [0, 0, 0, 0, 225, 254, 254, 255, 255, 255, 255, 255],
        [0, 0, 0, 0, 232, 254, 254, 255, 255, 255, 255, 255], [0, 0, 0, 0, 211, 254, 254, 255, 255, 255, 255, 255],
        [0, 0, 0, 0, 29, 247, 254, 254, 254, 254, 254, 254], [0, 0, 0, 0, 5, 223, 254, 254, 254, 254, 254, 254],
    ],
}  # fmt: skip
WINDOWS = {
    (0.9, 1.0): [2.26776, 2.53880, 2.58117, 2.61262, 2.54918],
    (0.25, 0.75): [1.34498, 1.35594, 1.60740, 1.56001, 1.25355],
}
ROW = [0, 1, 2, 2, 9, 40, 101, 171, 222, 245, 252, 253, 253, *[254] * 11]


def wave(shape: tuple[int, ...], a: float, b: float) -> np.ndarray:
    n = np.arange(np.prod(shape)).reshape(shape)
    return (np.sin(a * n) * 2 + np.cos(b * n * n)).astype(np.float32)


@pytest.mark.parametrize("settings", BLENDED)
def test_magnitudes_are_interpolated_apart(settings: tuple[float, float, float, float]) -> None:
    power, scale, detail, sigma = settings
    made = blended(wave((4, 2, 3), 0.7, 0.13), wave((4, 2, 3), 1.1, 0.29), LEVELS ** (sigma**power * scale), detail)
    assert made.dtype == np.float32
    np.testing.assert_allclose(made.ravel(), BLENDED[settings], atol=3e-6)


@pytest.mark.parametrize("settings", PASTED, ids=["default", "influenced"])
def test_the_paste_goes_by_how_far_latents_moved(settings: tuple[float, Soft]) -> None:
    preservation, soft = settings
    share = np.repeat(np.clip((np.arange(12) - 3) / 5, 0, 1)[None], 8, axis=0).astype(np.float32)
    share[:2] = 0
    share[6:] *= 0.5
    distance = np.sqrt(((wave((4, 8, 12), 1.3, 0.017) * share) ** 2).sum(axis=0))
    levels = adaptive(distance, share, preservation, soft)
    np.testing.assert_allclose(levels.astype(int), PASTED[settings], atol=1)
    if soft == Soft():
        np.testing.assert_allclose(paste_levels(levels, (96, 64))[20, ::4].astype(int), ROW, atol=1)


@pytest.mark.parametrize("shares", WINDOWS)
def test_means_of_sorted_neighbours(shares: tuple[float, float]) -> None:
    assert kernel().sum() == pytest.approx(6.528105619, rel=1e-9)
    made = window_mean(np.abs(wave((5, 6), 0.9, 0.3)), *shares)
    np.testing.assert_allclose(made[1, :5], WINDOWS[shares], atol=2e-5)


def test_what_has_not_moved_stays_whatever_the_threshold() -> None:
    still = np.zeros((4, 4), np.float32)
    assert not adaptive(still, np.ones((4, 4), np.float32), 0.5, Soft(threshold=0)).any()


@pytest.mark.parametrize(("name", "value"), [("boost", 0.5), ("influence", 2), ("bias", float("nan"))])
def test_settings_beyond_the_sliders_are_refused(name: str, value: float) -> None:
    with pytest.raises(InputError, match=name):
        Soft(**{name: value})
