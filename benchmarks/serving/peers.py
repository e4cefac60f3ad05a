"""Other runtimes behind the same call over HTTP, one picture at a time, beside overpaint's server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from benchmarks.peers.peer import Peer
from benchmarks.peers.processes import Place
from benchmarks.report import publish, table

from .client import Call, Server, calls, overpaint, peer, send
from .figures import quantile
from .load import SHORT, WARM, Mix, at_once, poisson
from .sections import Plan, busy, say

GUIDANCE = 7.0
CHECKPOINT = "models/tiny-checkpoint"
GENAI = Path("build/peers/serving/genai-float32")
HEADER = ("load", "server", "pictures a second", "p50, s", "p95", "p99", "short: p95")


def servers(size: int) -> dict[str, Callable[[], Server]]:
    """How each is started; all in float32."""
    return {
        "overpaint serve": lambda: overpaint("tiny", engine="openvino", precision="float32"),
        "overpaint, one at a time": lambda: peer(
            "ours", "models/tiny", size, GUIDANCE, engine="openvino", precision="float32"
        ),
        "openvino-genai": lambda: peer("genai", _converted(), size, GUIDANCE, weights="float32", precision="f32"),
        "diffusers": lambda: peer("eager", CHECKPOINT, size, GUIDANCE, dtype="float32"),
    }


def _converted() -> str:
    place = Place(Path(CHECKPOINT), Path("build/peers/venvs"), Path("build/peers/serving"), 1800)
    place.prepare(Peer("", "", "genai", GENAI, {"weights": "float32", "precision": "f32"}, converter="genai"))
    return str(GENAI)


def compare(plan: Plan, mix: Mix, only: Sequence[str] | None) -> None:
    """Publish how the servers answer all at once, and as calls come."""
    started = {name: start() for name, start in servers(mix.size).items() if not only or name in only}
    try:
        for server in started.values():
            send(server, calls(WARM, mix.size, mix.steps, GUIDANCE, 1000), at_once(WARM))
        rows, capacity = _at_once(plan, mix, started)
        for share in plan.loads:
            times = poisson(plan.arrivals, share * capacity, plan.seed)
            those = calls(plan.arrivals, mix.size, mix.steps, GUIDANCE, plan.seed + 50)
            for name, server in started.items():
                rows.append(_row(f"{share:.0%}", name, those, times, send(server, those, times)))
                say(" ".join(rows[-1]))
    finally:
        for server in started.values():
            server.close()
    body = (
        f"tiny in float32, {mix.size} x {mix.size} pixels, {mix.steps[0]} to {mix.steps[1]} executed steps, guidance "
        f"{GUIDANCE:g}, the checkpoint's sampler, no masks, no previews; every call sends a PNG and gets one. The "
        "others stand behind the same call in an application of 60 lines with a lock around each picture. "
        f"At once are {plan.count} calls, medians of {plan.repeats} runs of each server in turn; shares "
        f"are of the {capacity:.3g} pictures a second that overpaint made of these, as a Poisson process of "
        f"{plan.arrivals} calls, the same for each. Short are those of at most {SHORT} steps."
    )
    parts = [body, table(HEADER, rows), f"{busy().capitalize()}."]
    packages = ("openvino", "openvino-genai", "diffusers", "torch")
    publish(
        "serving", "serving-peers", "Beside other runtimes over HTTP", "\n\n".join(parts), *packages, write=plan.write
    )


def _at_once(plan: Plan, mix: Mix, started: dict[str, Server]) -> tuple[list[list[str]], float]:
    times = at_once(plan.count)
    runs: dict[str, list[tuple[list[Call], list[float]]]] = {name: [] for name in started}
    for repeat in range(plan.repeats):
        those = calls(plan.count, mix.size, mix.steps, GUIDANCE, plan.seed + repeat)
        for name in list(started)[:: -1 if repeat % 2 else 1]:
            runs[name].append((those, send(started[name], those, times)))
            say(f"at once: {name} {plan.count / max(runs[name][-1][1]):.3g}/s")
    middle = {name: sorted(each, key=lambda run: max(run[1]))[(len(each) - 1) // 2] for name, each in runs.items()}
    rows = [_row("at once", name, those, times, took) for name, (those, took) in middle.items()]
    first = next(iter(runs.values()))
    return rows, plan.count / median(max(took) for _, took in first)


def _row(load: str, name: str, those: Sequence[Call], times: Sequence[float], took: Sequence[float]) -> list[str]:
    short = [each for call, each in zip(those, took, strict=True) if call.executed <= SHORT]
    last = max(at + each for at, each in zip(times, took, strict=True))
    figures = [len(took) / last, *(quantile(took, share) for share in (0.5, 0.95, 0.99)), quantile(short, 0.95)]
    return [load, name, *("-" if value != value else f"{value:.3g}" for value in figures)]
