"""How the progress of a stage is reported while it goes on."""

from __future__ import annotations

from collections.abc import Callable

ProgressCallback = Callable[[str, int, int], None]
"""Is told a stage (encode, denoise or decode), and how many of how many of its parts are done: windows of the VAE, rows
of a line. What it raises ends the run."""


def no_progress(stage: str, done: int, total: int) -> None:
    """ProgressCallback nothing."""
