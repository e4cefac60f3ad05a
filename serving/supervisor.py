"""A process beside the server's that starts it again when it dies; it holds the address, so that clients may wait."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import FrameType

from ..errors import InputError
from .settings import Settings
from .watchdog import HUNG

LONGEST_PAUSE = 10.0
"""Seconds between two starts of a worker that does not stay."""
_INHERITED = "OVERPAINT_SUPERVISED"

_log = logging.getLogger(__name__)


class Supervisor:
    """Has a worker process serve, and starts another whenever one ends that was not to end.

    A worker that drained after a signal ends it, and so does the first one where that does not start at all. The jobs
    of a worker that dies are lost; clients that connect meanwhile are answered by the next one.
    """

    def __init__(self, settings: Settings, words: Sequence[str]) -> None:
        """`words` are the command of a worker."""
        self._settings, self._words = settings, words
        self._worker: subprocess.Popen[bytes] | None = None
        self._stopping = False

    def run(self) -> int:
        """Supervise until a signal; returns the last worker's exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._pass_on)
        with _listener(self._settings) as listener:
            pause, served, code = 0.0, False, 0
            while not self._stopping:
                began = time.monotonic()
                code, ready = self._one(listener)
                served = served or ready
                if code == 0 or not (served or code < 0 or code == HUNG):
                    break
                stayed = ready and time.monotonic() - began > LONGEST_PAUSE
                pause = 0.0 if stayed else min(pause * 2 + 0.1, LONGEST_PAUSE)
                if not self._stopping:
                    _log.error("the worker ended with %s; the next one starts in %.1f s", _cause(code), pause)
                self._sleep(pause)
            return code

    def _one(self, listener: socket.socket) -> tuple[int, bool]:
        """Have one worker serve to its end; its exit code, and whether it was ready."""
        reader, writer = os.pipe()
        handed = (listener.fileno(), writer)
        environment = {**os.environ, _INHERITED: " ".join(map(str, (*handed, os.getpid())))}
        # A group of its own: signals of a terminal reach the supervisor alone, which passes them on.
        worker = subprocess.Popen(self._words, env=environment, pass_fds=handed, process_group=0)
        self._worker = worker
        os.close(writer)
        if self._stopping:
            worker.terminate()
        code = worker.wait()
        with os.fdopen(reader, "rb") as heard:
            return code, bool(heard.read())

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self._stopping = True
        if self._worker is not None:
            self._worker.send_signal(number)

    def _sleep(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._stopping and time.monotonic() < until:
            time.sleep(0.02)


class Inherited:
    """What a worker has of its supervisor: the socket that listens, and whom to tell that it is ready."""

    def __init__(self, listener: int, told: int, parent: int) -> None:
        self.listener = socket.socket(fileno=listener)
        self._told, self._parent = told, parent

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Inherited | None:
        """That of a process's environment; None where it has no supervisor."""
        numbers = environment.get(_INHERITED, "").split()
        return cls(*map(int, numbers)) if numbers else None

    def ready(self) -> None:
        """Tell the supervisor, once."""
        with suppress(BrokenPipeError):  # it is gone, see `orphaned`
            os.write(self._told, b"1")
        os.close(self._told)

    def orphaned(self) -> bool:
        """Whether the supervisor is gone."""
        return os.getppid() != self._parent


def _cause(code: int) -> str:
    return f"signal {-code}" if code < 0 else "a hung engine" if code == HUNG else f"code {code}"


def _listener(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=2048)
    except OSError as exc:
        place = f"{settings.host}:{settings.port}"
        raise InputError(f"cannot listen at {place} ({exc.strerror}); choose another port", "port") from exc
