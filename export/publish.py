"""A folder that appears under its name whole, or not at all."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..bundles.format import MANIFEST
from ..errors import InputError, OutputError

SPARE = 64 * 2**20


def check_space(target: Path, needed: int) -> None:
    """Raise `OutputError` now, rather than after minutes of work, where the disk cannot hold `needed` bytes."""
    holder = next(folder for folder in target.absolute().parents if folder.is_dir())
    if (free := shutil.disk_usage(holder).free) < needed + SPARE:
        raise OutputError(
            f"{target}: needs about {(needed + SPARE) / 1e9:.1f} GB of disk, {free / 1e9:.1f} GB are free"
        )


def remove_stale(target: Path) -> None:
    """Remove the hidden folders that exports of `target` left behind when they were killed.

    A running export holds a lock on its folder, which ends with its process. What cannot be locked is left alone.
    """
    name = re.compile(rf"\.{re.escape(target.name)}\.partial-[0-9a-f]{{8}}")
    stale: list[Path] = []
    with suppress(OSError):
        stale = [path for path in target.parent.iterdir() if name.fullmatch(path.name)]
    for folder in stale:
        with suppress(OSError), _lock(folder) as held:
            if held:
                shutil.rmtree(folder)


@contextmanager
def publish(target: Path, overwrite: bool) -> Iterator[Path]:
    """Give a hidden folder beside `target` to fill; move it into place at the end, or remove it on any failure."""
    check_target(target, overwrite)
    with scratch(target) as partial:
        yield partial
        _sync(partial)
        _replace(partial, target)


@contextmanager
def scratch(target: Path) -> Iterator[Path]:
    """Give a hidden folder beside `target` to work in, and remove it at the end; raises `OutputError` for the disk."""
    partial = target.parent / f".{target.name}.partial-{secrets.token_hex(4)}"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.mkdir()
        with _lock(partial):
            yield partial
    except OSError as exc:
        if isinstance(exc, OutputError):
            raise
        if exc.errno == errno.ENOSPC:
            raise OutputError(f"{target}: the disk is full; free some space and export again") from exc
        raise OutputError(f"{target}: cannot be written ({exc}); choose another folder") from exc
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def check_target(target: Path, overwrite: bool) -> None:
    """Raise `InputError` where `target` exists, unless it is a bundle that may be overwritten."""
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not overwrite:
        raise InputError(f"{target}: exists already; choose another name, or replace it with --overwrite")
    if not (target / MANIFEST).is_file():
        raise InputError(f"{target}: is not a bundle, so it is not overwritten; choose another name")


def _replace(partial: Path, target: Path) -> None:
    old = target.parent / f".{target.name}.old-{secrets.token_hex(4)}"
    try:
        if target.exists():
            target.rename(old)
        partial.rename(target)
    finally:  # also where an interrupt comes between the two
        if old.exists() and not target.exists():
            old.rename(target)
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _lock(folder: Path) -> Iterator[bool]:
    """Lock a folder until the end, or the process's end; gives False where another has it or nobody can."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield _try_lock(handle)
    finally:
        os.close(handle)


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _sync(folder: Path) -> None:
    """Have the disk hold every file before the folder gets its name."""
    for path in (*folder.rglob("*"), folder):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
