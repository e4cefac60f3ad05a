"""Rows by the inputs' names: what the graph lists is stacked, grouped by shape and cut by windows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import overpaint
from overpaint import EngineError, InputError, Pipeline, Request
from overpaint.bundles.tensor import Array
from overpaint.engines.wrapper import Wrapper
from overpaint.runtime.conditioning.conditioning import Conditioning
from overpaint.runtime.denoising.job import Job
from overpaint.runtime.denoising.rows import Row
from overpaint.runtime.imaging.tiles import Mosaic
from overpaint.runtime.sampling.noise import noise_stream
from tests.support.bundles import fake_bundle

INPUTS: dict[str, Any] = {
    "control_hint": ("rows", 3, "pixel_height", "pixel_width"),
    "control_scale": ("rows",),
    "image_tokens": ("rows", "image_tokens", 8),
}

SMALL = {"sample": np.zeros((4, 8, 8), np.float32), "timestep": np.ones(1, np.float32)}


class Seen(Wrapper):
    """Keeps what it is fed."""

    def __init__(self, engine: Any) -> None:
        super().__init__(engine)
        self.fed: list[dict[str, Array]] = []

    def __call__(self, feeds: Any) -> dict[str, Array]:
        self.fed.append(dict(feeds))
        return super().__call__(feeds)


@pytest.fixture
def pipe(tmp_path: Path) -> Pipeline:
    """Its denoiser takes a hint of the picture's size, a scale and tokens of an image besides."""
    fake_bundle(tmp_path / "bundle", inputs=INPUTS)
    made = overpaint.load(tmp_path / "bundle", engine="fake")
    made.denoiser.engine = Seen(made.denoiser.engine)
    return made


def inputs(pipe: Pipeline, prompt: str, seed: int, size: tuple[int, int], tokens: int = 4) -> dict[str, Array]:
    random = np.random.default_rng(seed)
    return {
        **pipe.model.encode_prompt(prompt),
        "control_hint": random.random((3, size[0] * 4, size[1] * 4), np.float32),
        "control_scale": np.full(1, 0.5 + seed, np.float32),
        "image_tokens": random.random((tokens, 8), np.float32),
    }


def job(pipe: Pipeline, seed: int, size: tuple[int, int] = (10, 14), **options: Any) -> Job:
    request = Request(overpaint.read(np.zeros((40, 56, 3), np.uint8)), steps=4, strength=1.0, sampler="euler_a")
    own = [
        Conditioning(3.0, inputs(pipe, "a", seed, size)),
        Conditioning(-2.0, inputs(pipe, "", seed + 10, size)),
    ]
    clean = np.zeros((4, *size), np.float32)
    return pipe.model.start_job(clean, own, pipe.plan(request), noise_stream("cpu", seed), **options)


def test_whatever_the_graph_lists_is_stacked(pipe: Pipeline) -> None:
    own = job(pipe, 1)
    pipe.model.denoise(own)
    fed = pipe.denoiser.engine.fed
    assert len(fed) == 4
    assert {name: array.shape for name, array in fed[0].items()} == {
        "sample": (2, 4, 10, 14),
        "timestep": (2,),
        "encoder_hidden_states": (2, 16, 8),
        "control_hint": (2, 3, 40, 56),
        "control_scale": (2,),
        "image_tokens": (2, 4, 8),
    }
    assert np.array_equal(fed[0]["control_hint"][1], own.conditionings[0][1].inputs["control_hint"])
    assert list(fed[0]["control_scale"]) == [1.5, 11.5]
    assert fed[0]["control_hint"] is fed[3]["control_hint"]  # what stays is joined once


def test_rows_of_other_shapes_are_calls_of_their_own_and_change_nothing(pipe: Pipeline) -> None:
    wanted = [pipe.model.denoise(job(pipe, seed, size)) for seed, size in ((1, (10, 14)), (2, (8, 8)), (3, (10, 14)))]
    pipe.denoiser.engine.fed.clear()
    jobs = [job(pipe, 1), job(pipe, 2, (8, 8)), job(pipe, 3)]
    while not all(each.done for each in jobs):
        rows = [each.rows() for each in jobs]
        outputs = iter(pipe.denoiser([row for own in rows for row in own]))
        for each, own in zip(jobs, rows, strict=True):
            for index in range(len(own)):
                each.receive(index, next(outputs))
            each.advance()
    assert [len(feeds["sample"]) for feeds in pipe.denoiser.engine.fed] == [4, 2] * 4
    for each, latents in zip(jobs, wanted, strict=True):
        assert np.array_equal(each.latents, latents)


@pytest.mark.parametrize("name", ["encoder_hidden_states", "image_tokens"])
def test_rows_of_other_lengths_of_any_input_are_grouped(pipe: Pipeline, name: str) -> None:
    own = {
        **inputs(pipe, "a", 1, (8, 8)),
        "sample": np.zeros((4, 8, 8), np.float32),
        "timestep": np.ones(1, np.float32),
    }
    long = {**own, name: np.concatenate([own[name]] * 2)}
    pipe.denoiser([Row(own), Row(long), Row(own)])
    assert [len(feeds["sample"]) for feeds in pipe.denoiser.engine.fed] == [2, 1]


def test_windows_cut_what_is_of_the_pictures_size(pipe: Pipeline) -> None:
    mosaic = Mosaic(10, 14, 8, 2, 2)
    own = job(pipe, 1, mosaic=mosaic)
    hint = own.conditionings[0][0].inputs["control_hint"]
    rows = own.rows()
    assert len(rows) == own.row_count == 2 * len(mosaic)
    for row, window in zip(rows, mosaic.windows, strict=False):
        assert np.array_equal(row.inputs["control_hint"], window.scaled_up(4).cut(hint))
        assert np.array_equal(row.inputs["sample"], window.cut(own.latents * own.plan.scale_in[0].astype(np.float32)))
        assert row.inputs["image_tokens"] is own.conditionings[0][0].inputs["image_tokens"]
    assert pipe.model.denoise(own).shape == (4, 10, 14)


@pytest.mark.parametrize("listed", [False, True])
def test_a_row_that_lacks_an_array_fails_alone(pipe: Pipeline, listed: bool) -> None:
    full = {
        **inputs(pipe, "a", 1, (8, 8)),
        "sample": np.zeros((4, 8, 8), np.float32),
        "timestep": np.ones(1, np.float32),
    }
    lacking = {name: array for name, array in full.items() if name != "control_hint"}
    if listed:
        lacking["control_hint"] = [[0.0]]  # type: ignore[assignment]
    made = dict(pipe.denoiser.stream([Row(full), Row(lacking), Row({**full, "unknown": np.zeros(1)})]))
    assert isinstance(made[1], EngineError)
    assert str(made[1]) == "the denoiser takes control_hint, of which a row has no array"
    assert np.array_equal(made[0]["model_output"], made[2]["model_output"])


def test_a_request_that_cannot_give_an_input_is_refused(pipe: Pipeline) -> None:
    with pytest.raises(InputError, match="control_hint"):
        pipe(np.zeros((40, 56, 3), np.uint8), "a")


def test_a_call_is_padded_to_a_bucket_within_the_limit(fake: Pipeline) -> None:
    class Padding(Seen):
        row_buckets = (1, 2, 4, 8)

    fake.denoiser.engine = Padding(fake.denoiser.engine)
    text = fake.model.encode_prompt("a")
    rows = [
        Row({**text, "sample": np.full((4, 8, 8), value, np.float32), "timestep": np.ones(1, np.float32)})
        for value in range(7)
    ]
    alone = [fake.denoiser([row])[0]["model_output"] for row in rows]
    for limit, sizes in ((16, [8]), (6, [6, 1]), (3, [3, 3, 1]), (1, [1] * 7)):
        fake.denoiser.max_rows = limit
        fake.denoiser.engine.fed.clear()
        made = fake.denoiser(rows)
        assert [len(feeds["sample"]) for feeds in fake.denoiser.engine.fed] == sizes
        assert all(np.array_equal(ours["model_output"], own) for ours, own in zip(made, alone, strict=True))
