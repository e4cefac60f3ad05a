"""Standard streams that are closed, full, cut or of a narrow encoding, in processes of their own."""

import errno
import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from overpaint.cli.streams import PictureStream, Tolerant, failure, tolerant

ODD = os.fsdecode(b"caf\xe9.png")


def shell(command: str, folder: Path, *arguments: object, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run `command`, in which `$@` are overpaint's arguments, in bash."""
    words = ["bash", "-o", "pipefail", "-c", command, sys.executable, *map(os.fsencode, map(str, arguments))]
    return subprocess.run(words, cwd=folder, capture_output=True, env={**os.environ, **environment}, timeout=60)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a.png", ODD, "猫.png"):
        Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(folder / name)
    return folder


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize(
    ("redirect", "code"),
    [
        ("| head -1", 0),
        ("<&- >&- 2>&-", 0),
        ("> /dev/full", 3),
    ],
)
def test_a_batch_goes_on_whatever_becomes_of_its_streams(
    pictures: Path, fake_folder: Path, redirect: str, code: int
) -> None:
    options = ("batch", "in", "a", "-o", "out", "--steps", 2, "--engine", "fake", "--model", fake_folder)
    done = shell(f'"$0" -m overpaint "$@" {redirect}', pictures.parent, *options)
    assert done.returncode == code
    assert b"Traceback" not in done.stderr
    assert (b"standard output cannot be written (No space left" in done.stderr) == (code == 3)
    assert len(list((pictures.parent / "out").glob("*.png"))) == 3


@pytest.mark.parametrize("redirect", ["| head -c 1", ">&-", "2>&-"])
def test_text_that_nobody_reads_is_no_failure(tmp_path: Path, redirect: str) -> None:
    done = shell(f'"$0" -m overpaint "$@" {redirect}', tmp_path, "plan", "--steps", 1000, "--coefficients")
    assert done.returncode == 0
    assert done.stderr == b""


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_names_that_an_encoding_lacks(pictures: Path, fake_folder: Path, encoding: str) -> None:
    options = ("batch", "in", "a", "-o", "out", "--steps", 2, "--engine", "fake", "--model", fake_folder)
    for there in (0, 3):  # the second time reads what the first has stored
        done = shell('"$0" -m overpaint "$@"', pictures.parent, *options, PYTHONIOENCODING=encoding)
        assert done.returncode == 0, done.stderr
        assert f"3 pictures: {3 - there} written, {there} already there".encode() in done.stdout
        assert there or b"out/caf\xe9.png" in done.stdout
        assert there or ("out/猫.png".encode() if encoding == "utf-8" else rb"out/\u732b.png") in done.stdout
    listed = os.listdir(os.fsencode(pictures.parent / "out"))
    assert b"caf\xe9.png" in listed


def test_one_that_cannot_be_read_is_named_as_it_is(pictures: Path, fake_folder: Path) -> None:
    (pictures / ODD).write_bytes(b"no picture")
    options = ("batch", "in", "a", "-o", "out", "--steps", 2, "--engine", "fake", "--model", fake_folder)
    done = shell('"$0" -m overpaint "$@"', pictures.parent, *options)
    assert done.returncode == 3
    assert b"in/caf\xe9.png skipped: is not a picture" in done.stderr


class Failing(io.RawIOBase):
    """A raw stream that takes some bytes and fails then."""

    def __init__(self, room: int, number: int) -> None:
        self.room, self.number, self.data = room, number, b""

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        if not self.room:
            raise OSError(self.number, os.strerror(self.number))
        taken = bytes(data[: min(3, self.room)])
        self.data, self.room = self.data + taken, self.room - len(taken)
        return len(taken)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EPIPE])
def test_a_stream_keeps_its_first_failure_and_loses_the_rest(number: int) -> None:
    raw = Failing(7, number)
    buffer = io.BufferedWriter(Tolerant(raw))
    buffer.write(b"0123456789")
    buffer.flush()
    buffer.write(b"more")
    buffer.flush()
    assert raw.data == b"0123456"
    error = failure(buffer)
    assert error is not None
    assert error.errno == number


@pytest.mark.parametrize(("number", "code", "ended"), [(errno.EPIPE, 0, 0), (errno.EIO, 0, 3), (errno.EIO, 2, 2)])
def test_the_exit_code(number: int, code: int, ended: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BufferedWriter(Failing(0, number))))

    def main() -> int:
        print("a line")
        return code

    assert tolerant(main)() == ended
    monkeypatch.undo()


def test_streams_of_another_host_stay(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout

    def main() -> int:
        assert sys.stdout is before
        print("a line")
        return 0

    assert tolerant(main)() == 0
    assert capsys.readouterr().out == "a line\n"


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit, RuntimeError])
def test_streams_come_back_however_it_ends(end: type[BaseException], monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BufferedWriter(Failing(99, 1)))
    monkeypatch.setattr("sys.stdout", stream)

    def main() -> int:
        print("a line")
        sys.stdout = PictureStream(sys.stdout.buffer)
        raise end

    run: Callable[[], int] = tolerant(main)
    with pytest.raises(end):
        run()
    assert sys.stdout is stream
    assert stream.buffer.raw.data == b"a line\n"  # type: ignore[attr-defined]
    monkeypatch.undo()
