"""Bundles by name: those that ship with the package, and any other by its path."""

from __future__ import annotations

import os
from pathlib import Path

from ...bundles.format import MANIFEST
from ...errors import InputError, unknown

MODELS = Path(__file__).parents[2] / "models"


def shipped(place: Path) -> list[str]:
    """The names of the bundles in a folder."""
    return sorted(manifest.parent.name for manifest in place.glob(f"*/{MANIFEST}"))


def find_in(place: Path, kind: str, bundle: str | Path) -> Path:
    """The folder of a bundle by its name among those in `place`, or by its path (`./tiny`, where a name means another).

    Raises `InputError`, which speaks of a `kind`, for a name that is neither.
    """
    if not isinstance(bundle, (str, Path)) or not str(bundle).strip():
        raise InputError(f"a {kind} is a bundle's path or one of {', '.join(shipped(place))}, not {bundle!r}")
    if str(bundle) in shipped(place):
        return place / bundle
    path = Path(bundle).expanduser()
    if len(path.parts) == 1 and not os.path.exists(path) and os.sep not in str(bundle):
        raise unknown(kind, str(bundle), shipped(place))
    return path
