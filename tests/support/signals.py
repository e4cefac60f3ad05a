"""Processes that hear interrupts, whoever started the tests."""

import signal
import subprocess
from typing import Any


def hearing(words: list[str], **options: Any) -> "subprocess.Popen[str]":
    """Start a process as a terminal does; a script's background jobs, and their children, are deaf to SIGINT."""
    return subprocess.Popen(words, text=True, preexec_fn=_hear, **options)


def _hear() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
