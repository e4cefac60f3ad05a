"""The bundle's tokenizer against transformers' CLIPTokenizer on the same vocabulary."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import CLIPTokenizer

from overpaint.engines.base import InputError
from overpaint.engines.bundle import Bundle
from overpaint.export.tokenizer import write_tokenizer
from tests.checkpoints import write_tokenizer as write_source

PROMPTS = [
    "",
    " ",
    "a photo of a red fox",
    "A PHOTO   of a\tRed\n\nFOX ",
    "it's you're we'll I'm he'd don't they've",
    "1girl, 2 dogs, 3.14 (masterpiece:1.2), [sketch]",
    "naïve café, Ünïcode ﬁ ligature, e\u0301 combining",
    "日本語のプロンプト 🦊🎨 👩‍👩‍👧",
    "<|startoftext|>a cat<|endoftext|> dog",
    "!!!???...---___ &amp; <b>html</b>",
    "a" * 500,
    "\u00a0\u3000\u200b x \x00\x07",
]


def ids_of(bundle: Bundle, text: str) -> list[int]:
    return list(Tokenizer.from_file(str(bundle.folder / bundle.tokenizer.file.path)).encode(text).ids)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_same_ids(checkpoint: Path, bundle: Bundle, prompt: str) -> None:
    reference = CLIPTokenizer.from_pretrained(checkpoint / "tokenizer")
    assert ids_of(bundle, prompt) == reference(prompt).input_ids
    framed = [bundle.tokenizer.bos, *reference(prompt, add_special_tokens=False).input_ids, bundle.tokenizer.eos]
    assert framed == reference(prompt).input_ids


@given(text=st.text(max_size=60))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_same_ids_for_any_text(readers: tuple[Tokenizer, CLIPTokenizer], text: str) -> None:
    ours, reference = readers
    assert ours.encode(text).ids == reference(text).input_ids


@pytest.fixture(scope="module")
def readers(bundle: Bundle, checkpoint: Path) -> tuple[Tokenizer, CLIPTokenizer]:
    ours = Tokenizer.from_file(str(bundle.folder / bundle.tokenizer.file.path))
    return ours, CLIPTokenizer.from_pretrained(checkpoint / "tokenizer")


def test_it_neither_pads_nor_truncates(bundle: Bundle) -> None:
    assert len(ids_of(bundle, "a")) == 3
    assert len(ids_of(bundle, "fox " * 200)) == 202


def test_from_tokenizer_json_alone(tmp_path: Path) -> None:
    reference = write_source(tmp_path / "source")
    reference.save_pretrained(tmp_path / "json")
    for name in ("vocab.json", "merges.txt"):
        (tmp_path / "json" / name).unlink(missing_ok=True)
    facts = write_tokenizer(tmp_path / "json", tmp_path / "bundle", 77)
    ours = Tokenizer.from_file(str(tmp_path / "bundle" / facts.file.path))
    for prompt in PROMPTS:
        assert ours.encode(prompt).ids == reference(prompt).input_ids


def test_padding_of_the_second_family(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source", pad_token="!")
    facts = write_tokenizer(tmp_path / "source", tmp_path / "bundle", 77)
    assert (facts.pad, facts.length) == (0, 77)
    assert facts.eos == source.eos_token_id != facts.pad


def test_length_is_the_text_encoder_s_at_most(tmp_path: Path) -> None:
    write_source(tmp_path / "source")
    assert write_tokenizer(tmp_path / "source", tmp_path / "bundle", 40).length == 40


@pytest.mark.parametrize("name", ["vocab.json", "merges.txt"])
def test_garbled(tmp_path: Path, name: str) -> None:
    write_source(tmp_path / "source")
    for file in ("tokenizer.json", name):
        (tmp_path / "source" / file).unlink(missing_ok=True)
    with pytest.raises(InputError, match="has no CLIP tokenizer"):
        write_tokenizer(tmp_path / "source", tmp_path / "bundle", 77)
    (tmp_path / "source" / "vocab.json").write_text("{")
    (tmp_path / "source" / "merges.txt").write_text("")
    with pytest.raises(InputError, match="cannot be read as a CLIP tokenizer"):
        write_tokenizer(tmp_path / "source", tmp_path / "bundle", 77)
