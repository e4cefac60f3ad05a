"""A folder that appears under its name whole, or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..engines.base import InputError, OutputError
from ..engines.bundle import MANIFEST

SPARE = 64 * 2**20


def check_space(target: Path, needed: int) -> None:
    """Raise `OutputError` now, rather than after minutes of work, where the disk cannot hold `needed` bytes."""
    holder = next(folder for folder in target.absolute().parents if folder.is_dir())
    if (free := shutil.disk_usage(holder).free) < needed + SPARE:
        raise OutputError(
            f"{target}: needs about {(needed + SPARE) / 1e9:.1f} GB of disk, {free / 1e9:.1f} GB are free"
        )


@contextmanager
def publish(target: Path, overwrite: bool) -> Iterator[Path]:
    """Give a hidden folder beside `target` to fill; move it into place at the end, or remove it on any failure."""
    _check_target(target, overwrite)
    partial = target.parent / f".{target.name}.partial-{secrets.token_hex(4)}"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.mkdir()
        yield partial
        _sync(partial)
        _replace(partial, target)
    except OSError as exc:
        if isinstance(exc, OutputError):
            raise
        if exc.errno == errno.ENOSPC:
            raise OutputError(f"{target}: the disk is full; free some space and export again") from exc
        raise OutputError(f"{target}: cannot be written ({exc}); choose another folder") from exc
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _check_target(target: Path, overwrite: bool) -> None:
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not overwrite:
        raise InputError(f"{target}: exists already; choose another name, or replace it with --overwrite")
    if not (target / MANIFEST).is_file():
        raise InputError(f"{target}: is not a bundle, so it is not overwritten; choose another name")


def _replace(partial: Path, target: Path) -> None:
    old = target.parent / f".{target.name}.old-{secrets.token_hex(4)}"
    if target.exists():
        target.rename(old)
    try:
        partial.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _sync(folder: Path) -> None:
    """Have the disk hold every file before the folder gets its name."""
    for path in (*folder.rglob("*"), folder):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
