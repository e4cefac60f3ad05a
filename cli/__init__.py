"""The `overpaint` command: a function a command; it parses, calls and prints."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial

from ..version import __version__
from . import infotext, loras
from .commands import (
    batch,
    bench,
    build,
    completion,
    demo,
    export,
    export_controlnet,
    export_image_prompt,
    export_triton,
    export_upscaler,
    grid,
    img2img,
    info,
    inpaint,
    options,
    outpaint,
    plan,
    presets,
    quantize,
    replay,
    run,
    serve,
    upscale,
    verify,
)
from .console import Console
from .drive import Preview
from .notes import notes
from .parser import CommandParser, Parser
from .streams import tolerant

COMMANDS = (
    img2img, plan, bench, demo, inpaint, outpaint, upscale, batch, grid, replay, run, presets, options, export,
    export_controlnet, export_upscaler, export_image_prompt, build, quantize, info, verify, serve, export_triton,
)  # fmt: skip
# Options that are handed on to `overpaint.load`.
ENGINE = ("engine", "device", "precision", "threads", "shapes", "verify")
PRINTING = ("quiet", "verbose", "as_json")
DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


@tolerant
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 done, 1 failed, 2 bad usage, 3 done in part, 130 interrupted."""
    # What Pillow thinks of odd metadata: notes say what matters of it.
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
    parser = _parser()
    arguments = vars(parser.parse_args(argv))
    if arguments.pop("preset", None):
        # Its options are defaults by now: those that are given win.
        arguments = vars(parser.parse_args(argv))
        arguments.pop("preset")
    command = arguments.pop("command")
    console = Console()
    if "as_json" in arguments:
        console = arguments["console"] = Console(*(arguments.pop(name) for name in PRINTING))
    if "threads" in arguments:
        arguments["engine"] = {name: arguments.pop(name) for name in ENGINE if name in arguments}
    if "lora_folders" in arguments:
        loras.settle(arguments)
    if adapters := arguments.pop("image_prompt_adapters", None):
        arguments["engine"]["image_prompt_adapters"] = {each: each for each in adapters}
    if "preview_every" in arguments:
        arguments["preview"] = Preview(arguments["preview"], arguments.pop("preview_every"))
    parameters = arguments.pop("from_infotext", None)
    work: Callable[[], int | None] = partial(command, **arguments)
    if parameters:
        work = partial(infotext.followed, work, console, parameters, arguments["model"])
    return _run(work, console)


def _run(command: Callable[[], int | None], console: Console) -> int:
    """Run a command, print how it ended, and return its exit code."""
    from ..errors import InputError, OverpaintError

    error: Exception | None = None
    try:
        with notes(console):
            code = command() or DONE
    except OverpaintError as exc:
        error, code = exc, USAGE if isinstance(exc, InputError) else FAILED
    except KeyboardInterrupt:
        error, code = OverpaintError("interrupted; nothing half-written is left"), INTERRUPTED
    console.end(code, error)
    return code


def _parser() -> Parser:
    parser = Parser(prog="overpaint", description="Repaint pictures with a latent-diffusion model.")
    parser.add_argument("--version", action="version", version=f"overpaint {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=CommandParser)
    for module in COMMANDS:
        module.add(commands)
    completion.add(commands, parser)
    return parser
