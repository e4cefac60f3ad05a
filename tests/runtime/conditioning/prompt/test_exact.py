"""Prompts read as A1111 and ComfyUI read them, held to what their own parsers made of 10,000 fuzzed prompts."""

import gzip
import json
import re
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from overpaint.errors import InputError
from overpaint.runtime.conditioning.prompt import a1111, comfy
from overpaint.runtime.conditioning.prompt.a1111_edits import Clock, script
from overpaint.runtime.conditioning.prompt.prompt import Evaluations, parse
from overpaint.runtime.conditioning.prompt.tree import Fragment, Phrase

# Where a bracket that is well formed meets one that is not, A1111's parser generator settles an ambiguous grammar by
# rules of its own, of which `_Reader.refuses` follows the one that single edits show.
AMBIGUOUS = re.compile(r"[])][][():]")
EXCEPTIONS = 0.003


def said(prompt: str, evaluations: int = 6, total: int = 0, index: int = 0, syntax: str = "a1111-exact") -> list[str]:
    (operand,) = parse(prompt, syntax).parts
    steps = tuple(range(evaluations))
    return list(map(str, operand.phrases(Evaluations(steps, evaluations, total or evaluations, index))))


@pytest.mark.parametrize(
    ("prompt", "wanted"),
    [
        ("[a:b:2]", "aaabbb"),
        ("[a:b:0.5]", "aaaabb"),
        ("[a:b:0]", "bbbbbb"),
        ("[a:b:9]", "aaaaaa"),
        ("[a|b]", "aababa"),
        ("[a|b|]", ["a", "a", "b", "", "a", "b"]),
        ("[a:b:2]|c", ["(a:b:2:0.909091)|c"] * 6),
        ("[[a:b:1]:c:3]", "aabbcc"),
    ],
)
def test_a_text_lasts_an_evaluation_longer(prompt: str, wanted: Sequence[str]) -> None:
    assert said(prompt) == list(wanted)


def test_a_sampler_of_second_order_counts_evaluations() -> None:
    """Heun of 10 steps: the change after 5 evaluations comes in the third step."""
    assert said("[a:b:5]", 19, 20) == ["a"] * 6 + ["b"] * 13
    assert said("[a:b:0.5]", 19, 20) == ["a"] * 11 + ["b"] * 8


def test_a_pass_after_the_first_counts_as_hires_steps_do() -> None:
    assert said("[a:b:0.5]", 4, 4, index=1) == ["b"] * 4
    assert said("[a:b:1.5]", 4, 4, index=1) == ["a"] * 3 + ["b"]
    assert said("[a:b:6]", 4, 4, index=1) == ["a"] * 3 + ["b"]


@pytest.mark.parametrize(
    ("prompt", "wanted"),
    [
        ("a cat:9", [("a cat", 9.0)]),
        ("a AND (b AND c:0.5) d : 2", [("a", 1.0), (" (b", 1.0), (" c:0.5) d", 2.0)]),
        ("a:1e1", [("a:1e1", 1.0)]),
    ],
)
def test_and_splits_before_brackets_are_read(prompt: str, wanted: list[tuple[str, float]]) -> None:
    assert a1111.operands(prompt) == wanted


def test_a_negative_prompt_is_not_composed() -> None:
    (operand,) = parse("a AND b:2", "a1111-exact", composed=False).parts
    assert [str(phrase) for phrase in operand.timeline(1)] == ["a AND b:2"]
    assert operand.weight == 1


@pytest.mark.parametrize(
    ("prompt", "wanted"),
    [
        ("a # note\nb", "a \nb"),
        ("# all of it", ""),
        ("it\u2019s (a:1e1)", "it's (a:1e1:1.1)"),
        ("\uff43at", "cat"),
        ("(a BREAK b)", "(a:1.1)(BREAK:-1.1)(b:1.1)"),
        ("a BREAK b", "a BREAK b"),
        ("(a:1.2)(b:1.2)", "(ab:1.2)"),
        (r"\(a\) (b", "(a) (b:1.1)"),
    ],
)
def test_what_a1111_makes_of_text(prompt: str, wanted: str) -> None:
    assert said(prompt, 1) == [wanted]


@pytest.mark.parametrize(
    ("prompt", "wanted"),
    [
        ("(red:1.2)(hair:1.2)", [("red", 1.2), ("hair", 1.2)]),
        ("(a (b:0.5) c:2)", [("a ", 2.0), ("b", 0.5), (" c", 2.0)]),
        (r"\(a\) (b", [("(a) ", 1.0), ("(b", 1.0)]),
        ("\u732b\u72ac", [(" \u732b  \u72ac ", 1.0)]),
        ("(:1.2)", [(":1.2", 1.1)]),
    ],
)
def test_what_comfyui_makes_of_text(prompt: str, wanted: list[Fragment]) -> None:
    (chunk,) = comfy.weigh(prompt).chunks
    assert [text for text, _ in chunk] == [text for text, _ in wanted]
    assert [weight for _, weight in chunk] == pytest.approx([weight for _, weight in wanted])


def test_asked_to_refuse_what_is_broken_they_do() -> None:
    assert parse("(a", "a1111-exact").parts
    with pytest.raises(InputError, match="never closed"):
        parse("(a", "a1111-exact", "error")


@pytest.mark.parametrize("syntax", ["a1111-exact", "comfy-exact"])
def test_brackets_nest_only_so_deep(syntax: str) -> None:
    with pytest.raises(InputError, match="64 deep"):
        parse("(" * 80 + ")" * 80, syntax)


def test_a_weight_that_is_no_number_is_an_error() -> None:
    with pytest.raises(InputError, match=r"'1.2.3' is no number"):
        said("(a:1.2.3)", 1)


@pytest.fixture(scope="module")
def vectors() -> dict[str, Any]:
    path = Path(__file__).parents[3] / "vectors" / "prompts.json.gz"
    data: dict[str, Any] = json.loads(gzip.decompress(path.read_bytes()))
    return data


def test_comfyui_took_every_fuzzed_prompt_for_the_same(vectors: dict[str, Any]) -> None:
    for prompt, wanted in zip(vectors["prompts"], vectors["comfy"], strict=True):
        assert rounded(comfy.weigh(prompt).chunks[0]) == [tuple(part) for part in wanted], prompt


def test_a1111_took_the_fuzzed_prompts_for_the_same(vectors: dict[str, Any]) -> None:
    """All but those that its own grammar leaves open, see `AMBIGUOUS`."""
    rows = zip(vectors["prompts"], vectors["steps"], vectors["a1111"], strict=True)
    others = [prompt for prompt, steps, wanted in rows if not agree(prompt, steps, wanted)]
    assert all(AMBIGUOUS.search(prompt) for prompt in others), [p for p in others if not AMBIGUOUS.search(p)][:5]
    assert len(others) < EXCEPTIONS * len(vectors["prompts"])


def agree(prompt: str, steps: int, wanted: list[Any] | None) -> bool:
    """Do the operands of a prompt weigh and say the same, as far as A1111's are kept? None: it refused the prompt."""
    try:
        ours = [(weight, phrases(text, steps)) for text, weight in a1111.operands(prompt)]
    except InputError:
        return wanted is None
    theirs = wanted or []
    return len(ours) == len(theirs) and all(
        round(weight, 6) == other and all(rounded_phrase(said[last]) == parts_of(parts) for last, parts in schedule)
        for (weight, said), (other, schedule) in zip(ours, theirs, strict=True)
    )


def phrases(text: str, steps: int) -> list[Phrase]:
    return a1111.phrases(script(text), Clock(steps), steps + 1)


def rounded(fragments: Sequence[Fragment]) -> list[Fragment]:
    return [(text, round(weight, 6)) for text, weight in fragments]


def rounded_phrase(phrase: Phrase) -> list[Fragment]:
    breaks = [(("BREAK", -1.0),)] * len(phrase.chunks)
    return rounded(list(chain(*chain(*zip(phrase.chunks, breaks, strict=True))))[:-1])


def parts_of(parts: list[Any]) -> list[Fragment]:
    return [(text, weight) for text, weight in parts if text]
