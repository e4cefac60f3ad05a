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
    add_mode(parser)


def add_mode(parser: Any) -> None:
    """How LoRAs reach a model's layers."""
    parser.add_argument(
        "--lora-mode",
        metavar="MODE",
        help="inputs: by graphs that take LoRAs, so that pictures with different ones share calls; merged: into the "
        "weights of a graph that is opened anew for each selection of them (inputs)",
    )


def settle(arguments: dict[str, Any]) -> None:
    """Have the model loaded with the folders and the files that are named, and the request name the files."""
    folders, partial = arguments.pop("lora_folders"), arguments.pop("lora_partial")
    mode = arguments.pop("lora_mode")
    files = []
    if words := arguments.get("loras"):
        arguments["loras"] = tuple(map(_name, words))
        files = [Path(word[: word.index(_SUFFIX) + len(_SUFFIX)]) for word in words if _SUFFIX in word]
    if folders or files:
        arguments["engine"] |= {"loras": (*files, *folders), "lora_partial": partial}
    if mode is not None:
        arguments["engine"]["lora_mode"] = mode


def _name(word: str) -> str:
    """A LoRA by its name and what it counts, of a file's path and that."""
    path, suffix, weights = word.partition(_SUFFIX)
    return f"{Path(path).name}{weights}" if suffix else word
