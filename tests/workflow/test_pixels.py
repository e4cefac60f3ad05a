"""The arithmetic of nodes, beside ComfyUI's numbers."""

import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from overpaint.workflow.nodes import files, inpainting, latent_batches, latents, logic, masks, scales
from overpaint.workflow.sampling import first_noise
from overpaint.workflow.scaling import resized, scaled_masks
from overpaint.workflow.values import Latents, Noise

CONTEXT: Any = SimpleNamespace()
RAMP = (np.arange(32).reshape(1, 4, 2, 4) / 8 - 1).astype(np.float32)
SCALED = {
    "nearest-exact": [-1.0, -0.875, -0.875, -0.75, -0.625, -0.625],
    "bilinear": [-1.0, -0.9375, -0.85417, -0.77083, -0.6875, -0.625],
    "area": [-1.0, -0.9375, -0.875, -0.75, -0.6875, -0.625],
    "bicubic": [-1.05425, -0.99262, -0.89178, -0.82002, -0.71918, -0.65755],
    "bislerp": [-1.0, -0.94031, -0.85569, -0.77235, -0.69011, -0.625],
}


@pytest.mark.parametrize("method", SCALED)
def test_scaling(method: str) -> None:
    np.testing.assert_allclose(resized(RAMP, 6, 3, method)[0, 0, 0], SCALED[method], atol=1e-5)


def test_the_middle_is_kept() -> None:
    columns = np.broadcast_to(np.arange(100, dtype=np.float32), (1, 1, 60, 100))
    kept = resized(columns, 64, 64, "nearest-exact", "center")
    assert (kept.min(), kept.max()) == (20, 79)


def test_a_mask_at_the_latents_size() -> None:
    mask = np.zeros((1, 16, 16), np.float32)
    mask[:, 6:] = 1
    np.testing.assert_allclose(scaled_masks(mask, 4, 4)[0, :, 0], [0.0, 0.5, 1.0, 1.0])


def test_sizes() -> None:
    made = scales.latent_upscale_by.function(CONTEXT, Latents(np.zeros((1, 4, 17, 33), np.float32)), "area", 1.5)
    assert made.samples.shape == (1, 4, 26, 50)
    for (high, wide), megapixels, size in (((600, 400), 0.5, (887, 591)), ((333, 777), 1.0, (670, 1564))):
        picture = np.zeros((1, high, wide, 3), np.float32)
        scaled = scales.image_scale_to_total_pixels.function(CONTEXT, picture, "nearest-exact", megapixels)
        assert scaled.shape[1:3] == size


@pytest.mark.parametrize(
    ("by", "first", "last"), [(0, 16, 16), (1, 16, 16), (2, 16, 17), (5, 14, 18), (6, 14, 19), (7, 13, 19)]
)
def test_a_mask_grown_for_inpainting(by: int, first: int, last: int) -> None:
    mask = np.zeros((1, 32, 32), np.float32)
    mask[0, 16, 16] = 1
    rows, columns = np.nonzero(inpainting.grown(mask, by)[0])
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (first, last, first, last)


def test_padding_for_outpainting() -> None:
    picture = np.zeros((1, 12, 12, 3), np.float32)
    padded, mask = inpainting.image_pad_for_outpaint.function(CONTEXT, picture, 4, 0, 2, 0, 3)
    assert padded[0, 0, 0, 0] == 0.5
    wanted = [1, 1, 1, 1, 1, 0.4444, 0.1111, 0, 0, 0, 0, 0, 0, 0, 0.1111, 0.4444, 1, 1]
    np.testing.assert_allclose(mask[0, 5], wanted, atol=1e-4)
    _, mask = inpainting.image_pad_for_outpaint.function(CONTEXT, picture, 4, 0, 2, 0, 6)
    assert mask[0, 5].sum() == 6


def test_growing_and_feathering() -> None:
    mask = np.zeros((1, 9, 9), np.float32)
    mask[0, 4, 4] = 1
    assert masks.grow_mask.function(CONTEXT, mask, 1, True).sum() == 5
    assert masks.grow_mask.function(CONTEXT, mask, 1, False).sum() == 9
    assert masks.grow_mask.function(CONTEXT, mask, -1, False).sum() == 0
    feathered = masks.feather_mask.function(CONTEXT, np.ones((1, 4, 8), np.float32), 2, 0, 0, 2)
    np.testing.assert_allclose(feathered[0, 0], [0.5, 1, 1, 1, 1, 1, 1, 1])
    np.testing.assert_allclose(feathered[0, :, 4], [1, 1, 1, 0.5])


def test_noise_of_a_batch_and_of_a_place_in_it() -> None:
    both = first_noise(Noise(42), Latents(np.zeros((2, 4, 8, 8), np.float32)))
    np.testing.assert_allclose(both[0, 0, 0, :3], [1.92692, 1.48728, 0.90072], atol=1e-5)
    np.testing.assert_allclose(both[1, 0, 0, :3], [-0.68548, 0.56356, -1.50718], atol=1e-5)
    second = latent_batches.latent_from_batch.function(CONTEXT, Latents(np.zeros((5, 4, 8, 8), np.float32)), 3, 1)
    np.testing.assert_allclose(first_noise(Noise(42), second)[0, 0, 0, :3], [0.34436, -3.1016, -1.45872], atol=1e-5)


def test_levels_of_8_bits_stay() -> None:
    levels = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(files.eight_bits(levels.astype(np.float32) / np.float32(255)), levels)
    assert files.eight_bits(np.array([0.5], np.float32)) == 127


def test_latents_turned_and_cut() -> None:
    turned = latents.latent_rotate.function(CONTEXT, Latents(RAMP), "90 degrees").samples
    np.testing.assert_array_equal(turned[0, 0, 0], RAMP[0, 0, ::-1, 0])
    wide = Latents(np.zeros((1, 4, 32, 32), np.float32))
    assert latents.latent_crop.function(CONTEXT, wide, 64, 128, 16384, 0).samples.shape == (1, 4, 16, 8)


def test_expressions() -> None:
    assert logic.computed("max(a, 3) * 2 + (1 if b > 2 else 0)", {"a": 1, "b": 5}) == 7
    for wrong in ("__import__('os')", "a.b", "9**9**9", "[1]", "1/0", "x"):
        with pytest.raises(Exception, match=re.compile("arithmetic|computed|large")):
            logic.computed(wrong, {})
