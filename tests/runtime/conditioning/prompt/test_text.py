"""Phrases through the shipped text encoder: weights by their formulas, embeddings in their places."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import overpaint
from overpaint.bundles.tensor import Array
from overpaint.errors import InputError
from overpaint.runtime.conditioning.encoders import TextEncoder
from overpaint.runtime.conditioning.prompt.embeddings import Embedding
from overpaint.runtime.conditioning.prompt.prompt import parse
from overpaint.runtime.conditioning.prompt.tree import Phrase
from tests.runtime.denoising.test_device import OnDevice

RNG = np.random.default_rng(0)
VECTORS = RNG.standard_normal((3, 128)).astype(np.float32)


def phrase(text: str, syntax: str = "a1111") -> Phrase:
    return parse(text, syntax).parts[0].at(0, 1)


def encode(text: TextEncoder, prompt: str | Phrase, **options: object) -> Array:
    return text.encode(prompt, **options)[0]  # type: ignore[arg-type]


@pytest.mark.parametrize("prompt", ["", "a red fox, ink style", "fox " * 100])
@pytest.mark.parametrize("weighting", ["a1111", "comfy"])
@pytest.mark.parametrize("syntax", ["a1111", "comfy", "plain"])
def test_without_weights_a_phrase_is_its_text(text: TextEncoder, prompt: str, weighting: str, syntax: str) -> None:
    for clip_skip in (0, 1):
        wanted = encode(text, prompt, clip_skip=clip_skip)
        found = encode(text, phrase(prompt, syntax), clip_skip=clip_skip, weighting=weighting)
        np.testing.assert_array_equal(found, wanted)


def weights_of(text: TextEncoder, words: list[tuple[str, float]]) -> Array:
    """A weight for each of 77 places, the words being laid out by hand."""
    weights, place = np.ones((77, 1)), 1
    for word, weight in words:
        end = int(np.argmax(text.tokens(word)[0] == text.tokens("")[0, -1]))
        weights[place : place + end - 1] = weight
        place += end - 1
    return weights


PROMPT, WORDS = "a (red:1.3) fox, [ink style]", [("a", 1), ("red", 1.3), ("fox,", 1), ("ink style", 1 / 1.1)]


def test_a1111_restores_the_mean(text: TextEncoder) -> None:
    z = encode(text, "a red fox, ink style").astype(np.float64)
    weighted = z * weights_of(text, WORDS)
    wanted = weighted * z.mean() / weighted.mean()
    np.testing.assert_allclose(encode(text, phrase(PROMPT)), wanted, atol=1e-5)


def test_comfyui_moves_away_from_the_empty_prompt(text: TextEncoder) -> None:
    z, empty = (encode(text, prompt).astype(np.float64) for prompt in ("a red fox, ink style", ""))
    wanted = empty + (z - empty) * weights_of(text, WORDS)
    np.testing.assert_allclose(encode(text, phrase(PROMPT), weighting="comfy"), wanted, atol=1e-5)


def test_chunks_are_weighted_apart(text: TextEncoder) -> None:
    both = encode(text, phrase("a (red:1.3) fox BREAK a (cat:0.5)"))
    apart = [encode(text, phrase(part)) for part in ("a (red:1.3) fox", "a (cat:0.5)")]
    np.testing.assert_allclose(both, np.concatenate(apart), atol=1e-5)


def test_weights_share_the_encoder_s_run(text: TextEncoder) -> None:
    assert not text.encode("a red fox")[1]
    assert text.encode(phrase("a (red:1.5) fox"))[1]
    assert text.encode(phrase("a (red:0.5) fox"), weighting="comfy")[1]
    assert not np.array_equal(encode(text, phrase("a (red:1.5) fox")), encode(text, phrase("a (red:0.5) fox")))


def test_an_unknown_weighting(text: TextEncoder) -> None:
    with pytest.raises(InputError, match="did you mean 'comfy'"):
        text.encode("a", weighting="comfi")


def test_embeddings_are_part_of_what_is_cached(text: TextEncoder) -> None:
    before = encode(text, "a toy fox")
    text.add_embedding(Embedding("toy", VECTORS))
    first, cached = text.encode("a toy fox")
    assert not cached
    text.add_embedding(Embedding("toy", VECTORS[:, ::-1]))
    second, cached = text.encode("a toy fox")
    assert not cached
    text.add_embedding(Embedding("toy", VECTORS))
    again, cached = text.encode("a toy fox")
    assert cached
    np.testing.assert_array_equal(first, again)
    assert min(np.abs(a - b).max() for a, b in ((before, first), (first, second))) > 0.1


def test_an_embedding_heeds_its_weight(text: TextEncoder) -> None:
    text.add_embedding(Embedding("toy", VECTORS))
    z = encode(text, "a toy fox")
    weighted = z.copy()
    weighted[2:5] *= 1.5
    wanted = weighted * (z.mean(dtype=float) / weighted.mean(dtype=float))
    np.testing.assert_allclose(encode(text, phrase("a (toy:1.5) fox")), wanted, atol=1e-5)


def test_every_engine_takes_embeddings() -> None:
    made = []
    for engine in ("onnxruntime", "openvino"):
        encoder = overpaint.load("tiny", engine=engine, precision="float32", verify=False).text
        encoder.add_embedding(Embedding("toy", VECTORS))
        made.append(encode(encoder, phrase("a (toy:1.2) fox BREAK fox")))
    np.testing.assert_allclose(*made, atol=1e-4)


@pytest.mark.parametrize("weighting", ["a1111", "comfy"])
@pytest.mark.usefixtures("cupy")
def test_weights_on_a_device_are_the_host_s(text: TextEncoder, weighting: str) -> None:
    text.add_embedding(Embedding("toy", VECTORS))
    wanted = encode(text, phrase(PROMPT + " toy"), weighting=weighting)
    other = overpaint.load("tiny", engine="onnxruntime", verify=False).text
    other.add_embedding(Embedding("toy", VECTORS))
    other.engine = OnDevice(other.engine)
    made: Any = encode(other, phrase(PROMPT + " toy"), weighting=weighting)
    np.testing.assert_array_equal(made.host, wanted)


def test_threads_may_add_and_encode(text: TextEncoder) -> None:
    def work(index: int) -> Array:
        text.add_embedding(Embedding(f"toy{index}", np.full((2, 128), index)))
        return text.tokens(f"a toy{index} fox")

    with ThreadPoolExecutor(8) as pool:
        assert all((ids == -1).sum() == 2 for ids in pool.map(work, range(32)))


def test_embeddings_that_do_not_fit_the_model(text: TextEncoder, fake: overpaint.Pipeline) -> None:
    with pytest.raises(InputError, match=r"768 wide, this model's text encoder 128"):
        text.add_embedding(Embedding("toy", np.ones((1, 768))))
    with pytest.raises(InputError, match="export its checkpoint again"):
        fake.text.add_embedding(Embedding("toy", np.ones((1, 8))))
