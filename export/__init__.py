"""Turns a checkpoint into a bundle of verified ONNX graphs (needs the `export` extra), and a bundle into engines."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .. import engines as engines  # turns the libraries' telemetry off before any is imported

if TYPE_CHECKING:
    from .bundle import OPSET, PRECISIONS, Precision, Report, export_bundle

__all__ = ["OPSET", "PRECISIONS", "Precision", "Report", "export_bundle"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: building engines needs no torch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(".bundle", __name__), name)
