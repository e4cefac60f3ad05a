"""What the commands that make bundles share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .common import extra
from .console import report
from .values import count, seed

if TYPE_CHECKING:
    from ..bundles.manifest import Bundle


CALIBRATION = ("pictures", "prompts", "samples", "held_out", "seed", "graphs", "limit")


def quantizer(
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
        from ..export.int8.quantize import Calibration, quantizable, quantize_bundle
    from ..runtime.diagnostics.calibration import LOADING, PROMPTS, read_pictures, read_prompts, record
    from ..runtime.diagnostics.demo import EXAMPLES
    from ..runtime.pipeline import load

    shown = read_pictures(pictures or EXAMPLES)
    asked = read_prompts(prompts) if prompts else PROMPTS
    told = f"{samples} steps of runs with {len(shown)} pictures and {len(asked)} prompts, seed {seed}"

    def run(source: Path, target: Path, overwrite: bool) -> Bundle:
        def calibrate() -> Calibration:
            pipe = load(source, verify=False, **LOADING)
            fed = record(pipe, shown, asked, count=samples + held_out, seed=seed, report=report)
            wanted = {graph: fed[graph] for graph in graphs or quantizable(pipe.bundle)}
            return Calibration.split(wanted, held_out / (samples + held_out), told)

        return quantize_bundle(
            source, target, calibrate, graphs=graphs, limit=limit, overwrite=overwrite, report=report
        )

    return run


def add_bundle(parser: Any) -> None:
    """The bundle that is made, and its graphs' numbers."""
    parser.add_argument("bundle", type=Path, help="the folder to make")
    parser.add_argument(
        "--precision", choices=("float32", "float16"), default="float32", help="of the arithmetic (float32)"
    )
    parser.add_argument("--weights", choices=("float32", "float16"), help="of the stored weights (as --precision)")
    parser.add_argument(
        "--opset", type=int, default=23, metavar="N", help="of ONNX, 18 to 23; 23 has fused attention (23)"
    )


def add_replacing(parser: Any) -> None:
    """What becomes of a bundle that is there."""
    parser.add_argument("--overwrite", action="store_true", help="replace a bundle that is there")


def add_calibration(parser: Any) -> None:
    """How int8 is calibrated."""
    add_replacing(parser)
    options = parser.add_argument_group("calibration of int8")
    options.add_argument("--pictures", type=Path, metavar="DIR", help="pictures to repaint (those of the package)")
    options.add_argument("--prompts", type=Path, metavar="FILE", help="prompts, one a line (emoji in several styles)")
    options.add_argument("--samples", type=count, default=64, metavar="N", help="steps to find the scales on (64)")
    options.add_argument("--held-out", type=count, default=16, metavar="N", help="steps to measure errors on (16)")
    options.add_argument("--seed", type=seed, default=0, metavar="N", help="of what is recorded (0); -1 draws one")
    add_graphs(options, "the U-Net and both halves of the VAE")
    options.add_argument(
        "--limit",
        type=float,
        metavar="E",
        help="a graph's relative error up to which its blocks are quantised (0.025 for the U-Net, 0.012 for the VAE)",
    )


def add_graphs(parser: Any, usual: str) -> None:
    """Which graphs; `usual` names those without a choice."""
    parser.add_argument(
        "--graph",
        dest="graphs",
        metavar="NAME",
        action="extend",
        nargs="+",
        default=[],
        help=f"only these graphs ({usual})",
    )
