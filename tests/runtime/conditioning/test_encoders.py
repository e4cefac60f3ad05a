"""Several text encoders: hidden states side by side, the pooled text, and what the denoiser is given of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import overpaint
from overpaint import BundleError, InputError
from overpaint.bundles.facts import EncoderFacts
from overpaint.bundles.manifest import Bundle
from overpaint.bundles.tensor import TensorSpec
from tests.support.bundles import DIM, LENGTH, fake_bundle

POOLED = 6


def two_encoders(folder: Path, *, width: int = 2 * DIM, hint: bool = False) -> Bundle:
    """A fake bundle with two text encoders, of which the second gives a pooled text; its denoiser takes both."""
    bundle = fake_bundle(folder)
    first, denoiser = bundle.graphs["text_encoder"], bundle.graphs["unet"]
    second = replace(first, outputs=(*first.outputs, TensorSpec("pooled", "float32", ("rows", POOLED))))
    inputs = [
        replace(spec, axes=("rows", "tokens", width)) if spec.name == "encoder_hidden_states" else spec
        for spec in denoiser.inputs
    ]
    inputs.append(TensorSpec("text_embeds", "float32", ("rows", POOLED)))
    if hint:
        inputs.append(TensorSpec("hint", "float32", ("rows", 3, "hint_height", "hint_width")))
    graphs = {**bundle.graphs, "text_encoder_2": second, "unet": replace(denoiser, inputs=tuple(inputs))}
    tokenizer = bundle.model.encoders[0].tokenizer
    encoders = (*bundle.model.encoders, EncoderFacts("text_encoder_2", tokenizer, "embeddings", "pooled"))
    replace(bundle, model=replace(bundle.model, encoders=encoders), graphs=graphs).write_manifest()
    return Bundle.read(folder)


@pytest.fixture
def pipe(tmp_path: Path) -> overpaint.Pipeline:
    return overpaint.load(two_encoders(tmp_path / "bundle").folder, engine="fake")


def test_hidden_states_lie_side_by_side_and_the_pooled_text_is_the_firsts_windows(pipe: overpaint.Pipeline) -> None:
    inputs = pipe.model.encode_prompt("a b")
    assert inputs["encoder_hidden_states"].shape == (LENGTH, 2 * DIM)
    assert inputs["text_embeds"].shape == (POOLED,)
    first, second = pipe.model.stages.prompts.encoders
    made = [encoder.encode("a b")[0] for encoder in (first, second)]
    assert np.array_equal(inputs["encoder_hidden_states"], np.concatenate(made, axis=-1))
    long = pipe.model.encode_prompt(" ".join("abcdefghijklmnopqrst"))
    assert long["encoder_hidden_states"].shape == (2 * LENGTH, 2 * DIM)
    assert long["text_embeds"].shape == (POOLED,)


def test_a_weight_is_of_the_hidden_states_alone(pipe: overpaint.Pipeline) -> None:
    plain, weighted = (pipe.model.encode_prompt(prompt) for prompt in ("a b", "(a:1.5) b"))
    assert np.array_equal(plain["text_embeds"], weighted["text_embeds"])
    assert not np.array_equal(plain["encoder_hidden_states"], weighted["encoder_hidden_states"])


def test_every_row_has_both(pipe: overpaint.Pipeline, picture: NDArray[np.uint8]) -> None:
    fed: list[dict[str, Any]] = []
    engine = pipe.denoiser.engine
    call = type(engine).__call__

    class Watched(type(engine)):  # type: ignore[misc]
        def __call__(self, feeds: Any) -> Any:
            fed.append(dict(feeds))
            return call(self, feeds)

    engine.__class__ = Watched
    pipe([picture, 255 - picture], "a", negative_prompt="b", seed=1, steps=2)
    assert {name: array.shape for name, array in fed[0].items()} == {
        "sample": (4, 4, 10, 14),
        "timestep": (4,),
        "encoder_hidden_states": (4, LENGTH, 2 * DIM),
        "text_embeds": (4, POOLED),
    }
    assert set(pipe.engines) == {"text_encoder", "text_encoder_2", "unet", "vae_encoder", "vae_decoder"}


def test_encoders_of_another_width_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="differ in the width"):
        overpaint.load(two_encoders(tmp_path / "bundle", width=DIM).folder, engine="fake")


def test_what_no_request_can_give_is_named_before_anything_runs(tmp_path: Path, picture: NDArray[np.uint8]) -> None:
    pipe = overpaint.load(two_encoders(tmp_path / "bundle", hint=True).folder, engine="fake")
    with pytest.raises(InputError, match="also takes hint, which a request cannot give"):
        pipe.start(picture, "a")
