"""Records of what made a picture, and pictures made again from them."""

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

import overpaint
from overpaint import InpaintMask, InputError, Output, Pipeline, Region, Request
from overpaint.bundles.tensor import Array
from overpaint.cli import main
from overpaint.errors import OverpaintError
from overpaint.runtime.conditioning.prompt.embeddings import Embedding
from overpaint.runtime.imaging.metadata import read_parameters, read_record
from overpaint.runtime.imaging.output import encode, write
from overpaint.runtime.provenance import frozen
from overpaint.runtime.provenance.frozen import Reference, freeze, thaw
from overpaint.runtime.provenance.recorder import image_hash, recorder
from overpaint.runtime.provenance.records import Record, located
from overpaint.runtime.replay import Again, Replay


@pytest.fixture
def source(tmp_path: Path, picture: Array) -> Path:
    path = tmp_path / "in.png"
    Image.fromarray(picture).save(path)
    return path


def made(pipe: Pipeline, source: Path, name: str = "out.png", **options: Any) -> Path:
    output = pipe(source, "a b", **{"steps": 4, "seed": 3, **options}).outputs[0]
    path = source.with_name(name)
    write(path, output.image, output.parameters, record=output.record)
    return path


def altered(path: Path, **changes: Any) -> Path:
    """The file with a record that says something else."""
    data = json.loads(read_record(path) or "")
    for name, value in changes.items():
        data[name] = {**data[name], **value} if isinstance(value, dict) and isinstance(data.get(name), dict) else value
    write(path, Image.open(path), record=json.dumps(data))
    return path


def again(file: Path, pipe: Pipeline | None = None, inputs: tuple[Path, ...] = ()) -> Replay:
    return overpaint.replay(file, inputs, pipe)


class TestRecords:
    def test_a_request_comes_back(self, picture: Array) -> None:
        levels = np.random.default_rng(1).integers(0, 256, picture.shape[:2], np.uint8)
        source = overpaint.read(picture)
        request = Request(
            source,
            passes=(0.7, 0.5),
            prompts=((0, "a"), (0.4, "b")),
            seed=2**64 - 1,
            size=(64, 48),
            guidance_scale=np.float32(3.5),  # type: ignore[arg-type]
            inpaint_mask=InpaintMask(levels, content="noise"),
            regions=(Region("c", levels[::-1].copy()),),
        )
        back: Request = thaw(json.loads(json.dumps(freeze(request))), lambda _: source)
        assert freeze(back) == freeze(request)
        assert back.inpaint_mask is not None
        assert np.array_equal(back.inpaint_mask.mask, levels)
        assert (back.prompts, back.size, back.seed) == (request.prompts, request.size, request.seed)

    def test_format_1_comes_back_by_todays_names(self, picture: Array) -> None:
        levels = np.full(picture.shape[:2], 255, np.uint8)
        source = overpaint.read(picture)
        request = Request(source, inpaint_mask=InpaintMask(levels, soft=0.5), regions=(Region("c", levels),), steps=3)
        known = {"name": "tiny", "graphs": {}}
        data = json.loads(Record("0", freeze(request), known, {}, {}, {}, None, 1, "").text())
        call = data["asked"] = data.pop("call")
        old = call.pop("inpaint_mask")
        renamed = {"mask": "levels", "differential": "gradual", "soft": "softness", "soft_settings": "soft"}
        call["change"] = {**{renamed.get(name, name): value for name, value in old.items()}, "is": "Change"}
        for region in call["regions"]:
            region["levels"] = region.pop("mask")
        back = thaw(Record.read(json.dumps({**data, "format": 1})).call, lambda _: source)
        assert freeze(back) == freeze(request)

    def test_a_picture_is_its_hash_size_and_path(self, source: Path) -> None:
        seen: list[Reference] = []

        def find(reference: Reference) -> overpaint.Picture:
            seen.append(reference)
            return overpaint.read(source)

        thaw(freeze(Request(overpaint.read(source))), find)
        assert seen == [Reference(overpaint.read(source).sha256, (56, 40), str(source))]

    def test_the_hash_is_of_pixels_and_alpha(self, picture: Array) -> None:
        alpha = np.full((40, 56, 1), 255, np.uint8)
        opaque = overpaint.read(np.concatenate([picture, alpha], 2))
        hashes = {overpaint.read(array).sha256 for array in (picture, picture.copy(), picture[::-1])}
        assert len(hashes | {opaque.sha256}) == 3

    @pytest.mark.parametrize(
        ("text", "cause"),
        [
            ("{", "damaged"),
            ("[]", "damaged"),
            ('{"format": 9}', "format 9, this version reads 2"),
            ('{"format": 1, "call": {}}', "damaged"),
        ],
    )
    def test_a_record_that_is_none(self, text: str, cause: str) -> None:
        with pytest.raises(InputError, match=cause):
            Record.read(text)

    @pytest.mark.parametrize(
        ("call", "cause"),
        [
            ({"is": "Request", "image": {"sha256": "0", "size": [1, 1], "path": None}, "magic": 1}, "magic"),
            ({"is": "Path", "args": "/"}, "cannot make"),
            ({"is": "Request"}, "damaged"),
            ({"sha256": "0"}, "damaged"),
            ({"png": "AAAA"}, "not a picture"),
            ({"png": 1}, "damaged"),
        ],
    )
    def test_an_asking_that_is_none(self, call: Any, cause: str) -> None:
        with pytest.raises(InputError, match=cause):
            thaw(call, lambda _: overpaint.read(np.zeros((8, 8, 3), np.uint8)))

    @pytest.mark.parametrize("value", [None, 5, "x", [1], {"sha256": 1}, {"is": 3}], ids=str)
    @pytest.mark.parametrize(
        "name", [*Record.__dataclass_fields__, "call.image", "call.inpaint_mask", "loading.engines"]
    )
    def test_a_tampered_one_is_an_input_error_or_harmless(
        self, fake: Pipeline, source: Path, name: str, value: Any
    ) -> None:
        file = made(fake, source, strength=0.0)
        first, _, second = name.partition(".")
        altered(file, **{first: {second: value} if second else value})
        try:
            assert again(file, fake)
            again(file)
        except InputError:
            pass

    def test_what_has_no_place_in_a_record_is_a_mistake(self) -> None:
        with pytest.raises(TypeError, match="object"):
            freeze(object())

    @pytest.mark.parametrize(
        "text",
        [
            "[" * 100_000,
            '{"format": ' + "[" * 100_000,
            json.dumps({"format": 1}),
            "null",
            "1" * 5000,
        ],
        ids=["nested", "nested format", "bare", "null", "long number"],
    )
    def test_a_damaged_text(self, text: str) -> None:
        with pytest.raises(InputError, match="record"):
            Record.read(text)

    def test_a_record_that_is_nested_too_deep(self, fake: Pipeline, source: Path) -> None:
        nested: Any = 0
        for _ in range(900):
            nested = [nested]
        with pytest.raises(InputError, match="damaged"):
            again(altered(made(fake, source), call={"passes": nested}))

    @pytest.mark.parametrize("value", [[], {}, "x" * 5000, "\0", 10**400, True, -1, 1.5, None], ids=repr)
    @pytest.mark.parametrize("name", ["sha256", "size", "path"])
    def test_a_damaged_reference(self, fake: Pipeline, source: Path, name: str, value: Any) -> None:
        file = made(fake, source, strength=0.0)
        data = json.loads(read_record(file) or "")
        data["call"]["image"][name] = value
        write(file, Image.open(file), record=json.dumps(data))
        with suppress(InputError):
            again(file)

    @settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data())
    def test_any_value_of_it_may_be_anything(self, recorded: Path, data: st.DataObject) -> None:
        record = json.loads(read_record(recorded) or "")
        places = list(nodes(record))
        holder, key = data.draw(st.sampled_from(places))
        holder[key] = data.draw(VALUES)
        image = Image.open(recorded)
        stream = encode(image, ".png", record=json.dumps(record))[0]
        with suppress(OverpaintError):
            Again(stream, [recorded.with_name("in.png")]).load(verify=False)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def nodes(data: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of a value in JSON: what holds it, and its key there."""
    for key in range(len(data)) if isinstance(data, list) else data:
        yield data, key
        if isinstance(data[key], list | dict):
            yield from nodes(data[key])


@pytest.fixture(scope="module")
def recorded(fake_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture with a record that has all that one can hold."""
    folder = tmp_path_factory.mktemp("recorded")
    source = folder / "in.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)).save(source)
    levels = np.full((40, 56), 255, np.uint8)
    with overpaint.load(fake_folder, engine="fake") as pipe:
        return made(pipe, source, inpaint_mask=InpaintMask(levels), regions=(Region("c", levels),), variation_seed=4)


@dataclass(frozen=True, eq=False)
class Negative:
    """A tool: a request whose result is turned round."""

    request: Request

    def make(self, pipe: Pipeline) -> Output:
        run = pipe.run([self.request])
        assert list(run)
        made = run.result().outputs[0]
        image = ImageOps.invert(made.image)
        return replace(made, image=image, recorder=recorder(pipe.model.maker, self, image))


class TestTools:
    def test_a_tool_records_itself(self, fake: Pipeline, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(frozen, "HOMES", {**frozen.HOMES, "Negative": __name__})
        output = Negative(Request(overpaint.read(source), "a", steps=4)).make(fake)
        write(source.with_name("out.png"), output.image, record=output.record)
        assert again(source.with_name("out.png")).equal


MASK = np.zeros((40, 56), np.uint8)
MASK[8:30, 10:40] = 255
CALLS: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "inpaint": ((255 - MASK, "a"), {"invert": True, "blur": (2.0, 1.0), "levels": "soft", "n": 2}),
    "outpaint": (("a",), {"right": 16, "negative_prompt": "b", "variation_seed": 3, "variation_strength": 0.4}),
    "upscale": ((), {"scale": 2.0, "tile": 32, "overlap": 8}),
}


class TestEdits:
    @pytest.mark.parametrize("tool", CALLS)
    def test_what_a_tool_made_is_made_again(self, fake: Pipeline, source: Path, tool: str) -> None:
        image = overpaint.read(np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8))
        given, options = CALLS[tool]
        made = getattr(fake, tool)(image, *given, seed=5, steps=4, **options).outputs[-1]
        first, out = source.with_name("first.png"), source.with_name("out.png")
        write(first, image.image)
        write(out, made.image, record=made.record)
        played = overpaint.replay(out, [first], fake)
        assert played.equal, played.differences
        assert played.output.request.seed == made.request.seed

    @pytest.mark.parametrize("value", [None, 5, "x", [1], [["a"]], [[1, 2]], ["in.png"], {"is": "Region"}], ids=str)
    @pytest.mark.parametrize("name", ["tool", "image", "prompts", "negative_prompt", "seed", "masks", "options"])
    def test_a_damaged_call_is_an_input_error_or_harmless(
        self, fake: Pipeline, source: Path, name: str, value: Any
    ) -> None:
        output = fake.inpaint(source, [MASK, MASK[::-1].copy()], ["a", "b"], steps=4, strength=0.0).outputs[0]
        record = json.loads(output.record or "")
        record["call"][name] = value
        with suppress(InputError):  # some are values that the field may have
            overpaint.replay(encode(output.image, ".png", record=json.dumps(record))[0], [source], fake)

    def test_several_masks_keep_their_prompts(self, fake: Pipeline, source: Path) -> None:
        image = overpaint.read(np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8))
        made = fake.inpaint(image, [MASK, MASK[::-1].copy()], ["a", "b"], steps=4).outputs[0]
        first, out = source.with_name("first.png"), source.with_name("out.png")
        write(first, image.image)
        write(out, made.image, record=made.record)
        assert overpaint.replay(out, [first], fake).equal


class TestFiles:
    @pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
    def test_every_format_carries_it_beside_the_parameters(self, suffix: str) -> None:
        image, record = Image.new("RGB", (8, 8)), json.dumps({"prompt": "füchse, 🦊"})
        data, notes = encode(image, suffix, "fox\nSteps: 1", record=record)
        assert read_record(data) == record
        assert read_parameters(data) == "fox\nSteps: 1"
        assert not notes
        assert read_record(encode(image, suffix, "fox", record=record, strip=True)[0]) is None
        assert read_record(encode(image, suffix, "fox")[0]) is None

    def test_one_too_long_for_a_jpeg_is_left_out_with_a_note(self) -> None:
        data, notes = encode(Image.new("RGB", (8, 8)), ".jpg", "fox", record="x" * 70_000)
        assert read_record(data) is None
        assert read_parameters(data) == "fox"
        assert "does not fit" in notes[0]


class TestReplay:
    @pytest.mark.parametrize("name", ["out.png", "out.jpg", "out.webp"])
    def test_the_pixels_are_equal(self, fake: Pipeline, source: Path, name: str) -> None:
        replay = again(made(fake, source, name, sampler="euler_a", passes=(0.5, 0.5), colour_match="mean"))
        assert replay.equal
        assert not replay.differences
        assert replay.distance is None

    def test_a_mask_and_its_regions_too(self, fake: Pipeline, source: Path) -> None:
        levels = np.zeros((40, 56), np.uint8)
        levels[10:30, 10:40] = 200
        file = made(
            fake,
            source,
            inpaint_mask=InpaintMask(levels, differential=True),
            regions=(Region("c", levels),),
            variation_seed=4,
        )
        assert again(file).equal

    def test_any_picture_of_a_batch(self, fake: Pipeline, source: Path) -> None:
        output = fake(source, "a", n=3, seed=1, steps=4).outputs[2]
        write(source.with_name("out.png"), output.image, record=output.record)
        replay = again(source.with_name("out.png"))
        assert replay.equal
        assert replay.output.request.seed == 3

    def test_an_input_that_moved_is_found_beside_the_result(self, fake: Pipeline, source: Path, tmp_path: Path) -> None:
        file = made(fake, source)
        (tmp_path / "moved").mkdir()
        for path in (file, source):
            path.rename(tmp_path / "moved" / path.name)
        assert again(tmp_path / "moved/out.png").equal

    def test_an_input_that_is_gone_is_named_and_can_be_given(
        self, fake: Pipeline, source: Path, tmp_path: Path
    ) -> None:
        file = made(fake, source)
        source.rename(tmp_path / "renamed.png")
        with pytest.raises(InputError, match=r"in\.png \(56x40, .* not found; give it"):
            Again(file)
        assert again(file, inputs=(tmp_path / "renamed.png",)).equal
        with pytest.raises(InputError, match="2 inputs are given, the record names 1"):
            Again(file, (tmp_path / "renamed.png",) * 2)

    def test_an_input_with_other_pixels_is_said_before_it_runs(
        self, fake: Pipeline, source: Path, picture: Array
    ) -> None:
        file = made(fake, source)
        Image.fromarray(255 - picture).save(source)
        assert "has other pixels" in Again(file).changed(fake)[0]
        replay = again(file)
        assert not replay.equal
        assert "of the pixels differ" in (replay.distance or "")

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"version": "0.0.1"}, "overpaint 0.0.1 made it"),
            ({"model": {"name": "other", "graphs": {"unet": "0" * 64}}}, "the graph unet was 0000000000, is "),
            ({"engines": {"unet": "onnxruntime 1.0"}}, "the engine of unet was onnxruntime 1.0, is fake"),
            ({"embeddings": {"cat": "1" * 64}}, "the embedding cat was 1111111111, is nothing"),
            ({"plan": "0"}, "table of the sampler's steps"),
            ({"loading": {"vae_tile": 64}}, None),
            ({"result": "0"}, "no longer those that the record is of"),
            ({"result": "0", "together": 4}, "4 pictures ran together then"),
        ],
    )
    def test_every_difference_is_named(
        self, fake: Pipeline, source: Path, changes: dict[str, Any], said: str | None
    ) -> None:
        replay = again(altered(made(fake, source), **changes))
        assert said is None or any(said in difference for difference in replay.differences)
        assert replay.equal == ("result" not in changes)

    def test_another_model_says_so(self, fake: Pipeline, source: Path) -> None:
        file = altered(made(fake, source), loading={"model": "nowhere/model"})
        with pytest.raises(InputError, match="nowhere/model, which is not there"):
            Again(file).load()
        with Again(file).load("tiny", engine="onnxruntime") as other:
            differences = Again(file).changed(other)
        assert any("this is overpaint-tiny" in text or "this is tiny" in text for text in differences)
        assert any("graph unet" in text for text in differences)
        assert any("engine was fake, is onnxruntime" in text for text in differences)

    def test_an_embedding_is_recorded_by_its_hash(self) -> None:
        pipe = overpaint.load("tiny", engine="onnxruntime")
        width = next(spec.axes[-1] for spec in pipe.text.engine.inputs if spec.name == "vectors")
        pipe.text.add_embedding(Embedding("zorb", np.ones((1, int(width)), np.float32)))
        output = pipe(np.zeros((16, 16, 3), np.uint8), "zorb", steps=2).outputs[0]
        record = Record.read(output.record or "")
        assert set(record.embeddings) == {"zorb"}
        assert record.result == image_hash(output.image)

    @pytest.mark.parametrize("small", [0, 2**20])
    def test_a_record_is_of_the_picture_as_it_was_made(
        self, fake: Pipeline, source: Path, monkeypatch: pytest.MonkeyPatch, small: int
    ) -> None:
        monkeypatch.setitem(recorder.__globals__, "_SMALL", small)
        output = fake(source, "a", seed=1, steps=2).outputs[0]
        made = image_hash(output.image)
        output.image.paste((0, 0, 0), (0, 0, *output.image.size))
        assert Record.read(output.record or "").result == made != image_hash(output.image)

    def test_in_a_batchs_folder_the_result_is_not_its_own_input(
        self, fake_folder: Path, picture: Array, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "in").mkdir()
        Image.fromarray(picture).save(tmp_path / "in/a.png")
        monkeypatch.chdir(tmp_path)
        common = ["--engine", "fake", "--model", str(fake_folder), "--steps", "4"]
        assert main(["batch", "in", "fox", "-o", "out", *common]) == 0
        for folder, file in ((tmp_path / "out", "a.png"), (tmp_path.parent, tmp_path / "out/a.png")):
            monkeypatch.chdir(folder)
            again = Again(file)
            assert not again.differences
            assert main(["replay", str(file), "--model", str(fake_folder)]) == 0
        assert json.loads(read_record(tmp_path / "out/a.png") or "")["call"]["image"]["path"] == "../in/a.png"
        (tmp_path / "in").rename(tmp_path / "gone")
        monkeypatch.chdir(tmp_path / "out")
        with pytest.raises(InputError, match=r"a\.png .* which is not found; give it as an input"):
            Again("a.png")

    def test_paths_are_seen_from_the_files_own_folder_through_links(self, fake: Pipeline, source: Path) -> None:
        folder = source.parent
        (folder / "real/deep").mkdir(parents=True)
        (folder / "link").symlink_to(folder / "real/deep")
        output = fake(source, "a", seed=1, steps=4).outputs[0]
        file = folder / "link/out.png"
        write(file, output.image, record=located(output.record or "", file))
        for place in (file, folder / "real/deep/out.png"):
            assert again(place, fake).equal
            assert not Again(place).differences

    def test_one_of_the_same_name_with_other_pixels_is_not_taken_for_the_input(
        self, fake: Pipeline, source: Path, picture: Array
    ) -> None:
        file = made(fake, source)
        (source.parent / "moved").mkdir()
        file = file.rename(source.parent / "moved/out.png")
        source.unlink()
        Image.fromarray(255 - picture).save(source.parent / "moved/in.png")
        with pytest.raises(InputError, match="not found"):
            Again(file)

    def test_a_files_bytes_will_do(self, fake: Pipeline, source: Path) -> None:
        file = made(fake, source)
        assert overpaint.replay(file.read_bytes(), [source.read_bytes()], fake).equal

    @pytest.mark.parametrize(
        ("metadata", "cause"), [({}, "has no record; it was stripped"), ({"parameters": "fox"}, "A1111's parameters")]
    )
    def test_a_picture_without_a_record(self, tmp_path: Path, metadata: dict[str, Any], cause: str) -> None:
        write(tmp_path / "a.png", Image.new("RGB", (8, 8)), **metadata)
        with pytest.raises(InputError, match=cause):
            Again(tmp_path / "a.png")


def test_the_command_says_whether_the_pixels_are_equal(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, new = source.with_name("out.png"), source.with_name("new.png")
    common = [str(source), "fox", "-o", str(out), "--steps", "4", "--seed", "1", "--engine", "onnxruntime"]
    assert main(["img2img", *common]) == 0
    assert main(["replay", str(out), "-o", str(new)]) == 0
    assert "the pixels are equal" in capsys.readouterr().out
    assert np.array_equal(np.asarray(Image.open(out)), np.asarray(Image.open(new)))
    Image.new("RGB", (56, 40)).save(source)
    assert main(["replay", str(out)]) == 3
    printed = capsys.readouterr()
    assert "not equal" in printed.out
    assert "has other pixels" in printed.err
    assert main(["replay", str(source)]) == 2
