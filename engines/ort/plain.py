"""An ONNX file that belongs to no bundle, such as a preprocessor's, in ONNX Runtime on the CPU."""

from __future__ import annotations

from pathlib import Path

from ...bundles.tensor import Array
from ...errors import EngineError
from .session import ERRORS, library


class PlainSession:
    """A graph of one input, called with its array; gives its first output.

    Raises `EngineError` for a file that ONNX Runtime does not take, and for a graph of several inputs.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._session = library.InferenceSession(path, providers=["CPUExecutionProvider"])
        except ERRORS as exc:
            raise EngineError(f"{path}: ONNX Runtime cannot load it ({_line(exc)}); export it again") from exc
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            names = ", ".join(each.name for each in inputs)
            raise EngineError(f"{path}: takes {names}; a graph of one input is needed")
        self._path, self._input = path, inputs[0]

    @property
    def axes(self) -> tuple[int | str | None, ...]:
        """The input's axes: lengths, or names of those that are free."""
        return tuple(self._input.shape)

    def __call__(self, array: Array) -> Array:
        """The first output."""
        try:
            made: Array = self._session.run(None, {self._input.name: array})[0]
        except ERRORS as exc:
            raise EngineError(f"{self._path}: failed while running ({_line(exc)})") from exc
        return made


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
