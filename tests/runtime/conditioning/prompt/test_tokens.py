"""How phrases are laid out in the windows of the text encoder."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import BPE

from overpaint.bundles.manifest import Bundle
from overpaint.errors import InputError
from overpaint.runtime.conditioning.encoders import load_tokenizer
from overpaint.runtime.conditioning.prompt.embeddings import Embedding
from overpaint.runtime.conditioning.prompt.prompt import parse
from overpaint.runtime.conditioning.prompt.tokens import PromptTokenizer, Windows
from overpaint.runtime.conditioning.prompt.tree import Phrase
from overpaint.runtime.model.load import find

BUNDLE = Bundle.read(find("tiny"), verify=False)
FACTS = BUNDLE.tokenizer
BACKEND = load_tokenizer(BUNDLE.folder / FACTS.file.path)
A, CAT, COMMA = (BACKEND.encode(word, add_special_tokens=False).ids[0] for word in ("a", "cat", ","))


@pytest.fixture
def tokenizer() -> PromptTokenizer:
    return PromptTokenizer(BACKEND, FACTS)


def phrase(text: str, syntax: str = "a1111") -> Phrase:
    return parse(text, syntax).parts[0].at(0, 1)


def content(windows: Windows) -> list[list[int]]:
    """The tokens of each window without those that frame and pad it."""
    rows = windows.ids.tolist()
    assert all(row[0] == FACTS.bos and row[-1] in (FACTS.eos, FACTS.pad) for row in rows)
    return [row[1 : row.index(FACTS.eos)] for row in rows]


def lengths(windows: Windows) -> list[int]:
    return [len(row) for row in content(windows)]


def test_fragments_are_tokenized_apart_and_weights_follow(tokenizer: PromptTokenizer) -> None:
    windows = tokenizer(phrase("a (cat:1.5), [a]"))
    assert content(windows) == [[A, CAT, COMMA, A]]
    assert windows.weights.shape == windows.ids.shape == (1, 77)
    assert windows.weights[0, :6] == pytest.approx([1, 1, 1.5, 1, 1 / 1.1, 1])
    assert (windows.weights[0, 5:] == 1).all()
    assert windows.vectors is None


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", [0]),
        ("a BREAK cat", [1, 1]),
        ("BREAK a", [0, 1]),
        ("a BREAK BREAK cat", [1, 0, 1]),
        ("a BREAK", [1]),
        ("BREAK", [0]),
        ("cat " * 75 + "BREAK a", [75, 1]),
        ("cat " * 76, [75, 1]),
        ("cat " * 60 + ", " + "cat " * 20, [61, 20]),
        ("cat " * 54 + ", " + "cat " * 21, [75, 1]),
        ("cat " * 55 + ", " + "cat " * 20, [56, 20]),
        ("cat " * 75 + ", cat", [75, 2]),
        ("cat " * 74 + ", cat", [75, 1]),
        ("cat " * 70 + ", cat BREAK " + "a " * 76, [72, 75, 1]),
    ],
)
def test_windows_as_a1111_fills_them(tokenizer: PromptTokenizer, text: str, wanted: list[int]) -> None:
    assert lengths(tokenizer(phrase(text))) == wanted


def test_weights_move_over_with_their_tokens(tokenizer: PromptTokenizer) -> None:
    windows = tokenizer(phrase("cat " * 60 + ", (a cat:1.5) " + "cat " * 20))
    assert lengths(windows) == [61, 22]
    assert windows.weights[1, :4].tolist() == [1, 1.5, 1.5, 1]
    assert (windows.weights[0] == 1).all()


def test_comfyui_keeps_short_fragments_whole(tokenizer: PromptTokenizer) -> None:
    def laid(text: str) -> list[int]:
        return lengths(tokenizer(phrase(text, "comfy")))

    assert laid("cat " * 72 + "(a cat a cat:1.2)") == [72, 4]
    assert laid("cat " * 72 + "(a cat a cat a cat a cat:1.2)") == [75, 5]
    assert laid("cat, " * 40) == [75, 5]


def test_plain_text_is_cut_where_a_window_ends(tokenizer: PromptTokenizer) -> None:
    text = "cat " * 60 + ", " + "cat " * 20
    ids = BACKEND.encode(text, add_special_tokens=False).ids
    assert content(tokenizer(Phrase.plain(text))) == [ids[:75], ids[75:]]


@given(st.lists(st.sampled_from(["cat", "a", ",", "(a cat:1.3)", "[a]", "BREAK", "dog-toy", "ink"]), max_size=200))
@settings(max_examples=30)
def test_no_token_is_lost(words: list[str]) -> None:
    tokenizer = PromptTokenizer(BACKEND, FACTS)
    tokenizer.add(Embedding("ink", np.ones((9, 4))))
    wanted = [
        t for w in words if w != "BREAK" for t in BACKEND.encode(w.strip("([:1.3])"), add_special_tokens=False).ids
    ]
    name = BACKEND.encode("ink", add_special_tokens=False).ids
    count = len(wanted) - words.count("ink") * (len(name) - 9)
    for syntax in ("a1111", "plain"):
        windows = tokenizer(Phrase(phrase(" ".join(words)).chunks, syntax))
        assert sum(lengths(windows)) == count
        assert windows.vectors is None or windows.vectors[windows.ids == -1].sum() == words.count("ink") * 9 * 4


def placed(tokenizer: PromptTokenizer, text: str, syntax: str = "a1111") -> list[tuple[int, float]]:
    """The ids, and for an embedding's places -1 and what the vector holds."""
    windows = tokenizer(phrase(text, syntax))
    (row,) = content(windows)
    return [(t, 0 if t != -1 or windows.vectors is None else windows.vectors[0, i, 0]) for i, t in enumerate(row, 1)]


def test_an_embedding_stands_where_its_name_is(tokenizer: PromptTokenizer) -> None:
    tokenizer.add(Embedding("bad-cat", [[1, 1], [2, 2]]))
    tokenizer.add(Embedding("bad-cat-5", [[3, 3]]))
    tokenizer.add(Embedding("<Toy>", [[4, 4]]))
    pair = [(-1, 1), (-1, 2)]
    assert placed(tokenizer, "a Bad-Cat, cat") == [(A, 0), *pair, (COMMA, 0), (CAT, 0)]
    assert placed(tokenizer, "(bad-cat:1.2)cat") == [*pair, (CAT, 0)]
    assert placed(tokenizer, "bad-cat-5 bad-cat", "plain") == [(-1, 3), *pair]
    assert placed(tokenizer, "a<toy>,<TOY>a") == [(A, 0), (-1, 4), (COMMA, 0), (-1, 4), (A, 0)]
    assert (-1, 1) not in placed(tokenizer, "bad-cats cat")
    weights = tokenizer(phrase("a (bad-cat:1.5)")).weights
    assert weights[0, 1:5].tolist() == [1, 1.5, 1.5, 1]


def test_an_embedding_is_named_as_in_comfyui(tokenizer: PromptTokenizer) -> None:
    tokenizer.add(Embedding("bad-cat", [[1, 1]]))
    assert placed(tokenizer, "embedding:bad-cat, cat", "comfy") == [(-1, 1), (COMMA, 0), (CAT, 0)]
    assert placed(tokenizer, "a (embedding:bad-cat.pt:1.2)", "comfy") == [(A, 0), (-1, 1)]
    assert (-1, 1) not in placed(tokenizer, "bad-cat", "comfy")
    with pytest.raises(InputError, match="did you mean 'bad-cat'"):
        tokenizer(phrase("embedding:bad-cats", "comfy"))


def test_an_embedding_that_does_not_fit_goes_into_the_next_window(tokenizer: PromptTokenizer) -> None:
    tokenizer.add(Embedding("ink", np.ones((10, 2))))
    assert lengths(tokenizer(phrase("cat " * 70 + "ink"))) == [70, 10]
    assert lengths(tokenizer(phrase("cat " * 70 + "embedding:ink", "comfy"))) == [75, 5]
    tokenizer.add(Embedding("ink", np.ones((75, 2))))
    assert lengths(tokenizer(phrase("ink ink"))) == [75, 75]


@pytest.mark.parametrize(
    ("name", "vectors", "reason"),
    [
        ("x", np.ones((76, 2)), "76 vectors, a window has room for 75"),
        (" ", np.ones((1, 2)), "needs a name"),
        ("x", np.ones((0, 2)), "no finite vectors"),
        ("x", np.ones((1, 2, 2)), "no finite vectors"),
        ("x", [[np.nan, 1]], "no finite vectors"),
    ],
)
def test_embeddings_that_cannot_be(tokenizer: PromptTokenizer, name: str, vectors: object, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        tokenizer.add(Embedding(name, vectors))  # type: ignore[arg-type]


def test_a_name_without_tokens() -> None:
    with pytest.raises(InputError, match="has no tokens"):
        PromptTokenizer(Tokenizer(BPE()), FACTS).add(Embedding("ink", np.ones((1, 2))))
