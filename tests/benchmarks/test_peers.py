"""What the benchmark makes of its figures, and how it deals with a peer that fails."""

from pathlib import Path

import pytest

from benchmarks.peers.peer import FLOOR, OURS, RAW, Peer, Venv, peers
from benchmarks.peers.processes import Place, UnavailableError, reason
from benchmarks.peers.tables import HEADER, Target, derived, peak, peer_row, projected
from benchmarks.peers.work import Work

FLOPS = {"matmul flop": [2e12], "unet flop": [1e12], "encode flop": [1e12], "decode flop": [2e12]}
SECONDS = {
    "matmul torch f32": [4.0, 4.0, 9.0],
    "matmul openvino f32": [5.0],
    "matmul torch bf16": [3.0],
    "matmul openvino bf16": [2.0],
}
WORK = Work("models/examples/fox.png", 32, 20, 0.5, 7.5, warmup=1, repeats=2, stage_repeats=3)
RATIO = Target("a to b", ("a", "picture"), ("b", "picture"), 0.75)


def test_a_target_compares_medians() -> None:
    measured = {"a": {"picture": [1, 2, 90]}, "b": {"picture": [4.0]}}
    assert RATIO.row(measured) == ("a to b", "<= 0.75", "0.5", "yes")
    assert RATIO.row({**measured, "b": {"picture": [2.0]}})[2:] == ("1", "no")


@pytest.mark.parametrize("measured", [{}, {"a": {"picture": [1.0]}}, {"a": {"picture": [1.0]}, "b": {"unet": [1.0]}}])
def test_a_target_without_its_figures_says_so(measured: dict) -> None:
    assert RATIO.row(measured)[2:] == ("not measured", "")


def test_a_target_may_be_a_least_figure() -> None:
    target = Target("quality", ("a", "psnr"), None, 30, at_least=True)
    assert target.row({"a": {"psnr": [31.0]}}) == ("quality", ">= 30", "31", "yes")
    assert target.row({"a": {"psnr": [29.0]}})[3] == "no"


def test_openvino_alone_counts_in_its_better_way() -> None:
    ways = {"unet in one call": [3.0, 1.0, 3.0], "unet row by row": [2.0, 2.0, 2.0]}
    assert derived({f"{RAW} bf16": ways})[f"{RAW} bf16"]["unet"] == [2.0, 2.0, 2.0]


def test_the_floor_is_the_faster_product() -> None:
    floor = FLOPS | SECONDS
    assert peak(floor, "f32") == 0.5e12
    assert derived({f"{FLOOR} all": floor})[FLOOR] == {"unet f32": [2.0], "unet bf16": [1.0]}


def test_the_projection_grows_with_the_pictures() -> None:
    ours = [Peer(OURS, "bf16", "ours", Path())]
    once = projected(ours, WORK, 1, FLOPS | SECONDS)
    assert projected(ours, WORK, 3, FLOPS | SECONDS) == pytest.approx(3 * once)
    assert projected([Peer(OURS, "f32", "ours", Path())], WORK, 1, FLOPS | SECONDS) > once
    assert projected([Peer(RAW, "bf16", "raw", Path())], WORK, 1, FLOPS | SECONDS) == 0


def test_a_row_has_a_cell_for_every_column() -> None:
    peer = Peer(OURS, "f32", "ours", Path())
    assert len(peer_row(peer, {"unet": [1.0]})) == len(HEADER)
    assert peer_row(peer, {"picture": [2.0, 1.0, 3.0]})[:4] == (OURS, "f32", "2.000", "2.900")


def test_every_peer_is_called_something_else() -> None:
    bundles = [("f32", Path("a"), {}), ("bf16", Path("b"), {"engine": "openvino"})]
    labels = [peer.label for peer in peers(Path("checkpoint"), bundles, Path("made"))]
    assert len(set(labels)) == len(labels)
    assert {f"{OURS} f32", f"{OURS} bf16"} <= set(labels)


def test_the_work_is_what_diffusers_would_do() -> None:
    assert (WORK.executed, WORK.rows) == (10, 2)
    assert Work("", 8, 4, 1.0, 1.0, 0, 1, 1).rows == 1
    assert WORK.picture(0).size == (32, 32)
    assert WORK.picture(1).tobytes() != WORK.picture(0).tobytes()


def test_the_reason_is_the_last_word() -> None:
    assert reason(1, "Traceback ...\nImportError: no such library\n\n") == "ImportError: no such library"
    assert reason(-11, "") == "ended by signal 11: without a word"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(Path("models/tiny-checkpoint"), tmp_path / "venvs", tmp_path, limit=60)


def test_overpaint_is_measured_in_a_process_of_its_own(place: Place) -> None:
    peer = Peer(OURS, "f32", "ours", Path("models/tiny"))
    place.prepare(peer)
    figures = place.measure(peer, WORK)
    assert {name: len(values) for name, values in figures.items()} == {
        "cold": 1,
        "picture": 2,
        "again": 2,
        "memory": 1,
        "unet": 3,
        "encode": 3,
        "decode": 3,
    }
    assert place.picture(peer).is_file()


def test_a_peer_that_fails_gives_its_reason(place: Place, tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="no such bundle"):
        place.measure(Peer(OURS, "f32", "ours", tmp_path / "nothing"), WORK)


def test_a_peer_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    hasty = Place(Path("models/tiny-checkpoint"), tmp_path, tmp_path, limit=0.01)
    with pytest.raises(UnavailableError, match="did not end within"):
        hasty.measure(Peer(OURS, "f32", "ours", Path("models/tiny")), WORK)


def test_a_peer_that_does_not_install_gives_its_reason(place: Place, tmp_path: Path) -> None:
    venv = Venv("missing", (str(tmp_path / "no-such-package"),))
    with pytest.raises(UnavailableError):
        place.prepare(Peer("peer", "f32", "ours", tmp_path, venv=venv))
    assert not (place.venvs / "missing/.complete").exists()


def test_what_is_converted_is_converted_once(place: Place, tmp_path: Path) -> None:
    peer = Peer("peer", "f32", "sdcpp", tmp_path / "made", converter="single_file")
    place.prepare(peer)
    (written,) = (path for path in peer.folder.iterdir() if path.suffix == ".safetensors")
    stamp = written.stat().st_mtime_ns
    place.prepare(peer)
    assert written.stat().st_mtime_ns == stamp
