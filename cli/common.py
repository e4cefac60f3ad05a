"""What commands share: options, and how a missing extra is named."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .names import list_presets, list_sampling
from .values import count, numbers, quality, seed, size

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


def add_sampling(parser: Any) -> None:
    """The model, and the table that is run."""
    parser.add_argument("--model", default="tiny", help="a bundle's folder, or the name of a bundled one (tiny)")
    parser.add_argument(
        "--strength", type=float, metavar="S", help="0 keeps the picture, 1 ignores it (the model's own)"
    )
    parser.add_argument("--steps", type=int, metavar="N", help="length of the whole schedule (the model's own)")
    parser.add_argument("--sampler", metavar="NAME", help="such as euler_a or 'DPM++ 2M Karras' (the model's own)")
    parser.add_argument("--schedule", metavar="NAME", help="such as karras (the model's own)")
    parser.add_argument(
        "--convention", default="contract", metavar="NAME", help="what strength means, and whose way (contract)"
    )
    parser.add_argument(
        "--eta", type=float, help="fresh noise of ddim, tcd and the ancestral samplers (the sampler's own)"
    )
    list_sampling(parser)


def add_request(parser: Any, noise: str | None = None) -> None:
    """What noise and latents are drawn from."""
    usual = noise or "the convention's, usually cpu"
    parser.add_argument("--noise", metavar="KIND", help=f"whose seeds: cpu, gpu, or field, by place ({usual})")
    parser.add_argument(
        "--posterior",
        metavar="HOW",
        help="the VAE's latents: sample or mode (the convention's: sample, but mode of a1111 and comfy)",
    )


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
        default=2**26,
        metavar="N",
        help="the most pixels of a picture that is read (67108864, which is 8192x8192)",
    )


def add_seed(parser: Any, text: str = "counts up over the images (drawn, and printed)") -> None:
    """Where noise begins."""
    parser.add_argument("--seed", type=seed, metavar="N", help=f"{text}; -1 draws one")


def add_together(parser: Any) -> None:
    """How many images share a run."""
    parser.add_argument(
        "--batch", dest="together", type=count, default=8, metavar="N", help="images that run together (8)"
    )


def add_sizes(parser: Any) -> None:
    """The results' size."""
    parser.add_argument("--size", type=size, metavar="WxH", help="size of the results (the input's)")
    parser.add_argument(
        "--resize", dest="resize_mode", metavar="MODE", help="crop, pad, stretch or none (crop with --size)"
    )


def add_passes(parser: Any) -> None:
    """Several passes in latents."""
    parser.add_argument(
        "--passes",
        type=numbers,
        metavar="S,S,...",
        help="strengths of several passes in latents, instead of --strength",
    )
    parser.add_argument(
        "--pass-prompt", dest="pass_prompts", action="append", metavar="PROMPT", help="of each pass; repeat it"
    )


def add_variation(parser: Any) -> None:
    """How far noise goes from one seed to another."""
    parser.add_argument(
        "--variation-seed", type=seed, metavar="SEED", help="whose noise the first is drawn towards; -1 draws one"
    )
    parser.add_argument(
        "--variation-strength",
        type=float,
        metavar="S",
        help="how far, 0 to 1 (0); above 0 the variation seed counts up instead of the seed",
    )
    parser.add_argument(
        "--seed-resize-from", type=size, metavar="WxH", help="put the noise of a picture of this size in the middle"
    )
    parser.add_argument(
        "--ensd",
        dest="eta_noise_seed_delta",
        type=int,
        default=0,
        metavar="N",
        help="draw the steps' noise from the seed so far on, A1111's eta noise seed delta (0: go on with the seed's)",
    )


def add_colour(parser: Any) -> None:
    """Whose colours the result has."""
    parser.add_argument(
        "--colour-match",
        metavar="HOW",
        help="give the result the input's colours: histogram, mean or wavelet (none)",
    )


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
    parser.add_argument("--quality", type=quality, default=95, metavar="Q", help="of JPEG and WebP, 1 to 100 (95)")
    parser.add_argument("--strip-metadata", action="store_true", help="write no parameters into the files")
    add_overwrite(parser)


def add_overwrite(parser: Any) -> None:
    """What becomes of files that exist."""
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist (refuse)")
