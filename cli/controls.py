"""The option that gives a ControlNet: which, of what picture, how much, and when."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .arguments import add_options

if TYPE_CHECKING:
    from ..runtime.requests.controls import Control
    from ..runtime.tools.per_picture import PerPicture

FORM = (
    "NET[=IMAGE][,weight=W][,start=S][,end=E][,mode=M][,preprocessor=P][,resolution=N][,fit=F][,thresholds=A/B]"
    "[,type=T]"
)
_READERS: Mapping[str, Callable[[str], Any]] = {
    "weight": float,
    "start": float,
    "end": float,
    "mode": str,
    "preprocessor": str,
    "resolution": int,
    "fit": str,
    "thresholds": lambda text: tuple(map(float, text.split("/"))),
    "type": str,
}
_FIELDS = {"type": "control_type"}


def control(text: str, folders: bool = False) -> Control | PerPicture:
    """A ControlNet of a request, such as "edges=sketch.png,weight=0.8,end=0.7";
    of a folder, with `folders`, a `PerPicture`."""
    from ..errors import InputError, unknown
    from ..runtime.requests.controls import Control
    from ..runtime.tools.per_picture import PerPicture

    first, *others = text.split(",")
    net, _, image = first.partition("=")
    given: dict[str, Any] = {}
    try:
        for word in others:
            name, _, value = word.partition("=")
            if name not in _READERS:
                raise unknown("part of a control", name, _READERS)
            given[_FIELDS.get(name, name)] = _READERS[name](value)
        if folders and image and Path(image).is_dir():
            return PerPicture(Path(image), Control, {"net": net, **given})
        if image:
            given["image"] = image
        return Control(net, **given)
    except InputError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc
    except ValueError:
        raise argparse.ArgumentTypeError(f"{word!r} has no number that can be used; write {FORM}") from None


def add_controls(parser: Any, folders: bool = False) -> None:
    """What holds the picture's lines, depths or poses, and how much all of it counts."""
    add_control(parser, folders)
    add_options(parser, "img2img", "control_weight")


def add_control(parser: Any, folders: bool = False) -> None:
    """What holds the picture's lines, depths or poses; with `folders` IMAGE may be one."""
    own = "; IMAGE may be a folder, of which each picture has the file of its name" if folders else ""
    parser.add_argument(
        "--control",
        dest="controls",
        type=partial(control, folders=folders),
        action="append",
        default=[],
        metavar="NET[=IMAGE][,...]",
        help="a ControlNet, a bundled one by name (edges) or a folder, that follows IMAGE, a finished hint, or "
        f"else the picture itself; {FORM[len('NET[=IMAGE]') :]} say how{own}; may be repeated",
    )
