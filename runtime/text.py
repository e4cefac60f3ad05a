"""Prompts to conditioning: tokens in chunks, through the text encoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from ..engines import bundle as manifest
from ..engines.base import Array, BundleError, Engine, InputError, ModelOutputError
from ..engines.buffers import namespace, to_device
from .cache import Cache


class TextEncoder:
    """Turns a prompt of any length into the U-Net's conditioning."""

    def __init__(
        self,
        engine: Engine,
        tokenizer: Tokenizer,
        facts: manifest.Tokenizer,
        most_skipped: int,
        most_tokens: int,
        cache_size: int = 64,
    ) -> None:
        self.engine = engine
        self._most_skipped = most_skipped
        self._most_tokens = most_tokens
        self._tokenizer = tokenizer
        self._facts = facts
        self._cache: Cache[Array] = Cache(cache_size)

    def tokens(self, prompt: str) -> Array:
        """The token ids of a prompt, int64 [chunks, length].

        A prompt that does not fit one chunk goes on in the next; each is framed by the start and end tokens, as
        A1111 does it. A prompt that fits gives what transformers' CLIPTokenizer gives with padding="max_length".
        """
        facts = self._facts
        ids = self._tokenizer.encode(prompt, add_special_tokens=False).ids
        room = facts.length - 2
        parts = [ids[start : start + room] for start in range(0, max(len(ids), 1), room)]
        rows = [[facts.bos, *part, facts.eos] for part in parts]
        return np.array([row + [facts.pad] * (facts.length - len(row)) for row in rows], np.int64)

    def encode(self, prompt: str, clip_skip: int = 0) -> tuple[Array, bool]:
        """The conditioning of a prompt, float32 [chunks * length, dim] on the engine's device; whether it was cached.

        `clip_skip` is the number of the encoder's last layers passed over, as in diffusers (A1111's counts from 1).
        Raises `InputError` for more layers than there are, `ModelOutputError` for NaN or infinity.
        """
        if clip_skip > self._most_skipped:
            raise InputError(
                f"clip_skip is {clip_skip}, this model's text encoder can skip {self._most_skipped} layers"
            )
        tokens = self.tokens(prompt)
        if tokens.size > self._most_tokens:
            raise InputError(f"the prompt fills {tokens.size} tokens, this model takes {self._most_tokens}; shorten it")
        return self._cache.get((tokens.tobytes(), clip_skip), lambda: self._run(tokens, clip_skip))

    def _run(self, tokens: Array, clip_skip: int) -> Array:
        device = self.engine.device
        feeds = {"input_ids": to_device(tokens, device), "clip_skip": to_device(np.array(clip_skip, np.int64), device)}
        embeddings = self.engine(feeds)["embeddings"].astype(np.float32, copy=False)
        if not namespace(device).isfinite(embeddings).all():
            raise ModelOutputError(
                "text_encoder returned NaN or infinity; the bundle's weights or precision are at fault"
            )
        return embeddings.reshape(-1, embeddings.shape[-1])


def load_tokenizer(path: Path) -> Tokenizer:
    """Read a Hugging Face `tokenizers` JSON file; raises `BundleError` where that fails."""
    try:
        return Tokenizer.from_file(str(path))
    except Exception as exc:  # the library raises nothing narrower
        raise BundleError(f"{path}: not a readable tokenizer ({exc}); export the bundle again") from exc
