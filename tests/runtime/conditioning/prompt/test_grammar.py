"""The prompt grammars: A1111's documented behaviour as vectors, ComfyUI's weights, and text nobody would write."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overpaint.errors import InputError
from overpaint.runtime.conditioning.prompt.prompt import Prompt, from_steps, parse

SYNTAXES = st.sampled_from(["a1111", "comfy", "plain"])
EXACT = st.sampled_from(["a1111-exact", "comfy-exact"])
WORDS = st.text("abc ,.<>-", max_size=5)
GRAMMAR = st.lists(st.sampled_from([*"()[]:|\\ab1.-", " AND ", " BREAK ", "0.5", "\n", "é"]), max_size=40).map("".join)


def text_at(prompt: Prompt, step: int, steps: int) -> str:
    (part,) = prompt.parts
    return "".join(text for chunk in part.timeline(steps)[step].chunks for text, _ in chunk)


def stages(prompt: str, steps: int = 10, **options: str) -> list[tuple[int, str]]:
    """Up to which step there is which text, as A1111 lists it."""
    texts = [text_at(parse(prompt, **options), step, steps) for step in range(steps)]
    ends = [i for i in range(steps) if i == steps - 1 or texts[i] != texts[i + 1]]
    return [(end + 1, texts[end]) for end in ends]


def fragments(prompt: str, syntax: str = "a1111", broken: str = "error") -> list[tuple[str, float]]:
    (part,) = parse(prompt, syntax, broken).parts
    (chunk,) = part.at(0, 1).chunks
    return list(chunk)


@pytest.mark.parametrize(
    ("prompt", "wanted"),
    [
        ("", []),
        ("a plain prompt", [("a plain prompt", 1)]),
        ("a (red) fox", [("a ", 1), ("red", 1.1), (" fox", 1)]),
        ("a [red] fox", [("a ", 1), ("red", 1 / 1.1), (" fox", 1)]),
        ("a (red:1.3) fox", [("a ", 1), ("red", 1.3), (" fox", 1)]),
        ("(red: 1.3 )", [("red", 1.3)]),
        ("(red:-.5)", [("red", -0.5)]),
        ("((red) fox)", [("red", 1.1**2), (" fox", 1.1)]),
        ("((red:1.3) fox:0.5)", [("red", 1.3 * 0.5), (" fox", 0.5)]),
        ("([even])", [("even", 1)]),
        ("(two)(words)", [("twowords", 1.1)]),
        (r"\(not\) \[here\] C:\\x \a", [(r"(not) [here] C:\x a", 1)]),
        (r"(smile \:\):1.2)", [("smile :)", 1.2)]),
        ("ratio: 16:9 | wide", [("ratio: 16:9 | wide", 1)]),
        ("(Fate: Zero)", [("Fate: Zero", 1.1)]),
        ("(either|or:0.9)", [("either|or", 0.9)]),
        (r"a \AND b, \BREAK c, BRAND AND_ BREAKS", [("a AND b, BREAK c, BRAND AND_ BREAKS", 1)]),
    ],
)
def test_weights_as_a1111_documents_them(prompt: str, wanted: list[tuple[str, float]]) -> None:
    found = fragments(prompt)
    assert [text for text, _ in found] == [text for text, _ in wanted]
    assert [weight for _, weight in found] == pytest.approx([weight for _, weight in wanted])


@pytest.mark.parametrize(
    ("prompt", "wanted"),
    [
        ("a [fox:0.5]", [(5, "a "), (10, "a fox")]),
        ("a [fox: 3 ]", [(3, "a "), (10, "a fox")]),
        ("a [fox::3] den", [(3, "a fox den"), (10, "a  den")]),
        ("a [fox:owl:.25]", [(2, "a fox"), (10, "a owl")]),
        ("a [fox:owl:1]", [(1, "a fox"), (10, "a owl")]),
        ("a [fox:owl:1.0]", [(10, "a fox")]),
        ("a [fox:owl:0]", [(10, "a owl")]),
        ("a [fox:owl:-2]", [(10, "a owl")]),
        ("a [fox:owl:99]", [(10, "a fox")]),
        ("a[b:[c:d:0.6]:0.2]e", [(2, "abe"), (6, "ace"), (10, "ade")]),
        ("[[a:b:2]|[c:d:3]]", [(1, "a"), (2, "c"), (3, "b"), (4, "d"), (5, "b"), (6, "d"), (7, "b"), (8, "d")]),
        ("[cow|horse]", [(1, "cow"), (2, "horse"), (3, "cow"), (4, "horse")]),
        ("[fe|]male", [(1, "female"), (2, "male"), (3, "female"), (4, "male")]),
        ("[a||b]", [(1, "a"), (2, ""), (3, "b"), (4, "a")]),
        ("[(a: b)|c]", [(1, "a: b"), (2, "c")]),
    ],
)
def test_editing_and_alternation(prompt: str, wanted: list[tuple[int, str]]) -> None:
    assert stages(prompt, wanted[-1][0]) == wanted


def test_weights_around_and_within_editing() -> None:
    (part,) = parse("([(a:1.2):b:1] c:2)").parts
    assert part.at(0, 2).chunks == ((("a", 1.2 * 2), (" c", 2.0)),)
    assert part.at(1, 2).chunks == ((("b c", 2.0),),)


def test_and_composes_prompts() -> None:
    parts = parse("a cat AND [a dog|a fox]:0.7 AND x:1.5 y AND z : -1").parts
    assert [part.weight for part in parts] == [1, 0.7, 1, -1]
    assert [str(part.at(1, 2)) for part in parts] == ["a cat ", " a fox", " x:1.5 y ", " z "]
    assert [part.weight for part in parse("it is 10:30").parts] == [1]


def test_break_begins_a_chunk_within_brackets_too() -> None:
    (part,) = parse("a BREAK b, (c\nBREAK d:1.2)").parts
    assert part.at(0, 1).chunks == ((("a", 1),), (("b, ", 1), ("c", 1.2)), (("d", 1.2),))


@pytest.mark.parametrize(
    ("prompt", "wanted"),
    [
        ("a (red) (fox:1.3)", [("a ", 1), ("red", 1.1), (" ", 1), ("fox", 1.3)]),
        ("((red) fox)", [("red", 1.1**2), (" fox", 1.1)]),
        ("((red:1.3) fox:0.5)", [("red", 1.3), (" fox", 0.5)]),
        ("((red) fox:0.5)", [("red", 1.1 * 0.5), (" fox", 0.5)]),
        (r"[a|b] AND \(c\) \[ BREAK", [(r"[a|b] AND (c) \[ BREAK", 1)]),
    ],
)
def test_weights_as_comfyui_has_them(prompt: str, wanted: list[tuple[str, float]]) -> None:
    found = fragments(prompt, "comfy")
    assert [text for text, _ in found] == [text for text, _ in wanted]
    assert [weight for _, weight in found] == pytest.approx([weight for _, weight in wanted])


BROKEN = {
    "a (red fox": (2, "never closed"),
    "a) fox": (1, "closes nothing"),
    "(a]": (0, "never closed"),
    "[a)": (0, "never closed"),
    "(a:1.2.3)": (2, "no weight"),
    "(a:1,3)": (2, "'1,3' is no weight"),
    "(a:)": (2, "no weight"),
    "[a:b]": (0, r"number of steps, not 'b'"),
    "[a:b:0.5:]": (0, "number of steps, not ''"),
    "[a:b:c:3]": (0, "too many colons"),
    "[a|b:3]": (0, "nest them"),
    "(a AND b)": (3, "out of the brackets"),
}


@pytest.mark.parametrize("prompt", BROKEN)
def test_a_broken_prompt_is_shown_with_its_place(prompt: str) -> None:
    place, reason = BROKEN[prompt]
    with pytest.raises(InputError, match=reason) as caught:
        parse(f"first line\n{prompt}\nlast line")
    message, line, caret = str(caught.value).splitlines()
    assert line == f"  {prompt}"
    assert caret == " " * (2 + place) + "^"
    assert f"character {len('first line') + 2 + place}:" in message


@pytest.mark.parametrize(
    ("prompt", "wanted"),
    [
        ("(unbalanced", [("unbalanced", 1.1)]),
        ("a (red [fox", [("a ", 1), ("red ", 1.1), ("fox", 1)]),
        ("a) fox]", [("a) fox]", 1)]),
        ("(a:1.2.3)", [("a:1.2.3", 1.1)]),
        ("[a:b]", [("a:b", 1 / 1.1)]),
        ("[a|b:3]", [("a|b:3", 1 / 1.1)]),
        ("([a) b", [("[a", 1.1), (" b", 1)]),
        ("(a AND b)", [("a AND b", 1.1)]),
    ],
)
def test_broken_prompts_taken_literally(prompt: str, wanted: list[tuple[str, float]]) -> None:
    found = fragments(prompt, broken="literal")
    assert [text for text, _ in found] == [text for text, _ in wanted]
    assert [weight for _, weight in found] == pytest.approx([weight for _, weight in wanted])


@pytest.mark.parametrize("broken", ["error", "literal"])
def test_tags_of_extra_networks_are_refused(broken: str) -> None:
    with pytest.raises(InputError, match="lora tags are not supported"):
        parse("a fox <lora:ink:0.8>", broken=broken)
    assert text_at(parse(r"a \<lora\:x>", broken=broken), 0, 1) == "a <lora:x>"
    assert text_at(parse("<lora:x:1>", "plain"), 0, 1) == "<lora:x:1>"


def test_a_long_line_is_cut_around_the_place() -> None:
    with pytest.raises(InputError) as caught:
        parse("a" * 500 + "(" + "b" * 500)
    _, line, caret = str(caught.value).splitlines()
    assert len(line) < 120
    assert line[caret.index("^")] == "("


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((3,), "is text"),
        (("a \ud800",), "half a character"),
        (("a", "a111"), "did you mean 'a1111'"),
        (("a", "a1111", "ignore"), "unknown way"),
        (("a AND b:1.2.3",), "no weight"),
        (("(" * 70 + ")" * 70,), "64 deep"),
    ],
)
def test_what_cannot_be_parsed(arguments: tuple[object, ...], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        parse(*arguments)  # type: ignore[arg-type]


@given(GRAMMAR | st.text(max_size=60), SYNTAXES, st.sampled_from(["error", "literal"]))
def test_any_text_parses_or_is_an_input_error(text: str, syntax: str, broken: str) -> None:
    try:
        prompt = parse(text, syntax, broken)
    except InputError:
        return
    for part in prompt.parts:
        assert math.isfinite(part.weight)
        for phrase in part.timeline(4):
            assert all(piece and math.isfinite(weight) for chunk in phrase.chunks for piece, weight in chunk)


@given(GRAMMAR)
def test_taken_literally_only_tags_and_depth_are_refused(text: str) -> None:
    assert parse(text, broken="literal").parts


@given(st.text(max_size=40))
def test_plain_text_stays_as_it_is(text: str) -> None:
    assert text_at(parse(text, "plain"), 0, 1) == text


@given(st.text(max_size=40))
def test_escaped_text_comes_back(text: str) -> None:
    assert text_at(parse("".join("\\" + char for char in text)), 0, 1) == text


@given(st.lists(st.tuples(WORDS, st.floats(0.1, 2)), min_size=1, max_size=6))
def test_weights_multiply(nested: list[tuple[str, float]]) -> None:
    prompt, expected = "x", 1.0
    for word, weight in nested:
        prompt, expected = f"({prompt}{word}:{weight:.4f})", expected * round(weight, 4)
    found = dict(fragments(prompt))
    assert next(weight for text, weight in found.items() if text.startswith("x")) == pytest.approx(expected)


def test_equal_phrases_of_a_timeline_are_one_object() -> None:
    (part,) = parse("[a|b] [c:d:0.5]").parts
    line = part.timeline(8)
    assert len({id(phrase) for phrase in line}) == len(set(line)) == 4
    assert line[0] is line[2]
    assert len({id(phrase) for phrase in parse("a (b)").parts[0].timeline(50)}) == 1


@pytest.mark.parametrize(("step", "steps"), [(-1, 4), (4, 4), (0, 0)])
def test_a_step_that_is_none(step: int, steps: int) -> None:
    with pytest.raises(InputError, match="steps count from 0"):
        parse("a").parts[0].at(step, steps)


def test_texts_by_steps() -> None:
    prompt = from_steps([(0, "a house"), (0.4, "a (gouache) house"), (0.8, "[x|y]")])
    (part,) = prompt.parts
    assert [str(phrase) for phrase in part.timeline(5)] == [
        "a house",
        "a house",
        "a (gouache:1.1) house",
        "a (gouache:1.1) house",
        "x",
    ]
    assert text_at(from_steps([(0, "(a")], "plain"), 0, 1) == "(a"


@pytest.mark.parametrize(
    ("given_", "reason"),
    [
        ([], "a list of"),
        ("ab", "a list of"),
        ([(0.1, "a")], "begin one at 0"),
        ([(0, "a"), (0.5, "b"), (0.5, "c")], "do not rise"),
        ([(0, "a"), (0.6, "b"), (0.5, "c")], "do not rise"),
        ([(0, "a"), (1, "b")], "from 0 to below 1"),
        ([(0, "a"), (math.nan, "b")], "from 0 to below 1"),
        ([(0, "a"), ("x", "b")], "from 0 to below 1"),
        ([(False, "a")], "from 0 to below 1"),
        ([(0, 3)], "is text"),
        ([(0, "a AND b")], "AND goes with no list"),
        ([(0, "(a")], "never closed"),
    ],
)
def test_texts_by_steps_that_cannot_be(given_: object, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        from_steps(given_)  # type: ignore[arg-type]
