"""A bundle becomes one in int8, its U-Net and VAE: calibrated on real runs, sensitive blocks kept out as measured."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from onnxscript import ir

from ...bundles.graph import DENOISER, VAE_DECODER, VAE_ENCODER, Check, File, Graph, Receipt
from ...bundles.manifest import Bundle
from ...bundles.profile import lengths_of
from ...errors import InputError, unknown
from ...version import __version__
from ..onnx import save
from ..publish import check_space, publish, remove_stale, scratch
from .graph import FLOAT, Feeds, Quantised
from .sensitivity import Choice, choose, outputs, pooled_error

Report = Callable[[str], None]

# The roles of the graphs there may be int8 of, each with the relative error that it may have. The VAE's is seen in the
# picture as it is, and its few small layers that cause most of it cost nothing in float.
LIMITS = {DENOISER: 0.025, VAE_ENCODER: 0.012, VAE_DECODER: 0.012}


@dataclass(frozen=True)
class Calibration:
    """What each graph is fed in real runs: some to find its scales with, others to measure its error on, and where all
    of them come from, for the manifest."""

    fitted: Mapping[str, Sequence[Feeds]]
    held_out: Mapping[str, Sequence[Feeds]]
    source: str

    @classmethod
    def split(cls, recorded: Mapping[str, Sequence[Feeds]], fraction: float, source: str) -> Calibration:
        """Hold out the last `fraction` of every graph's feeds, at least one; raises `InputError` where one is all."""
        for name, feeds in recorded.items():
            if len(feeds) < 2:
                raise InputError(
                    f"{name}: int8 takes two pictures or more, some to find scales with and others to measure errors "
                    "on; add pictures, or name the other graphs with --graph"
                )
        kept = {name: len(feeds) - max(1, round(fraction * len(feeds))) for name, feeds in recorded.items()}
        fitted = {name: feeds[: kept[name]] for name, feeds in recorded.items()}
        return cls(fitted, {name: feeds[kept[name] :] for name, feeds in recorded.items()}, source)


def quantize_bundle(
    source: Path,
    target: Path,
    calibrate: Callable[[], Calibration],
    *,
    graphs: Collection[str] = (),
    limit: float | None = None,
    overwrite: bool = False,
    report: Report = lambda stage: None,
) -> Bundle:
    """Write the bundle `source` with some of its graphs in int8 to the folder `target` and read it back.

    `graphs` are their names (none: those of the roles in `LIMITS`).

    `calibrate` is called once everything else is known to be in order. Blocks of a graph stay in float where its
    relative error, on the held-out feeds, would exceed `limit`, or without one that of `LIMITS`; which ones, and their
    errors, are in the manifest's origin. The folder appears whole or not at all. Raises `InputError` for a bundle, a
    graph or a limit that cannot be used and for a target that exists, `BundleError` for a broken bundle, `ExportError`
    where the limit cannot be met or a library is missing, `OutputError` where the disk is full or refuses.
    """
    source, target = Path(source), Path(target)
    bundle = Bundle.read(source)
    chosen = _checked(bundle, graphs, limit)
    remove_stale(target)
    with publish(target, overwrite) as folder:
        check_space(target, _size(bundle, chosen))
        calibration = calibrate()
        replaced = {file for graph in chosen.values() for file in (graph.file, *graph.data)}
        for file in bundle.files():
            if file not in replaced:
                (folder / file.path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source / file.path, folder / file.path)
        quantised, origin = {}, {"int8": f"nncf {version('nncf')}, {calibration.source}"}
        for name, graph in chosen.items():
            with scratch(target) as work:
                feeds = calibration.fitted[name], calibration.held_out[name]
                most = limit or LIMITS[graph.role]
                quantised[name], choice = _quantise(name, source, graph, feeds, most, folder, work, report)
            origin[f"int8 {name}"] = _described(choice)
        model = replace(bundle.model, name=target.name, origin={**bundle.model.origin, **origin})
        written = Bundle(folder, model, {**bundle.graphs, **quantised}, f"overpaint {__version__}")
        written.write_manifest()
    return Bundle.read(target, verify=False)


def quantizable(bundle: Bundle) -> list[str]:
    """The names of the graphs of a bundle that there may be int8 of."""
    return [name for name, graph in bundle.graphs.items() if graph.role in LIMITS]


def _checked(bundle: Bundle, names: Collection[str], limit: float | None) -> dict[str, Graph]:
    """The graphs to quantise; raises `InputError` where one of them cannot be, or the limit is none."""
    if limit is not None and not (math.isfinite(limit) and limit > 0):
        raise InputError(f"limit must be a number above 0, not {limit!r}")
    able = quantizable(bundle)
    for name in names:
        if name not in able:
            raise unknown("graph for int8", name, able)
    chosen = {name: bundle.graph(name) for name in able if name in (names or able)}
    for name, graph in chosen.items():
        if graph.precision == "int8":
            raise InputError(f"{bundle.folder}: {name} is int8 already; quantise the bundle that it was made from")
        if graph.precision != "float32":
            raise InputError(
                f"{bundle.folder}: {name} computes in {graph.precision}, int8 is made from float32; export again with "
                "--precision float32 (its weights may be float16)"
            )
    return chosen


def _size(bundle: Bundle, chosen: Mapping[str, Graph]) -> int:
    """The most bytes that the new bundle and the working folder take together."""
    full = max(graph.size * (2 if graph.weights == "float16" else 1) for graph in chosen.values())
    return sum(file.size for file in bundle.files()) + 2 * full


def _quantise(
    name: str,
    source: Path,
    graph: Graph,
    feeds: tuple[Sequence[Feeds], Sequence[Feeds]],
    limit: float,
    folder: Path,
    work: Path,
    report: Report,
) -> tuple[Graph, Choice]:
    def tell(stage: str) -> None:
        report(f"{name}: {stage}")

    fitted, held_out = feeds[0], [_one_row(one, index) for index, one in enumerate(feeds[1])]
    tell(f"finding scales on {len(fitted)} recorded evaluations")
    quantised = Quantised(source / graph.file.path, work, fitted)
    blocks = len({layer.block for layer in quantised.layers})
    tell(f"measuring {blocks} blocks, and what is in the worst, by {len(held_out)} evaluations each")
    choice = choose(quantised, held_out, limit, tell)
    tell(f"writing, {_described(choice)}")
    path = folder / graph.file.path
    model = ir.external_data.load_to_model(ir.load(quantised.write(choice.int8)))
    data = save(model, path, graph.weights)
    tell("verifying")
    written = replace(
        graph,
        file=File.of(folder, path.name),
        data=tuple(File.of(folder, name) for name in data),
        precision="int8",
        weights="int8",
        stored=(),
        receipt=_receipt(name, path, work / FLOAT, graph, held_out, limit),
    )
    return written, choice


def _receipt(name: str, path: Path, source: Path, graph: Graph, held_out: Sequence[Feeds], limit: float) -> Receipt:
    error = pooled_error(outputs(path, held_out), outputs(source, held_out))
    check = Check(lengths_of(name, graph.inputs, held_out[0]), error)
    return Receipt(f"the float32 graph {graph.sha256[:10]}, recorded evaluations", limit, (check,))


def _one_row(feeds: Feeds, index: int) -> Feeds:
    """One row of many, for the U-Net without the prompt and with it by turns: half the time of both."""
    row = index % len(next(iter(feeds.values())))
    return {name: array[row : row + 1] for name, array in feeds.items()}


def _described(choice: Choice) -> str:
    return (
        f"{choice.share:.1%} of the arithmetic; relative error {choice.error:.2g}, with all of it "
        f"{choice.full_error:.2g}; kept out: {'; '.join(map(str, choice.kept_out)) or 'nothing'}"
    )
