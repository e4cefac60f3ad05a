"""Built engines on disk: each under a key of all that it depends on, written whole, and by one process at a time."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from filelock import FileLock, Timeout

from ..errors import EngineError, OutputError
from .graph import File

FOLDER = "engines"
RECORD, BLOB = "key.json", "engine"
# Where the bundles lie that come with the package.
PACKAGED = Path(__file__).absolute().parent.parent / "models"
HOW_TO_MAKE_ROOM = "free some space, or name another folder in OVERPAINT_ENGINES"


@dataclass(frozen=True)
class Key:
    """All that a built engine depends on.

    `graph` is the graph's name and `onnx` the hash of it and its weights; `profile` are the shapes it is built for, as
    text; `library` and `version` are of its builder; `architecture` is the processor's, as the library tells them apart
    (such as "sm_90").
    """

    graph: str
    onnx: str
    profile: str
    precision: str
    library: str
    version: str
    architecture: str

    @property
    def name(self) -> str:
        """The folder of this engine: its graph and library for the reader, a hash of everything for the machine."""
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()
        return f"{self.graph}.{self.library}.{digest[:16]}"

    def differences(self, other: Key) -> list[str]:
        """What sets another key apart, as "field is theirs, not ours"."""
        return [
            f"{field.name} is {getattr(other, field.name)}, not {getattr(self, field.name)}"
            for field in fields(self)
            if getattr(other, field.name) != getattr(self, field.name)
        ]


class Store:
    """The engines built for a bundle, a folder each: the engine, and its key with the engine's size and hash."""

    def __init__(self, folder: Path, shipped: Path | None = None, obstacle: str = "") -> None:
        """`shipped` is looked into too; `obstacle` says why nothing can be kept, where that is known."""
        self.folder = folder
        # What came with the bundle is used wherever new engines are kept.
        self._folders = (folder, shipped) if shipped and shipped != folder else (folder,)
        self._obstacle = obstacle

    @classmethod
    def of(cls, bundle: Path) -> Store:
        """The store of a bundle: its `engines` folder, or the user's cache where the bundle cannot be written or is one
        of the package's own, whose folder an uninstaller has to find as it was.

        The environment variable OVERPAINT_ENGINES names another folder.
        """
        own = bundle / FOLDER
        if named := os.environ.get("OVERPAINT_ENGINES"):
            return cls(Path(named), own)
        if not bundle.absolute().is_relative_to(PACKAGED) and os.access(bundle, os.W_OK):
            return cls(own)
        if cache := user_cache():
            return cls(cache / FOLDER, own)
        return cls(own, obstacle=f"{own}: cannot be written, and there is no home folder for a cache")

    @property
    def changed(self) -> float:
        """When an engine last came or went; 0 where there never was one."""
        with suppress(OSError):
            return self.folder.stat().st_mtime
        return 0.0

    def find(self, key: Key) -> Path | None:
        """The file of a built engine, or None; raises `EngineError` for one that is altered or cut short."""
        folder = self._place(key)
        if folder is None:
            return None
        try:
            record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
            whole = Key(**record["key"]) == key and File.of(folder, BLOB) == File(**record["file"])
        except (OSError, ValueError, KeyError, TypeError):
            whole = False
        if not whole:
            raise EngineError(f"{folder}: the built engine is altered or cut short; remove this folder and build again")
        with suppress(OSError):  # used now, as `prune` sees it
            os.utime(folder / RECORD)
        return folder / BLOB

    def holds(self, key: Key) -> bool:
        """Whether there is an engine of that key, whole or not."""
        return self._place(key) is not None

    def _place(self, key: Key) -> Path | None:
        return next((path / key.name for path in self._folders if os.path.isdir(path / key.name)), None)

    def built(self) -> Iterator[Key]:
        """The keys of all engines whose record can be read."""
        for path in (record for folder in self._folders for record in _records(folder)):
            try:
                yield Key(**json.loads(path.read_text(encoding="utf-8"))["key"])
            except (OSError, ValueError, KeyError, TypeError):
                continue

    def build(self, key: Key, make: Callable[[Path], None], waiting: Callable[[], None] = lambda: None) -> Path:
        """The file of a built engine, which `make` writes at the path it is given, unless it is there already.

        Where another process is building it, `waiting` is called and its engine is waited for. What fails or is killed
        leaves no engine. Raises `EngineError` for an altered engine, `OutputError` where the folder cannot be written.
        """
        target, partial = self.folder / key.name, self.folder / f".{key.name}.partial"
        if self._obstacle:
            raise OutputError(f"{self._obstacle}; {HOW_TO_MAKE_ROOM}")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with _locked(self.folder / f".{key.name}.lock", waiting):
                if path := self.find(key):
                    return path
                shutil.rmtree(partial, ignore_errors=True)  # of a build that was killed
                partial.mkdir()
                try:
                    make(partial / BLOB)
                    record = {"key": asdict(key), "file": asdict(File.of(partial, BLOB))}
                    (partial / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
                    partial.rename(target)
                finally:
                    shutil.rmtree(partial, ignore_errors=True)
        except OSError as exc:
            if isinstance(exc, OutputError):
                raise
            raise OutputError(f"{self.folder}: built engines cannot be kept here ({exc}); {HOW_TO_MAKE_ROOM}") from exc
        return target / BLOB

    def prune(self, kin: Key, keep: int) -> None:
        """Of the engines that a library made of the same graph as `kin`, keep those used last and remove the others."""
        kindred = [key for key in self.built() if _origin(key) == _origin(kin)]
        for key in sorted(kindred, key=self._used)[: max(len(kindred) - keep, 0)]:
            self.remove(key)

    def _used(self, key: Key) -> float:
        """When an engine was last found; 0 where another process has removed it meanwhile."""
        with suppress(OSError):
            return (self.folder / key.name / RECORD).stat().st_mtime
        return 0.0

    def remove(self, key: Key) -> None:
        """Remove a built engine, altered or not, if it is there; others see it whole or not at all."""
        going = self.folder / f".{key.name}.{os.getpid()}.removed"
        with suppress(OSError):
            (self.folder / key.name).rename(going)
        shutil.rmtree(going, ignore_errors=True)


def user_cache() -> Path | None:
    """Where this package keeps what it can make again, or None for a user without a home folder."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(named):  # the standard has relative ones ignored
        return Path(named) / "overpaint"
    home = os.path.expanduser("~")
    return Path(home) / ".cache" / "overpaint" if os.path.isabs(home) else None


def _records(folder: Path) -> list[Path]:
    with suppress(OSError):  # of a folder that may not be entered
        return sorted(folder.glob(f"[!.]*/{RECORD}"))
    return []


def _origin(key: Key) -> tuple[str, str, str]:
    return key.graph, key.onnx, key.library


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that others see whole or not at all; raises `OSError`."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    partial.write_bytes(content)
    partial.replace(path)


def _locked(path: Path, waiting: Callable[[], None]) -> AbstractContextManager[object]:
    """A lock that is held, and let go when the `with` around it ends."""
    lock = FileLock(path)
    try:
        return lock.acquire(blocking=False)
    except Timeout:
        waiting()
        return lock.acquire()
