"""Labels in any script: written with a font that has them, or a note names what none has."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from overpaint.cli import main
from overpaint.errors import InputError
from overpaint.runtime.imaging import fonts
from overpaint.runtime.imaging.cmap import covered
from overpaint.runtime.imaging.sheet import Row, contact_sheet
from overpaint.runtime.model.shipped import MODELS

CATS = "猫狐"


def made(path, characters, height=700):
    """A font in which every character is a bar, each of another width."""
    builder = pytest.importorskip("fontTools.fontBuilder").FontBuilder(1000, isTTF=True)
    pen = pytest.importorskip("fontTools.pens.ttGlyphPen").TTGlyphPen
    names = {ord(char): f"glyph{index}" for index, char in enumerate(characters)}
    order = [".notdef", *names.values()]
    builder.setupGlyphOrder(order)
    builder.setupCharacterMap(names)
    glyphs = {}
    for index, name in enumerate(order):
        drawn = pen(None)
        if index:
            right = 100 + 800 * index // len(order)
            for place in ((100, 0), (100, height), (right, height), (right, 0)):
                (drawn.moveTo if place == (100, 0) else drawn.lineTo)(place)
            drawn.closePath()
        glyphs[name] = drawn.glyph()
    builder.setupGlyf(glyphs)
    builder.setupHorizontalMetrics(dict.fromkeys(order, (1000, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Bars", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)
    return path


@pytest.fixture
def system(tmp_path, monkeypatch):
    """A folder for the system's fonts, empty."""
    folder = tmp_path / "fonts"
    folder.mkdir()
    monkeypatch.setattr(fonts, "_FOLDERS", {"": (str(folder),)})
    monkeypatch.setattr(fonts.sys, "platform", "linux")
    caches = (fonts._system_fonts, fonts._system_font, fonts._characters)
    for cache in caches:
        cache.cache_clear()
    yield folder
    for cache in caches:
        cache.cache_clear()


def label(text, font=None):
    """The pixels of a sheet's label."""
    page = contact_sheet([Row("", [(text, Image.new("RGB", (64, 64), "white"))])], cell=64, font=font)
    return np.asarray(page)[64 + 12 :]


def test_without_a_font_a_note_names_the_characters(system):
    note = fonts.missing(["a cat", CATS, "狐 🦊", "café"])
    assert "é (U+00E9), 狐 (U+72D0), 猫 (U+732B), 🦊 (U+1F98A)" in note
    assert "--font" in note
    np.testing.assert_array_equal(label(CATS[0]), label(CATS[1]))
    assert fonts.missing(["a cat, 7.5", "sampler euler_a", ""]) is None


def test_the_systems_fonts_are_used(system):
    (system / "deep").mkdir()
    made(system / "deep/Bars.ttf", CATS)
    assert fonts.missing([CATS, "a cat"]) is None
    assert (label(CATS[0]) != label(CATS[1])).any()
    assert "🦊" in fonts.missing(["🦊"])


def test_a_word_is_written_with_one_font_where_one_has_it(system):
    made(system / "a.ttf", "é猫")
    made(system / "b.ttf", "café")
    assert [(part, font and font.name) for part, font in fonts._runs("a café 猫, 狐é", None)] == [
        ("a ", None), ("café", "b.ttf"), (" ", None), ("猫", "a.ttf"), (", 狐", None), ("é", "a.ttf"),
    ]  # fmt: skip


def test_a_named_font_comes_first(system, tmp_path):
    made(system / "System.ttf", CATS)
    named = made(tmp_path / "named.ttf", CATS, height=300)
    assert fonts.missing([CATS], named) is None
    assert (label(CATS, named) != label(CATS)).any()
    # What it lacks is still written.
    np.testing.assert_array_equal(label("a cat", named), label("a cat"))


@pytest.mark.parametrize("content", [None, b"", b"no font at all" * 99, b"ttcf" + bytes(40)])
def test_a_named_font_that_is_none_is_refused(content, system, tmp_path):
    path = tmp_path / "font.ttf"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match="is no font that can be read"):
        fonts.missing(["a"], path)


def test_a_broken_font_of_the_system_is_passed_over(system):
    whole = made(system / "b.ttf", CATS).read_bytes()
    (system / "a.ttf").write_bytes(b"nonsense")
    (system / "0.ttf").write_bytes(whole[: whole.index(b"cmap") + 12] + bytes(20))
    assert fonts.missing([CATS]) is None


def test_characters_with_marks_stay_together():
    assert list(fonts._clusters("न्दी")) == ["न्", "दी"]
    assert list(fonts._clusters("👩\u200d🚀👍🏽❤\ufe0f")) == ["👩\u200d🚀", "👍🏽", "❤\ufe0f"]
    assert list(fonts._clusters("e\u0301\nx")) == ["é", " ", "x"]


def test_plain_texts_are_drawn_as_pillow_draws_them(system):
    from PIL import ImageDraw

    face = fonts.Face(14)
    ours, theirs = (Image.new("RGB", (120, 30), "white") for _ in range(2))
    face.draw(ours, (3.5, 2), "strength 0.6", "black")
    ImageDraw.Draw(theirs).text((3.5, 2), "strength 0.6", fill="black", font=face._own)
    np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))


@pytest.mark.parametrize("characters", ["ab", "a猫", "a🦊𝄞", "".join(map(chr, range(0x4E00, 0x4F00)))])
def test_maps_of_characters_are_read(characters, tmp_path):
    content = made(tmp_path / "a.ttf", characters).read_bytes()
    spans = covered(io.BytesIO(content))
    assert {char for span in spans for char in span} == set(map(ord, characters))


def test_the_grid_notes_what_it_cannot_write(system, tmp_path, capsys, fake):
    fox = MODELS / "examples/fox.png"
    out = ["-o", str(tmp_path / "sheet.png"), "--strength", "0", "--engine", "onnxruntime", "--seed", "1,2"]
    assert main(["grid", str(fox), "fox 猫", *out]) == 0
    assert "sheet.png: no font has 猫 (U+732B)" in capsys.readouterr().err
    named = made(tmp_path / "named.ttf", CATS)
    assert main(["grid", str(fox), "fox 猫", *out, "--overwrite", "--font", str(named)]) == 0
    assert "no font" not in capsys.readouterr().err
    assert main(["grid", str(fox), "fox 猫", *out, "--overwrite", "--font", str(fox)]) == 2
    sheet = fake.grid(fox, "fox 猫", {"seed": (1, 2)}, steps=2, strength=0.0)
    assert "猫" in sheet.info["notes"][0]
    assert fake.grid(fox, "fox 猫", {"seed": (1, 2)}, steps=2, strength=0.0, font=named).info["notes"] == ()
