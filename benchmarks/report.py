"""Where measurements go: sections of the pages in results/, each with the machine and the command that made it."""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def machine(*packages: str) -> str:
    """The processor, the cores this process may use, and the versions of the packages measured."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = {line.partition(":")[2].strip() for line in lines if line.startswith("model name")}
    flags = {flag for line in lines if line.startswith("flags") for flag in line.split()}
    wide = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16") if flag in flags]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    processor = ", ".join(sorted(names)) or platform.processor()
    return f"{_gpu()}{cores} cores of {processor} ({', '.join(wide)}), Python {platform.python_version()}, {versions}"


def _gpu() -> str:
    if not shutil.which("nvidia-smi"):
        return ""
    name, driver = ask_gpu("name", "driver_version")
    return f"{name} (driver {driver}), "


def ask_gpu(*fields: str) -> list[str]:
    """What nvidia-smi says of the first GPU, a text a field."""
    query = ("nvidia-smi", "--id=0", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits")
    return subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip().split(", ")


def in_turn(calls: Sequence[Callable[[], object]], repeats: int) -> list[list[float]]:
    """The seconds of each call after one that does not count, in turn; which goes first changes every time."""
    times: list[list[float]] = [[] for _ in calls]
    for repeat in range(repeats + 1):
        for index in range(len(calls))[:: -1 if repeat % 2 else 1]:
            start = time.perf_counter()
            calls[index]()
            if repeat:
                times[index].append(time.perf_counter() - start)
    return times


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def writer() -> argparse.ArgumentParser:
    """A parser with the option that every benchmark has."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true", help="replace this benchmark's section in results/")
    return parser


def publish(page: str, name: str, title: str, body: str, *packages: str, write: bool) -> None:
    """Print a section, and where `write` asks for it put it in place of the one of the same name.

    A section stays on the page it stands on; a new one goes to the end of `page` (`results/PAGE.md`). The summary of
    RESULTS.md is written by hand.
    """
    # Of a package Python runs `__main__`, whose name says nothing.
    module = Path(sys.argv[0]).with_suffix("").as_posix().removesuffix("/__main__").rpartition("/")[2]
    command = shlex.join(["python", "-m", f"benchmarks.{module}", *sys.argv[1:]])
    day = datetime.now(UTC).date().isoformat()
    section = f"## {title}\n\n{body}\n\n`{command}`, {day}, {machine(*packages)}.\n"
    print(section)
    if write:
        _put(page, name, section)


def _put(page: str, name: str, section: str) -> None:
    opening, closing = f"<!-- {name} -->\n", f"<!-- /{name} -->\n"
    standing = (path for path in sorted(RESULTS.glob("*.md")) if opening in path.read_text(encoding="utf-8"))
    path = next(standing, RESULTS / f"{page}.md")
    text = path.read_text(encoding="utf-8") if path.exists() else f"# {page}\n"
    head, found, rest = text.partition(opening)
    tail = rest.partition(closing)[2] if found else ""
    path.write_text(f"{head if found else head + chr(10)}{opening}{section}{closing}{tail}", encoding="utf-8")


def figure(text: str, path: Path) -> str:
    """A plot in markdown, its path as a page of results/ has to name it."""
    return f"![{text}]({Path(os.path.relpath(path, RESULTS)).as_posix()})"
