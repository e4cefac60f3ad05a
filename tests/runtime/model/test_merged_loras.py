"""LoRAs merged into engines of their own, on a fake model: which engines there are, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import overpaint
from overpaint import InputError, Pipeline
from overpaint.bundles.tensor import Array
from overpaint.engines.registry import BACKENDS
from overpaint.runtime.conditioning.lora import engines
from tests.support import loras
from tests.support.bundles import fake_bundle

OPTIONS: dict[str, Any] = {"steps": 4, "strength": 0.5, "seed": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LoRAs called ink and wash, and a difference called full."""
    made = tmp_path_factory.mktemp("loras")
    loras.write(made / "ink.safetensors", loras.unet(1) | loras.text(1))
    loras.write(made / "wash.safetensors", loras.unet(2))
    stem = "lora_unet_" + loras.TO_K.replace(".", "_")
    loras.write(made / "full.safetensors", {f"{stem}.diff": np.ones((6, 8), np.float32)})
    return made


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_bundle(tmp_path_factory.mktemp("bundles") / "stored", stored=True).folder


@pytest.fixture
def pipe(bundle: Path, folder: Path) -> Pipeline:
    return overpaint.load(bundle, engine="fake", loras=folder, lora_mode="merged")


def pixels(pipe: Pipeline, picture: Array, prompt: str, **options: Any) -> Array:
    return np.asarray(pipe(picture, prompt, **{**OPTIONS, **options}).images[0])


def merged(pipe: Pipeline, name: str) -> list[str]:
    return [each for each in pipe.engines if each.startswith(f"{name}_merged")]


def test_one_after_the_other_and_back(pipe: Pipeline, picture: Array) -> None:
    plain = pixels(pipe, picture, "a fox")
    assert not merged(pipe, "unet")
    first = pixels(pipe, picture, "a fox <lora:ink:0.8>")
    other = pixels(pipe, picture, "a fox <lora:wash:0.8>")
    assert not np.array_equal(first, plain)
    assert not np.array_equal(first, other)
    assert np.array_equal(pixels(pipe, picture, "a fox <lora:ink:0.8>"), first)
    assert np.array_equal(pixels(pipe, picture, "a fox "), plain)
    assert not np.array_equal(pixels(pipe, picture, "a fox <lora:full:0.8>"), plain)
    assert (len(merged(pipe, "unet")), len(merged(pipe, "text_encoder"))) == (3, 1)


def test_rows_of_different_loras_in_one_run(pipe: Pipeline, picture: Array) -> None:
    prompts = ["a fox", "a fox <lora:ink:0.8>", "a fox <lora:ink:0.5><lora:wash:-1.2>"]
    alone = [pixels(pipe, picture, prompt) for prompt in prompts]
    together = pipe([picture] * 3, prompts, **{**OPTIONS, "seed": [1] * 3}).images
    for one, image in zip(alone, together, strict=True):
        assert np.array_equal(one, np.asarray(image))
    swapped = pixels(pipe, picture, "a fox <lora:wash:-1.2><lora:ink:0.5>")
    assert np.array_equal(swapped, alone[-1])


def test_engines_used_last_are_kept_and_others_made_again(
    pipe: Pipeline, picture: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "MOST_SMALL", 2)
    small = overpaint.load(pipe.bundle.folder, engine="fake", loras=pipe.model.loras.places, lora_mode="merged")
    first = pixels(small, picture, "a fox <lora:wash:0.1>")
    for strength in (0.2, 0.3, 0.4):
        pixels(small, picture, f"a fox <lora:wash:{strength}>")
    assert len(merged(small, "unet")) == 2
    assert np.array_equal(pixels(small, picture, "a fox <lora:wash:0.1>"), first)


def test_block_weights_and_records(pipe: Pipeline, picture: Array) -> None:
    plain, whole = (pixels(pipe, picture, f"a fox {lora}") for lora in ("", "<lora:wash:1>"))
    assert np.array_equal(pixels(pipe, picture, "a fox <lora:wash:1:lbw=down_blocks=0>"), plain)
    assert np.array_equal(pixels(pipe, picture, "a fox <lora:wash:1:lbw=up_blocks=0>"), whole)
    output = pipe(picture, "a fox <lora:ink:0.8>", **OPTIONS).outputs[0]
    assert output.record is not None
    record = json.loads(output.record)
    assert record["loading"]["lora_mode"] == "merged"
    assert record["loras"].keys() == {"ink"}


def test_what_is_refused(
    pipe: Pipeline, picture: Array, bundle: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stem = "lora_unet_" + loras.TO_K.replace(".", "_")
    cases = {
        "shape": ({f"{stem}.diff": np.ones((6, 9), np.float32)}, "gives no weights"),
        "rank": (loras.kohya(stem, 9, 6), "gives no weights"),
        "bias": ({f"{stem}.diff_b": np.ones(6, np.float32)}, "--merge-lora"),
        "dora": ({f"{stem}.dora_scale": np.ones(6, np.float32)}, "DoRA"),
        "lost": (loras.kohya("lora_unet_elsewhere", 8, 6), "belong to no layer"),
    }
    for name, (tensors, message) in cases.items():
        pipe.model.loras.add([loras.write(tmp_path / f"{name}.safetensors", tensors)])
        with pytest.raises(InputError, match=message):
            pipe(picture, f"a <lora:{name}>", **OPTIONS)
    assert not merged(pipe, "unet")
    with pytest.raises(InputError, match="LoRA mode") as raised:
        overpaint.load(bundle, engine="fake", lora_mode="both")
    assert raised.value.field == "lora_mode"
    old = fake_bundle(tmp_path / "old").folder
    with pytest.raises(InputError, match="export its checkpoint again"):
        overpaint.load(old, engine="fake", lora_mode="merged")
    monkeypatch.setitem(BACKENDS, "other", "overpaint.engines.lazy")
    with pytest.raises(InputError, match="--merge-lora"):
        overpaint.load(bundle, engine="other", lora_mode="merged")
