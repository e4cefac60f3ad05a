"""How much memory a build takes, and how much there is."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from ..engines.base import EngineError
from ..engines.bundle import Graph

# As measured: the builder's own, and so many times the weights in the precision of the arithmetic.
BASE, TIMES_WEIGHTS = 0.6e9, 3.5


def check_memory(name: str, graph: Graph) -> None:
    """Raise `EngineError` where building an engine of the graph would take more memory than is free."""
    needed, free = memory_needed(graph), memory_free()
    if free is not None and free < needed:
        raise EngineError(
            f"{name}: building takes about {needed / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free; close other "
            "programs, or build on a larger machine"
        )


def memory_needed(graph: Graph) -> float:
    """About how many bytes of memory building an engine of the graph takes."""
    expands = 2 if (graph.precision, graph.weights) == ("float32", "float16") else 1
    return BASE + TIMES_WEIGHTS * expands * graph.size


def memory_free() -> int | None:
    """The bytes that this process may still take, of the machine's and its control group's; None where unknown."""
    found = []
    with suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        found.append(1024 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]))
    with suppress(OSError, ValueError):  # "max" where there is no limit
        group = Path("/sys/fs/cgroup")
        most, taken = (int((group / f"memory.{part}").read_text(encoding="ascii")) for part in ("max", "current"))
        found.append(most - taken)
    return min(found, default=None)
