"""The command that prints the table of a run."""

from __future__ import annotations

import json
from typing import Any

from ..common import (
    add_sampling,
)
from ..console import plan_document
from ..infotext import add_infotext


def plan(
    model: str,
    sampler: str | None,
    schedule: str | None,
    coefficients: bool,
    document: bool,
    convention: str,
    **options: Any,
) -> None:
    """Print the table that a request would run, without running it.

    Where the model's schedule depends on the picture's size, it is that of the model's own size.
    """
    from ...bundles.manifest import Bundle
    from ...runtime.model.load import find, read_schedule
    from ...runtime.requests.defaults import sampling, values
    from ...runtime.sampling.compile import compile_plan

    bundle = Bundle.read(find(model), verify=False)
    own, curve = sampling(bundle.model, sampler, schedule, convention)
    options = values(options, bundle.model.defaults["img2img"])
    del options["guidance_scale"]
    width, height = (length // bundle.model.downscale for length in bundle.model.default_size)
    options |= {"sampler": own, "schedule": curve, "convention": convention, "latent_shape": (height, width)}
    made = compile_plan(read_schedule(bundle), **options)
    if document:
        print(json.dumps(plan_document(made), allow_nan=False))
    else:
        print(made.table(coefficients=True) if coefficients else made)


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser("plan", help="print the table of a run without running it", description=plan.__doc__)
    parser.set_defaults(command=plan)
    parser.add_argument("--coefficients", action="store_true", help="print every line's equations too")
    parser.add_argument(
        "--json",
        dest="document",
        action="store_true",
        help="a JSON document: sigma and timestep of every evaluation",
    )
    add_sampling(parser)
    add_infotext(parser)
