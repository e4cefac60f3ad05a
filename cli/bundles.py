"""Commands that make bundles and engines, and look into them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .common import extra
from .console import bar, report, waiting
from .values import count, seed

if TYPE_CHECKING:
    from ..bundles.manifest import Bundle, Graphs

CALIBRATION = ("pictures", "prompts", "samples", "held_out", "seed", "graphs", "limit")


def info(bundle: str, engines: bool) -> None:
    """Print what is inside a bundle, every file compared with its hash, or which engines can run it here."""
    from ..bundles.upscaler import open_bundle
    from ..engines.select import candidates
    from ..runtime.model.load import find

    found = open_bundle(find(bundle))
    if not engines:
        print(found.describe())
        return
    chosen = False
    for candidate in candidates(found):
        state = candidate.obstacle or ("usable" if chosen else "chosen: the fastest of those that can run here")
        chosen = chosen or not candidate.obstacle
        print(f"{candidate.engine} on {candidate.device}: {state}")


def verify(bundle: str, engines: list[str], precision: str | None, device: str | None) -> None:
    """Compare the engines that can run a bundle here: every graph at several shapes, and a finished picture."""
    from ..bundles.manifest import Bundle
    from ..errors import EngineError
    from ..runtime.diagnostics.verify import verify as run
    from ..runtime.model.load import find

    made = run(Bundle.read(find(bundle)), engines, precision, lambda line: print(line, flush=True), device)
    if failed := sum(not comparison.passed for comparison in made):
        raise EngineError(f"{failed} of {len(made)} comparisons failed; run those graphs on another engine")


def export(checkpoint: Path, bundle: Path, int8: bool, overwrite: bool, **options: Any) -> None:
    """Turn a checkpoint into a bundle."""
    from ..errors import InputError

    with extra("export"):
        from ..export import export_bundle
        from ..export.publish import check_target, scratch
    calibration = {name: options.pop(name) for name in CALIBRATION}
    if not int8:
        print(export_bundle(checkpoint, bundle, overwrite=overwrite, report=report, **options).describe())
        return
    if options["precision"] != "float32":
        raise InputError(f"int8 is made from a float32 graph, not from {options['precision']}; leave out the precision")
    quantizer = _quantizer(**calibration)
    check_target(bundle, overwrite)
    with scratch(bundle) as folder:
        exported = export_bundle(checkpoint, folder / bundle.name, report=report, **options)
        print(quantizer(exported.folder, bundle, overwrite).describe())


def export_upscaler(checkpoint: Path, bundle: Path, **options: Any) -> None:
    """Turn an upscaler's weights into a bundle."""
    with extra("export"):
        from ..export.upscaler import export_upscaler as run
    print(run(checkpoint, bundle, report=report, **options).describe())


def quantize(bundle: str, target: Path, overwrite: bool, **calibration: Any) -> None:
    """Turn a bundle into one whose U-Net and VAE are int8, calibrated on runs of its own."""
    from ..runtime.model.load import find

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

    from ..bundles.profile import Sizes, parse_batch
    from ..bundles.upscaler import open_bundle
    from ..errors import InputError
    from ..export.tensorrt import build as run
    from ..export.tensorrt import target
    from ..runtime.model.load import find

    opened = open_bundle(find(bundle))
    if builder == "onnxruntime":
        if words or graphs or processors or refittable or weightless or batch != "1":
            raise InputError("onnxruntime's variants are for every size, and have no options; leave them out")
        _build_variants(opened)
        return
    sizes = [Sizes.parse(word) for word in words] or [Sizes(opened.model.default_size, opened.model.default_size)]
    aim = target(builder, refittable=refittable, weightless=weightless, processors=processors)
    with bar() as report:
        for made in run(opened, aim, sizes, parse_batch(batch), graphs, report=report, waiting=waiting):
            effort = f"built in {made.seconds:.1f} s" if made.seconds else "was there"
            line = f"{made.graph}: {made.size / 1e6:.1f} MB, {effort}, {made.path}"
            with tqdm.external_write_mode():
                print("\n  ".join([line, *map(str, made.profiles)]), flush=True)


def _build_variants(bundle: Graphs) -> None:
    with extra("export"):
        from ..export.fusion.fuse import build_onnxruntime
    for path in build_onnxruntime(bundle, report):
        print(path, flush=True)


def _quantizer(
    pictures: Path | None,
    prompts: Path | None,
    samples: int,
    held_out: int,
    seed: int,
    graphs: list[str],
    limit: float | None,
) -> Callable[[Path, Path, bool], Bundle]:
    """What quantises a bundle to a target; all that it needs is read, and so checked, beforehand."""
    with extra("int8"):
        from ..export.int8.quantize import LIMITS, Calibration, quantize_bundle
    from ..runtime.diagnostics.calibration import LOADING, PROMPTS, read_pictures, read_prompts, record
    from ..runtime.diagnostics.demo import EXAMPLES
    from ..runtime.model.load import load

    shown = read_pictures(pictures or EXAMPLES)
    asked = read_prompts(prompts) if prompts else PROMPTS
    chosen = graphs or list(LIMITS)
    told = f"{samples} steps of runs with {len(shown)} pictures and {len(asked)} prompts, seed {seed}"

    def run(source: Path, target: Path, overwrite: bool) -> Bundle:
        def calibrate() -> Calibration:
            pipe = load(source, verify=False, **LOADING)
            fed = record(pipe, shown, asked, count=samples + held_out, seed=seed, report=report)
            wanted = {graph: fed[graph] for graph in chosen}
            return Calibration.split(wanted, held_out / (samples + held_out), told)

        return quantize_bundle(
            source, target, calibrate, graphs=chosen, limit=limit, overwrite=overwrite, report=report
        )

    return run


def add(commands: Any) -> None:
    """Add this file's commands to the parser's."""
    _add_export(commands)
    _add_export_upscaler(commands)
    _add_build(commands)
    _add_quantize(commands)
    _add_info(commands)
    _add_verify(commands)


def _add_export(commands: Any) -> None:
    parser = commands.add_parser("export", help="turn a checkpoint into a bundle", description=export.__doc__)
    parser.set_defaults(command=export)
    parser.add_argument(
        "checkpoint", type=Path, help="a diffusers folder or a .safetensors file of Stable Diffusion 1.x or 2.x"
    )
    _add_output(parser)
    parser.add_argument(
        "--tokenizer",
        type=Path,
        metavar="DIR",
        help="a tokenizer's folder (the checkpoint's own; of a .safetensors file CLIP's)",
    )
    parser.add_argument("--prediction-type", help="epsilon, v_prediction or sample, where the checkpoint does not say")
    parser.add_argument(
        "--zero-snr",
        action=argparse.BooleanOptionalAction,
        help="the noise schedule ends at zero terminal SNR (what the checkpoint says)",
    )
    parser.add_argument(
        "--default",
        dest="defaults",
        metavar="[USE.]NAME=VALUE",
        action="append",
        default=[],
        help="what users get who say nothing: steps, guidance_scale or strength, of all uses or of img2img, inpaint, "
        "outpaint or upscale, such as guidance_scale=3 or upscale.strength=0.2; may be repeated",
    )
    parser.add_argument("--int8", action="store_true", help="quantise it afterwards, as `quantize` does")
    _add_calibration(parser)


def _add_export_upscaler(commands: Any) -> None:
    parser = commands.add_parser(
        "export-upscaler", help="turn an upscaler into a bundle", description=export_upscaler.__doc__
    )
    parser.set_defaults(command=export_upscaler)
    parser.add_argument(
        "checkpoint", type=Path, help="a .safetensors or .pth file of the ESRGAN family (RRDBNet or SRVGGNetCompact)"
    )
    _add_output(parser)
    _add_overwrite(parser)


def _add_output(parser: Any) -> None:
    parser.add_argument("bundle", type=Path, help="the folder to make")
    parser.add_argument(
        "--precision", choices=("float32", "float16"), default="float32", help="of the arithmetic (float32)"
    )
    parser.add_argument("--weights", choices=("float32", "float16"), help="of the stored weights (as --precision)")
    parser.add_argument(
        "--opset", type=int, default=23, metavar="N", help="of ONNX, 18 to 23; 23 has fused attention (23)"
    )


def _add_overwrite(parser: Any) -> None:
    parser.add_argument("--overwrite", action="store_true", help="replace a bundle that is there")


def _add_quantize(commands: Any) -> None:
    parser = commands.add_parser(
        "quantize", help="turn a bundle's U-Net and VAE into int8", description=quantize.__doc__
    )
    parser.set_defaults(command=quantize)
    parser.add_argument("bundle", help="a float32 bundle's folder, or the name of a bundled one")
    parser.add_argument("target", type=Path, help="the folder to make")
    _add_calibration(parser)


def _add_calibration(parser: Any) -> None:
    _add_overwrite(parser)
    options = parser.add_argument_group("calibration of int8")
    options.add_argument("--pictures", type=Path, metavar="DIR", help="pictures to repaint (those of the package)")
    options.add_argument("--prompts", type=Path, metavar="FILE", help="prompts, one a line (emoji in several styles)")
    options.add_argument("--samples", type=count, default=64, metavar="N", help="steps to find the scales on (64)")
    options.add_argument("--held-out", type=count, default=16, metavar="N", help="steps to measure errors on (16)")
    options.add_argument("--seed", type=seed, default=0, metavar="N", help="of what is recorded (0); -1 draws one")
    _add_graphs(options, "the U-Net and both halves of the VAE")
    options.add_argument(
        "--limit",
        type=float,
        metavar="E",
        help="a graph's relative error up to which its blocks are quantised (0.025 for the U-Net, 0.012 for the VAE)",
    )


def _add_graphs(parser: Any, usual: str) -> None:
    parser.add_argument(
        "--graph",
        dest="graphs",
        metavar="NAME",
        action="extend",
        nargs="+",
        default=[],
        help=f"only these graphs ({usual})",
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
    _add_graphs(parser, "all")
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


def _add_info(commands: Any) -> None:
    parser = commands.add_parser("info", help="say what is inside a bundle", description=info.__doc__)
    parser.add_argument("bundle", help="a bundle's folder, or the name of a bundled one")
    parser.add_argument("--engines", action="store_true", help="say instead which engines can run it here, and why")
    parser.set_defaults(command=info)


def _add_verify(commands: Any) -> None:
    parser = commands.add_parser("verify", help="compare engines with one another", description=verify.__doc__)
    parser.add_argument("bundle", help="a bundle's folder, or the name of a bundled one")
    parser.add_argument(
        "--engine", dest="engines", action="append", default=[], metavar="NAME", help="may be repeated (all usable)"
    )
    parser.add_argument("--precision", metavar="NAME", help="float32, bfloat16 or float16 (the engine's fastest)")
    parser.add_argument("--device", metavar="NAME", help="cpu or cuda (all that can run here)")
    parser.set_defaults(command=verify)
