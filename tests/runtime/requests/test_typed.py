"""The types that editors show are those of the table and of the dataclasses."""

from inspect import signature
from typing import Any, get_type_hints

import pytest

from overpaint import Pipeline, Request
from overpaint.runtime.requests.defaults import Times
from overpaint.runtime.requests.options import SECTIONS, aliases, of_tool
from overpaint.runtime.requests.typed import Aliases, Img2ImgOptions, InpaintOptions, OutpaintOptions, UpscaleOptions
from overpaint.runtime.tools.inpainting import Inpainting
from overpaint.runtime.tools.outpainting import Outpainting
from overpaint.runtime.tools.upscaling import Upscaling

OPTIONS: dict[str, tuple[Any, tuple[type[Any], ...]]] = {
    "img2img": (Img2ImgOptions, (Request,)),
    "inpaint": (InpaintOptions, (Inpainting, Request)),
    "outpaint": (OutpaintOptions, (Outpainting, Request)),
    "upscale": (UpscaleOptions, (Upscaling, Request)),
}
# What verbs have as parameters of their own, and what is of the files that are written.
PARAMETERS = {"prompt", "timeout", "on_step", *(option.name for option in SECTIONS["file"])}
# What may be one for each image, but not in a request.
EACH = {"negative_prompt", "seed", "n"}


VERBS = (
    "__call__",
    "inpaint",
    "outpaint",
    "upscale",
    "start",
    "resume",
    "grid",
    "warm_up",
)


@pytest.mark.parametrize("verb", VERBS)
def test_no_verb_has_options_without_types(verb: str) -> None:
    """tests/support/typed_calls.py shows what a type checker makes of them."""
    parameters = signature(getattr(Pipeline, verb)).parameters.values()
    (options,) = (each for each in parameters if each.kind is each.VAR_KEYWORD)
    assert str(options.annotation).startswith("Unpack[")


def test_aliases_are_those_of_the_table() -> None:
    hints, own = get_type_hints(Aliases), get_type_hints(Img2ImgOptions)
    assert hints == {alias: own[name] for alias, name in aliases().items()}


@pytest.mark.parametrize("tool", OPTIONS)
def test_a_verb_has_the_options_of_its_tool_with_their_types(tool: str) -> None:
    typed, owners = OPTIONS[tool]
    hints = {name: hint for name, hint in get_type_hints(typed).items() if name not in aliases()}
    assert hints.keys() == of_tool(tool).keys() - PARAMETERS
    for name in hints.keys() - EACH:
        own = next(get_type_hints(owner)[name] for owner in owners if name in get_type_hints(owner))
        times = Times if of_tool(tool)[name].own else None
        assert hints[name] == own | times | None, name
