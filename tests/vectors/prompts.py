"""Makes prompts.json.gz: fuzzed prompts, and what A1111's and ComfyUI's own parsers take them for.

It wants the sources that `tests.vectors.a1111` and `tests.vectors.comfy` want, and lark; what is not there is skipped.
Run it from the repository's root: `python -m tests.vectors.prompts`.

The file has, by name: "prompts"; "steps" (those of a prompt's schedule); "a1111": for each prompt the operands of AND
as [weight, [[last step, [[text, weight], ...]], ...]], or null where it fails (on a weight of "1.2.3"); "comfy": for
each prompt [[text, weight], ...]. Weights are rounded to 1e-6. Of a schedule, only the first texts are kept, see
`FEWEST`.
"""

from __future__ import annotations

import gzip
import importlib
import json
import os
import random
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

COUNT = 10_000
SEED = 15
FEWEST = 3
"""At most as many texts of a schedule as this are kept, from its beginning."""
WORDS = (
    "cat",
    "house",
    "red",
    "tree",
    "lake",
    "oak",
    "sky",
    "old",
    "castle",
    "portrait",
    "of",
    "a",
    "the",
    "in",
    "on",
    "sun",
    "rain",
    "gold",
    "blue",
    "moon",
    "it's",
)
SIGNS = (" ", " ", " ", ", ", "  ", "\n", "-", ". ", ",", "# ", "!")
NUMBERS = (
    "1.1",
    "1.3",
    "0.5",
    ".5",
    "2",
    "1.",
    "-1",
    "+1.2",
    "0",
    "1e1",
    "1.2.3",
    "9",
    "x",
    "",
    "0.25",
    "5",
    "3",
    "12",
)
WHENS = ("0.5", "5", "0.25", "1", "0", "10", "20", "30", "1.5", ".5", "5.", "-2", "a", "", "0.95", "3")
NOISE = ("(", ")", "[", "]", ":", "|", "\\", "\\(", "\\)", "\\[", "\\]", "\\\\", "AND", "BREAK", " AND ", " BREAK ")


def fuzzed(source: random.Random, depth: int = 0) -> str:
    """A prompt of words and of the grammars' own forms, some of them broken."""
    return "".join(_piece(source, depth) for _ in range(source.randint(1, 2 if depth else 4)))


def _piece(source: random.Random, depth: int) -> str:
    kind = source.random()
    if depth > 2 or kind < 0.45:
        return source.choice(WORDS) + source.choice(SIGNS)
    inner = fuzzed(source, depth + 1)
    space = source.choice(("", "", "", " "))
    number, when = source.choice(NUMBERS), space + source.choice(WHENS) + source.choice(("", "", " "))
    if kind < 0.53:
        return f"({inner})"
    if kind < 0.63:
        return f"({inner}:{space}{number})"
    if kind < 0.68:
        return f"[{inner}]"
    if kind < 0.78:
        return f"[{inner}:{fuzzed(source, depth + 1)}:{when}]"
    if kind < 0.82:
        return f"[{inner}:{when}]" if source.random() < 0.5 else f"[{inner}::{when}]"
    if kind < 0.89:
        return "[" + "|".join([inner, *(fuzzed(source, depth + 1) for _ in range(source.randint(1, 2)))]) + "]"
    if kind < 0.93:
        weight = source.choice(("", f":{number}", f" : {number} "))
        return f"{inner}{weight} {source.choice(('AND', 'AND', 'BREAK'))} "
    return source.choice(NOISE)


def prompts() -> Iterator[tuple[str, int]]:
    """Prompts and the steps of their schedules, always the same ones."""
    source = random.Random(SEED)
    for _ in range(COUNT):
        yield fuzzed(source), source.choice((1, 4, 10, 20))


def a1111(pairs: Sequence[tuple[str, int]]) -> list[Any]:
    """What the web UI takes prompts for, as it comes to its tokenizer."""
    sys.path.insert(0, os.environ["A1111_SOURCE"])
    parser = importlib.import_module("modules.prompt_parser")

    def operands(text: str, steps: int) -> list[Any] | None:
        (indices,), flat, _ = parser.get_multicond_prompt_list([text])
        schedules = parser.get_learned_conditioning_prompt_schedules(flat, steps)
        try:
            parsed = [
                [[last, _parts(parser.parse_prompt_attention(part))] for last, part in schedule[:FEWEST]]
                for schedule in schedules
            ]
        except ValueError:
            return None
        return [[_round(weight), parsed[index]] for index, weight in indices]

    return [operands(*pair) for pair in pairs]


def comfy(pairs: Sequence[tuple[str, int]]) -> list[Any]:
    """What ComfyUI takes prompts for, as it comes to its tokenizer."""
    from tests.vectors.comfy import program

    program()
    clip = importlib.import_module("comfy.sd1_clip")
    return [
        _parts(
            (clip.unescape_important(part), weight)
            for part, weight in clip.token_weights(clip.escape_important(text), 1.0)
        )
        for text, _ in pairs
    ]


def _parts(parts: Any) -> list[Any]:
    return [[text, _round(weight)] for text, weight in parts]


def _round(weight: float) -> float:
    return round(float(weight), 6)


def save(path: Path) -> None:
    """Write what the programs that are there say."""
    pairs = list(prompts())
    held: dict[str, Any] = {"prompts": [text for text, _ in pairs], "steps": [steps for _, steps in pairs]}
    for name, variable, parse in (("a1111", "A1111_SOURCE", a1111), ("comfy", "COMFYUI_SOURCE", comfy)):
        if os.environ.get(variable):
            held[name] = parse(pairs)
        else:
            print(f"skipped {name}: {variable} does not name its sources")
    if len(held) < 4:
        sys.exit("not written: both programs are wanted")
    text = json.dumps(held, ensure_ascii=True, separators=(",", ":"))
    path.write_bytes(gzip.compress(text.encode(), 9, mtime=0))


if __name__ == "__main__":
    save(Path(__file__).with_name("prompts.json.gz"))
