from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from overpaint.errors import InputError
from overpaint.runtime.sampling import noise
from overpaint.runtime.sampling.noise import centred, check_seed, noise_stream
from overpaint.runtime.sampling.philox import philox

SEEDS = [0, 1, 42, 2**31, 2**32 - 1, 2**32, 2**32 + 7, 2**63 - 1, 2**64 - 1]


def torch_draws(seed, shapes):
    generator = torch.Generator().manual_seed(seed if seed < 2**63 else seed - 2**64)
    return [torch.randn(shape, generator=generator).numpy() for shape in shapes]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 5), (15,), (16,), (17,), (31,), (32,), (33,), (1, 4, 9, 11)])
def test_cpu_is_torch(seed, shape):
    [expected] = torch_draws(seed, [shape])
    drawn = noise_stream("cpu", seed)(shape)
    assert drawn.dtype == np.float32
    assert drawn.shape == shape
    np.testing.assert_allclose(drawn, expected, rtol=0, atol=2e-6)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**64 - 1), st.lists(st.integers(0, 70), min_size=1, max_size=12))
def test_cpu_is_torch_over_successive_draws(seed, counts):
    stream = noise_stream("cpu", seed)
    for count, expected in zip(counts, torch_draws(seed, counts), strict=True):
        np.testing.assert_allclose(stream((count,)), expected, rtol=0, atol=2e-6)


def test_cpu_is_torch_for_large_draws():
    shapes = [(1, 4, 64, 64), (7,), (4, 125, 125), (1, 16, 128, 129)]
    stream = noise_stream("cpu", 1234)
    for shape, expected in zip(shapes, torch_draws(1234, shapes), strict=True):
        np.testing.assert_allclose(stream(shape), expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    ("seed", "counter", "expected"),
    [
        # Random123's known answers, philox4x32 10 (kat_vectors)
        (0, [0, 0, 0, 0], [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        (2**64 - 1, [2**32 - 1] * 4, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            0x299F31D0_A4093822,
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_philox_known_answers(seed, counter, expected):
    words = philox(seed, *(np.array([word], np.uint64) for word in counter))
    assert [int(word[0]) for word in words] == expected


def test_gpu_is_what_a1111_documents():
    """The values in A1111's modules/rng_philox.py, for torch.randn(3, 4) on CUDA under seed 0."""
    expected = [
        [-0.92466259, -0.42534415, -2.6438457, 0.14518388],
        [-0.12086647, -0.57972564, -0.62285122, -0.32838709],
        [-1.07454231, -0.36314407, -1.67105067, 2.26550497],
    ]
    np.testing.assert_allclose(noise_stream("gpu", 0)((3, 4)), expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    ("multiprocessors", "last"), [(132, [-0.6970, -0.7780, 0.3267]), (108, [0.1549, -0.6797, -0.1656])]
)
def test_gpu_is_torch_cuda_above_the_threads_of_an_h100_and_an_a100(multiprocessors, last):
    """Printed by torch 2.5.1 on both GPUs in pytorch issue 143086."""
    drawn = noise_stream("gpu", 1, gpu_threads=2048 * multiprocessors)((1, 49 * 12 * 112 * 144))
    np.testing.assert_allclose(drawn[0, :3], [-0.2963, 2.6764, -0.1408], atol=5e-5)
    np.testing.assert_allclose(drawn[0, -3:], last, atol=5e-5)


def test_gpu_threads_matter_only_above_their_number():
    free, tied = noise_stream("gpu", 7), noise_stream("gpu", 7, gpu_threads=512)
    for count in (512, 5, 0, 511):
        np.testing.assert_array_equal(free((count,)), tied((count,)))
    assert (free((513,)) != tied((513,))).sum() == 1


def test_gpu_draws_after_one_that_took_two_counters():
    """2049 elements on 512 threads take two rounds of four, so the next draw begins at counter 2."""
    tied, free = noise_stream("gpu", 7, gpu_threads=512), noise_stream("gpu", 7)
    tied((2049,))
    free((1,)), free((1,))
    np.testing.assert_array_equal(tied((100,)), free((100,)))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_field_windows_are_cut_from_one_field(data):
    seed, draws = data.draw(st.integers(0, 2**64 - 1)), data.draw(st.integers(1, 3))
    planes = data.draw(st.integers(1, 9))
    top, left = data.draw(st.tuples(*[st.integers(-20, 20)] * 2))
    y, x = data.draw(st.tuples(*[st.integers(0, 20)] * 2))
    height, width = data.draw(st.tuples(*[st.integers(1, 20)] * 2))
    large, window = noise_stream("field", seed), noise_stream("field", seed)
    for _ in range(draws):
        whole = large((1, planes, 40, 40), (top, left))
        part = window((planes, height, width), (top + y, left + x))
        np.testing.assert_array_equal(part, whole[0, :, y : y + height, x : x + width])


def test_field_depends_on_seed_draw_and_plane():
    stream = noise_stream("field", 0)
    first, second = stream((8, 16, 16)), stream((8, 16, 16))
    planes = np.concatenate([first, second, noise_stream("field", 1)((8, 16, 16))]).reshape(24, -1)
    assert len({plane.tobytes() for plane in planes}) == 24


@pytest.mark.parametrize("kind", ["cpu", "gpu", "field"])
def test_noise_is_unit_normal_and_white(kind):
    noise = noise_stream(kind, 3)((8, 160, 160)).astype(np.float64)
    count = noise.size
    assert np.isfinite(noise).all()
    assert abs(noise.mean()) < 4 / count**0.5
    assert abs(noise.var() - 1) < 4 * (2 / count) ** 0.5
    assert abs((noise**4).mean() - 3) < 4 * (96 / count) ** 0.5
    for shifted in (noise[:, 1:], noise[:, :, 1:], noise[1:], noise[4:]):
        other = noise[tuple(slice(0, length) for length in shifted.shape)]
        assert abs((shifted * other).mean()) < 4 / shifted.size**0.5


@pytest.mark.parametrize("kind", ["cpu", "gpu", "field"])
def test_the_same_seed_repeats_and_another_differs(kind):
    shape = (4, 8, 8)
    np.testing.assert_array_equal(noise_stream(kind, 5)(shape), noise_stream(kind, np.uint8(5))(shape))
    assert not np.array_equal(noise_stream(kind, 5)(shape), noise_stream(kind, 6)(shape))


@pytest.mark.parametrize("kind", ["gpu", "field"])
def test_all_64_bits_of_a_seed_count(kind):
    assert not np.array_equal(noise_stream(kind, 1)((4, 4)), noise_stream(kind, 2**32 + 1)((4, 4)))


@pytest.mark.parametrize("seed", [-1, 2**64, True, 1.0, "7", None, np.float32(3), np.bool_(True)])
def test_a_bad_seed_is_refused(seed):
    with pytest.raises(InputError, match=r"0 to 2\*\*64 - 1"):
        check_seed(seed)


def test_a_good_seed_becomes_an_int():
    assert type(check_seed(np.int64(9))) is int
    assert check_seed(2**64 - 1) == 2**64 - 1


def test_an_unknown_kind_is_refused():
    with pytest.raises(InputError, match="'gpu'"):
        noise_stream("gpuu", 0)


def test_gpu_threads_are_positive():
    with pytest.raises(InputError, match="gpu_threads"):
        noise_stream("gpu", 0, gpu_threads=0)


def test_a_field_at_an_origin_is_that_window_of_the_whole():
    whole, part = noise_stream("field", 5), noise_stream("field", 5, origin=(3, 7))
    for _ in range(2):
        np.testing.assert_array_equal(part((5, 8, 6)), whole((5, 16, 16))[:, 3:11, 7:13])
    np.testing.assert_array_equal(part((4, 4, 4), (1, 2)), whole((4, 16, 16))[:, 4:8, 9:13])


def test_a_field_does_not_depend_on_the_strips_it_is_drawn_in(monkeypatch):
    wanted = noise_stream("field", 5)((9, 37, 21))
    monkeypatch.setattr(noise, "_STRIP", 200)
    np.testing.assert_array_equal(noise_stream("field", 5)((9, 37, 21)), wanted)


@pytest.mark.parametrize("inner", [(4, 4), (5, 8), (9, 3), (9, 9), (12, 20), (6, 7)])
def test_noise_of_another_size_lies_in_the_middle(inner: tuple[int, int]) -> None:
    """Sides 6 x 7; the middle is A1111's: (outer - inner) // 2 from the edge, twice that off what is larger."""
    noise, around = np.ones((4, *inner), np.float32), np.zeros((4, 6, 7), np.float32)
    joined = centred(noise, around)
    for axis, (length, outer) in enumerate(zip(inner, (6, 7), strict=True), 1):
        covered = joined.any(axis=tuple({0, 1, 2} - {axis}))
        begin = max((outer - length) // 2, 0)
        wide = length if length <= outer else length - 2 * -((outer - length) // 2)
        assert covered.nonzero()[0].tolist() == list(range(begin, begin + wide))
    assert not around.any()
