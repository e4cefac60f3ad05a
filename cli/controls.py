"""The option that gives a ControlNet: which, of what picture, how much, and when."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from .arguments import add_options

if TYPE_CHECKING:
    from ..runtime.requests.controls import Control

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


def control(text: str) -> Control:
    """A ControlNet of a request, such as "edges=sketch.png,weight=0.8,end=0.7"."""
    from ..errors import InputError, unknown
    from ..runtime.requests.controls import Control

    first, *others = text.split(",")
    net, _, image = first.partition("=")
    given: dict[str, Any] = {"image": image} if image else {}
    try:
        for word in others:
            name, _, value = word.partition("=")
            if name not in _READERS:
                raise unknown("part of a control", name, _READERS)
            given[_FIELDS.get(name, name)] = _READERS[name](value)
        return Control(net, **given)
    except InputError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc
    except ValueError:
        raise argparse.ArgumentTypeError(f"{word!r} has no number that can be used; write {FORM}") from None


def add_controls(parser: Any) -> None:
    """What holds the picture's lines, depths or poses, and how much all of it counts."""
    add_control(parser)
    add_options(parser, "img2img", "control_weight")


def add_control(parser: Any) -> None:
    """What holds the picture's lines, depths or poses."""
    parser.add_argument(
        "--control",
        dest="controls",
        type=control,
        action="append",
        default=[],
        metavar="NET[=IMAGE][,...]",
        help="a ControlNet, a bundled one by name (edges) or a folder, that follows IMAGE, a finished hint, or "
        f"else the picture itself; {FORM[len('NET[=IMAGE]') :]} say how; may be repeated",
    )
