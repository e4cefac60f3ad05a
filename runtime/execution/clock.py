"""A limit of time on work: looked at between evaluations, so that an engine's call is never cut."""

from __future__ import annotations

import time

from ...errors import InputError, RunTimeoutError
from ..requests import checks
from ..requests.options import of_tool


class Clock:
    """A limit of seconds since `begin`; several pieces of work may share one. None is no limit.

    Raises `InputError` for what is no number of seconds above 0.
    """

    def __init__(self, timeout: float | None) -> None:
        self._timeout = checks.option(of_tool("img2img")["timeout"], timeout)
        if self._timeout == 0:
            cause = "timeout is 0 seconds, in which nothing can run; give more, or None for no limit"
            raise InputError(cause, "timeout")
        self._start: float | None = None

    def begin(self) -> None:
        """Start, where it has not been started yet."""
        if self._start is None:
            self._start = time.perf_counter()

    def check(self, done: int, total: int) -> None:
        """Raise `RunTimeoutError` where the time is over."""
        if self._timeout is None or self._start is None:
            return
        taken = time.perf_counter() - self._start
        if taken > self._timeout:
            raise RunTimeoutError(
                f"stopped after {done} of {total} evaluations: {taken:.1f} s are over the timeout of "
                f"{self._timeout:g} s; raise timeout, or ask for fewer steps or a smaller size"
            )
