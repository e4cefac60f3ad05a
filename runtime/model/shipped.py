"""Bundles by name: those that ship with the package, and any other by its path."""

from __future__ import annotations

import os
from pathlib import Path

from ...bundles.format import MANIFEST
from ...errors import InputError, unknown

MODELS = Path(__file__).parents[2] / "models"


def shipped(place: Path) -> list[str]:
    """The names of the bundles in a folder."""
    return sorted(_folders(place, "*"))


def find_in(place: Path, kind: str, bundle: str | Path, inner: str = "*") -> Path:
    """The folder of a bundle by its name among those in `place`, or by its path (`./tiny`, where a name means another).

    `inner` "**" looks into folders of folders too. Raises `InputError`, which speaks of a `kind`, for a name that is
    neither.
    """
    folders = _folders(place, inner)
    if not isinstance(bundle, (str, Path)) or not str(bundle).strip():
        raise InputError(f"a {kind} is a bundle's path or one of {', '.join(sorted(folders))}, not {bundle!r}")
    if str(bundle) in folders:
        return folders[str(bundle)]
    path = Path(bundle).expanduser()
    if len(path.parts) == 1 and not os.path.exists(path) and os.sep not in str(bundle):
        raise unknown(kind, str(bundle), folders, otherwise="give a bundle's path")
    return path


def find_any(bundle: str | Path) -> Path:
    """The folder of a bundle of any kind, as `find_in` has it."""
    return find_in(MODELS, "bundle", bundle, "**")


def _folders(place: Path, inner: str) -> dict[str, Path]:
    return {manifest.parent.name: manifest.parent for manifest in place.glob(f"{inner}/{MANIFEST}")}
