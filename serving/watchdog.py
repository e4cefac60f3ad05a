"""What looks after a serving process from within: an engine's call that does not return, and what systemd is told.

A thread inside an engine's call cannot be ended. All that helps is the end of the process, and another one.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import socket
import threading
import time
from collections.abc import Callable

from ..errors import EngineHungError
from .service import Service

HUNG = 70
"""The exit code, EX_SOFTWARE of sysexits.h, of a process whose engine did not come back."""
ANSWER_SECONDS = 1.0
"""For how long clients are answered before the process ends."""
MARGIN = 5.0
"""Seconds by which the thread that answers may be late."""
CLOSE_SECONDS = 10.0
"""After how many seconds of closing a process ends whatever still runs."""

_log = logging.getLogger(__name__)


class Watchdog:
    """Is called every second by the thread that answers calls; where the setting `on_hang` says so it ends the process.

    Open jobs fail with `EngineHungError` before. Where the thread itself stands still, since an engine holds Python's
    lock, a thread of `faulthandler` ends the process, with code 1. Both write where all threads are to standard error.
    """

    def __init__(self, service: Service, ready: Callable[[], None] | None = None) -> None:
        """`ready` is called once the service is."""
        self._service = service
        self._tell_ready = ready
        self._exits = service.settings.on_hang == "exit"
        self._abandoned: float | None = None
        self._ready = False

    @property
    def given_up(self) -> bool:
        """Whether all that is left is to answer."""
        return self._abandoned is not None

    def look(self) -> None:
        """Look after the service."""
        if self._abandoned is not None:
            if time.monotonic() - self._abandoned > ANSWER_SECONDS:
                os._exit(HUNG)
            return
        if self._exits:
            seconds = self._service.settings.watchdog_seconds + MARGIN
            faulthandler.dump_traceback_later(seconds, exit=True, file=2)
        if stalled := self._service.stalled():
            if self._exits:
                self._give_up(stalled)
            return
        if self._service.ready and not self._ready:
            self._ready = True
            notify("READY=1")
            if self._tell_ready:
                self._tell_ready()
        notify("WATCHDOG=1")

    def close(self) -> None:
        """The service is about to end: its process does in `CLOSE_SECONDS` at the latest."""
        faulthandler.cancel_dump_traceback_later()
        notify("STOPPING=1")
        end = threading.Timer(CLOSE_SECONDS, os._exit, (HUNG,))
        end.daemon = True
        end.start()

    def _give_up(self, stalled: list[str]) -> None:
        seconds = self._service.settings.watchdog_seconds
        error = EngineHungError(f"no job has gone on for {seconds:g} s; the server starts again: send the job again")
        _log.critical("%s (jobs %s)", error, ", ".join(stalled))
        faulthandler.dump_traceback(file=2, all_threads=True)
        self._abandoned = time.monotonic()
        self._service.abandon(error)


def notify(state: str) -> None:
    """Tell systemd, where that listens, how the process is; see sd_notify(3)."""
    if not (address := os.environ.get("NOTIFY_SOCKET")):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        try:
            channel.sendto(state.encode(), f"\0{address[1:]}" if address.startswith("@") else address)
        except OSError as exc:
            _log.debug("systemd does not hear %s: %s", state, exc)
