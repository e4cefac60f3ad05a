"""LoRAs on the command line: files that count by themselves, and folders whose files prompts name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .arguments import add_options

_SUFFIX = ".safetensors"


def add_lora(parser: Any) -> None:
    """LoRAs of a request, and what all count."""
    add_options(parser, "img2img", "loras", "lora_weight")


def add_folders(parser: Any) -> None:
    """LoRAs that prompts name."""
    parser.add_argument(
        "--loras",
        dest="lora_folders",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="a folder of LoRAs, of which prompts name one as <lora:name:0.8>; may be repeated",
    )
    parser.add_argument(
        "--lora-partial", action="store_true", help="leave out tensors of LoRAs that belong to no layer (refuse them)"
    )


def settle(arguments: dict[str, Any]) -> None:
    """Have the model loaded with the folders and the files that are named, and the request name the files."""
    folders, partial = arguments.pop("lora_folders"), arguments.pop("lora_partial")
    files = []
    if words := arguments.get("loras"):
        arguments["loras"] = tuple(map(_name, words))
        files = [Path(word[: word.index(_SUFFIX) + len(_SUFFIX)]) for word in words if _SUFFIX in word]
    if folders or files:
        arguments["engine"] |= {"loras": (*files, *folders), "lora_partial": partial}


def _name(word: str) -> str:
    """A LoRA by its name and what it counts, of a file's path and that."""
    path, suffix, weights = word.partition(_SUFFIX)
    return f"{Path(path).name}{weights}" if suffix else word
