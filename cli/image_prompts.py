"""Image prompts on the command line: FILE[:weight][,name=value]..."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from .arguments import add_options, flags
from .parser import CommandParser

NUMBERS = ("weight", "start", "end")
FORM = "FILE[:WEIGHT][,start=S][,end=S][,blocks=B][,mask=FILE][,negative=FILE][,adapter=NAME]"


def image_prompt(text: str, folders: bool = False) -> Any:
    """An `ImagePrompt` of a text such as fox.png:0.8,end=0.5,blocks=style; of a
    folder, with `folders`, a `PerPicture`."""
    from ..errors import InputError

    first, *pairs = text.split(",") if not Path(text).is_file() else [text]
    file, weight = _weighted(first)
    given: dict[str, Any] = {} if weight is None else {"weight": weight}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or name not in (*NUMBERS, "blocks", "mask", "negative", "adapter"):
            raise argparse.ArgumentTypeError(f"{pair!r} is not of an image prompt; write {FORM}")
        given[name] = _number(name, value) if name in NUMBERS else value
    try:
        return _read(file, given, folders)
    except InputError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc


def _read(file: str, given: dict[str, Any], folders: bool) -> Any:
    from ..runtime.imaging.mask import read as read_mask
    from ..runtime.imaging.picture import read
    from ..runtime.requests.image_prompts import BLOCKS, ImagePrompt
    from ..runtime.tools.per_picture import PerPicture

    made = dict(given)
    if (mask := made.pop("mask", None)) is not None:
        made["mask"] = read_mask(mask, read(mask).size).levels
    if (negative := made.pop("negative", None)) is not None:
        made["negative_image"] = read(negative)
    if (blocks := made.get("blocks", "all")) not in BLOCKS and "/" in blocks:
        made["blocks"] = tuple(_number("blocks", weight) for weight in blocks.split("/"))
    if folders and Path(file).is_dir():
        return PerPicture(Path(file), ImagePrompt, made)
    return ImagePrompt(read(file), **made)


def _weighted(text: str) -> tuple[str, float | None]:
    """A file's name, and the weight behind its last colon."""
    file, colon, weight = text.rpartition(":")
    if not colon or not file or Path(text).is_file():
        return text, None
    try:
        return file, float(weight)
    except ValueError:
        return text, None


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{name} is {text!r}, which is no number; write {FORM}") from None


def add_image_prompts(parser: CommandParser, tool: str = "img2img", folders: bool = False) -> None:
    """Pictures that steer the model beside the text, how, and the adapters that they need."""
    add_image_prompt(parser, tool, folders)
    add_options(parser, tool, "image_weight", "image_blend")


def add_image_prompt(parser: CommandParser, tool: str = "img2img", folders: bool = False) -> None:
    """Pictures that steer the model beside the text, and the adapters that they need."""
    from ..runtime.requests.options import of_tool

    option = of_tool(tool)["image_prompts"]
    own = "; FILE may be a folder, of which each picture has the file of its name" if folders else ""
    parser.add_argument(
        *flags(option),
        dest=option.name,
        type=partial(image_prompt, folders=folders),
        action="append",
        default=[],
        metavar="FILE[:WEIGHT]",
        help=f"{option.help}: {FORM}{own}; may be repeated".replace("%", "%%"),
    )
    add_adapters(parser)


def add_adapters(parser: Any) -> None:
    """The adapters that image prompts need."""
    parser.add_argument(
        "--image-prompt-adapter",
        dest="image_prompt_adapters",
        action="append",
        default=[],
        metavar="NAME",
        help="a bundle of an image-prompt adapter, or the name of a bundled one, by which image prompts call it; the "
        "first is that of those that name none; may be repeated",
    )
