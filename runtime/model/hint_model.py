"""Preprocessors that are networks: an ONNX file that the user names makes a hint of a picture."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ...bundles.tensor import Array
from ...errors import EngineError, InputError, unknown
from ..imaging.preprocessors import ALIASES, NAMES
from ..requests import checks

if TYPE_CHECKING:
    from ...engines.ort.plain import PlainSession

# Of ImageNet, which nearly all networks for depth, pose and segmentation were trained with.
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# What the sides are whole multiples of where the graph leaves them open.
MULTIPLE = 32


MOST_PIXELS = 2**23
"""Of a picture that a preprocessor works on where requests are confined: canny takes about 170 bytes a pixel."""


class HintModels:
    """A model's preprocessors that are networks, by the names that requests have for them; another name is a file's
    path."""

    def __init__(self) -> None:
        self._files: dict[str, str] = {}
        self._confined = False

    def add(self, name: str, file: str | Path) -> None:
        """Have requests call an ONNX file `name`; raises `InputError` for a name that is taken and a missing file."""
        with checks.of("controls"):
            checks.text("a preprocessor's name", name)
            if name in (*NAMES, *ALIASES, *self._files):
                raise InputError(f"there is a preprocessor {name!r} already; choose another name")
            self._files[name] = str(_found(file))

    def confine(self) -> None:
        """Have requests name those that were added alone, open no other file, and work on no larger picture than
        `MOST_PIXELS`."""
        self._confined = True

    def check_size(self, size: tuple[int, int]) -> None:
        """Raise `InputError` for a picture of (width, height) that is too large to make a hint of."""
        width, height = size
        if self._confined and width * height > MOST_PIXELS:
            cause = f"a preprocessor would work on {width}x{height}, more than {MOST_PIXELS} pixels"
            raise InputError(f"{cause}; choose a lower resolution, or send a finished hint")

    @property
    def names(self) -> list[str]:
        """Those that were added."""
        return sorted(self._files)

    def file(self, name: str) -> str:
        """The file of a preprocessor; raises `InputError` for one that requests may not name."""
        if name not in self._files and self._confined:
            raise unknown("preprocessor", name, (*NAMES, *self._files))
        return self._files.get(name, name)


def run_hint_model(file: str, pixels: Array) -> Array:
    """The hint that a network makes of a picture, uint8 [height, width, 3] -> float32 [3, height, width] in [0, 1].

    The graph takes one input, float32 [1, 3, height, width] in RGB, normalised with ImageNet's mean and deviation; the
    picture is scaled to its sides, or to multiples of 32 where they are open. Its first output is a map [1, height,
    width] or [1, 1, height, width], whose least becomes 0 and greatest 1 (of depth: what is near has to be greatest),
    or a picture [1, 3, height, width] in [0, 1]. Raises `InputError` for a file that is not there or of another kind,
    and `EngineError` where it fails.
    """
    session = _opened(file)
    axes = session.axes
    if len(axes) != 4 or (axes[1] not in (3, None) and not isinstance(axes[1], str)):
        raise InputError(f"{file}: takes {list(axes)}, a preprocessor takes [1, 3, height, width]")
    height, width = (
        axis if isinstance(axis, int) else max(round(length / MULTIPLE), 1) * MULTIPLE
        for axis, length in zip(axes[2:], pixels.shape[:2], strict=True)
    )
    seen = np.asarray(Image.fromarray(np.asarray(pixels)).resize((width, height), Image.Resampling.BICUBIC), np.float32)
    normal = (seen / 255 - np.asarray(MEAN, np.float32)) / np.asarray(DEVIATION, np.float32)
    return _levels(file, session(np.ascontiguousarray(normal.transpose(2, 0, 1)[None], np.float32)))


def _levels(file: str, output: Array) -> Array:
    made = np.asarray(output, np.float32)
    made = made[None] if made.ndim == 3 else made
    if made.ndim != 4 or len(made) != 1 or made.shape[1] not in (1, 3):
        raise EngineError(
            f"{file}: gives {list(output.shape)}, a preprocessor gives [1, height, width] or [1, 3, height, width]; "
            "have the graph end with a map or a picture"
        )
    if not np.isfinite(made).all():
        raise EngineError(f"{file}: gave NaN or infinity; export it in float32")
    if made.shape[1] == 1:
        least, most = made.min(), made.max()
        made = np.repeat((made - least) / max(most - least, np.float32(1e-12)), 3, axis=1)
    return np.ascontiguousarray(made[0].clip(0, 1))


@lru_cache(maxsize=2)
def _opened(file: str) -> PlainSession:
    from ...engines.ort.plain import PlainSession

    return PlainSession(_found(file))


def _found(file: str | Path) -> Path:
    path = Path(file).expanduser()
    if not path.is_file():
        raise InputError(f"{file}: there is no such file; a preprocessor that is a network is named onnx:FILE")
    return path
