"""ONNX Runtime on the CPU."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...bundles.tensor import Array
from ..registry import EngineOptions
from .session import SessionEngine, open_session, session_options

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3  # of glibc's malloc.h


class OrtEngine(SessionEngine):
    """A graph in an ONNX Runtime session on the CPU."""

    def _session_of(self, path: Path, folder: Path, options: EngineOptions) -> Any:
        _balance_memory()
        settings = session_options(options)
        return open_session(path, folder, settings, ["CPUExecutionProvider"], self._stored, options.weights)

    def _run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        names = [spec.name for spec in self.outputs]
        return dict(zip(names, self._session.run(names, dict(feeds)), strict=True))


def _balance_memory() -> None:
    """Have glibc return freed buffers of 1 MB and more to the system, and keep 64 MB of smaller ones, process-wide.

    Left alone it comes to keep those of up to 32 MB, which with a large picture's activations adds up to a GB; and
    setting the one alone has it return the top of the heap after every operator, which costs a fifth of a small step.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        mallopt(_M_MMAP_THRESHOLD, 2**20)
        mallopt(_M_TRIM_THRESHOLD, 2**26)
        mallopt(_M_TOP_PAD, 2**26)
