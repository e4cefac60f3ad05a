"""How much memory a build takes, and how much there is."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from ..bundles.graph import Graph
from ..errors import EngineError

# As measured: the builder's own, and so many times the weights in the precision of the arithmetic, and more a profile.
BASE, TIMES_WEIGHTS, MORE_A_PROFILE = 0.6e9, 3.1, 0.4


def check_memory(name: str, graph: Graph, profiles: int) -> None:
    """Raise `EngineError` where building an engine with so many profiles would take more memory than is free."""
    needed, free = memory_needed(graph, profiles), memory_free()
    if free is not None and free < needed:
        raise EngineError(
            f"{name}: building takes about {needed / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free; close other "
            "programs, or build on a larger machine"
        )


def memory_needed(graph: Graph, profiles: int) -> float:
    """About how many bytes of memory building an engine with so many profiles takes."""
    expands = 2 if (graph.precision, graph.weights) == ("float32", "float16") else 1
    return BASE + (TIMES_WEIGHTS + MORE_A_PROFILE * profiles) * expands * graph.size


def memory_free() -> int | None:
    """The bytes that this process may still take, of the machine's and its control group's; None where unknown."""
    limits = []
    with suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        limits.append(1024 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]))
    with suppress(OSError, ValueError):  # "max" where there is no limit
        group = Path("/sys/fs/cgroup")
        most, taken = (int((group / f"memory.{part}").read_text(encoding="ascii")) for part in ("max", "current"))
        limits.append(most - taken)
    return min(limits, default=None)
