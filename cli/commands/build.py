"""The command that builds a bundle's engines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..common import extra
from ..console import bar, report, waiting
from ..exporting import add_graphs

if TYPE_CHECKING:
    from ...bundles.graph import Graph
    from ...bundles.manifest import Graphs
    from ...bundles.profile import Profile


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

    from ...bundles.kinds import open_bundle
    from ...bundles.sizes import Sizes, parse_batch
    from ...errors import InputError
    from ...export.tensorrt import build as run
    from ...export.tensorrt import target
    from ...runtime.model.load import find

    opened = open_bundle(find(bundle))
    if builder == "onnxruntime":
        if words or graphs or processors or refittable or weightless or batch != "1":
            raise InputError("onnxruntime's optimized graphs are for every size, and have no options; leave them out")
        _optimize(opened)
        return
    sizes = [Sizes.parse(word) for word in words] or [Sizes(opened.model.default_size, opened.model.default_size)]
    aim = target(builder, refittable=refittable, weightless=weightless, processors=processors)
    with bar() as report:
        for made in run(opened, aim, sizes, parse_batch(batch), graphs, report=report, waiting=waiting):
            effort = f"built in {made.seconds:.1f} s" if made.seconds else "was there"
            line = f"{made.graph}: {made.size / 1e6:.1f} MB, {effort}, {made.path}"
            with tqdm.external_write_mode():
                print("\n  ".join([line, *_shapes(opened.graphs[made.graph], made.profiles)]), flush=True)


def _shapes(graph: Graph, profiles: Sequence[Profile]) -> list[str]:
    """The profiles in words, without the axes of adapters, which follow the picture's."""
    from ...bundles.profile import Profile

    left_out, ending = graph.optional_axes, ", with adapters" if graph.optional else ""
    shown = [Profile({axis: each.axes[axis] for axis in each.axes if axis not in left_out}) for each in profiles]
    return [f"{profile}{ending}" for profile in shown]


def _optimize(bundle: Graphs) -> None:
    with extra("export"):
        from ...export.fusion.fuse import build_onnxruntime
    for path in build_onnxruntime(bundle, report):
        print(path, flush=True)


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser("build", help="build a bundle's engines", description=build.__doc__)
    parser.set_defaults(command=build)
    parser.add_argument("bundle", help="a bundle's folder, or the name of a bundled one")
    parser.add_argument(
        "--engine",
        dest="builder",
        required=True,
        choices=("tensorrt", "tensorrt_rtx", "onnxruntime"),
        help="tensorrt needs the GPU that will run it; tensorrt_rtx builds on any machine, for desktops' GPUs; "
        "onnxruntime writes optimized graphs, and takes no other options",
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
    add_graphs(parser, "all")
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
