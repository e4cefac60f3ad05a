"""What a call takes besides what it makes, and how its pictures are written."""

from __future__ import annotations

from ..option import PAINTING, Option

CALL = (
    Option(
        "n",
        "whole",
        "run",
        "images a picture",
        default=1,
        least=1,
        most=10_000,
        tools=PAINTING,
        elsewhere={"a1111": ("batch_size", "n_iter"), "diffusers": ("num_images_per_prompt",)},
    ),
    Option(
        "timeout",
        "number",
        "run",
        "stop with an error after so many seconds of work",
        usual="never",
        least=0,
        metavar="S",
    ),
    Option(
        "on_step",
        "object",
        "run",
        "called with each `Step` when it has run",
        elsewhere={"diffusers": ("callback_on_step_end",)},
    ),
)

FILE = (
    Option("quality", "whole", "file", "of JPEG and WebP, 1 to 100", default=95, least=1, most=100, metavar="Q"),
    Option("strip_metadata", "flag", "file", "write no parameters into the files", default=False),
)
