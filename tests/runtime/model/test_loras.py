"""LoRAs of requests on a fake model: named in prompts or by the request, per row, and gone again afterwards."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import overpaint
from overpaint import InputError, Pipeline
from overpaint.bundles.tensor import Array
from overpaint.engines.lazy import LazyEngine
from overpaint.engines.wrapper import Wrapper
from overpaint.loras.weights import LoraUse, parse_use, take_tags
from overpaint.runtime.imaging.metadata import read_record
from overpaint.runtime.replay import replay
from tests.support import loras
from tests.support.bundles import fake_bundle

OPTIONS: dict[str, Any] = {"steps": 4, "strength": 0.5, "seed": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LoRAs called ink, wash, wide and words."""
    made = tmp_path_factory.mktemp("loras")
    loras.write(made / "ink.safetensors", loras.unet(1) | loras.text(1))
    loras.write(made / "wash.safetensors", loras.unet(2))
    (made / "more").mkdir()
    loras.write(made / "more/wide.safetensors", loras.unet(3, rank=500))
    loras.write(made / "more/words.safetensors", loras.text(2))
    return made


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_bundle(tmp_path_factory.mktemp("bundles") / "lora", lora=True).folder


@pytest.fixture
def pipe(bundle: Path, folder: Path) -> Pipeline:
    return overpaint.load(bundle, engine="fake", loras=folder)


def pixels(pipe: Pipeline, picture: Array, prompt: str, **options: Any) -> Array:
    return np.asarray(pipe(picture, prompt, **{**OPTIONS, **options}).images[0])


def test_one_after_the_other_and_back(pipe: Pipeline, picture: Array) -> None:
    plain = pixels(pipe, picture, "a fox")
    first = pixels(pipe, picture, "a fox <lora:ink:0.8>")
    other = pixels(pipe, picture, "a fox <lora:wash:0.8>")
    assert not np.array_equal(first, plain)
    assert not np.array_equal(first, other)
    assert np.array_equal(pixels(pipe, picture, "a fox <lora:ink:0.8>"), first)
    assert np.array_equal(pixels(pipe, picture, "a fox "), plain)
    assert np.array_equal(pixels(pipe, picture, "a fox <lora:ink:0>"), plain)
    assert np.array_equal(pixels(pipe, picture, "a fox ", loras=["ink:0.8"]), first)


def test_pictures_do_not_depend_on_what_shares_their_calls(pipe: Pipeline, picture: Array) -> None:
    prompts = ["a fox", "a fox <lora:ink:0.8>", "a fox<lora:ink:0.5><lora:wash:-1.2>", "<lora:wide:0.3>a fox"]
    alone = [pixels(pipe, picture, prompt) for prompt in prompts]
    together = pipe([picture] * 4, prompts, **{**OPTIONS, "seed": [1] * 4}).images
    for one, image in zip(alone, together, strict=True):
        assert np.array_equal(one, np.asarray(image))


class Seen(Wrapper):
    """Keeps the shapes of what it is fed."""

    def __init__(self, engine: Any) -> None:
        super().__init__(engine)
        self.fed: list[dict[str, tuple[int, ...]]] = []

    def __call__(self, feeds: Any) -> dict[str, Array]:
        self.fed.append({name: array.shape for name, array in feeds.items()})
        return super().__call__(feeds)


def watch(lazy: Any) -> Seen:
    assert isinstance(lazy, LazyEngine)
    lazy._engine = seen = Seen(lazy.engine)
    return seen


def test_rows_share_calls_up_to_the_greatest_rank(pipe: Pipeline, picture: Array) -> None:
    assert not pipe.model.stages.stand_ins["unet_lora"].is_open
    seen = watch(pipe.model.stages.stand_ins["unet_lora"])
    plain = pipe.denoiser.engine = Seen(pipe.denoiser.engine)
    prompts = ["a fox <lora:ink:0.8>", "a fox <lora:wash:0.8>", "a fox <lora:ink:0.1>", "a fox"]
    pipe([picture] * 4, prompts, **{**OPTIONS, "seed": [1] * 4})
    assert {(fed["lora"], fed["lora_gate"]) for fed in seen.fed} == {((42, 16), (6, 16))}
    assert {fed["sample"][0] for fed in plain.fed} == {2}
    seen.fed.clear()
    pipe([picture] * 2, ["<lora:wide>", "<lora:ink>"], **{**OPTIONS, "seed": [1] * 2})
    assert {fed["lora"][1] for fed in seen.fed} == {1024}
    assert "unet_lora" in pipe.engines


def test_text_encoders_have_loras_of_their_own_weight(pipe: Pipeline, picture: Array) -> None:
    seen = watch(pipe.model.stages.stand_ins["text_encoder_lora"])
    whole = pixels(pipe, picture, "a fox <lora:ink:0.8>")
    count = len(seen.fed)
    assert count == 2
    assert not np.array_equal(pixels(pipe, picture, "a fox <lora:ink:0:0.8>"), whole)
    assert len(seen.fed) == count
    assert np.array_equal(pixels(pipe, picture, "a fox <lora:ink:te=0.8:unet=0.8>"), whole)
    assert len(seen.fed) == count  # it was cached
    pixels(pipe, picture, "a fox <lora:ink:0.7:0.8>")
    assert len(seen.fed) == count + 2
    assert not np.array_equal(pixels(pipe, picture, "a fox <lora:words:1>"), pixels(pipe, picture, "a fox "))


def test_negative_prompts_name_loras_too_but_not_where_a1111_is_followed_exactly(
    pipe: Pipeline, picture: Array
) -> None:
    ink = pixels(pipe, picture, "a fox <lora:ink:0.8>", negative_prompt="b ")
    assert np.array_equal(pixels(pipe, picture, "a fox ", negative_prompt="b <lora:ink:0.8>"), ink)
    exact = pixels(pipe, picture, "a fox ", negative_prompt="b <lora:ink:0.8>", prompt_syntax="a1111-exact")
    assert not np.array_equal(exact, ink)
    literal = pixels(pipe, picture, "a fox <lora:none:0.8>", prompt_syntax="plain")
    assert literal.shape == ink.shape


def test_records_and_infotext_know_the_hashes(pipe: Pipeline, picture: Array, folder: Path, tmp_path: Path) -> None:
    output = pipe(picture, "a fox <lora:ink:0.8>", loras=("wash:0.5",), **OPTIONS).outputs[0]
    known = pipe.model.loras.hashes([LoraUse("ink"), LoraUse("wash")])
    assert output.record is not None
    assert json.loads(output.record)["loras"] == known
    first = output.parameters.splitlines()[0]
    assert first == "a fox <lora:ink:0.8><lora:wash:0.5>"
    assert 'Lora hashes: "' in output.parameters
    source = tmp_path / "in.png"
    overpaint.read(picture)
    from PIL import Image

    Image.fromarray(picture).save(source)
    made = pipe(source, "a fox <lora:ink:0.8>", **OPTIONS).outputs[0]
    made.save(tmp_path / "out.png")
    assert read_record(tmp_path / "out.png")
    again = replay(tmp_path / "out.png", pipe=pipe)
    assert again.equal
    assert not again.differences
    copy = tmp_path / "loras"
    copy.mkdir()
    loras.write(copy / "ink.safetensors", loras.unet(7))
    other = overpaint.load(pipe.bundle.folder, engine="fake", loras=copy)
    different = replay(tmp_path / "out.png", pipe=other)
    assert any("LoRA ink was" in each for each in different.differences)


def test_one_number_weighs_all_loras(pipe: Pipeline, picture: Array) -> None:
    whole = pixels(pipe, picture, "a fox <lora:ink:0.8>", loras=["wash:0.5"])
    half = pixels(pipe, picture, "a fox <lora:ink:0.8>", loras=["wash:0.5"], lora_weight=0.5)
    assert np.array_equal(half, pixels(pipe, picture, "a fox <lora:ink:0.4>", loras=["wash:0.25"]))
    assert not np.array_equal(half, whole)
    off = pixels(pipe, picture, "a fox <lora:ink:0.8>", lora_weight=0)
    assert np.array_equal(off, pixels(pipe, picture, "a fox "))
    output = pipe(picture, "a fox <lora:ink:0.8>", loras=["wash:0.5"], lora_weight=0.5, **OPTIONS).outputs[0]
    assert output.parameters.startswith("a fox <lora:ink:0.8><lora:wash:0.5>\n")
    options = overpaint.from_infotext(output.parameters).options
    assert options["lora_weight"] == 0.5
    assert np.array_equal(np.asarray(pipe(picture, **options).images[0]), half)
    sheet = pipe.grid(picture, "a fox <lora:ink:0.8>", {"lora_weight": (0.0, 1.0)}, **OPTIONS)
    assert sheet.width > 512
    with pytest.raises(InputError, match="lora_weight is of LoRAs, and there is none") as raised:
        pipe(picture, "a fox", lora_weight=0.5, **OPTIONS)
    assert raised.value.field == "lora_weight"
    none = pipe(picture, "a fox", loras=["wash:0.5"], lora_weight=0, **OPTIONS).outputs[0].parameters
    assert overpaint.from_infotext(none).options["prompt"] == "a fox<lora:wash:0.5>"


def test_what_is_refused_before_anything_runs(pipe: Pipeline, picture: Array, bundle: Path, folder: Path) -> None:
    cases = {
        "a <lora:inc:0.8>": "did you mean 'ink'",
        "a <lora:ink:x>": "no number",
        "a <lora:ink:nan>": "from -100 to 100",
        "a <lora:ink:1:2:3>": "too many numbers",
        "a <lora:ink:1:dyn=4>": "dyn",
        "a <lora:ink:1:lbw=1,2>": "2 block weights",
        "a <hypernet:x:1>": "hypernetwork",
        "a <lora:wide><lora:ink><lora:wash:1>" + "<lora:wide:1:lbw=up_blocks=2>": "rank",
    }
    for prompt, message in cases.items():
        with pytest.raises(InputError, match=message):
            pipe(picture, prompt, **OPTIONS)
    assert not pipe.model.stages.stand_ins["unet_lora"].is_open
    nothing = overpaint.load(bundle, engine="fake")
    with pytest.raises(InputError, match="no LoRA 'ink': no folder of them is named; name one"):
        nothing(picture, "a <lora:ink:0.8>", **OPTIONS)
    with pytest.raises(InputError, match="is not there"):
        overpaint.load(bundle, engine="fake", loras=folder / "none")
    plain = overpaint.load("tiny", engine="fake", loras=[folder / "ink.safetensors"])
    with pytest.raises(InputError, match="again with --lora"):
        plain(picture, "a <lora:ink:0.8>", **OPTIONS)


def test_a_library_looks_again(bundle: Path, picture: Array, tmp_path: Path) -> None:
    pipe = overpaint.load(bundle, engine="fake", loras=[tmp_path])
    path = loras.write(tmp_path / "new.safetensors", loras.unet(1))
    with pytest.raises(InputError, match="there is no LoRA 'new': the folders of LoRAs hold none; name one that does"):
        pipe(picture, "<lora:new>", **OPTIONS)
    pipe.model.loras.refresh()
    first = pixels(pipe, picture, "<lora:new>")
    loras.write(path, loras.unet(2, rank=3))
    assert not np.array_equal(pixels(pipe, picture, "<lora:new>"), first)


def test_a_name_may_become_another_file_s(bundle: Path, tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    for seed, each in enumerate(folders):
        each.mkdir()
        path = loras.write(each / "ink.safetensors", loras.unet(seed))
        os.utime(path, ns=(1, 1))
    library = overpaint.load(bundle, engine="fake", loras=folders).model.loras
    first = library.hashes([LoraUse("ink")])
    (folders[0] / "ink.safetensors").unlink()
    library.refresh()
    assert first != library.hashes([LoraUse("ink")])


def test_tags_are_read_as_a1111_reads_them() -> None:
    assert take_tags("a <lora:x:0.8> b<lyco:y>") == ("a  b", (LoraUse("x", 0.8, 0.8), LoraUse("y")))
    assert parse_use("x:0.2:0.4") == LoraUse("x", 0.2, 0.4)
    assert parse_use("x:0.5:unet=0.9") == LoraUse("x", 0.5, 0.9)
    assert parse_use("x:1:0,0,0,0,0,0,0,0,0,0,0,1").blocks.count(",") == 11
    assert take_tags("an arrow -> <3 <b>") == ("an arrow -> <3 <b>", ())
    assert [str(parse_use(text)) for text in ("x:0.2:0.4", "x:1:lbw=mid_block=0")] == [
        "<lora:x:0.2:0.4>",
        "<lora:x:1:lbw=mid_block=0>",
    ]
