"""What commands share: options, progress, and how a missing extra is told."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..runtime.pipeline import Pipeline, Work
    from ..runtime.request import Output, Result

# The exit code where something was left out, or came out otherwise.
PARTLY = 3


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Say which extra to install where an import fails."""
    from ..engines.base import ExportError

    try:
        yield
    except ImportError as exc:
        raise ExportError(f"{exc.name} is not installed; run: pip install 'overpaint[{name}]'") from exc


def report(stage: str) -> None:
    """Say what is being done."""
    print(stage, file=sys.stderr, flush=True)


def drive(runs: Sequence[Work[Result]]) -> Iterator[Result]:
    """Drive runs to their ends, with a progress bar on a terminal."""
    from tqdm import tqdm

    total = sum(run.evaluations for run in runs)
    with tqdm(total=total, unit="eval", disable=not sys.stderr.isatty(), leave=False) as bar:
        for run in runs:
            for step in run:
                bar.set_postfix(sigma=f"{step.sigma:.3g}", refresh=False)
                bar.update()
            yield run.result()


@contextmanager
def bar() -> Iterator[Callable[[str, float], bool]]:
    """What draws how much of something is done, a bar on a terminal."""
    from tqdm import tqdm

    with tqdm(
        total=1.0, bar_format="{desc} {percentage:3.0f}% {bar}", disable=not sys.stderr.isatty(), leave=False
    ) as bar:

        def report(name: str, done: float) -> bool:
            bar.set_description_str(name, refresh=False)
            bar.update(done - bar.n)
            return True

        yield report


def waiting(name: str) -> None:
    """Say that another process is at work."""
    print(f"{name}: another process is building it; waiting", file=sys.stderr, flush=True)


def count(text: str) -> int:
    """A whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def size(text: str) -> tuple[int, int]:
    """WIDTHxHEIGHT in pixels."""
    try:
        width, height = (int(part) for part in text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not WIDTHxHEIGHT, such as 512x768") from None
    return width, height


def add_engine(parser: Any) -> None:
    """What runs the graphs."""
    parser.add_argument(
        "--engine", default="auto", metavar="NAME", help="such as openvino or onnxruntime (the fastest)"
    )
    parser.add_argument("--device", metavar="NAME", help="cpu, gpu or cuda, as the engine has it")
    parser.add_argument("--precision", metavar="NAME", help="float32, bfloat16 or float16 (the engine's fastest)")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (all)")
    parser.add_argument(
        "--no-verify", dest="verify", action="store_false", help="do not compare files with their hashes"
    )


def add_sampling(parser: Any, strength: float = 0.6) -> None:
    """The model, and the table that is run; `strength` is the default."""
    parser.add_argument("--model", default="tiny", help="a bundle's folder, or the name of a bundled one (tiny)")
    parser.add_argument(
        "--strength",
        type=float,
        default=strength,
        metavar="S",
        help=f"0 keeps the picture, 1 ignores it ({strength:g})",
    )
    parser.add_argument("--steps", type=int, default=20, metavar="N", help="length of the whole schedule (20)")
    parser.add_argument("--sampler", metavar="NAME", help="such as euler_a or 'DPM++ 2M Karras' (the model's own)")
    parser.add_argument("--schedule", metavar="NAME", help="such as karras (the model's own)")
    parser.add_argument(
        "--convention",
        default="contract",
        metavar="NAME",
        help="what strength means: contract, continuous, diffusers, a1111 or comfy (contract)",
    )
    parser.add_argument(
        "--eta", type=float, help="fresh noise of ddim, tcd and the ancestral samplers (the sampler's own)"
    )


def add_guidance(parser: Any) -> None:
    """How much the prompt counts."""
    parser.add_argument(
        "--guidance",
        dest="guidance_scale",
        type=float,
        default=7.5,
        metavar="G",
        help="classifier-free guidance; at most 1 is none (7.5)",
    )


def add_prompting(parser: Any) -> None:
    """What is asked for besides the prompt, and how prompts are read."""
    parser.add_argument(
        "--negative", dest="negative_prompt", metavar="PROMPT", default="", help="what the picture shall not be"
    )
    add_guidance(parser)
    parser.add_argument("--guidance-rescale", type=float, default=0.0, metavar="R", help="0 to 1 (0)")
    parser.add_argument("--clip-skip", type=int, default=0, metavar="N", help="last text layers passed over (0)")
    parser.add_argument(
        "--prompt-syntax",
        default="a1111",
        metavar="NAME",
        help="a1111, comfy, or plain for text that is taken as it stands (a1111)",
    )
    parser.add_argument(
        "--weighting", metavar="NAME", help="what (word:1.3) does: as a1111 or as comfy (as the syntax)"
    )
    parser.add_argument(
        "--broken-prompt", default="error", metavar="WAY", help="error, or literal to take it for text (error)"
    )
    add_embeddings(parser)


def add_embeddings(parser: Any) -> None:
    """What prompts can use besides words."""
    parser.add_argument(
        "--embedding",
        dest="embeddings",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="a textual inversion, used where a prompt has the file's name; may be repeated",
    )


def add_request(parser: Any, noise: str = "cpu") -> None:
    """What noise and latents are drawn from."""
    parser.add_argument(
        "--noise", default=noise, metavar="KIND", help=f"whose seeds: cpu, gpu, or field, by place ({noise})"
    )
    parser.add_argument(
        "--posterior", default="sample", metavar="HOW", help="the VAE's latents: sample or mode (sample)"
    )


def add_output(parser: Any) -> None:
    """Where results go."""
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        type=Path,
        required=True,
        help="a .png, .jpg or .webp file; several images are numbered",
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


def add_regions(parser: Any, told: str) -> None:
    """Prompts for parts of the picture."""
    parser.add_argument(
        "--region", dest="regions", nargs=2, action="append", default=[], metavar=("MASK", "PROMPT"), help=told
    )


def add_variation(parser: Any) -> None:
    """How far noise goes from one seed to another."""
    parser.add_argument("--variation-seed", type=int, metavar="SEED", help="whose noise the first is drawn towards")
    parser.add_argument(
        "--variation-strength",
        type=float,
        metavar="S",
        help="how far, 0 to 1 (0); above 0 the variation seed counts up instead of the seed",
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
        from ..engines.base import InputError
        from ..runtime.presets import preset

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


def add_saving(parser: Any) -> None:
    """How results are written."""
    parser.add_argument(
        "--quality", type=int, default=95, choices=range(1, 101), metavar="Q", help="of JPEG and WebP, 1 to 100 (95)"
    )
    parser.add_argument("--strip-metadata", action="store_true", help="write no parameters into the files")


def teach(pipe: Pipeline, embeddings: Sequence[Path]) -> None:
    """Have a pipeline's prompts use textual inversions."""
    from ..runtime.prompt.embeddings import read_embedding

    for path in embeddings:
        pipe.text.add_embedding(read_embedding(path))


def save(path: Path, made: Output, quality: int, strip: bool) -> None:
    """Write a result, and say where, with which seed, and what there is to know."""
    from ..runtime.imaging.output import write

    notes = write(path, made.image, made.parameters, record=made.record, quality=quality, strip=strip)
    request = made.request
    variation = f", variation seed {request.variation_seed}" if request.variation_strength else ""
    print(f"{path}  seed {request.seed}{variation}", flush=True)
    if made.drift:
        print(f"drift of each pass, in deviations: {', '.join(f'{drift:.3f}' for drift in made.drift)}", flush=True)
    if made.certificate:
        print(f"{path.name}: {made.certificate}", flush=True)
    for note in (*made.notes, *notes):
        print(f"overpaint: note: {path.name}: {note}", file=sys.stderr)


def told(result: Result) -> None:
    """Say what a run took."""
    stages = ", ".join(f"{name} {seconds:.2f}" for name, seconds in result.timings.items())
    print(f"{len(result.plan)} model evaluations an image; seconds: {stages}", flush=True)


def embedding_hashes(embeddings: Sequence[Path]) -> list[str]:
    """The hashes of textual inversions' files; raises `InputError` for one that cannot be read."""
    import hashlib

    from ..engines.base import InputError

    try:
        return [hashlib.sha256(path.read_bytes()).hexdigest() for path in embeddings]
    except OSError as exc:
        raise InputError(f"{exc.filename}: cannot be read ({exc.strerror}); check the path") from exc


def numbers(text: str) -> tuple[float, ...]:
    """Numbers with commas between them."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of numbers, such as 0.7,0.5") from None
