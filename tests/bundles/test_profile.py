"""Words in pixels become ranges of every graph's own axes, and back."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overpaint import EngineError, InputError
from overpaint.bundles.graph import Range
from overpaint.bundles.manifest import Bundle
from overpaint.bundles.profile import Profile, lengths_of, most_rows
from overpaint.bundles.sizes import Sizes, advice, parse_batch, profiles
from overpaint.bundles.tensor import TensorSpec
from overpaint.runtime.model.load import find

ROW = Range(1, 1, 1)
SIDES = st.integers(1, 256).map(lambda length: 4 * length)


@pytest.fixture(scope="module")
def tiny() -> Bundle:
    return Bundle.read(find("tiny"), verify=False)


def made(bundle: Bundle, name: str, *words: str, batch: str = "1", adapters: bool = False) -> list[str]:
    """The profiles as texts; of the axes of adapters only where they are wanted."""
    sizes = [Sizes.parse(word) for word in words]
    texts = [str(each) for each in profiles(name, bundle.graph(name), bundle.model, sizes, parse_batch(batch))]
    own = [[part for part in text.split(", ") if part.startswith(("control_", "image_")) == adapters] for text in texts]
    return [", ".join(parts) for parts in own]


@pytest.mark.parametrize(
    ("word", "least", "most"),
    [
        ("64", (64, 64), (64, 64)),
        ("64-256", (64, 64), (256, 256)),
        (" 512X768 ", (512, 768), (512, 768)),
        ("512x768-1024", (512, 768), (1024, 1024)),
        ("256-512x1024", (256, 256), (512, 1024)),
    ],
)
def test_words(word: str, least: tuple[int, int], most: tuple[int, int]) -> None:
    assert Sizes.parse(word) == Sizes(least, most)


@pytest.mark.parametrize(
    "word", ["", "big", "0", "-64", "64-", "64x", "x64", "512-256", "512x512-1024x256", "1e3", "64,128", "²", "9999999"]
)
def test_words_that_are_no_sizes(word: str) -> None:
    with pytest.raises(InputError, match="profile"):
        Sizes.parse(word)


@pytest.mark.parametrize("word", ["", "0", "4-1", "1-", "-1", "1x4", "many"])
def test_words_that_are_no_batch(word: str) -> None:
    with pytest.raises(InputError, match="batch"):
        parse_batch(word)


@given(st.tuples(SIDES, SIDES), st.tuples(SIDES, SIDES))
def test_sizes_are_what_their_text_says(a: tuple[int, int], b: tuple[int, int]) -> None:
    sizes = Sizes((min(a[0], b[0]), min(a[1], b[1])), (max(a[0], b[0]), max(a[1], b[1])))
    assert Sizes.parse(str(sizes)) == sizes


def test_the_unet_counts_latents_and_two_rows_a_picture(tiny: Bundle) -> None:
    assert made(tiny, "unet", "64-256", batch="1-4") == [
        "height 16:16:64, rows 1:2:8, tokens 77:77:231, width 16:16:64"
    ]


def test_adapters_may_be_absent_and_are_as_large_as_the_picture(tiny: Bundle) -> None:
    usual, wide = (text.split(", ") for text in made(tiny, "unet", "64x128", adapters=True))
    assert {part.split()[1] for part in usual} == {"1:1:1"}
    assert {"control_down_0_channels 1:1:64", "control_down_0_height 1:1:32", "control_mid_width 1:1:4"} <= {*wide}


def test_one_size_is_also_built_for_the_usual_call_alone(tiny: Bundle) -> None:
    assert made(tiny, "unet", "64x128", batch="1-2") == [
        "height 32:32:32, rows 2:2:2, tokens 77:77:77, width 16:16:16",
        "height 32:32:32, rows 1:2:4, tokens 77:77:231, width 16:16:16",
    ]


def test_the_vae_has_one_row_and_counts_its_own_pixels_or_latents(tiny: Bundle) -> None:
    assert made(tiny, "vae_encoder", "128x64", batch="1-4") == ["height 64:64:64, rows 1:1:1, width 128:128:128"]
    assert made(tiny, "vae_decoder", "128x64-256") == ["h 16:16:64, rows 1:1:1, w 32:32:64"]


def test_the_text_encoder_takes_no_sizes(tiny: Bundle) -> None:
    texts = ["rows 1:1:1, tokens 77:77:77", "rows 1:1:3, tokens 77:77:77"]
    assert made(tiny, "text_encoder", "64", "128", batch="1-4") == texts
    assert made(tiny, "text_encoder", "64-128") == texts[1:]


def test_profiles_come_narrowest_first_and_once(tiny: Bundle) -> None:
    there = made(tiny, "vae_decoder", "64-256", "64", "128-256", "64")
    assert there == ["h 16:16:16, rows 1:1:1, w 16:16:16", *made(tiny, "vae_decoder", "128-256", "64-256")]


def test_a_graph_of_an_unknown_role_has_no_profile(tiny: Bundle) -> None:
    strange = replace(tiny.graph("unet"), role="oracle")
    with pytest.raises(InputError, match="unet: its role 'oracle' is unknown here"):
        profiles("unet", strange, tiny.model, [Sizes((64, 64), (64, 64))], ROW)


@given(least=SIDES, most=SIDES, images=st.integers(1, 8))
def test_a_profile_covers_its_ends_and_nothing_beyond(tiny: Bundle, least: int, most: int, images: int) -> None:
    sizes = Sizes((min(least, most),) * 2, (max(least, most),) * 2)
    if sizes.least[0] < 16:
        return
    profile = profiles("unet", tiny.graph("unet"), tiny.model, [sizes], Range(1, 1, images))[-1]
    assert Profile.parse(str(profile)) == profile
    spans = profile.axes
    assert all(span.least <= span.usual <= span.most for span in spans.values())
    for end in ("least", "usual", "most"):
        lengths = {axis: getattr(span, end) for axis, span in spans.items()}
        assert profile.covers(lengths)
        assert not profile.covers(lengths | {"width": spans["width"].most + 1})
        assert not profile.covers(lengths | {"rows": spans["rows"].least - 1})


@pytest.mark.parametrize("text", ["", "rows", "rows 1:2", "rows 1:2:3, ", "rows 1:2:3 height 1:2:3"])
def test_texts_that_are_no_profile(text: str) -> None:
    with pytest.raises(ValueError, match="no profile"):
        Profile.parse(text)


@pytest.mark.parametrize(
    ("word", "batch", "reason"),
    [
        ("62", "1", "62 pixels are no multiple of 4.* take 60 or 64"),
        ("2", "1", "take 4 or 4"),
        ("8", "1", "unet: height 2 to 2 .* is outside what the model takes, 4 to 1024"),
        ("64-8192", "1", "unet: height 16 to 2048"),
        ("64", "1-9", "unet: rows 1 to 18"),
    ],
)
def test_what_the_model_does_not_take(tiny: Bundle, word: str, batch: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        made(tiny, "unet", word, batch=batch)


def test_shapes_of_an_input(tiny: Bundle) -> None:
    (profile,) = profiles("vae_encoder", tiny.graph("vae_encoder"), tiny.model, [Sizes.parse("64-128x256")], ROW)
    assert profile.shapes(tiny.graph("vae_encoder").inputs[0]) == ((1, 3, 64, 64), (1, 3, 64, 64), (1, 3, 256, 128))


def test_inputs_that_disagree() -> None:
    specs = (TensorSpec("a", "float32", ("rows",)), TensorSpec("b", "float32", ("rows",)))
    assert lengths_of("unet", specs, {"a": np.zeros(2), "b": np.zeros(2)}) == {"rows": 2}
    with pytest.raises(EngineError, match="unet: b has 3 rows, another input has 2"):
        lengths_of("unet", specs, {"a": np.zeros(2), "b": np.zeros(3)})


@pytest.mark.parametrize(
    ("name", "words", "batch", "options"),
    [
        ("unet", ["64x128-256"], "1-4", " --profile 64x128-256 --batch 1-4"),
        ("unet", ["64"], "1", " --profile 64"),
        ("vae_decoder", ["64", "128-256"], "1", " --profile 64 --profile 128-256"),
        ("text_encoder", ["512"], "1-2", " --profile 64"),
    ],
)
def test_the_command_that_builds_a_profile(tiny: Bundle, name: str, words: list[str], batch: str, options: str) -> None:
    sizes = [Sizes.parse(word) for word in words]
    wanted = [p.axes for p in profiles(name, tiny.graph(name), tiny.model, sizes, parse_batch(batch))]
    command = f"run: overpaint build {Path(tiny.folder)} --engine tensorrt --graph {name}{options}"
    assert advice(tiny, "tensorrt", name, wanted) == command


@pytest.mark.parametrize(
    ("name", "axes"),
    [("unet", {"rows": ROW, "tokens": Range(308, 308, 308)}), ("text_encoder", {"rows": Range(4, 4, 4)})],
)
def test_a_prompt_that_no_engine_takes(tiny: Bundle, name: str, axes: dict[str, Range]) -> None:
    sides = {"height": Range(16, 16, 16), "width": Range(16, 16, 16)} if name == "unet" else {}
    assert advice(tiny, "tensorrt", name, [axes | sides]).startswith("shorten the prompt")


def test_rows_are_bounded_by_the_profiles_of_that_size() -> None:
    small = Profile({"rows": Range(1, 2, 8), "height": Range(64, 64, 64), "width": Range(64, 64, 64)})
    large = Profile({"rows": Range(1, 2, 2), "height": Range(64, 64, 128), "width": Range(64, 64, 128)})
    assert most_rows([small, large], {"height": 64, "width": 64}) == 8
    assert most_rows([small, large], {"height": 128, "width": 96}) == 2
    assert most_rows([small], {"height": 128, "width": 128}) is None
    assert most_rows([], {"height": 64, "width": 64}) is None
