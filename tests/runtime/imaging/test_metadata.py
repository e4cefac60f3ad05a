from __future__ import annotations

import io

import piexif
import piexif.helper
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from overpaint.errors import InputError
from overpaint.runtime.imaging.metadata import Parameters, format_parameters, parse_parameters, read_parameters

FULL = Parameters(
    prompt="a cat, (red:1.2)\nin the rain",
    negative_prompt="blurry, text: none",
    steps=20,
    sampler="Euler a",
    schedule_type="Karras",
    cfg_scale=7.0,
    seed=2**40 + 1,
    size=(512, 768),
    model_hash="45dee52b",
    model="tiny: one",
    denoising_strength=0.6,
    clip_skip=2,
    extra=(("RNG", "CPU"), ("Lora hashes", 'x: "1", y: 2')),
    version="overpaint 0.1.0",
)


def test_the_layout_is_a1111s():
    assert format_parameters(FULL) == (
        "a cat, (red:1.2)\n"
        "in the rain\n"
        "Negative prompt: blurry, text: none\n"
        "Steps: 20, Sampler: Euler a, Schedule type: Karras, CFG scale: 7, Seed: 1099511627777, Size: 512x768, "
        'Model hash: 45dee52b, Model: "tiny: one", Denoising strength: 0.6, Clip skip: 2, RNG: CPU, '
        'Lora hashes: "x: \\"1\\", y: 2", Version: overpaint 0.1.0'
    )


def test_everything_comes_back():
    assert parse_parameters(format_parameters(FULL)) == FULL


def test_what_is_not_said_is_left_out():
    plain = Parameters(prompt="a cat", steps=4, cfg_scale=1.5, seed=0, clip_skip=1)
    assert format_parameters(plain) == "a cat\nSteps: 4, CFG scale: 1.5, Seed: 0"


def test_a_text_of_a1111():
    """The example in the docstring of A1111's parse_generation_parameters, shortened."""
    parsed = parse_parameters(
        "girl with an artist's beret, ((eyeshadow)), (coquettish), detailed, intricate\n"
        "Negative prompt: ugly, (((deformed))), [blurry], (extra_limb), messy drawing\n"
        "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 965400086, Size: 512x512, Model hash: 45dee52b"
    )
    assert parsed == Parameters(
        "girl with an artist's beret, ((eyeshadow)), (coquettish), detailed, intricate",
        "ugly, (((deformed))), [blurry], (extra_limb), messy drawing",
        steps=20,
        sampler="Euler a",
        cfg_scale=7,
        seed=965400086,
        size=(512, 512),
        model_hash="45dee52b",
    )


def test_a_prompt_alone():
    assert parse_parameters("a cat: red, on\na mat") == Parameters("a cat: red, on\na mat")
    assert parse_parameters("") == Parameters()


def test_unreadable_json_stays_as_it_is():
    assert parse_parameters('x\nSteps: 1, Seed: 2, Note: "\\q"').extra == (("Note", '"\\q"'),)


characters = st.characters(codec="utf-8", exclude_characters="\0")


def representable(text):
    """What the layout can carry of a prompt: see the docstring of `format_parameters`."""
    lines = [line.strip() for line in text.strip().split("\n")]
    return text == "\n".join(lines) and not any(line.startswith("Negative prompt:") for line in lines)


prompts = st.one_of(
    st.text(characters, max_size=40),
    st.lists(st.sampled_from(["a", ",", ":", "\n", " ", '"', "Steps: 3, Seed: 4, Size: 8x8", "Negative prompt"])).map(
        "".join
    ),
    st.text(characters).map(lambda text: f"see Negative prompt: {text}"),
).filter(representable)
values = st.text(characters, max_size=20)
names = st.from_regex(r"[A-Za-z][A-Za-z0-9 \-/]{1,10}", fullmatch=True).filter(
    lambda name: name not in ("Steps", "Sampler", "Seed", "Size", "Model", "Version")
)
parameters = st.builds(
    Parameters,
    prompt=prompts,
    negative_prompt=prompts,
    steps=st.integers(1, 1000),
    sampler=values,
    schedule_type=st.none() | values,
    cfg_scale=st.floats(0, 100),
    seed=st.integers(0, 2**64 - 1),
    size=st.none() | st.tuples(st.integers(1, 16384), st.integers(1, 16384)),
    model=st.none() | values,
    model_hash=st.none() | values,
    denoising_strength=st.none() | st.floats(0, 1),
    clip_skip=st.none() | st.integers(2, 12),
    extra=st.lists(st.tuples(names, values), max_size=4).map(tuple),
    version=st.none() | values,
)


@settings(max_examples=150, deadline=None)
@given(parameters)
def test_round_trip(given):
    assert parse_parameters(format_parameters(given)) == given


@pytest.mark.parametrize("name", ["", "a", "a:b", "a,b", "Steps", "Prompt", "Negative prompt", "-x"])
def test_extra_names_that_cannot_be(name):
    with pytest.raises(InputError, match="extra name"):
        format_parameters(Parameters(extra=((name, "1"),)))


@pytest.mark.parametrize("pair", ["Steps: many", "Size: 512", "Size: axb", "CFG scale: high", "Seed: 1.5"])
def test_values_that_cannot_be(pair):
    name = pair.split(":")[0]
    with pytest.raises(InputError, match=name):
        parse_parameters(f"x\n{pair}, Aa: 1, Bb: 2, Cc: 3")


def saved(kind, **options):
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize("text", ["a cat\nSteps: 1", "ein Kätzchen", "猫 🐈\nSteps: 1"])
def test_what_a1111_writes_is_read(text, tmp_path):
    """PNG by Pillow's add_text; JPEG and WebP by piexif, inserted in the finished file, as A1111's images.py does."""
    chunks = PngInfo()
    chunks.add_text("parameters", text)
    assert read_parameters(saved("PNG", pnginfo=chunks)) == text
    comment = piexif.helper.UserComment.dump(text, encoding="unicode")
    exif = piexif.dump({"Exif": {piexif.ExifIFD.UserComment: comment}})
    for suffix, kind in ((".jpg", "JPEG"), (".webp", "WEBP")):
        path = tmp_path / f"picture{suffix}"
        path.write_bytes(saved(kind))
        piexif.insert(exif, str(path))
        assert read_parameters(path) == text


def test_other_comments_and_none():
    ascii_comment = piexif.dump({"Exif": {piexif.ExifIFD.UserComment: b"ASCII\0\0\0plain"}})
    assert read_parameters(saved("JPEG", exif=ascii_comment)) == "plain"
    assert read_parameters(saved("JPEG")) is None
    assert read_parameters(saved("PNG")) is None
    assert read_parameters(saved("JPEG", exif=b"Exif\0\0nonsense")) is None
    with pytest.raises(InputError, match="no such file"):
        read_parameters("nowhere.png")
