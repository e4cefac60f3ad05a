"""CLIP's own vocabulary, which ships with the package: single files of Stable Diffusion hold no tokenizer.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision" (arXiv:2103.00020): byte-level
BPE in lower case. The merges are OpenAI's, under the MIT licence that lies beside them.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from pathlib import Path

MERGES = Path(__file__).parents[2] / "models" / "clip" / "merges.txt.gz"
BOS, EOS = "<|startoftext|>", "<|endoftext|>"
SIZE = 49408
"""The tokens of the vocabulary."""


@dataclass(frozen=True)
class Clip:
    """CLIP's tokenizer as a family of Stable Diffusion has it: 1.x fills up with the end token, 2.x with "!"."""

    pad: str = EOS

    def write(self, folder: Path) -> None:
        """Write the files of transformers' CLIPTokenizer into `folder`."""
        merges = gzip.decompress(MERGES.read_bytes()).decode().splitlines()
        (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")
        (folder / "vocab.json").write_text(json.dumps(vocabulary(merges), ensure_ascii=False), encoding="utf-8")
        special = {"bos_token": BOS, "eos_token": EOS, "unk_token": EOS, "pad_token": self.pad}
        config = {**special, "model_max_length": 77, "tokenizer_class": "CLIPTokenizer", "do_lower_case": True}
        (folder / "tokenizer_config.json").write_text(json.dumps(config))


def vocabulary(merges: list[str]) -> dict[str, int]:
    """Ids by token: the bytes, the bytes that end a word, what merges make of them, and the two special tokens."""
    characters = byte_characters()
    words = ["".join(merge.split()) for merge in merges]
    tokens = [*characters, *(f"{character}</w>" for character in characters), *words, BOS, EOS]
    return {token: index for index, token in enumerate(tokens)}


def byte_characters() -> list[str]:
    """The characters that stand for the 256 bytes in byte-level BPE, those that print for themselves first."""
    printing = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [*map(chr, printing), *(chr(256 + index) for index in range(256 - len(printing)))]
