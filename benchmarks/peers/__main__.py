"""overpaint beside its peers on a CPU or a GPU: the same weights, noise and executed steps, each in its own process.

A round starts every peer once, one after the other; what drifts meanwhile meets all alike. See `--help`; libraries that
do not go with the others are installed into environments below `--work`, and converted checkpoints are kept there.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.report import figure, publish, table, writer
from overpaint.engines.compare import psnr

from .peer import DIFFUSERS, FLOOR, Peer, gpu_peers, peers
from .plot import draw
from .processes import Place, UnavailableError
from .tables import HEADER, Target, derived, floor_lines, middle, peer_row, projected, targets
from .work import Work

TINY = "models/tiny"
OURS = (
    ("f32", TINY, "engine=openvino", "precision=float32", "shapes=static"),
    ("bf16", TINY, "engine=openvino", "precision=bfloat16", "shapes=static"),
    ("f32, onnxruntime", TINY, "engine=onnxruntime"),
)
OURS_CUDA = (("f32", TINY, "engine=onnxruntime", "device=cuda"),)
PACKAGES = {
    "cpu": ("torch", "diffusers", "onnxruntime", "openvino", "openvino-genai", "nncf"),
    "cuda": ("torch", "diffusers", "onnxruntime-gpu"),
}
Found = dict[str, dict[str, list[float]]]


def main() -> None:
    parser = _parser()
    given = parser.parse_args()
    work = Work(
        given.image,
        given.size,
        given.steps,
        given.strength,
        given.guidance,
        given.warmup,
        given.repeats,
        given.stage_repeats,
    )
    on_gpu = given.device == "cuda"
    bundles = [_bundle(words) for words in given.ours or (OURS_CUDA if on_gpu else OURS)]
    made = given.work / given.name
    everyone = gpu_peers(given.checkpoint, bundles) if on_gpu else peers(given.checkpoint, bundles, made)
    if len({peer.label for peer in everyone}) < len(everyone):
        parser.error("every --ours needs a PRECISION of its own")
    chosen = [
        peer for peer in everyone if not given.only or any(re.search(pattern, peer.label) for pattern in given.only)
    ]
    place = Place(
        given.checkpoint, given.venvs or given.work / "venvs", given.work / given.name / "pictures", given.limit
    )
    place.pictures.mkdir(parents=True, exist_ok=True)
    found, reasons = measure(chosen, work, place, given.rounds)
    _compare(chosen, place, found)
    title = (
        f"Beside its peers: {given.name}, {work.size} x {work.size}, {work.executed} steps executed of {work.steps}, "
        f"guidance {work.guidance:g}"
    )
    if given.plot:
        measured = [peer.label for peer in chosen if "picture" in found.get(peer.label, {})]
        bars = [(label, middle(found, (label, "picture")), middle(found, (label, "memory"))) for label in measured]
        draw(given.plot, title, bars)
    body = _body(chosen, found, reasons, given.rounds, work, targets(given.device, work))
    if given.plot:
        body += "\n\n" + figure(title, given.plot)
    page = "gpu" if on_gpu else "cpu"
    publish(page, f"peers-{given.name}", title, body, *PACKAGES[given.device], write=given.write)


def measure(chosen: Sequence[Peer], work: Work, place: Place, rounds: int) -> tuple[Found, dict[str, str]]:
    """The figures by peer, and the reasons of those that have none."""
    found: Found = defaultdict(lambda: defaultdict(list))
    reasons: dict[str, str] = {}
    for peer in chosen:
        _say(f"preparing {peer.label}")
        try:
            place.prepare(peer)
        except UnavailableError as exc:
            reasons[peer.label] = str(exc)
            _say(f"  {exc}")
    start = time.monotonic()
    for number in range(1, rounds + 1):
        for peer in chosen:
            if peer.label in reasons:
                continue
            try:
                figures = place.measure(peer, work)
            except UnavailableError as exc:
                reasons[peer.label] = str(exc)
                _say(f"  {peer.label}: {exc}")
                continue
            for name, values in figures.items():
                found[peer.label][name] += values
            _say(f"round {number} of {rounds}, {time.monotonic() - start:.0f} s: {peer.label} {_gist(figures)}")
            if peer.name == FLOOR and number == 1:
                _say(f"about {projected(chosen, work, rounds, figures) / 60:.0f} minutes in all")
    return found, reasons


def _gist(figures: dict[str, list[float]]) -> str:
    return ", ".join(f"{name} {min(values):.4g}" for name, values in figures.items())


def _compare(chosen: Sequence[Peer], place: Place, found: Found) -> None:
    """Add how near each first picture is to that of diffusers in float32, in dB; 99 where they are the same."""
    by_label = {peer.label: peer for peer in chosen}
    reference = by_label.get(f"{DIFFUSERS} f32")
    if reference is None or "picture" not in found.get(reference.label, {}):
        return
    with Image.open(place.picture(reference)) as image:
        wanted = image.convert("RGB")
    for label, figures in found.items():
        if "picture" in figures and label != reference.label:
            with Image.open(place.picture(by_label[label])) as image:
                figures["psnr"] = [min(psnr(image.convert("RGB"), wanted), 99.0)]


def _body(
    chosen: Sequence[Peer],
    found: Found,
    reasons: dict[str, str],
    rounds: int,
    work: Work,
    wanted: Sequence[Target],
) -> str:
    measured = derived(found)
    rows = [peer_row(peer, measured[peer.label]) for peer in chosen if peer.label in measured]
    missing = {label: f"failed: {reason}" for label, reason in reasons.items()}
    notes = {peer.label: [note for note in (missing.get(peer.label), peer.remark) if note] for peer in chosen}
    remarks = [f"- {label}: {'; '.join(each)}." for label, each in notes.items() if each]
    how = (
        f"Medians of {rounds} processes, each with {work.repeats} pictures and {work.stage_repeats} of each stage, "
        f"after the first picture (its cold start, files cached) and {work.warmup} more. A U-Net step has {work.rows} "
        "rows. Every picture and prompt is new, but for a second prompt on the same picture, and on a GPU the same "
        "prompt for a new picture; PSNR is that of the first pictures, 99 where they are the same."
    )
    reached = any(target.value(measured) is not None for target in wanted)
    ratios = table(("ratio", "target", "measured", "reached"), [target.row(measured) for target in wanted])
    floor = found.get(f"{FLOOR} all")
    parts = [
        how,
        table(HEADER, rows),
        "\n".join(remarks),
        floor_lines(floor) if floor else "",
        ratios if reached else "",
    ]
    return "\n\n".join(part for part in parts if part)


def _bundle(words: Sequence[str]) -> tuple[str, Path, dict[str, Any]]:
    precision, folder, *pairs = words
    options = dict(pair.split("=", 1) for pair in pairs)
    return precision, Path(folder), {name: int(text) if text.isdecimal() else text for name, text in options.items()}


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = writer()
    parser.description = __doc__
    parser.add_argument("--name", default="tiny-64", help="of the section in results/ (tiny-64)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where everyone runs (cpu)")
    parser.add_argument("--checkpoint", type=Path, default=Path("models/tiny-checkpoint"), help="a diffusers folder")
    parser.add_argument(
        "--ours",
        nargs="+",
        action="append",
        metavar="WORD",
        help="PRECISION BUNDLE [ARGUMENT=VALUE ...] of overpaint.load; may be given again, the bundle that OpenVINO "
        "alone runs first (models/tiny on both engines)",
    )
    parser.add_argument(
        "--only", nargs="+", metavar="REGEX", help="only peers whose name and precision match one of these"
    )
    parser.add_argument("--image", default="models/examples/fox.png")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--strength", type=float, default=0.5)
    parser.add_argument("--guidance", type=float, default=7.5)
    parser.add_argument("--rounds", type=int, default=3, help="processes a peer (3)")
    parser.add_argument("--warmup", type=int, default=2, help="pictures a process that do not count (2)")
    parser.add_argument("--repeats", type=int, default=5, help="pictures a process (5)")
    parser.add_argument("--stage-repeats", type=int, default=5, help="of the U-Net and the VAE alone (5)")
    parser.add_argument("--limit", type=float, default=1800, help="seconds a process may take (1800)")
    parser.add_argument("--work", type=Path, default=Path("build/peers"), help="where things are kept (build/peers)")
    parser.add_argument("--venvs", type=Path, help="the environments of peers (WORK/venvs)")
    parser.add_argument("--plot", type=Path, help="a .png for the bar chart")
    return parser


if __name__ == "__main__":
    main()
