"""Prompts on the command line: where they stand, what is no prompt, and how they are read."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .arguments import add_options
from .image_prompts import add_image_prompts
from .loras import add_folders, add_lora
from .parser import CommandParser

if TYPE_CHECKING:
    from ..runtime.pipeline import Pipeline

# The endings of pictures, whether this machine can read them or not.
PICTURES = frozenset((
    ".avif", ".bmp", ".gif", ".heic", ".heif", ".ico", ".jfif", ".jp2", ".jpeg", ".jpg", ".jxl", ".pgm", ".png",
    ".ppm", ".psd", ".svg", ".tga", ".tif", ".tiff", ".webp",
))  # fmt: skip


def add_prompt(parser: CommandParser, text: str, usual: str | None = None, spare: str | None = None) -> None:
    """The prompt: the last word, or `--prompt`; `usual` stands for one that is missing.

    `spare` names the option whose list of words ends with the prompt, where no other word can be it.
    """
    parser.add_argument("prompt", metavar="PROMPT", nargs="?", help=text)
    parser.add_argument("--prompt", dest="named_prompt", metavar="PROMPT", help="the same, as an option")

    def settle(parser: CommandParser, parsed: argparse.Namespace) -> None:
        word, named = parsed.prompt, parsed.named_prompt
        del parsed.named_prompt
        if word is not None and named is not None:
            parser.error(f"the prompt is given twice, {word!r} and --prompt {named!r}; give one")
        words = getattr(parsed, spare) if spare else []
        other = usual if parser.usual_prompt is None else parser.usual_prompt
        if word is None and named is None and len(words) > 1 and (other is None or not _is_file(words[-1])):
            word = words.pop()
        if word is not None and _is_file(word):
            parser.error(f"{word!r} is a file's name where the prompt belongs; add a prompt, or give it as --prompt")
        prompt = next((text for text in (word, named, other) if text is not None), None)
        if prompt is None:
            mask = str(getattr(parsed, "mask", None) or "-")
            if mask != "-" and not _is_file(mask) and not os.path.exists(mask):
                parser.error(
                    f"the mask is missing: {mask!r} is no file, and the last word is the prompt; write "
                    f"{parser.prog} IN MASK PROMPT -o OUT"
                )
            parser.error("the prompt is missing; give it after the picture, or as --prompt")
        parsed.prompt = prompt

    parser.checks.append(settle)
    if usual is None:
        parser.needed.add("prompt")


def add_prompting(parser: Any, tool: str = "img2img", folders: bool = False) -> None:
    """What is asked for besides the prompt, and how prompts are read; with `folders` image prompts may be some."""
    names = ("negative_prompt", "guidance_scale", "guidance_rescale", "guidance_interval", "image_guidance_scale")
    add_options(parser, "img2img", *names, "mimic_scale", "threshold_percentile", "perturbed_attention")
    add_options(parser, "img2img", "empty_negative", "clip_skip", "cache", "prompt_syntax", "weighting")
    add_options(parser, "img2img", "broken_prompt")
    sizes = ("original_size", "target_size", "crop_left", "crop_top", "aesthetic_score", "negative_aesthetic_score")
    add_options(parser, "img2img", *sizes)
    add_lora(parser)
    add_embeddings(parser)
    add_image_prompts(parser, tool, folders)


def add_embeddings(parser: Any) -> None:
    """What prompts can use besides words."""
    add_embedding(parser)
    add_folders(parser)


def add_embedding(parser: Any) -> None:
    """The option that names textual inversions."""
    parser.add_argument(
        "--embedding",
        dest="embeddings",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="a textual inversion, used where a prompt has the file's name; may be repeated",
    )


def add_regions(parser: Any, text: str) -> None:
    """Prompts for parts of the picture."""
    parser.add_argument(
        "--region", dest="regions", nargs=2, action="append", default=[], metavar=("MASK", "PROMPT"), help=text
    )


def teach(pipe: Pipeline, embeddings: Sequence[Path]) -> None:
    """Have a pipeline's prompts use textual inversions."""
    from ..runtime.conditioning.prompt.embeddings import read_embedding

    for path in embeddings:
        pipe.text.add_embedding(read_embedding(path))


def embedding_hashes(embeddings: Sequence[Path]) -> list[str]:
    """The hashes of textual inversions' files; raises `InputError` for one that cannot be read."""
    from ..runtime.tools.folder import content

    return list(map(content, embeddings))


def _is_file(text: str) -> bool:
    """Whether a word is the name of a picture, or of any file that is there."""
    if not any(map(str.isspace, text)) and Path(text).suffix.lower() in PICTURES:
        return True
    try:
        return os.path.isfile(text)
    except ValueError:
        return False
