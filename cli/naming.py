"""Names of files by a pattern, such as `{name}-{seed}.png`."""

from __future__ import annotations

import os
import re
import string
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..runtime.requests.request import Request
    from ..runtime.tools.batch import Settings

STDOUT = Path("-")
# The fields of a pattern, with values to try it with.
FIELDS: Mapping[str, Any] = {
    "name": "fox", "index": 1, "seed": 1, "prompt": "a fox", "strength": 0.5, "steps": 20, "sampler": "ddim",
    "schedule": "karras", "guidance": 7.5, "model": "tiny",
}  # fmt: skip
# Bytes of a text in a file's name, which has 255 at most.
_LONGEST = 100


@dataclass(frozen=True)
class Pattern:
    """A file's name with fields in braces, such as `{name}-{seed}.png`; `{{` stands for a brace.

    Raises `InputError` for an unknown field and a format that the field's values do not have.
    """

    text: str

    def __post_init__(self) -> None:
        from ..errors import InputError, unknown

        try:
            parts = list(string.Formatter().parse(self.text))
        except ValueError as exc:
            raise InputError(f"{self.text}: is no pattern ({exc}); write {{{{ and }}}} for braces in a name") from exc
        for _, field, form, conversion in parts:
            if field is not None and field not in FIELDS:
                raise unknown("field of a file name", field, FIELDS)
            if conversion or "{" in (form or ""):
                raise InputError(f"{self.text}: a field is {{seed}} or {{seed:06}}; leave out the rest")
        try:
            self.filled(FIELDS)
        except ValueError as exc:
            raise InputError(f"{self.text}: {exc}; a field is {{seed}} or {{seed:06}}") from exc

    @cached_property
    def fields(self) -> frozenset[str]:
        """The names of its fields."""
        return frozenset(field for _, field, _, _ in string.Formatter().parse(self.text) if field)

    def filled(self, values: Mapping[str, Any]) -> Path:
        """The path with its fields' values, without what a file's name cannot hold."""
        return Path(
            self.text.format_map({key: value if key == "name" else _plain(value) for key, value in values.items()})
        )


def pattern(output: Path) -> Pattern | None:
    """The pattern that an output is; None for a plain path."""
    return Pattern(str(output)) if {"{", "}"} & set(str(output)) else None


def values(request: Request, source: Path, index: int, sampler: str, model: str) -> dict[str, Any]:
    """The fields' values for a request whose picture comes from the file `source`."""
    from ..runtime.sampling.names import resolve

    own, schedule = resolve(request.sampler or sampler, request.schedule)
    strength = request.passes[0] if request.passes else request.strength
    return {
        "name": "stdin" if source == STDOUT else source.stem,
        "index": index,
        "seed": request.variation_seed if request.variation_strength else request.seed,
        "prompt": request.prompt,
        "strength": strength,
        "steps": request.steps,
        "sampler": own,
        "schedule": schedule or "auto",
        "guidance": request.guidance_scale,
        "model": Path(model).name,
    }


def folder_and_pattern(output: Path, suffix: str | None) -> tuple[Path, Pattern | None]:
    """A batch's folder, and the pattern of the names in it where the output ends with one.

    Raises `InputError` for a pattern without a known suffix, and for standard output.
    """
    from ..errors import InputError
    from ..runtime.imaging.output import check_format

    if output == STDOUT:
        raise InputError("a batch writes into a folder; name one")
    first = next((index for index, part in enumerate(output.parts) if pattern(Path(part))), None)
    if first is None:
        return output, None
    if suffix:
        raise InputError(f"{output}: names the format already; leave out --format")
    names = Path(*output.parts[first:])
    check_format(names)
    return Path(*output.parts[:first]), pattern(names)


def named(
    names: Pattern,
    sources: Sequence[Path],
    folder: Path,
    out: Path,
    settings: Settings,
    sampler: str,
    model: str,
) -> list[list[Path]]:
    """The paths by a pattern of what is made of each picture, in `out` and in folders like those of `folder`.

    `{index}` counts the images of a picture. Raises `InputError` where two would have one path.
    """
    import numpy as np

    from ..runtime.imaging.picture import read
    from ..runtime.tools.folder import apart

    blank = read(np.zeros((64, 64, 3), np.uint8))
    paths = []
    for source in sources:
        requests = settings.requests(blank, _prompt(source, settings.prompt))
        place = out / source.relative_to(folder).parent
        filled = (values(request, source, index, sampler, model) for index, request in enumerate(requests, 1))
        paths.append([place / names.filled(each) for each in filled])
    return apart(sources, paths)


def _prompt(source: Path, prompt: str) -> str:
    """A picture's prompt; that of all where its own cannot be read, which skips it later."""
    from ..errors import InputError
    from ..runtime.tools.folder import caption

    try:
        return caption(source, prompt)
    except InputError:
        return prompt


def _plain(value: Any) -> Any:
    """A value without what a file's name cannot hold."""
    if not isinstance(value, str):
        return value
    text = re.sub(r'[\x00-\x1f\x7f<>:"/\\|?*\s]+', " ", value).strip(" .")
    return os.fsencode(text)[:_LONGEST].decode(sys.getfilesystemencoding(), "ignore").rstrip(" .")
