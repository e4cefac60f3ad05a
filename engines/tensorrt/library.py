"""TensorRT's libraries: imported by name, what they complain of, and which processors they build for."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import Any

from ...errors import EngineError, NoEngineError, unknown

# The first versions whose parser reads the Attention of opset 23.
LEAST: Mapping[str, tuple[int, int]] = {"tensorrt": (10, 14), "tensorrt_rtx": (1, 7)}
EXTRAS: Mapping[str, str] = {"tensorrt": "tensorrt", "tensorrt_rtx": "rtx"}


def library(name: str) -> Any:
    """Import "tensorrt" or "tensorrt_rtx"; raises `EngineError` where it is missing, broken or too old."""
    if name not in LEAST:
        raise unknown("TensorRT library", name, LEAST)
    install = f"run: pip install --upgrade 'overpaint[{EXTRAS[name]}]'"
    try:
        module = import_module(name)
    except ImportError as exc:
        raise NoEngineError(f"{name} is not installed, or not for this system ({exc}); {install}") from exc
    except (OSError, RuntimeError) as exc:
        raise EngineError(f"{name} cannot be loaded ({exc}); {install}") from exc
    version = tuple(int(part) for part in re.findall("[0-9]+", module.__version__)[:2])
    if version < LEAST[name]:
        wanted = ".".join(map(str, LEAST[name]))
        raise EngineError(f"{name} {module.__version__} is too old, {wanted} is the least; {install}")
    return module


class Messages:
    """What the library last complained of, kept for the error that may follow."""

    def __init__(self) -> None:
        self._last: deque[str] = deque(maxlen=8)

    def forget(self) -> None:
        """Something else begins, which earlier messages are not about."""
        self._last.clear()

    def note(self, message: str) -> None:
        """Keep a message."""
        self._last.append(message)

    def first(self) -> str:
        """The first message, as the cause is told before its consequences.

        Without a GPU the library complains of that even where it needs none, so such messages come last.
        """
        return min(
            list(self._last), key=lambda message: "cudaError 35" in message, default="the library gives no reason"
        )


@cache
def logger(trt: Any) -> tuple[Any, Messages]:
    """A logger for the library and what it hears; one a process, because the library keeps the first it is given."""
    messages, errors = Messages(), (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR)

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity in errors:
                messages.note(message)

    return Logger(), messages


def captures_itself(trt: Any) -> bool:
    """Whether the library captures CUDA graphs by itself."""
    return hasattr(trt, "CudaGraphStrategy")


def known_processors(trt: Any) -> dict[str, Any]:
    """The processors that the library builds for on any machine, by name; none where it needs the GPU itself."""
    members = getattr(getattr(trt, "ComputeCapability", None), "__members__", {})
    return {f"sm_{name[2:]}": value for name, value in members.items() if name.startswith("SM")}


def check_processor(trt: Any, builder: str, architecture: str) -> None:
    """Raise `EngineError` for a processor that the library builds nothing for: not one that it names, nor a later."""
    known = sorted(known_processors(trt), key=_number)
    if known and architecture not in known and _number(architecture) < _number(known[-1]):
        raise EngineError(
            f"{builder} {trt.__version__} does not run on this GPU: it is {architecture}, and the library knows "
            f"{', '.join(known)} and later ones; use onnxruntime or tensorrt"
        )


def _number(architecture: str) -> int:
    return int(architecture.removeprefix("sm_"))
