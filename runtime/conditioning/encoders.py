"""Prompts to conditioning: tokens in windows, through the text encoder, and weighted."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from ...bundles import facts as manifest
from ...bundles.tensor import Array
from ...engines.arrays import to_device
from ...engines.base import Engine
from ...errors import BundleError, InputError, unknown
from .. import nonfinite
from .cache import Cache, content
from .prompt.embeddings import Embedding
from .prompt.emphasis import WEIGHTINGS
from .prompt.tokens import PromptTokenizer, Windows
from .prompt.tree import Phrase

# The optional input that places textual inversions' vectors.
VECTORS = "vectors"


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
        self._tokenizer = PromptTokenizer(tokenizer, facts)
        self._cache: Cache[Array] = Cache(cache_size)
        self.embeddings: dict[str, str] = {}
        """The hashes of the textual inversions that prompts can use, by their names."""

    def add_embedding(self, embedding: Embedding) -> None:
        """Have prompts use a textual inversion by its name; one of that name is replaced.

        Raises `InputError` for vectors of another width than the model's, for a name without tokens, for more vectors
        than a window takes, and where the bundle was exported before it could take any.
        """
        width = next((spec.axes[-1] for spec in self.engine.inputs if spec.name == VECTORS), None)
        if width is None:
            raise InputError(
                f"this bundle's text encoder takes no embeddings, as {embedding.name!r} is; export its checkpoint again"
            )
        if embedding.width != width:
            raise InputError(
                f"embedding {embedding.name!r} is {embedding.width} wide, this model's text encoder {width}; use one "
                "trained for this family of models (Stable Diffusion 1: 768, 2: 1024)"
            )
        self._tokenizer.add(embedding)
        self.embeddings[embedding.name] = hashlib.sha256(embedding.vectors.tobytes()).hexdigest()

    def tokens(self, prompt: str | Phrase) -> Array:
        """The token ids of a prompt, int64 [chunks, length]; -1 where an embedding's vector stands.

        A prompt that does not fit one chunk goes on in the next; each is framed by the start and end tokens, as
        A1111 does it. A text that fits gives what transformers' CLIPTokenizer gives with padding="max_length".
        """
        return self._windows(prompt).ids

    def encode(self, prompt: str | Phrase, clip_skip: int = 0, weighting: str = "a1111") -> tuple[Array, bool]:
        """The conditioning of a prompt, float32 [chunks * length, dim] on the engine's device; whether it was cached.

        A text is encoded as it stands, a phrase with its weights: `weighting` says how, see `prompt.emphasis`. A
        phrase without weights gives what its text gives. `clip_skip` is the number of the encoder's last layers
        passed over, as in diffusers (A1111's counts from 1).

        Raises `InputError` for more layers than there are, a prompt that is too long, an unknown weighting and weights
        that leave nothing; `ModelOutputError` for NaN or infinity on the host, on a device it is left to the reader.
        """
        if weighting not in WEIGHTINGS:
            raise unknown("weighting", weighting, WEIGHTINGS)
        if clip_skip > self._most_skipped:
            raise InputError(
                f"clip_skip is {clip_skip}, this model's text encoder can skip {self._most_skipped} layers"
            )
        windows = self._windows(prompt)
        if windows.ids.size > self._most_tokens:
            raise InputError(
                f"the prompt fills {windows.ids.size} tokens, this model takes {self._most_tokens}; shorten it"
            )
        states, cached = self._states(windows, clip_skip)
        if (windows.weights != 1).any():
            weights = to_device(windows.weights, self.engine.device)
            states = WEIGHTINGS[weighting](states, weights, lambda: self._states(self._windows(""), clip_skip)[0])
        return states.reshape(-1, states.shape[-1]), cached

    def forget_nonfinite(self) -> None:
        """Let go of the encodings with NaN or infinity; waits for the device."""
        self._cache.forget(lambda states: not nonfinite.is_finite(states))

    def _windows(self, prompt: str | Phrase) -> Windows:
        return self._tokenizer(Phrase.plain(prompt) if isinstance(prompt, str) else prompt)

    def _states(self, windows: Windows, clip_skip: int) -> tuple[Array, bool]:
        """What the text encoder makes of tokens, [chunks, length, dim], before any weights; whether it was cached."""
        vectors = None if windows.vectors is None else content(windows.vectors)
        key = (windows.ids.tobytes(), vectors, clip_skip)
        return self._cache.get(key, lambda: self._run(windows, clip_skip))

    def _run(self, windows: Windows, clip_skip: int) -> Array:
        feeds = {"input_ids": windows.ids, "clip_skip": np.array(clip_skip, np.int64)}
        for spec in self.engine.inputs:
            if spec.name == VECTORS:
                none = np.zeros((*windows.ids.shape, spec.axes[-1]), np.float32)
                feeds[VECTORS] = none if windows.vectors is None else windows.vectors
        device = self.engine.device
        embeddings = self.engine({name: to_device(array, device) for name, array in feeds.items()})["embeddings"]
        embeddings = embeddings.astype(np.float32, copy=False)
        nonfinite.check_host("text_encoder", embeddings)
        return embeddings


def load_tokenizer(path: Path) -> Tokenizer:
    """Read a Hugging Face `tokenizers` JSON file; raises `BundleError` where that fails."""
    try:
        return Tokenizer.from_file(str(path))
    except Exception as exc:  # the library raises nothing narrower
        raise BundleError(f"{path}: not a readable tokenizer ({exc}); export the bundle again") from exc
