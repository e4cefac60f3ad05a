"""Where pictures go: a file, names by a pattern, or standard output; all of it checked before a model runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .naming import STDOUT, pattern, values
from .streams import PictureStream, failure

if TYPE_CHECKING:
    from PIL import Image

    from ..runtime.requests.request import Request

_STREAMS = (STDOUT, Path("/dev/stdout"))


class Target:
    """Where a command's pictures go, checked as far as can be before the model is loaded.

    `inputs` are the pictures that the command works on, `others` those that it only reads. Raises `InputError` and
    `OutputError` for an output that cannot be written, for a pattern that is none, and for files that exist, unless
    `overwrite`.
    """

    def __init__(
        self, output: Path, overwrite: bool, inputs: Sequence[Path], others: Iterable[Path] = (), model: str = ""
    ) -> None:
        from ..runtime.imaging.output import check_format

        self._output, self._overwrite, self._inputs, self._model = output, overwrite, inputs, model
        self._others = tuple(others)
        self._pattern = pattern(output)
        if output in _STREAMS:
            _carry_picture()
        elif self._pattern:
            check_format(output)

    def numbered(self, count: int) -> list[Path]:
        """The paths of `count` pictures, as far as they are known before the requests; none for a pattern."""
        from ..errors import InputError
        from ..runtime.imaging.output import numbered

        if self._output in _STREAMS:
            if count > 1:
                raise InputError(f"standard output holds one picture, not {count}; name a file")
            return [STDOUT]
        return [] if self._pattern else self._checked(numbered(self._output, count))

    def paths(self, requests: Sequence[Request], sampler: str) -> list[Path]:
        """The paths of the requests' pictures, which come from the inputs in their order; `sampler` is the model's own.

        Raises `InputError` where two have one path.
        """
        from ..errors import InputError

        if not self._pattern:
            return self.numbered(len(requests))
        sources = [path for path in self._inputs for _ in range(len(requests) // len(self._inputs))]
        pairs = enumerate(zip(requests, sources, strict=True), 1)
        paths = [
            self._pattern.filled(values(request, source, index, sampler, self._model))
            for index, (request, source) in pairs
        ]
        if twice := next((path for path in paths if paths.count(path) > 1), None):
            raise InputError(
                f"{twice}: several pictures would have this name; add {{index}} or {{seed}} to the pattern"
            )
        return self._checked(paths)

    def check(self, path: Path, size: tuple[int, int], parameters: str | None = None) -> None:
        """Make sure that a picture of a size (width, height) with its parameters can be written."""
        from ..runtime.imaging.output import check_writable

        if path != STDOUT:
            check_writable(path, size, parameters)

    def _checked(self, paths: list[Path]) -> list[Path]:
        from ..runtime.imaging.output import check_writable

        for path in paths:
            check_writable(path)
            if not self._overwrite:
                check_free(path, (*self._inputs, *self._others))
        return paths


def check_free(path: Path, inputs: Iterable[Path] = ()) -> None:
    """Raise `InputError` where a file exists, and say where it is one of a command's inputs."""
    from ..errors import InputError

    check_other(path, inputs)
    if os.path.lexists(path):
        raise InputError(f"{path}: exists already; choose another name, or replace it with --overwrite")


def check_other(path: Path, inputs: Iterable[Path]) -> None:
    """Raise `InputError` where a file is one of a command's inputs."""
    from ..errors import InputError

    if os.path.exists(path) and any(os.path.exists(each) and os.path.samefile(path, each) for each in inputs):
        raise InputError(f"{path}: is the input's own file; choose another name, or replace it with --overwrite")


def put(
    path: Path, image: Image.Image, parameters: str | None, record: str | None = None, **options: Any
) -> tuple[str, ...]:
    """Write a picture as `imaging.output.write` does, or as a PNG to standard output, with its record."""
    from ..errors import OutputError
    from ..runtime.imaging.output import encode, write
    from ..runtime.provenance.records import located

    if path != STDOUT:
        record = located(record, path) if record else None
        return write(path, image, parameters, record=record, **options)
    data, notes = encode(image, ".png", parameters, record=record, **options)
    stream: Any = sys.stdout
    try:
        stream.buffer.write(data)
        stream.buffer.flush()
    except OSError as exc:
        raise OutputError(f"standard output cannot be written ({exc.strerror}); check the pipe or the disk") from exc
    if lost := failure(stream.buffer):
        raise OutputError(f"standard output cannot be written ({lost.strerror}); check the pipe or the disk") from lost
    return notes


def source(path: Path) -> Path | bytes:
    """What a picture is read from: a path, or the bytes of a pipe (`-` is standard input), which can be read once.

    Raises `InputError` where there are none.
    """
    from ..errors import InputError
    from ..runtime.imaging.opening import read_pipe

    if path != STDOUT and not path.is_fifo():
        return path
    with path.open("rb") if path != STDOUT else nullcontext(sys.stdin.buffer) as stream:
        data = read_pipe(stream, str(path))
    if not data:
        raise InputError(f"{path}: the pipe is empty, or was read before; pipe one picture into it")
    return data


def _carry_picture() -> None:
    """Have standard output carry a picture and nothing else."""
    from ..errors import InputError

    if sys.stdout.isatty():
        raise InputError("a terminal does not show pictures; name a file, or pipe the output")
    sys.stdout = PictureStream(sys.stdout.buffer)
