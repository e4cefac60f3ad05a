"""The `overpaint` command: one function a command; each parses, calls and prints."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import __version__

if TYPE_CHECKING:
    from .engines.bundle import Bundle
    from .runtime.pipeline import Run
    from .runtime.request import Result

# Options that are handed on to `overpaint.load`.
ENGINE = ("engine", "device", "precision", "threads", "verify")
DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
CALIBRATION = ("pictures", "prompts", "samples", "held_out", "seed", "limit")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 done, 1 failed, 2 bad usage, 130 interrupted."""
    arguments = vars(_parser().parse_args(argv))
    command = arguments.pop("command")
    if "threads" in arguments:
        arguments["engine"] = {name: arguments.pop(name) for name in ENGINE}
    from .engines.base import InputError, OverpaintError

    try:
        command(**arguments)
    except OverpaintError as exc:
        print(f"overpaint: {exc}", file=sys.stderr)
        return USAGE if isinstance(exc, InputError) else FAILED
    except KeyboardInterrupt:
        print("overpaint: interrupted; nothing half-written is left", file=sys.stderr)
        return INTERRUPTED
    return DONE


def img2img(
    images: list[Path],
    prompt: str,
    output: Path,
    n: int,
    batch: int,
    seed: int | None,
    negative_prompt: str,
    quality: int,
    strip_metadata: bool,
    model: str,
    engine: dict[str, Any],
    **options: Any,
) -> None:
    """Repaint pictures and write what comes out."""
    from .runtime.imaging.codec import read
    from .runtime.imaging.output import check_writable, numbered, write
    from .runtime.load import load
    from .runtime.request import expand

    pictures = [read(image) for image in images]
    requests = expand(pictures, [prompt], [negative_prompt], seed, n, options)
    paths = numbered(output, len(requests))
    for path in paths:
        check_writable(path)
    # One size, one run: a graph compiled for it alone pays at once.
    alone = len(requests) <= batch and len({request.size or request.image.size for request in requests}) == 1
    pipe = load(model, shapes="static" if alone else "auto", **engine)
    # All runs are made, and so checked, before the first begins; each run's pictures are written when it ends.
    runs = [pipe.run(requests[start : start + batch]) for start in range(0, len(requests), batch)]
    tasks = [task for run in runs for task in run.tasks]
    for path, task in zip(paths, tasks, strict=True):
        check_writable(path, task.placement.size, None if strip_metadata else task.parameters)
    waiting = iter(paths)
    for result in _results(runs):
        for made in result.outputs:
            path = next(waiting)
            notes = write(path, made.image, made.parameters, quality=quality, strip=strip_metadata)
            print(f"{path}  seed {made.request.seed}", flush=True)
            for note in (*made.notes, *notes):
                print(f"overpaint: note: {path.name}: {note}", file=sys.stderr)
        stages = ", ".join(f"{name} {seconds:.2f}" for name, seconds in result.timings.items())
        print(f"{len(result.plan)} model evaluations an image; seconds: {stages}", flush=True)


def plan(model: str, sampler: str | None, coefficients: bool, **options: Any) -> None:
    """Print the table that a request would run, without running it."""
    from .engines.bundle import Bundle
    from .runtime.load import find, read_schedule
    from .runtime.sampling.compile import compile_plan

    bundle = Bundle.read(find(model), verify=False)
    made = compile_plan(read_schedule(bundle), sampler=sampler or bundle.model.default_sampler, **options)
    print(made.table(coefficients=True) if coefficients else made)


def info(bundle: str, engines: bool) -> None:
    """Print what is inside a bundle, every file compared with its hash, or which engines can run it here."""
    from .engines.auto import candidates
    from .engines.bundle import Bundle
    from .runtime.load import find

    found = Bundle.read(find(bundle))
    if not engines:
        print(found.describe())
        return
    chosen = False
    for candidate in candidates(found):
        state = candidate.obstacle or ("usable" if chosen else "chosen: the fastest of those that can run here")
        chosen = chosen or not candidate.obstacle
        print(f"{candidate.engine} on {candidate.device}: {state}")


def verify(bundle: str, engines: list[str], precision: str | None) -> None:
    """Compare the engines that can run a bundle here: every graph at several shapes, and a finished picture."""
    from .engines.base import EngineError
    from .engines.bundle import Bundle
    from .runtime.load import find
    from .runtime.verify import verify as run

    made = run(Bundle.read(find(bundle)), engines, precision, lambda line: print(line, flush=True))
    if failed := sum(not comparison.passed for comparison in made):
        raise EngineError(f"{failed} of {len(made)} comparisons failed; run those graphs on another engine")


def export(checkpoint: Path, bundle: Path, int8: bool, overwrite: bool, **options: Any) -> None:
    """Turn a checkpoint into a bundle."""
    from .engines.base import InputError

    with _extra("export"):
        from .export import export_bundle
        from .export.publish import check_target, scratch
    calibration = {name: options.pop(name) for name in CALIBRATION}
    if not int8:
        print(export_bundle(checkpoint, bundle, overwrite=overwrite, report=_report, **options).describe())
        return
    if options["precision"] != "float32":
        raise InputError(f"int8 is made from a float32 graph, not from {options['precision']}; leave out the precision")
    quantizer = _quantizer(**calibration)
    check_target(bundle, overwrite)
    with scratch(bundle) as folder:
        exported = export_bundle(checkpoint, folder / bundle.name, report=_report, **options)
        print(quantizer(exported.folder, bundle, overwrite).describe())


def quantize(bundle: str, target: Path, overwrite: bool, **calibration: Any) -> None:
    """Turn a bundle into one whose U-Net is int8, calibrated on runs of its own."""
    from .runtime.load import find

    print(_quantizer(**calibration)(find(bundle), target, overwrite).describe())


def build(
    bundle: str,
    builder: str,
    words: list[str],
    batch: str,
    graphs: list[str],
    refittable: bool,
    weightless: bool,
    processors: list[str],
) -> None:
    """Build engines for a bundle, and print each with its size and the seconds it took."""
    from tqdm import tqdm

    from .engines.base import InputError
    from .engines.bundle import Bundle
    from .engines.profile import Sizes, parse_batch
    from .export.tensorrt import build as run
    from .export.tensorrt import target
    from .runtime.load import find

    opened = Bundle.read(find(bundle))
    if builder == "onnxruntime":
        if words or graphs or processors or refittable or weightless or batch != "1":
            raise InputError("onnxruntime's variants are for every size, and have no options; leave them out")
        _build_variants(opened)
        return
    sizes = [Sizes.parse(word) for word in words] or [Sizes(opened.model.default_size, opened.model.default_size)]
    aim = target(builder, refittable=refittable, weightless=weightless, processors=processors)
    with _shares() as report:
        for made in run(opened, aim, sizes, parse_batch(batch), graphs, report=report, waiting=_waiting):
            effort = f"built in {made.seconds:.1f} s" if made.seconds else "was there"
            line = f"{made.graph}: {made.size / 1e6:.1f} MB, {effort}, {made.path}"
            with tqdm.external_write_mode():
                print("\n  ".join([line, *map(str, made.profiles)]), flush=True)


def _build_variants(bundle: Bundle) -> None:
    with _extra("export"):
        from .export.fuse import build_onnxruntime
    for path in build_onnxruntime(bundle, _report):
        print(path, flush=True)


def bench(
    model: str,
    size: tuple[int, int] | None,
    repeats: int,
    warmup: int,
    record: Path | None,
    engine: dict[str, Any],
    **options: Any,
) -> None:
    """Time a bundle on this machine: seconds by stage, the first picture, pictures a second, peak memory."""
    from .runtime.bench import bench as measure
    from .runtime.imaging.output import check_place, replace

    if record:
        check_place(record)

    loading = {"shapes": "static", **engine}
    report = measure(model, size=size, repeats=repeats, warmup=warmup, loading=loading, progress=_report, **options)
    print(report.table())
    if record:
        replace(record, json.dumps(report.record(), indent=2).encode())


def demo(output: Path) -> None:
    """Repaint a picture and draw the contact sheet."""
    from .runtime.demo import demo as run

    for line in run(output):
        print(line, flush=True)


def _quantizer(
    pictures: Path | None, prompts: Path | None, samples: int, held_out: int, seed: int, limit: float
) -> Callable[[Path, Path, bool], Bundle]:
    """What quantises a bundle to a target; all that it needs is read, and so checked, beforehand."""
    with _extra("int8"):
        from .export.quantize import Calibration, quantize_bundle
    from .runtime.demo import EXAMPLES
    from .runtime.load import load
    from .runtime.trajectories import LOADING, PROMPTS, read_pictures, read_prompts, record

    shown = read_pictures(pictures or EXAMPLES)
    asked = read_prompts(prompts) if prompts else PROMPTS
    told = f"{samples} steps of runs with {len(shown)} pictures and {len(asked)} prompts, seed {seed}"

    def run(source: Path, target: Path, overwrite: bool) -> Bundle:
        def calibrate() -> Calibration:
            pipe = load(source, verify=False, **LOADING)
            feeds = record(pipe, shown, asked, count=samples + held_out, seed=seed, report=_report)
            return Calibration(feeds[:samples], feeds[samples:], told)

        return quantize_bundle(source, target, calibrate, limit=limit, overwrite=overwrite, report=_report)

    return run


@contextmanager
def _extra(name: str) -> Iterator[None]:
    """Say which extra to install where an import fails."""
    from .engines.base import ExportError

    try:
        yield
    except ImportError as exc:
        raise ExportError(f"{exc.name} is not installed; run: pip install 'overpaint[{name}]'") from exc


def _report(stage: str) -> None:
    print(stage, file=sys.stderr, flush=True)


def _results(runs: Sequence[Run]) -> Iterator[Result]:
    """Drive runs to their ends, with a progress bar on a terminal."""
    from tqdm import tqdm

    total = sum(len(task.plan) for run in runs for task in run.tasks)
    with tqdm(total=total, unit="eval", disable=not sys.stderr.isatty(), leave=False) as bar:
        for run in runs:
            for step in run:
                bar.set_postfix(sigma=f"{step.sigma:.3g}", refresh=False)
                bar.update()
            yield run.result()


@contextmanager
def _shares() -> Iterator[Callable[[str, float], bool]]:
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


def _waiting(name: str) -> None:
    print(f"{name}: another process is building it; waiting", file=sys.stderr, flush=True)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def _size(text: str) -> tuple[int, int]:
    try:
        width, height = (int(part) for part in text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not WIDTHxHEIGHT, such as 512x768") from None
    return width, height


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="overpaint", description="Repaint pictures with a latent-diffusion model.")
    parser.add_argument("--version", action="version", version=f"overpaint {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_img2img(commands)
    _add_plan(commands)
    _add_export(commands)
    _add_build(commands)
    _add_quantize(commands)
    _add_bench(commands)

    show = commands.add_parser("info", help="say what is inside a bundle", description=info.__doc__)
    show.add_argument("bundle", help="a bundle's folder, or the name of a bundled one")
    show.add_argument("--engines", action="store_true", help="say instead which engines can run it here, and why")
    show.set_defaults(command=info)

    show = commands.add_parser("verify", help="compare engines with one another", description=verify.__doc__)
    show.add_argument("bundle", help="a bundle's folder, or the name of a bundled one")
    show.add_argument(
        "--engine", dest="engines", action="append", default=[], metavar="NAME", help="may be repeated (all usable)"
    )
    show.add_argument("--precision", metavar="NAME", help="float32, bfloat16 or float16 (the engine's fastest)")
    show.set_defaults(command=verify)

    show = commands.add_parser("demo", help="repaint a picture and draw a contact sheet", description=demo.__doc__)
    show.add_argument(
        "-o", "--out", dest="output", type=Path, default=Path("out"), help="folder for the pictures (out)"
    )
    show.set_defaults(command=demo)
    return parser


def _add_img2img(commands: Any) -> None:
    parser = commands.add_parser("img2img", help="repaint pictures", description=img2img.__doc__)
    parser.set_defaults(command=img2img)
    parser.add_argument("images", metavar="IN", nargs="+", type=Path, help="pictures to repaint")
    parser.add_argument("prompt", help="what they shall become")
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        type=Path,
        required=True,
        help="a .png, .jpg or .webp file; several images are numbered",
    )
    parser.add_argument(
        "--negative", dest="negative_prompt", metavar="PROMPT", default="", help="what they shall not be"
    )
    parser.add_argument("--seed", type=int, help="counts up over the images (default: drawn, and printed)")
    parser.add_argument("--n", type=int, default=1, help="images a picture (1)")
    parser.add_argument("--batch", type=_count, default=8, metavar="N", help="images that run together (8)")
    parser.add_argument("--size", type=_size, metavar="WxH", help="size of the result (default: the input's)")
    parser.add_argument(
        "--resize", dest="resize_mode", metavar="MODE", help="crop, pad, stretch or none (crop with --size)"
    )
    _add_sampling(parser)
    _add_guidance(parser)
    parser.add_argument("--guidance-rescale", type=float, default=0.0, metavar="R", help="0 to 1 (0)")
    parser.add_argument("--clip-skip", type=int, default=0, metavar="N", help="last text layers passed over (0)")
    parser.add_argument("--noise", default="cpu", metavar="KIND", help="whose seeds: cpu, gpu or field (cpu)")
    parser.add_argument(
        "--posterior", default="sample", metavar="HOW", help="the VAE's latents: sample or mode (sample)"
    )
    parser.add_argument(
        "--quality", type=int, default=95, choices=range(1, 101), metavar="Q", help="of JPEG and WebP, 1 to 100 (95)"
    )
    parser.add_argument("--strip-metadata", action="store_true", help="write no parameters into the files")
    _add_engine(parser)


def _add_engine(parser: Any) -> None:
    parser.add_argument(
        "--engine", default="auto", metavar="NAME", help="such as openvino or onnxruntime (the fastest)"
    )
    parser.add_argument("--device", metavar="NAME", help="cpu, gpu or cuda, as the engine has it")
    parser.add_argument("--precision", metavar="NAME", help="float32, bfloat16 or float16 (the engine's fastest)")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (all)")
    parser.add_argument(
        "--no-verify", dest="verify", action="store_false", help="do not compare files with their hashes"
    )


def _add_plan(commands: Any) -> None:
    parser = commands.add_parser("plan", help="print the table of a run without running it", description=plan.__doc__)
    parser.set_defaults(command=plan)
    parser.add_argument("--coefficients", action="store_true", help="print every line's equations too")
    _add_sampling(parser)


def _add_sampling(parser: Any) -> None:
    parser.add_argument("--model", default="tiny", help="a bundle's folder, or the name of a bundled one (tiny)")
    parser.add_argument(
        "--strength", type=float, default=0.6, metavar="S", help="0 keeps the picture, 1 ignores it (0.6)"
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


def _add_guidance(parser: Any) -> None:
    parser.add_argument(
        "--guidance",
        dest="guidance_scale",
        type=float,
        default=7.5,
        metavar="G",
        help="classifier-free guidance; at most 1 is none (7.5)",
    )


def _add_bench(commands: Any) -> None:
    parser = commands.add_parser("bench", help="time a bundle on this machine", description=bench.__doc__)
    parser.set_defaults(command=bench)
    parser.add_argument("--size", type=_size, metavar="WxH", help="of the pictures (the model's own)")
    parser.add_argument("--repeats", type=_count, default=5, metavar="N", help="pictures that count (5)")
    parser.add_argument("--warmup", type=_count, default=1, metavar="N", help="pictures before them (1)")
    parser.add_argument("--json", dest="record", metavar="FILE", type=Path, help="write the figures there too")
    _add_sampling(parser)
    _add_guidance(parser)
    _add_engine(parser)


def _add_export(commands: Any) -> None:
    parser = commands.add_parser("export", help="turn a checkpoint into a bundle", description=export.__doc__)
    parser.set_defaults(command=export)
    parser.add_argument(
        "checkpoint", type=Path, help="a diffusers folder or a .safetensors file of Stable Diffusion 1.x or 2.x"
    )
    parser.add_argument("bundle", type=Path, help="the folder to make")
    parser.add_argument(
        "--precision", choices=("float32", "float16"), default="float32", help="of the arithmetic (float32)"
    )
    parser.add_argument("--weights", choices=("float32", "float16"), help="of the stored weights (as --precision)")
    parser.add_argument(
        "--tokenizer", type=Path, metavar="DIR", help="a CLIP tokenizer's folder, for a .safetensors file"
    )
    parser.add_argument("--prediction-type", help="epsilon, v_prediction or sample, where the checkpoint does not say")
    parser.add_argument(
        "--opset", type=int, default=23, metavar="N", help="of ONNX, 18 to 23; 23 has fused attention (23)"
    )
    parser.add_argument("--int8", action="store_true", help="quantise the U-Net afterwards, as `quantize` does")
    _add_calibration(parser)


def _add_quantize(commands: Any) -> None:
    parser = commands.add_parser("quantize", help="turn a bundle's U-Net into int8", description=quantize.__doc__)
    parser.set_defaults(command=quantize)
    parser.add_argument("bundle", help="a float32 bundle's folder, or the name of a bundled one")
    parser.add_argument("target", type=Path, help="the folder to make")
    _add_calibration(parser)


def _add_calibration(parser: Any) -> None:
    parser.add_argument("--overwrite", action="store_true", help="replace a bundle that is there")
    options = parser.add_argument_group("calibration of int8")
    options.add_argument("--pictures", type=Path, metavar="DIR", help="pictures to repaint (those of the package)")
    options.add_argument("--prompts", type=Path, metavar="FILE", help="prompts, one a line (emoji in several styles)")
    options.add_argument("--samples", type=_count, default=64, metavar="N", help="steps to find the scales on (64)")
    options.add_argument("--held-out", type=_count, default=16, metavar="N", help="steps to measure errors on (16)")
    options.add_argument("--seed", type=int, default=0, help="of what is recorded (0)")
    options.add_argument(
        "--limit",
        type=float,
        default=0.035,
        metavar="E",
        help="the U-Net's relative error up to which blocks are quantised (0.035)",
    )


def _add_build(commands: Any) -> None:
    parser = commands.add_parser("build", help="build a bundle's engines", description=build.__doc__)
    parser.set_defaults(command=build)
    parser.add_argument("bundle", help="a bundle's folder, or the name of a bundled one")
    parser.add_argument(
        "--engine",
        dest="builder",
        required=True,
        choices=("tensorrt", "tensorrt_rtx", "onnxruntime"),
        help="tensorrt needs the GPU that will run it; tensorrt_rtx builds on any machine, for desktops' GPUs; "
        "onnxruntime makes its graphs' faster variants, and takes no other options",
    )
    parser.add_argument(
        "--profile",
        dest="words",
        metavar="SIZES",
        action="append",
        default=[],
        help="pixels: 512, 512x768 (width x height), or from least to most 512-1024; may be repeated "
        "(default: the model's usual size)",
    )
    parser.add_argument("--batch", default="1", metavar="N", help="pictures that run together, such as 1-4 (1)")
    parser.add_argument(
        "--graph", dest="graphs", metavar="NAME", action="extend", nargs="+", default=[], help="only these graphs (all)"
    )
    parser.add_argument("--refittable", action="store_true", help="weights can be replaced; needs a GPU to build")
    parser.add_argument(
        "--weightless", action="store_true", help="weights are taken from the bundle at load; needs a GPU to build"
    )
    parser.add_argument(
        "--processor",
        dest="processors",
        metavar="NAME",
        action="extend",
        nargs="+",
        default=[],
        help="of tensorrt_rtx: GPUs by compute capability, such as sm_75 (all from sm_80 on)",
    )


if __name__ == "__main__":
    sys.exit(main())
