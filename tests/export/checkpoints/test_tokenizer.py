"""The bundle's tokenizer against transformers' CLIPTokenizer on the same vocabulary."""

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import CLIPTokenizer

from overpaint.bundles.manifest import Bundle
from overpaint.errors import InputError
from overpaint.export.checkpoints.clip import Clip
from overpaint.export.checkpoints.tokenizer import write_tokenizer
from tests.support.checkpoints import write_tokenizer as write_source

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


# Of openai/clip-vit-large-patch14: vocab.json as sorted JSON, merges.txt without white space at its end.
PUBLISHED = {
    "vocab.json": "51b8a58f8c87bc7af902c70cbcdd0287f5baffaa34044e30b8ff8e22c54ec1a0",
    "merges.txt": "f1cd414c2d113a28b296afc0fd66ae854c0e0c34d5de373a2f5b7f62e0c02344",
}
# By OpenAI's own tokenizer (open_clip_torch 3.3.0), without the start and end tokens.
KNOWN = {
    "a photo of a cat": [320, 1125, 539, 320, 2368],
    "a photograph of an astronaut riding a horse": [320, 8853, 539, 550, 18376, 6765, 320, 4558],
    "masterpiece, best quality, 1girl, (detailed:1.2)": [
        12066,
        267,
        949,
        3027,
        267,
        272,
        1611,
        267,
        263,
        12609,
        281,
        272,
        269,
        273,
        264,
    ],
    "An Oil Painting by Rembrandt; 4k, 8K!": [550, 2870, 3086, 638, 45972, 282, 275, 330, 267, 279, 330, 256],
    "it's you're we'll don't": [585, 568, 592, 982, 649, 1342, 847, 713],
    "hello   world\n": [3306, 1002],
    "supercalifragilisticexpialidocious": [1642, 2857, 13093, 2076, 5868, 26850, 835, 639, 38466],
    "日本語 🦊": [39121, 44353, 34002, 508, 6040, 488],
    "naïve café": [1097, 35689, 563, 15304],
    "3.14159 #art @artist -- 50%": [274, 269, 272, 275, 272, 276, 280, 258, 794, 287, 2456, 2432, 276, 271, 260],
    "a": [320],
    "Stable Diffusion v1-5": [10492, 18656, 9364, 341, 272, 268, 276],
}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CLIP's own vocabulary as files, and the tokenizer of a bundle beside them."""
    folder = tmp_path_factory.mktemp("clip")
    Clip().write(folder)
    write_tokenizer(Clip(), folder / "bundle", 77)
    return folder


def test_clip_s_own_is_the_published_one(clip: Path) -> None:
    vocab = json.loads((clip / "vocab.json").read_text(encoding="utf-8"))
    texts = {
        "vocab.json": json.dumps(vocab, sort_keys=True),
        "merges.txt": (clip / "merges.txt").read_text(encoding="utf-8").rstrip(),
    }
    assert {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()} == PUBLISHED


@pytest.mark.parametrize("text", KNOWN)
def test_clip_s_own_gives_known_ids(clip: Path, text: str) -> None:
    made = Tokenizer.from_file(str(clip / "bundle" / "tokenizer" / "tokenizer.json"))
    assert made.encode(text).ids == [49406, *KNOWN[text], 49407]


def test_clip_s_own_pads_as_the_family_does(tmp_path: Path) -> None:
    facts = write_tokenizer(Clip("!"), tmp_path / "second", 77)
    assert (facts.bos, facts.eos, facts.pad, facts.length) == (49406, 49407, 0, 77)
    assert write_tokenizer(Clip(), tmp_path / "first", 77).pad == 49407
