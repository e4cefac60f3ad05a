"""The standard streams: closed, full or cut ones lose what is written, and nothing else."""

from __future__ import annotations

import codecs
import errno
import functools
import io
import os
import select
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from .common import PARTLY

# A reader that has read enough, and a stream that the caller has closed, are no failures of ours.
_WANTED = (errno.EPIPE, errno.EBADF)


class Tolerant(io.RawIOBase):
    """A raw stream that goes on after its first failure, which it keeps as `error`; None stands for a closed stream."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self.error = None if raw else OSError(errno.EBADF, os.strerror(errno.EBADF))

    def writable(self) -> bool:
        """It is."""
        return True

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return bool(self._raw and self._raw.isatty())

    def fileno(self) -> int:
        """The file descriptor; raises `OSError` for a closed stream."""
        if not self._raw:
            raise io.UnsupportedOperation("the stream is closed")
        return int(self._raw.fileno())

    def write(self, data: Any) -> int:
        """Write all of `data`, or lose it."""
        view = memoryview(data).cast("B")
        done = 0
        while done < len(view) and self.error is None:
            try:
                written = self._raw.write(view[done:])
                if written is None:  # a pipe that does not block, and is full
                    select.select([], [self._raw], [])
                done += written or 0
            except OSError as exc:
                self.error = exc
        return len(view)


class PictureStream(io.TextIOBase):
    """Standard output that carries a picture: bytes written to `buffer` go there, text to standard error."""

    def __init__(self, buffer: Any) -> None:
        self._bytes = buffer

    @property
    def buffer(self) -> Any:
        """Standard output in bytes."""
        return self._bytes

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, text: str) -> int:
        """Write to standard error."""
        return sys.stderr.write(text)

    def flush(self) -> None:
        """Flush standard error."""
        sys.stderr.flush()


def failure(buffer: Any) -> OSError | None:
    """What went wrong when bytes were written to a standard stream's buffer."""
    error: OSError | None = getattr(getattr(buffer, "raw", None), "error", None)
    return error


def tolerant(main: Callable[..., int]) -> Callable[..., int]:
    """Have a command line run to its end whatever becomes of its streams.

    Where it ends with 0 but its output is lost, as on a full disk, that is said and the code is that of work done in
    part. A pipe that nobody reads any more, as behind `head`, and a closed stream change nothing.
    """

    @functools.wraps(main)
    def run(*arguments: Any, **options: Any) -> int:
        with _guarded() as streams:
            code = main(*arguments, **options)
            for stream in streams:
                stream.flush()
            errors = [failure(stream.buffer) for stream in streams[:1]]
            lost = next((error for error in errors if error and error.errno not in _WANTED), None)
            if lost and not code:
                print(f"overpaint: standard output cannot be written ({lost.strerror})", file=sys.stderr)
            return PARTLY if lost and not code else code

    return run


@contextmanager
def _guarded() -> Iterator[tuple[TextIO, ...]]:
    """Replace the process's standard streams for a while; those of a test or of another host stay."""
    before = sys.stdin, sys.stdout, sys.stderr
    _fill_gaps()
    if sys.stdin is None:
        sys.stdin = io.TextIOWrapper(io.BytesIO())
    sys.stdout, sys.stderr = (_wrapped(stream) for stream in before[1:])
    made = tuple(now for now, old in zip((sys.stdout, sys.stderr), before[1:], strict=True) if now is not old)
    try:
        yield made
    finally:
        for stream in made:
            stream.flush()
        sys.stdin, sys.stdout, sys.stderr = before


def _wrapped(stream: Any) -> Any:
    buffer = getattr(stream, "buffer", None)
    raw = buffer if isinstance(buffer, io.RawIOBase) else getattr(buffer, "raw", None)  # PYTHONUNBUFFERED has no buffer
    if stream is not None and raw is None:
        return stream
    if stream is not None:
        stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(Tolerant(raw)),
        encoding=stream.encoding if stream else "utf-8",
        errors=_NAMES,
        line_buffering=stream.line_buffering if stream else False,
    )


def _fill_gaps() -> None:
    """Open /dev/null where a standard stream is closed: else the next file would get its number, and a library's
    messages."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)


_NAMES = "overpaint.names"


def _names(exc: UnicodeError) -> tuple[str | bytes, int]:
    """How a character that an encoding lacks is written: a byte of a file's name as that byte, another escaped."""
    if isinstance(exc, UnicodeEncodeError):
        exc.end = exc.start + 1
        try:
            return codecs.lookup_error("surrogateescape")(exc)
        except UnicodeEncodeError:
            return codecs.backslashreplace_errors(exc)
    raise exc


codecs.register_error(_NAMES, _names)
