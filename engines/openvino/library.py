"""OpenVINO's library: its one import, its core, and its errors as this package's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ...errors import EngineError, NoEngineError, OutOfMemoryError
from ..memory import out_of_memory

try:
    import openvino
    from openvino import opset13
except ImportError as exc:
    raise NoEngineError("openvino is not installed; run: pip install 'overpaint[cpu]'") from exc

library: Any = openvino
operators: Any = opset13
VERSION = openvino.__version__

_cores: list[Any] = []


def core() -> Any:
    """OpenVINO's core, one for the process: it holds the devices."""
    if not _cores:
        _cores.append(openvino.Core())
    return _cores[0]


@contextmanager
def translated(name: str, what: str) -> Iterator[None]:
    """Raise OpenVINO's errors as `EngineError`, saying which graph and what was being done.

    `OutOfMemoryError` where they say that the memory does not suffice.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as exc:
        reason = " ".join(str(exc).split())
        if out_of_memory(exc):
            raise OutOfMemoryError(
                f"{name}: the memory does not suffice ({reason}); take a smaller size or fewer rows a call (max_rows)"
            ) from exc
        raise EngineError(f"{name}: {what}: {reason}") from exc
