"""Prompts to conditioning: tokens in windows, through the text encoder, and weighted."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from ...bundles.facts import EncoderFacts
from ...bundles.tensor import Array
from ...engines.arrays import namespace_of, to_device
from ...engines.base import Engine
from ...errors import BundleError, InputError, unknown
from .. import nonfinite
from .cache import Cache, content
from .conditioning import POOLED, TEXT
from .low_rank import RowLora
from .prompt.embeddings import Embedding
from .prompt.emphasis import WEIGHTINGS
from .prompt.tokens import PromptTokenizer, Windows
from .prompt.tree import Phrase

# The optional input that places textual inversions' vectors.
VECTORS = "vectors"


WithLoras = Callable[[Mapping[str, Array], Sequence[RowLora]], Mapping[str, Array]]
"""Runs a text encoder on inputs by their names, with LoRAs in all rows."""


@dataclass(frozen=True, eq=False)
class Encoding:
    """What a text encoder makes of a prompt's windows: hidden states float32 [windows, length, dim] and the pooled text
    float32 [windows, dim], None where it gives none."""

    hidden: Array | None
    pooled: Array | None

    @property
    def arrays(self) -> tuple[Array, ...]:
        """Those that there are."""
        return tuple(array for array in (self.hidden, self.pooled) if array is not None)


class TextEncoder:
    """One text encoder of a model: turns a prompt of any length into hidden states and a pooled text."""

    def __init__(
        self,
        engine: Engine,
        tokenizer: Tokenizer,
        facts: EncoderFacts,
        most_skipped: int,
        most_tokens: int,
        cache_size: int = 64,
        lora: WithLoras | None = None,
    ) -> None:
        self.engine = engine
        self.lora = lora
        """What runs the encoder with LoRAs, where the bundle can."""
        self.facts = facts
        self._most_skipped = most_skipped
        self._most_tokens = most_tokens
        self._tokenizer = PromptTokenizer(tokenizer, facts.tokenizer)
        self._cache: Cache[Encoding] = Cache(cache_size)
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

    def encode(
        self, prompt: str | Phrase, clip_skip: int = 0, weighting: str = "a1111", low_rank: Sequence[RowLora] = ()
    ) -> tuple[Array, bool]:
        """The hidden states of a prompt, float32 [chunks * length, dim] on the engine's device; whether they were
        cached.

        A text is encoded as it stands, a phrase with its weights: `weighting` says how, see `prompt.emphasis`. A
        phrase without weights gives what its text gives. `clip_skip` is the number of the encoder's last layers
        passed over, as in diffusers (A1111's counts from 1). `low_rank` are LoRAs of the encoder.

        Raises `InputError` for more layers than there are, a prompt that is too long, an unknown weighting and weights
        that leave nothing; `ModelOutputError` for NaN or infinity on the host, on a device it is left to the reader.
        """
        encoding, cached = self.encode_all(prompt, clip_skip, weighting, low_rank)
        assert encoding.hidden is not None
        return encoding.hidden, cached

    def encode_all(
        self, prompt: str | Phrase, clip_skip: int = 0, weighting: str = "a1111", low_rank: Sequence[RowLora] = ()
    ) -> tuple[Encoding, bool]:
        """The same with the pooled text float32 [dim] of the first chunk, as A1111 and ComfyUI take it; hidden states
        and pooled text are those that the encoder gives. No weights reach the pooled text."""
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
        encoding, cached = self._encoding(windows, clip_skip, low_rank)
        hidden, pooled = encoding.hidden, encoding.pooled
        if hidden is not None and (windows.weights != 1).any():
            weights = to_device(windows.weights, self.engine.device)
            hidden = WEIGHTINGS[weighting](hidden, weights, lambda: self._plain("", clip_skip, low_rank))
        flat = None if hidden is None else hidden.reshape(-1, hidden.shape[-1])
        return Encoding(flat, None if pooled is None else pooled[0]), cached

    def forget_nonfinite(self) -> None:
        """Let go of the encodings with NaN or infinity; waits for the device."""
        self._cache.forget(lambda encoding: not all(map(nonfinite.is_finite, encoding.arrays)))

    def _plain(self, prompt: str, clip_skip: int, low_rank: Sequence[RowLora]) -> Array:
        """The hidden states of a text, [chunks, length, dim]."""
        hidden = self._encoding(self._windows(prompt), clip_skip, low_rank)[0].hidden
        assert hidden is not None
        return hidden

    def _windows(self, prompt: str | Phrase) -> Windows:
        return self._tokenizer(Phrase.plain(prompt) if isinstance(prompt, str) else prompt)

    def _encoding(self, windows: Windows, clip_skip: int, low_rank: Sequence[RowLora]) -> tuple[Encoding, bool]:
        """What the text encoder makes of tokens before any weights; whether it was cached."""
        vectors = None if windows.vectors is None else content(windows.vectors)
        key = (windows.ids.tobytes(), vectors, clip_skip, tuple((each.key, each.weight) for each in low_rank))
        return self._cache.get(key, lambda: self._run(windows, clip_skip, low_rank))

    def _run(self, windows: Windows, clip_skip: int, low_rank: Sequence[RowLora]) -> Encoding:
        feeds = {"input_ids": windows.ids, "clip_skip": np.array(clip_skip, np.int64)}
        for spec in self.engine.inputs:
            if spec.name == VECTORS:
                none = np.zeros((*windows.ids.shape, spec.axes[-1]), np.float32)
                feeds[VECTORS] = none if windows.vectors is None else windows.vectors
        device = self.engine.device
        inputs = {name: to_device(array, device) for name, array in feeds.items()}
        if low_rank:
            assert self.lora is not None
            outputs: Mapping[str, Array] = self.lora(inputs, low_rank)
        else:
            outputs = self.engine(inputs)
        encoding = Encoding(*(_float32(outputs, name) for name in (self.facts.hidden, self.facts.pooled)))
        nonfinite.check_host("text_encoder", *encoding.arrays)
        return encoding


def _float32(outputs: Mapping[str, Array], name: str | None) -> Array | None:
    return None if name is None else outputs[name].astype(np.float32, copy=False)


class PromptEncoder:
    """All text encoders of a model: what the denoiser is given of a prompt, by the names of its inputs."""

    def __init__(self, encoders: Sequence[TextEncoder]) -> None:
        self.encoders = tuple(encoders)

    def encode(
        self,
        prompt: str | Phrase,
        clip_skip: int = 0,
        weighting: str = "a1111",
        low_rank: Sequence[Sequence[RowLora]] = (),
    ) -> tuple[dict[str, Array], bool]:
        """A prompt as inputs of the denoiser, on the encoders' device, and whether all came from the cache.

        "encoder_hidden_states" float32 [tokens, dim] are the encoders' hidden states side by side, as SDXL has them
        (Podell et al., arXiv:2307.01952, section 2.1); "text_embeds" float32 [dim] is the pooled text of the last
        encoder that gives one. `low_rank` are the LoRAs of each encoder. Raises as `TextEncoder.encode` does, and
        `InputError` where the encoders read another number of tokens.
        """
        own = low_rank or [()] * len(self.encoders)
        made = [
            encoder.encode_all(prompt, clip_skip, weighting, loras)
            for encoder, loras in zip(self.encoders, own, strict=True)
        ]
        hidden = [encoding.hidden for encoding, _ in made if encoding.hidden is not None]
        pooled = [encoding.pooled for encoding, _ in made if encoding.pooled is not None]
        if len({len(states) for states in hidden}) > 1:
            lengths = " and ".join(str(len(states)) for states in hidden)
            raise InputError(f"the model's text encoders read the prompt as {lengths} tokens; shorten it", "prompt")
        inputs = {TEXT: hidden[0] if len(hidden) == 1 else namespace_of(hidden[0]).concatenate(hidden, axis=-1)}
        if pooled:
            inputs[POOLED] = pooled[-1]
        return inputs, all(cached for _, cached in made)


def load_tokenizer(path: Path) -> Tokenizer:
    """Read a Hugging Face `tokenizers` JSON file; raises `BundleError` where that fails."""
    try:
        return Tokenizer.from_file(str(path))
    except Exception as exc:  # the library raises nothing narrower
        raise BundleError(f"{path}: not a readable tokenizer ({exc}); export the bundle again") from exc
