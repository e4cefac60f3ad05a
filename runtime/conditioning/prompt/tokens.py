"""Phrases to tokens: ids, weights and the vectors of textual inversions, in the windows of the text encoder."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from threading import Lock

import numpy as np
from tokenizers import Tokenizer

from ....bundles import facts as manifest
from ....bundles.tensor import Array
from ....errors import BundleError, InputError, unknown
from .embeddings import PICKLES, Embedding
from .tree import Phrase

COMMA = ",</w>"
# A1111's setting "Prompt word wrap length limit": how many tokens after a comma go over to the next chunk, at most.
BACKTRACK = 20
# ComfyUI's max_word_length: from this many tokens on, what is weighted alike is cut at the end of a window.
LARGE = 8
# What the syntaxes end in that read as the programs do.
EXACT = "-exact"
# The id that says: the place holds a vector instead.
NO_TOKEN = -1

Names = Mapping[str, tuple[list[int], Embedding]]
"""The tokens of an embedding's name, and it, by the name."""

_COMFY_EMBEDDING = re.compile(r"(?:^|(?<=\s))embedding:(\S+)")


@dataclass(frozen=True)
class Token:
    """A token's id and weight, or under `NO_TOKEN` a vector, float32 [dim]."""

    id: int
    weight: float
    vector: Array | None = None


@dataclass(frozen=True)
class Windows:
    """What the text encoder is given: `ids` int64 and `weights` float32, both [chunks, length].

    `vectors`, float32 [chunks, length, dim], holds those of the places whose id is `NO_TOKEN`; None where none is.
    """

    ids: Array
    weights: Array
    vectors: Array | None


class PromptTokenizer:
    """Cuts phrases into tokens and knows the embeddings' names; threads may share it.

    Raises `BundleError` for windows without room.
    """

    def __init__(self, tokenizer: Tokenizer, facts: manifest.Tokenizer) -> None:
        if facts.length < 3:
            raise BundleError(f"the tokenizer's length is {facts.length}, a frame leaves no room; export again")
        self._tokenizer = tokenizer
        self._facts = facts
        self._comma = tokenizer.token_to_id(COMMA)
        self._known: dict[bool, Names] = {False: {}, True: {}}
        self._lock = Lock()

    @property
    def room(self) -> int:
        """The tokens of a window, without those that frame it."""
        return self._facts.length - 2

    def add(self, embedding: Embedding) -> None:
        """Have a name mean an embedding, in place of any of that name; longer names go before shorter ones.

        In prompts that are read exactly as A1111 or ComfyUI reads them that is the name of its file. Raises
        `InputError` for a name without tokens, and for more vectors than a window has room for.
        """
        names = {False: embedding.name, True: embedding.file or embedding.name}
        ids = {exact: self._ids(name) for exact, name in names.items()}
        for exact, name in names.items():
            if not ids[exact]:
                raise InputError(f"the name {name!r} has no tokens, so that no prompt could use it; rename it")
        if len(embedding.vectors) > self.room:
            raise InputError(
                f"embedding {embedding.name!r} has {len(embedding.vectors)} vectors, a window has room for {self.room}"
            )
        with self._lock:
            for exact, name in names.items():
                known = {**self._known[exact], name: (ids[exact], embedding)}
                self._known[exact] = dict(sorted(known.items(), key=lambda item: -len(item[1][0])))

    def __call__(self, phrase: Phrase) -> Windows:
        """The windows of a phrase: at least one, each framed by the start and end tokens and padded.

        A window that fills goes on in the next, in the way of the phrase's syntax: "a1111" moves what follows a comma
        of the last 20 tokens over, "comfy" keeps fragments of fewer than 8 tokens whole, "plain" just cuts. A chunk
        begins a new one. An embedding is never cut, but by "comfy" where it has 8 vectors or more.
        """
        known, syntax = self._known[phrase.syntax.endswith(EXACT)], phrase.syntax.removesuffix(EXACT)
        windows: list[list[Token]] = []
        for chunk in phrase.chunks:
            groups = [group for text, weight in chunk for group in self._groups(text, weight, syntax, known)]
            windows += self._fill(groups, syntax)
        if len(windows) > 1 and not windows[-1]:  # a BREAK at the very end begins nothing
            windows.pop()
        return self._framed(windows or [[]])

    def _groups(self, text: str, weight: float, syntax: str, known: Names) -> Iterator[list[Token]]:
        """The tokens of a fragment, grouped by what may stay together."""
        for piece in _comfy_pieces(text, known) if syntax == "comfy" else _pieces(text, known):
            if isinstance(piece, Embedding):
                yield _vectors(piece, weight)
            elif syntax == "comfy":
                yield [Token(token, weight) for token in self._ids(piece)]
            else:
                yield from _matched(self._ids(piece), weight, known)

    def _fill(self, groups: list[list[Token]], syntax: str) -> list[list[Token]]:
        windows: list[list[Token]] = [[]]
        for group in groups:
            if syntax == "a1111" and len(windows[-1]) == self.room and group[0].id != self._comma:
                windows.append(self._after_comma(windows[-1]))
            whole = syntax != "comfy" or len(group) < LARGE
            while len(windows[-1]) + len(group) > self.room:
                cut = 0 if whole else self.room - len(windows[-1])
                windows[-1] += group[:cut]
                group = group[cut:]
                windows.append([])
            windows[-1] += group
        return windows

    def _after_comma(self, window: list[Token]) -> list[Token]:
        """Take from a full window what follows a comma near its end, for the next one."""
        near = range(len(window) - 1, max(len(window) - BACKTRACK, 0) - 1, -1)
        comma = next((i for i in near if window[i].id == self._comma), len(window))
        moved = window[comma + 1 :]
        del window[comma + 1 :]
        return moved

    def _framed(self, windows: list[list[Token]]) -> Windows:
        facts = self._facts
        ids = np.full((len(windows), facts.length), facts.pad, np.int64)
        weights = np.ones(ids.shape, np.float32)
        placed: dict[tuple[int, int], Array] = {}
        for row, window in enumerate(windows):
            end = len(window) + 1
            ids[row, : end + 1] = [facts.bos, *(token.id for token in window), facts.eos]
            weights[row, 1:end] = [token.weight for token in window]
            placed |= {(row, i): token.vector for i, token in enumerate(window, 1) if token.vector is not None}
        if not placed:
            return Windows(ids, weights, None)
        vectors = np.zeros((*ids.shape, len(next(iter(placed.values())))), np.float32)
        for place, vector in placed.items():
            vectors[place] = vector
        return Windows(ids, weights, vectors)

    def _ids(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)


def _pieces(text: str, known: Names) -> Iterator[str | Embedding]:
    """The text around `<names>`, which are found wherever they stand, in any case, as tokens added in diffusers are."""
    named = {name.lower(): embedding for name, (_, embedding) in known.items() if re.fullmatch("<.+>", name)}
    if not named:
        yield text
        return
    for part in re.split(f"({'|'.join(map(re.escape, named))})", text, flags=re.IGNORECASE):
        yield named.get(part.lower(), part)


def _comfy_pieces(text: str, known: Names) -> Iterator[str | Embedding]:
    """The text around `embedding:name`; raises `InputError` for a name that no embedding has."""
    end = 0
    for found in _COMFY_EMBEDDING.finditer(text):
        yield text[end : found.start()]
        word = found[1] if found[1] in known else found[1].rstrip(",")
        stem, dot, suffix = word.rpartition(".")
        name = stem if f"{dot}{suffix}" in {*PICKLES, ".safetensors"} and word not in known else word
        if name not in known:
            raise unknown("embedding", name, known) if known else InputError(f"no embedding {name!r} was added")
        yield known[name][1]
        end = found.start(1) + len(word)
    yield text[end:]


def _matched(ids: list[int], weight: float, known: Names) -> Iterator[list[Token]]:
    """Tokens one by one, and where they are those of a name, its vectors together, as A1111 does it."""
    place = 0
    while place < len(ids):
        for name, embedding in known.values():
            if ids[place : place + len(name)] == name:
                yield _vectors(embedding, weight)
                place += len(name)
                break
        else:
            yield [Token(ids[place], weight)]
            place += 1


def _vectors(embedding: Embedding, weight: float) -> list[Token]:
    return [Token(NO_TOKEN, weight, vector) for vector in embedding.vectors]
