"""A bundle becomes one whose U-Net is int8: calibrated on recorded steps, sensitive blocks kept out by measurement."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from onnxscript import ir

from .. import __version__
from ..engines.base import InputError
from ..engines.bundle import Bundle, Check, File, Graph, Receipt
from ..engines.profile import lengths_of
from .int8 import FLOAT, Feeds, Quantised
from .onnx import save
from .publish import check_space, publish, remove_stale, scratch
from .sensitivity import Choice, choose, outputs, pooled_error

Report = Callable[[str], None]

GRAPH = "unet"
LIMIT = 0.035


@dataclass(frozen=True)
class Calibration:
    """Feeds of the U-Net from real runs: those to find the scales with, others to measure errors on, and where all of
    them come from, for the manifest."""

    fitted: Sequence[Feeds]
    held_out: Sequence[Feeds]
    source: str


def quantize_bundle(
    source: Path,
    target: Path,
    calibrate: Callable[[], Calibration],
    *,
    limit: float = LIMIT,
    overwrite: bool = False,
    report: Report = lambda stage: None,
) -> Bundle:
    """Write the bundle `source` with its U-Net in int8 to the folder `target` and read it back.

    `calibrate` is called once everything else is known to be in order. Blocks of the U-Net stay in float where its
    relative error, on the held-out feeds, would exceed `limit`; which ones, and their errors, are in the manifest's
    origin. The folder appears whole or not at all. Raises `InputError` for a bundle or a limit that cannot be used and
    for a target that exists, `BundleError` for a broken bundle, `ExportError` where the limit cannot be met or a
    library is missing, `OutputError` where the disk is full or refuses.
    """
    source, target = Path(source), Path(target)
    bundle = Bundle.read(source)
    graph = _checked(bundle, limit)
    remove_stale(target)
    with publish(target, overwrite) as folder:
        check_space(target, _size(bundle, graph))
        calibration = calibrate()
        for file in bundle.files():
            if file not in (graph.file, *graph.data):
                (folder / file.path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source / file.path, folder / file.path)
        with scratch(target) as work:
            made, choice = _quantise(source, graph, calibration, limit, folder, work, report)
        origin = {**bundle.model.origin, **_origin(calibration, choice)}
        model = replace(bundle.model, name=target.name, origin=origin)
        graphs = {**bundle.graphs, GRAPH: made}
        Bundle(folder, model, bundle.tokenizer, graphs, f"overpaint {__version__}").write_manifest()
    return Bundle.read(target, verify=False)


def _checked(bundle: Bundle, limit: float) -> Graph:
    """The graph to quantise; raises `InputError` where it cannot be, or the limit is none."""
    if not (math.isfinite(limit) and limit > 0):
        raise InputError(f"limit must be a number above 0, not {limit!r}")
    graph = bundle.graph(GRAPH)
    if graph.precision == "int8":
        raise InputError(f"{bundle.folder}: its U-Net is int8 already; quantise the bundle that it was made from")
    if graph.precision != "float32":
        raise InputError(
            f"{bundle.folder}: its U-Net computes in {graph.precision}, int8 is made from float32; export again with "
            "--precision float32 (its weights may be float16)"
        )
    return graph


def _size(bundle: Bundle, graph: Graph) -> int:
    """The most bytes that the new bundle and the working folder take together."""
    full = graph.size * (2 if graph.weights == "float16" else 1)
    return sum(file.size for file in bundle.files()) + 2 * full


def _quantise(
    source: Path, graph: Graph, calibration: Calibration, limit: float, folder: Path, work: Path, report: Report
) -> tuple[Graph, Choice]:
    held_out = [_one_row(feeds, index) for index, feeds in enumerate(calibration.held_out)]
    report(f"{GRAPH}: finding scales on {len(calibration.fitted)} recorded steps")
    quantised = Quantised(source / graph.file.path, work, calibration.fitted)
    blocks = len({layer.block for layer in quantised.layers})
    report(f"{GRAPH}: measuring {blocks} blocks, and what is in the worst, by {len(held_out)} evaluations each")
    choice = choose(quantised, held_out, limit, report)
    report(f"{GRAPH}: writing, {choice.share:.1%} of the arithmetic in int8; kept out: {_named(choice)}")
    path = folder / graph.file.path
    model = ir.external_data.load_to_model(ir.load(quantised.write(choice.int8)))
    data = save(model, path, graph.weights)
    report(f"{GRAPH}: verifying")
    made = replace(
        graph,
        file=File.of(folder, path.name),
        data=tuple(File.of(folder, name) for name in data),
        precision="int8",
        weights="int8",
        receipt=_receipt(path, work / FLOAT, graph, held_out, limit),
    )
    return made, choice


def _receipt(path: Path, source: Path, graph: Graph, held_out: Sequence[Feeds], limit: float) -> Receipt:
    error = pooled_error(outputs(path, held_out), outputs(source, held_out))
    check = Check(lengths_of(GRAPH, graph.inputs, held_out[0]), error)
    return Receipt(f"the float32 graph {graph.sha256[:10]}, recorded steps", limit, (check,))


def _one_row(feeds: Feeds, index: int) -> Feeds:
    """One row of many, without the prompt and with it by turns: half the time of both."""
    row = index % len(feeds["timestep"])
    return {name: array[row : row + 1] for name, array in feeds.items()}


def _origin(calibration: Calibration, choice: Choice) -> dict[str, str]:
    return {
        "int8": f"nncf {version('nncf')}, {calibration.source}; {choice.share:.1%} of the U-Net's arithmetic; "
        f"relative error {choice.error:.2g}, with all of it {choice.full_error:.2g}",
        "kept out of int8": _named(choice),
    }


def _named(choice: Choice) -> str:
    return "; ".join(map(str, choice.kept_out)) or "nothing"
