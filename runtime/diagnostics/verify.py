"""Holds the engines that can run a bundle here against one another: each graph at several shapes, and a picture."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ...bundles.graph import DENOISER, Graph, Range
from ...bundles.manifest import Bundle
from ...bundles.profile import Profile
from ...bundles.store import Store, write_whole
from ...bundles.tensor import Array
from ...engines.arrays import to_device, to_host
from ...engines.base import Engine
from ...engines.compare import SEED, psnr, random_feeds, worst
from ...engines.registry import EngineOptions, open_engine
from ...engines.select import REFERENCE, Candidate, candidates
from ...errors import InputError, NoEngineError, OutputError, unknown
from ..pipeline import load

RECEIPT = "verified.json"
# What rounding may come to: the relative error of a graph's output, and the PSNR in dB of a finished picture.
TOLERANCES = {"float32": (1e-3, 50.0), "bfloat16": (5e-2, 30.0), "float16": (2e-2, 35.0), "int8": (1.5e-1, 25.0)}
PROMPT, STEPS = "a fox in the snow", 8

SOURCE = Candidate(*REFERENCE, None)

Report = Callable[[str], None]
Lengths = Mapping[str, int]
Outputs = dict[str, Array]


@dataclass(frozen=True)
class Comparison:
    """One engine against the reference: a graph at some lengths of its axes, or a picture ("picture", width, height).

    `measured` is the relative error ‖engine - reference‖₂ / ‖reference‖₂, the worst over the outputs, or the picture's
    PSNR in dB; `limit` is the most, or the least, that it may be.
    """

    engine: str
    what: str
    lengths: Lengths
    measured: float
    limit: float

    @property
    def passed(self) -> bool:
        """Whether the limit is kept; NaN does not keep it."""
        return self.measured >= self.limit if self.what == "picture" else self.measured <= self.limit

    def __str__(self) -> str:
        at = ", ".join(f"{axis} {length}" for axis, length in self.lengths.items())
        kept = "" if self.passed else f", FAILED: the limit is {self.limit:g}"
        value = f"PSNR {self.measured:.1f} dB" if self.what == "picture" else f"relative error {self.measured:.1e}"
        return f"{self.what} on {self.engine} at {at}: {value}{kept}"


def verify(
    bundle: Bundle,
    engines: Sequence[str] = (),
    precision: str | None = None,
    report: Report = lambda line: None,
    device: str | None = None,
) -> list[Comparison]:
    """Compare engines (all that can run here, or those named) with the reference, and write the receipt.

    `device` leaves the other devices out; None: all that can run here. The receipt is `verified.json` among the
    bundle's built engines. Raises `InputError` for a name that is unknown and where there is nothing to compare,
    `EngineError` for a named engine that cannot run here.
    """
    chosen = _chosen(bundle, engines, device)
    if chosen == [SOURCE]:
        report(f"{' on '.join(REFERENCE)} is the reference: it is compared with itself alone")
    made = []
    for name, graph in bundle.graphs.items():
        for comparison in _graph(bundle, name, graph, chosen, precision):
            report(str(comparison))
            made.append(comparison)
    for comparison in _pictures(bundle, chosen, precision):
        report(str(comparison))
        made.append(comparison)
    _write(Store.of(bundle.folder).folder / RECEIPT, made)
    return made


def _chosen(bundle: Bundle, engines: Sequence[str], device: str | None) -> list[Candidate]:
    """The candidates to compare: those of the named engines, on a device if one is named, that can run here."""
    known = candidates(bundle)
    for name in engines:
        if name not in {candidate.engine for candidate in known}:
            raise unknown("engine", name, {candidate.engine for candidate in known})
    if device not in (None, *(candidate.device for candidate in known)):
        raise unknown("device", str(device), {candidate.device for candidate in known})
    wanted = [one for one in known if (one.engine in engines or not engines) and device in (None, one.device)]
    usable = [candidate for candidate in wanted if not candidate.obstacle]
    obstacles = [f"{one.engine}: {one.obstacle}" for one in wanted if one.obstacle]
    for name in engines:
        if name not in {candidate.engine for candidate in usable}:
            reasons = [reason for reason in obstacles if reason.startswith(f"{name}: ")]
            raise NoEngineError("; ".join(reasons) or f"{name}: does not run on {device}; leave the device out")
    others = [candidate for candidate in usable if (candidate.engine, candidate.device) != REFERENCE]
    # The reference is compared with itself only where it is all that was named.
    chosen = others or (usable if engines else [])
    if not chosen:
        raise InputError(f"only {REFERENCE[0]} can run here, nothing to compare ({'; '.join(obstacles)})")
    return chosen


def _graph(
    bundle: Bundle, name: str, graph: Graph, chosen: Sequence[Candidate], precision: str | None
) -> Iterator[Comparison]:
    """Every engine on one graph; one engine at a time is open."""
    known: dict[tuple[int, ...], Outputs] = {}
    for candidate in chosen:
        for kind in ("static", "dynamic"):
            label, found = _outputs(bundle, name, graph, candidate, precision, kind)
            new = [lengths for lengths, _ in found if tuple(lengths.values()) not in known]
            for lengths, outputs in _outputs(bundle, name, graph, SOURCE, None, kind, new)[1]:
                known[tuple(lengths.values())] = outputs
            for lengths, outputs in found:
                sources = known[tuple(lengths.values())]
                error = worst([outputs[key] for key in sources], list(sources.values()))
                yield Comparison(label, name, lengths, error, _tolerance(label)[0])
            if kind not in label:  # it does the same for either
                break


def corners(graph: Graph, profiles: Sequence[Profile] = ()) -> list[Lengths]:
    """The lengths to compare at: those of the profiles' corners or, without any, the least that the graph takes, the
    usual, and half of the usual height with a row more."""
    order = dict.fromkeys(axis for spec in graph.inputs for axis in spec.axes if isinstance(axis, str))
    ranges = {axis: graph.ranges[axis] for axis in order}
    found = [corner for profile in profiles for corner in profile.corners()] or [
        {axis: lengths.least for axis, lengths in ranges.items()},
        {axis: lengths.usual for axis, lengths in ranges.items()},
        {axis: _other(axis, lengths) for axis, lengths in ranges.items()},
    ]
    distinct = {tuple(lengths[axis] for axis in order): {axis: lengths[axis] for axis in order} for lengths in found}
    return list(distinct.values())


def _other(axis: str, lengths: Range) -> int:
    if axis == "rows":
        return lengths.usual + 1
    return max(lengths.usual // 2, lengths.least) if axis in ("height", "h") else lengths.usual


def _outputs(
    bundle: Bundle,
    name: str,
    graph: Graph,
    candidate: Candidate,
    precision: str | None,
    kind: str,
    shapes: Sequence[Lengths] | None = None,
) -> tuple[str, list[tuple[Lengths, Outputs]]]:
    """An engine's label, and what it gives at some lengths (None: at its corners)."""
    if shapes is not None and not shapes:
        return "", []
    options = EngineOptions(candidate.device, precision=precision, shapes=kind)
    opened = open_engine(candidate.engine, name, graph, bundle.folder, options)
    try:
        wanted = corners(graph, opened.profiles) if shapes is None else shapes
        found = [(lengths, _run(opened, random_feeds(graph.inputs, lengths))) for lengths in wanted]
        return opened.label, found
    finally:
        opened.close()


def _run(engine: Engine, given: Mapping[str, Array]) -> dict[str, Array]:
    """Run an engine, wherever it lives, on the host's arrays."""
    outputs = engine({name: to_device(array, engine.device) for name, array in given.items()})
    return {name: to_host(array) for name, array in outputs.items()}


def _pictures(bundle: Bundle, chosen: Sequence[Candidate], precision: str | None) -> Iterator[Comparison]:
    width, height = bundle.model.default_size
    source = np.random.default_rng(SEED).integers(0, 256, (4, 4, 3), np.uint8)
    image = Image.fromarray(source).resize((width, height), Image.Resampling.BICUBIC)
    wanted = _picture(bundle, SOURCE, None, image)[1]
    for candidate in chosen:
        label, made = _picture(bundle, candidate, precision, image)
        yield Comparison(label, "picture", {"width": width, "height": height}, psnr(made, wanted), _tolerance(label)[1])


def _picture(bundle: Bundle, candidate: Candidate, precision: str | None, image: Image.Image) -> tuple[str, Array]:
    engine, device = candidate.engine, candidate.device
    with load(bundle.folder, engine=engine, device=device, precision=precision, verify=False) as pipe:
        result = pipe(image, PROMPT, steps=STEPS, seed=SEED)
        return result.engines[bundle.name_of(DENOISER)], np.asarray(result.images[0], np.float64)


def _tolerance(label: str) -> tuple[float, float]:
    """The widest of the tolerances of the precisions that a label names."""
    named = [limits for precision, limits in TOLERANCES.items() if precision in label] or [TOLERANCES["float32"]]
    return max(error for error, _ in named), min(psnr for _, psnr in named)


def _finite(number: float) -> float | None:
    """A number as JSON has it, None for infinity and NaN."""
    return number if math.isfinite(number) else None


def _write(path: Path, made: Sequence[Comparison]) -> None:
    record = {
        "reference": REFERENCE[0],
        "comparisons": [asdict(one) | {"passed": one.passed, "measured": _finite(one.measured)} for one in made],
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, (json.dumps(record, indent=2, allow_nan=False) + "\n").encode())
    except OSError as exc:
        raise OutputError(f"{path}: the receipt cannot be written ({exc}); free some space") from exc
