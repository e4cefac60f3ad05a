"""What requests ask of a model's family: refused by name where the model has it not, or needs it and lacks it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ...bundles.facts import ModelFacts
from ...errors import InputError
from ..requests.options import fields_of
from ..requests.request import Request

_OF: Mapping[str, tuple[Callable[[ModelFacts], bool], str]] = {
    **dict.fromkeys(
        ("original_size", "crop_left", "crop_top"),
        (lambda facts: "original_width" in facts.size_ids, "models of SDXL's family"),
    ),
    "target_size": (lambda facts: "target_width" in facts.size_ids, "SDXL's base models"),
    **dict.fromkeys(
        ("aesthetic_score", "negative_aesthetic_score"),
        (lambda facts: "aesthetic_score" in facts.size_ids, "SDXL's refiner"),
    ),
    "image_guidance_scale": (lambda facts: facts.edits, "models that edit by instruction (InstructPix2Pix)"),
    "depth": (lambda facts: facts.takes_depth, "models that take a depth map"),
}


def check_fit(request: Request, facts: ModelFacts) -> None:
    """Raise `InputError`, with the option's name, for one that means nothing to the model, and for a missing one."""
    rows = fields_of("request")
    for name, (fits, whose) in _OF.items():
        value = getattr(request, name)
        if value is not rows[name].default and not fits(facts) and (name == "depth" or value != rows[name].default):
            raise InputError(f"{name} is for {whose}, and {facts.name!r} is none; leave it out", name)
    if facts.takes_depth and request.depth is None:
        raise InputError(
            f"{facts.name!r} takes a depth map of the picture; give it as depth (on the command line --depth FILE)",
            "depth",
        )
