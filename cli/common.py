"""What commands share: options, and how a missing extra is named."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..runtime.imaging.limits import MAX_PIXELS
from .arguments import add_options
from .names import list_presets, list_sampling
from .values import count

# The exit code where something was left out, or came out otherwise.
PARTLY = 3


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Say which extra to install where an import fails."""
    from ..errors import ExportError

    try:
        yield
    except ImportError as exc:
        raise ExportError(f"{exc.name} is not installed; run: pip install 'overpaint[{name}]'") from exc


def add_engine(parser: Any) -> None:
    """What runs the graphs."""
    parser.add_argument(
        "--engine", default="auto", metavar="NAME", help="such as openvino or onnxruntime (the fastest)"
    )
    parser.add_argument("--device", metavar="NAME", help="cpu, gpu or cuda, as the engine has it")
    parser.add_argument("--precision", metavar="NAME", help="float32, bfloat16 or float16 (the engine's fastest)")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (all)")
    parser.add_argument(
        "--shapes",
        metavar="KIND",
        default=argparse.SUPPRESS,
        help="auto, or static, dynamic or tuned: what the engine compiles graphs for (auto)",
    )
    parser.add_argument(
        "--no-verify", dest="verify", action="store_false", help="do not compare files with their hashes"
    )


def add_sampling(parser: Any, tool: str = "img2img") -> None:
    """The model, and the table that is run."""
    add_model(parser)
    add_options(parser, tool, "strength", "steps", "sampler", "schedule", "convention", "eta")
    list_sampling(parser)


def add_model(parser: Any) -> None:
    """What does the work."""
    parser.add_argument("--model", default="tiny", help="a bundle's folder, or the name of a bundled one (tiny)")


def add_request(parser: Any, tool: str = "img2img") -> None:
    """What noise and latents are drawn from."""
    add_options(parser, tool, "noise", "posterior")


def add_output(parser: Any) -> None:
    """Where results go."""
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        type=Path,
        required=True,
        help="a .png, .jpg or .webp file, of which several are numbered; a pattern such as {name}-{seed}.png; "
        "or - for standard output",
    )


def add_limit(parser: Any) -> None:
    """How large pictures may be."""
    parser.add_argument(
        "--max-pixels",
        type=count,
        default=MAX_PIXELS,
        metavar="N",
        help=f"the most pixels of a picture that is read ({MAX_PIXELS}, which is 8192x8192)",
    )


def add_together(parser: Any) -> None:
    """How many images share a run."""
    parser.add_argument(
        "--batch", dest="together", type=count, default=8, metavar="N", help="images that run together (8)"
    )


def add_sizes(parser: Any) -> None:
    """The results' size."""
    add_options(parser, "img2img", "size", "resize_mode")


def add_passes(parser: Any) -> None:
    """Several passes in latents."""
    add_options(parser, "img2img", "passes", "pass_prompts")


def add_variation(parser: Any) -> None:
    """How far noise goes from one seed to another."""
    names = ("variation_seed", "variation_strength", "seed_resize_from", "eta_noise_seed_delta")
    add_options(parser, "img2img", *names)


class _Preset(argparse.Action):
    """Makes a preset's options the parser's defaults; see `main`."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        from ..errors import InputError
        from ..runtime.requests.presets import preset

        try:
            chosen = preset(values, self.command)
        except InputError as exc:
            raise argparse.ArgumentError(self, str(exc)) from exc
        parser.set_defaults(**chosen.options)
        setattr(namespace, self.dest, values)

    def __init__(self, *arguments: Any, const: str, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.command = const


def add_preset(parser: Any, command: str) -> None:
    """A named set of options; of a command that presets name."""
    parser.add_argument(
        "--preset",
        action=_Preset,
        const=command,
        metavar="NAME",
        help="a set of options, see 'overpaint presets'; options that are given win",
    )
    list_presets(parser, command)


def add_saving(parser: Any) -> None:
    """How results are written."""
    add_options(parser, "img2img", "quality", "strip_metadata")
    add_overwrite(parser)


def add_overwrite(parser: Any) -> None:
    """What becomes of files that exist."""
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist (refuse)")
