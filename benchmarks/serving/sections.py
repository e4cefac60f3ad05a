"""Sections of the results page on the service in one process: its capacity, and Poisson loads."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, median

from benchmarks.report import figure, publish, table
from overpaint.runtime.model.scheduler import MAX_ACTIVE

from . import cases
from .drive import WAYS, Run, Subject
from .figures import HEADER, prompt, quantile, ratios, row, short_seconds
from .load import SHORT, WARM, Mix, at_once, items, poisson
from .plot import draw

GUIDANCE = {"guidance 7": (7.0,), "none": (1.0,), "mixed": (1.0, 7.0)}


@dataclass(frozen=True)
class Plan:
    """How much is measured: `count` jobs sent at once, `repeats` times; `arrivals` jobs at each of `loads`."""

    count: int
    repeats: int
    arrivals: int
    loads: Sequence[float]
    seed: int
    plots: Path
    write: bool


def say(text: str) -> None:
    """Where it is."""
    print(text, file=sys.stderr, flush=True)


def busy() -> str:
    """How busy the machine is, in words."""
    return f"load average of the machine {os.getloadavg()[0]:.1f}"


def saturated(subject: Subject, plan: Plan, mix: Mix) -> list[list[Run]]:
    """Runs of each way with all jobs at once, in turn; the same jobs, with seeds of their own in every repeat."""
    subject.run("overpaint", items(subject.model, WARM, mix, seed=99), at_once(WARM))
    groups = []
    for repeat in range(plan.repeats):
        ways = list(WAYS)[:: -1 if repeat % 2 else 1]
        runs = {
            way: subject.run(way, items(subject.model, plan.count, mix, plan.seed + repeat, fresh), at_once(plan.count))
            for fresh, way in enumerate(ways)
        }
        groups.append([runs[way] for way in WAYS])
        say(f"at once, {mix.guidance}: " + ", ".join(f"{way} {runs[way].throughput:.3g}/s" for way in WAYS))
    return groups


def capacity_row(name: str, groups: Sequence[Sequence[Run]]) -> list[str]:
    """A row on jobs that were sent at once."""
    speeds = [median(group[place].throughput for group in groups) for place in range(len(WAYS))]
    rows = [mean(mean(group[place].rows) for group in groups) for place in range(len(WAYS))]
    parts = [f"{speed:.3g} ({each:.1f})" for speed, each in zip(speeds, rows, strict=True)]
    short = [median(quantile(short_seconds(group[place]), 0.95) for group in groups) for place in (0, 1)]
    return [
        name,
        *parts,
        f"{ratios(groups, 1):.2f}",
        f"{ratios(groups, 2):.2f}",
        f"{short[0] / short[1]:.2f}",
    ]


CAPACITY = (
    "all at once",
    *(f"{way}, jobs a second (rows a call)" for way in WAYS),
    "to one at a time",
    "to whole requests",
    "p95 of short jobs to one at a time",
)


def loaded(subject: Subject, plan: Plan, mix: Mix, capacity: float) -> dict[str, list[Run]]:
    """Runs of each way at each load, of the same arrivals."""
    runs: dict[str, list[Run]] = {way: [] for way in WAYS}
    for share in plan.loads:
        times = poisson(plan.arrivals, share * capacity, plan.seed)
        for fresh, way in enumerate(WAYS):
            run = subject.run(way, items(subject.model, plan.arrivals, mix, plan.seed + 50, fresh), times)
            runs[way].append(run)
            say(" ".join(row(f"{share:.0%}", run)))
    return runs


def h200(plan: Plan, mix: Mix, rows: Sequence[int]) -> None:
    """Publish what sharing calls brings where a row costs less the more there are."""
    lines = []
    for most in rows:
        for name, scales in GUIDANCE.items():
            subject = Subject(cases.fake(most, rest=False))
            groups = saturated(subject, plan, replace(mix, guidance=scales))
            lines.append(capacity_row(f"U-Net alone, {name}, at most {most} rows", groups))
            subject.close()
    subject = Subject(cases.fake(rows[0], rest=True))
    groups = saturated(subject, plan, mix)
    lines.append(capacity_row(f"with VAE and text encoder, mixed, at most {rows[0]} rows", groups))
    first, more = cases.H200_UNET.first * 1e3, cases.H200_UNET.more * 1e3
    body = [
        f"The fake engine, whose calls take as long as SD 1.5's at 512 x 512 pixels in float16 on an H200: the U-Net "
        f"{first:g} ms with one row and {first + more:g} with two, as measured; with more, {more:g} ms a row are "
        "supposed. " + _jobs(plan, mix),
        table(CAPACITY, lines),
    ]
    body += _poisson("serving-h200", subject, plan, mix, groups)
    subject.close()
    _publish("h200", "At the cost of an H200", body, plan)


def engines(plan: Plan, mix: Mix, model: str, names: Sequence[str]) -> None:
    """Publish the same of a model on engines that run here."""
    name, lines, parts = Path(model).name, [], []
    for engine in names:
        subject = Subject(cases.real(model, {"engine": engine}))
        groups = saturated(subject, plan, mix)
        lines.append(capacity_row(engine, groups))
        if plan.loads:
            parts += [f"### {engine}", *_poisson(f"serving-{name}-{engine}", subject, plan, mix, groups)]
        subject.close()
    title = f"{name} on {' and '.join(names)}"
    _publish(f"{name}-{'-'.join(names)}", title, [_jobs(plan, mix), table(CAPACITY, lines), *parts], plan, *names)


def _poisson(name: str, subject: Subject, plan: Plan, mix: Mix, groups: Sequence[Sequence[Run]]) -> list[str]:
    capacity = median(group[0].throughput for group in groups)
    runs = loaded(subject, plan, mix, capacity)
    rows = [row(f"{share:.0%}", runs[way][place]) for place, share in enumerate(plan.loads) for way in WAYS]
    ours = [prompt(run, MAX_ACTIVE) for run in runs["overpaint"]]
    come, soon = sum(count for count, _ in ours), sum(count for _, count in ours)
    short = [
        quantile(short_seconds(a), 0.95) / quantile(short_seconds(b), 0.95)
        for a, b in zip(runs["overpaint"], runs["one at a time"], strict=True)
    ]
    told = ", ".join(f"{ratio:.2f} at {share:.0%}" for ratio, share in zip(short, plan.loads, strict=True))
    path = plan.plots / f"{name}.png"
    title = f"{plan.arrivals} jobs of a Poisson process, {name.removeprefix('serving-')}"
    draw(path, title, plan.loads, runs)
    text = (
        f"{plan.arrivals} jobs as they come, a Poisson process of shares of overpaint's {capacity:.3g} jobs a second, "
        f"whatever became of those before; the same jobs at the same times for each way. Beyond its own capacity a "
        f"way's latencies grow with the length of the run. Of {come} jobs that overpaint got while fewer than "
        f"{MAX_ACTIVE} were there, {soon} missed no more than one pass before their first. p95 of short jobs (at most "
        f"{SHORT} evaluations) to one at a time: {told}."
    )
    return [text, table(HEADER, rows), figure(title, path)]


def _jobs(plan: Plan, mix: Mix) -> str:
    return (
        f"Jobs of {mix.steps[0]} to {mix.steps[1]} executed steps, of six samplers (one evaluates twice a step), four "
        f"strengths, guidance 1 and 7 unless said; a fifth with a mask, a quarter with a client that looks at "
        f"previews, {mix.size} x {mix.size} pixels, each with a picture and a prompt of its own. At first {plan.count} "
        f"of them are sent at once: medians of {plan.repeats} runs of each way in turn. One at a time is a lock around "
        "every request; whole requests are batches of what waits with an equal number of evaluations and equal "
        "guidance, worked on from beginning to end."
    )


def _publish(name: str, title: str, parts: Sequence[str], plan: Plan, *packages: str) -> None:
    body = "\n\n".join([*parts, f"{busy().capitalize()}."])
    publish("serving", f"serving-{name}", title, body, "numpy", *packages, write=plan.write)
