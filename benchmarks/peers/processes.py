"""Peers in processes of their own: installed, prepared, started, timed out, and their reasons where they fail."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .peer import Peer, Venv
from .work import Work
from .worker import Figures

BLOCK = 2**24


class UnavailableError(Exception):
    """A peer cannot be measured; the message is the reason."""


@dataclass(frozen=True)
class Place:
    """Where things are kept, and the most seconds that one process may take."""

    checkpoint: Path
    venvs: Path
    pictures: Path
    limit: float

    def prepare(self, peer: Peer) -> None:
        """Install a peer and bring the checkpoint into its layout, where that is not done yet."""
        if peer.venv:
            self._install(peer.venv)
        done = peer.folder / ".complete"
        if peer.converter is None or done.exists():
            return
        shutil.rmtree(peer.folder, ignore_errors=True)
        peer.folder.mkdir(parents=True)
        task = {"do": "prepare", "adapter": peer.converter, "checkpoint": str(self.checkpoint)}
        # A conversion that is the adapter's own needs its library, any other this interpreter's torch.
        python = self._python(peer) if peer.converter == peer.adapter else Path(sys.executable)
        self._work(python, {**task, "folder": str(peer.folder), "options": dict(peer.options)})
        done.touch()

    def measure(self, peer: Peer, work: Work) -> Figures:
        """One process of a peer: its cold start, its pictures and its stages; files are in the page cache before."""
        read(peer.folder)
        with tempfile.TemporaryDirectory() as scratch:
            task = {
                "do": "measure",
                "adapter": peer.adapter,
                "folder": str(peer.folder),
                "options": dict(peer.options),
                "work": asdict(work),
                "spawned": time.monotonic(),
                "first": str(self.picture(peer)),
                "figures": f"{scratch}/figures.json",
            }
            self._work(self._python(peer), task)
            return dict(json.loads(Path(task["figures"]).read_text()))

    def picture(self, peer: Peer) -> Path:
        """Where a peer's first picture is kept."""
        return self.pictures / f"{peer.label.replace(', ', '-').replace(' ', '-')}.png"

    def _python(self, peer: Peer) -> Path:
        return self.venvs / peer.venv.name / "bin/python" if peer.venv else Path(sys.executable)

    def _install(self, venv: Venv) -> None:
        folder = self.venvs / venv.name
        done = folder / ".complete"
        if done.exists() and done.read_text() == "\n".join(venv.requirements):
            return
        self._run([sys.executable, "-m", "venv", "--clear", str(folder)])
        self._run([str(folder / "bin/pip"), "install", "--quiet", *venv.requirements])
        done.write_text("\n".join(venv.requirements))

    def _work(self, python: Path, task: dict[str, Any]) -> None:
        self._run([str(python), "-m", "benchmarks.peers.worker", json.dumps(task)])

    def _run(self, command: Sequence[str]) -> None:
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=self.limit, check=False)
        except subprocess.TimeoutExpired:
            raise UnavailableError(f"did not end within {self.limit:.0f} s") from None
        if done.returncode:
            raise UnavailableError(reason(done.returncode, done.stderr))


def reason(code: int, errors: str) -> str:
    """Why a process failed: the last line that says something, or the signal that ended it."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    last = lines[-1].rstrip(".") if lines else "without a word"
    return f"ended by signal {-code}: {last}" if code < 0 else last


def read(folder: Path) -> None:
    """Read every file once, so that no peer's cold start is the disk's."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as stream:
                while stream.read(BLOCK):
                    pass
