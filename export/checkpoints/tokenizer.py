"""The checkpoint's CLIP tokenizer as one `tokenizer.json` that `tokenizers` reads without transformers."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from tokenizers import Tokenizer as Backend
from transformers import CLIPTokenizer

from ...bundles.facts import Tokenizer
from ...bundles.graph import File
from ...errors import InputError
from .clip import Clip


def write_tokenizer(source: Path | Clip, folder: Path, longest: int, name: str = "tokenizer") -> Tokenizer:
    """Write `NAME/tokenizer.json` into the bundle `folder` from vocab.json and merges.txt, a tokenizer.json, or CLIP's
    own vocabulary.

    Normalisation (NFC, white space, lower case) and splitting are those of transformers' CLIPTokenizer; padding and
    truncation are left to the runtime. `longest` is the text encoder's limit in tokens. Raises `InputError`.
    """
    if isinstance(source, Clip):
        with TemporaryDirectory() as temporary:
            source.write(Path(temporary))
            return write_tokenizer(Path(temporary), folder, longest, name)
    if not (source / "tokenizer.json").is_file() and not all(
        (source / n).is_file() for n in ("vocab.json", "merges.txt")
    ):
        raise InputError(
            f"{source}: has no CLIP tokenizer (vocab.json and merges.txt, or tokenizer.json); "
            "name the `tokenizer` folder of a diffusers checkpoint of this family with --tokenizer"
        )
    try:
        tokenizer = CLIPTokenizer.from_pretrained(source, local_files_only=True)
    except Exception as exc:  # tokenizers raises nothing narrower for garbled files
        raise InputError(f"{source}: cannot be read as a CLIP tokenizer ({exc}); copy the checkpoint again") from exc
    if len(tokenizer) < 3 or tokenizer.bos_token_id == tokenizer.eos_token_id:
        raise InputError(f"{source}: has no vocabulary with its own start and end token; copy the checkpoint again")
    file = f"{name}/tokenizer.json"
    path = folder / file
    path.parent.mkdir(parents=True)
    backend = Backend.from_str(tokenizer.backend_tokenizer.to_str())
    backend.no_padding()
    backend.no_truncation()
    backend.save(str(path), pretty=False)
    length = min(tokenizer.model_max_length, longest)
    return Tokenizer(
        File.of(folder, file), length, tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
    )
