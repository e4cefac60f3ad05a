"""Where an infotext, A1111's text of parameters, is found: in a picture's file, in a text file, or as it is."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ...bundles.textfile import decode
from ...errors import InputError
from .metadata import read_parameters, split_parameters

Source = str | os.PathLike[str] | bytes

MAX_TEXT = 2**20
"""The most bytes of a text file that is taken for an infotext."""


def read_infotext(source: Source) -> str:
    """The infotext of a picture's file or its bytes, or of a text file; a text with lines or pairs is one itself.

    Raises `InputError` where there is none.
    """
    if isinstance(source, str) and ("\n" in source or split_parameters(source)[2]):
        return source
    name = "the bytes" if isinstance(source, bytes) else str(source)
    if (text := _text(source, name)) is None:
        text = read_parameters(source)
    if not text or not text.strip():
        raise InputError(f"{name}: has no parameters of A1111; they were stripped, or another program made it")
    return text


def _text(source: Source, name: str) -> str | None:
    """The text of a text file; None for a picture, and for what is neither."""
    data = source
    if not isinstance(data, bytes):
        if not os.path.isfile(source):  # a pipe, or nothing: an error that a reader of pictures words
            return None
        with Path(os.fspath(source)).open("rb") as stream:  # type: ignore[arg-type]
            data = stream.read(MAX_TEXT + 1)
    if not data or len(data) > MAX_TEXT:
        return None
    try:
        text = decode(data)
    except UnicodeDecodeError:
        return None
    # PPM, the one picture in letters, begins with these and has no parameters.
    return None if re.match(r"P[1-7]\s", text) else text
