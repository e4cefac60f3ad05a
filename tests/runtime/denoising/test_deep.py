"""Rows that go on from deep features: no influence of others, whole where there are none, the same after a snapshot."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import overpaint
from overpaint import Control, InputError, Pipeline, Request
from overpaint.engines.wrapper import Wrapper
from tests.runtime.denoising.test_forecast import KINDS
from tests.support import loras
from tests.support.bundles import fake_bundle, fake_controlnet
from tests.support.engines import Counting
from tests.support.painting import Pixels, alone, painted


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with a shallow graph and LoRAs' ones, and a ControlNet."""
    place = tmp_path_factory.mktemp("deep")
    fake_bundle(place / "bundle", control=True, deep=True)
    fake_controlnet(place / "net")
    return place


def loaded(folder: Path) -> Pipeline:
    return overpaint.load(folder / "bundle", engine="fake", controlnets={"net": folder / "net"})


@pytest.fixture
def deep(folder: Path) -> Pipeline:
    return loaded(folder)


@pytest.fixture
def cached(request_of: Request) -> Request:
    """Ten evaluations, of which 0, 3, 6 and 9 are whole."""
    return replace(request_of, sampler="ddim", cache="deep:3")


def counted(pipe: Pipeline) -> tuple[Counting, Counting]:
    """The engines of the whole denoiser and of the shallow one, counting their rows."""
    pipe.denoiser.engine = whole = Counting(pipe.denoiser.engine)
    assert pipe.denoiser.shallow is not None
    pipe.denoiser.shallow.engine = shallow = Counting(pipe.denoiser.shallow.engine)  # type: ignore[attr-defined]
    return whole, shallow


CONTROLLED: dict[str, Any] = {"controls": (Control("net", end=0.5),)}


@pytest.mark.parametrize("kind", [*KINDS.values(), CONTROLLED], ids=[*KINDS, "controlled"])
def test_a_picture_does_not_depend_on_its_batch(
    deep: Pipeline, folder: Path, cached: Request, kind: dict[str, Any]
) -> None:
    whole = replace(cached, cache=None)
    requests = [replace(cached, **kind), replace(cached, seed=5), whole, replace(cached, steps=7)]
    tickets = [deep.model.scheduler.submit(request) for request in requests]
    deep.model.scheduler.drain()
    lone = loaded(folder)
    for request, ticket in zip(requests, tickets, strict=True):
        assert np.array_equal(painted(ticket), alone(lone, request))
    assert not np.array_equal(alone(lone, cached), alone(lone, whole))


def test_every_third_evaluation_is_whole(deep: Pipeline, cached: Request) -> None:
    whole, shallow = counted(deep)
    alone(deep, cached)
    assert (whole.rows, shallow.rows) == ([2] * 4, [2] * 6)


def test_rows_of_both_kinds_are_of_one_pass(deep: Pipeline, cached: Request) -> None:
    whole, shallow = counted(deep)
    for request in (cached, replace(cached, cache="deep:2"), replace(cached, cache=None)):
        deep.model.scheduler.submit(request)
    deep.model.scheduler.drain()
    assert whole.rows == [6, 2, 4, 4, 4, 2, 6, 2, 4, 4]
    assert shallow.rows == [4, 2, 2, 2, 4, 4, 2, 2]


def test_off_opens_nothing_and_alters_no_bit(deep: Pipeline, cached: Request, tmp_path: Path) -> None:
    plain = replace(cached, cache=None)
    made = alone(deep, plain)
    assert not deep.model.stages.stand_ins["unet_shallow"].is_open
    fake_bundle(tmp_path / "bundle", control=True)
    assert np.array_equal(made, alone(overpaint.load(tmp_path / "bundle", engine="fake"), plain))


@pytest.mark.parametrize("kind", [{}, {"window": 32}], ids=["plain", "windows"])
def test_a_row_goes_on_from_its_own_features(deep: Pipeline, cached: Request, kind: dict[str, Any]) -> None:
    """Each row's features are those of its conditioning and window at the evaluation before."""
    given: dict[bytes, list[Any]] = {}

    class Watch(Wrapper):
        def __call__(self, feeds: Any) -> Any:
            outputs = super().__call__(feeds)
            for index, text in enumerate(feeds["encoder_hidden_states"]):
                seen = given.setdefault(text.tobytes(), [])
                if "deep_features" in feeds:
                    assert any(np.array_equal(feeds["deep_features"][index], each) for each in seen)
                else:
                    seen.append(outputs["deep_features"][index])
            return outputs

    deep.denoiser.engine = Watch(deep.denoiser.engine)
    assert deep.denoiser.shallow is not None
    deep.denoiser.shallow.engine = Watch(deep.denoiser.shallow.engine)  # type: ignore[attr-defined]
    alone(deep, replace(cached, **kind))
    assert len(given) == 2


def test_a_prompt_that_begins_later_is_whole_there(deep: Pipeline, cached: Request) -> None:
    whole, shallow = counted(deep)
    alone(deep, replace(cached, prompt="[a:b:0.5]"))
    # Evaluation 5 has the new prompt: its row is whole, the negative prompt's shallow.
    assert (whole.rows, shallow.rows) == ([2, 2, 1, 2, 2], [2, 2, 2, 1, 2, 2])


@pytest.mark.parametrize("at", [1, 5, 6, 9])
def test_a_run_goes_on_from_a_snapshot_bit_for_bit(deep: Pipeline, cached: Request, at: int) -> None:
    whole = alone(deep, cached)
    run = deep.run([cached])
    for step in run:
        if step.index + 1 == at:
            snapshot = run.snapshot()
            break
    resumed = deep.resume(snapshot)
    for _ in resumed:
        pass
    assert np.array_equal(np.asarray(resumed.result().images[0]), whole)


def test_strength_zero_has_nothing_to_cache(deep: Pipeline, cached: Request, picture: Pixels) -> None:
    assert np.array_equal(alone(deep, replace(cached, strength=0.0)), picture)


def test_a_model_without_the_graph_is_refused(fake: Pipeline, cached: Request) -> None:
    with pytest.raises(InputError, match="lacks; export its checkpoint again with --deep-cache") as caught:
        fake.run([cached])
    assert caught.value.field == "cache"


def test_loras_are_refused(cached: Request, tmp_path: Path) -> None:
    file = loras.write(tmp_path / "style.safetensors", loras.unet(1))
    fake_bundle(tmp_path / "bundle", lora=True, deep=True)
    pipe = overpaint.load(tmp_path / "bundle", engine="fake", loras=file)
    with pytest.raises(InputError, match="goes without LoRAs") as caught:
        pipe.run([replace(cached, prompt="a <lora:style:0.8>")])
    assert caught.value.field == "cache"
