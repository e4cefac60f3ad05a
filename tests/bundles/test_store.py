"""Built engines on disk: whole or not at all, and one builder at a time."""

import multiprocessing
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from overpaint import EngineError, OutputError
from overpaint.bundles.manifest import Bundle
from overpaint.bundles.store import Key, Store
from overpaint.engines.ort.engine import optimized_graph
from overpaint.runtime.model.shipped import MODELS

KEY = Key("unet", "0" * 64, "dynamic", "float16", "library", "1.0", "sm_90")


def write(path: Path) -> None:
    path.write_bytes(b"an engine")


def slow_build(folder: Path, log: Path) -> None:
    def make(path: Path) -> None:
        with log.open("a") as stream:
            stream.write("built\n")
        time.sleep(0.5)
        write(path)

    Store(folder).build(KEY, make)


def test_what_is_built_is_found(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.find(KEY) is None
    assert store.build(KEY, write).read_bytes() == b"an engine"
    assert store.find(KEY) == store.build(KEY, lambda _: pytest.fail("built again"))
    assert list(store.built()) == [KEY]
    store.remove(KEY)
    assert store.find(KEY) is None


@pytest.mark.parametrize("field", ["graph", "onnx", "profile", "precision", "library", "version", "architecture"])
def test_every_field_of_the_key_counts_and_is_named(tmp_path: Path, field: str) -> None:
    other = replace(KEY, **{field: "another"})
    Store(tmp_path).build(other, write)
    assert Store(tmp_path).find(KEY) is None
    assert KEY.differences(other) == [f"{field} is another, not {getattr(KEY, field)}"]


def test_a_build_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail(path: Path) -> None:
        write(path)
        raise EngineError("no")

    with pytest.raises(EngineError):
        Store(tmp_path).build(KEY, fail)
    assert list(tmp_path.glob("[!.]*")) == []
    assert list(Store(tmp_path).built()) == []


def test_what_a_killed_build_left_is_no_engine(tmp_path: Path) -> None:
    partial = tmp_path / f".{KEY.name}.partial"
    partial.mkdir()
    write(partial / "engine")
    assert Store(tmp_path).find(KEY) is None
    assert Store(tmp_path).build(KEY, write).is_file()
    assert not partial.exists()


def test_of_two_processes_one_builds_and_one_waits(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    log = tmp_path / "log"
    builders = [context.Process(target=slow_build, args=(tmp_path / "store", log)) for _ in range(2)]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join(60)
        assert builder.exitcode == 0
    assert log.read_text() == "built\n"
    assert Store(tmp_path / "store").find(KEY)


def test_of_many_those_used_last_are_kept(tmp_path: Path) -> None:
    store, keys = Store(tmp_path), [replace(KEY, profile=str(size)) for size in range(4)]
    for age, key in enumerate(keys):
        store.build(key, write)
        os.utime(tmp_path / key.name / "key.json", (age, age))
    store.build(replace(KEY, graph="vae"), write)
    store.find(keys[0])
    store.prune(KEY, 2)
    assert {key.profile for key in store.built() if key.graph == "unet"} == {"0", "3"}
    assert len(list(store.built())) == 3


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="OVERPAINT_ENGINES"):
        Store(tmp_path / "file").build(KEY, write)


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No folder is named, and no user has this number."""
    for name in ("OVERPAINT_ENGINES", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    return monkeypatch


def test_shipped_bundles_are_kept_in_the_users_cache(tmp_path: Path, nobody: pytest.MonkeyPatch) -> None:
    nobody.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert Store.of(MODELS / "tiny").folder == tmp_path / "overpaint/engines"
    assert optimized_graph("unet", Bundle.read(MODELS / "tiny").graph("unet"), MODELS / "tiny", "cpu")


@pytest.mark.parametrize("home", [None, "", "relative"])
def test_without_a_home_nothing_is_kept(home: str | None, nobody: pytest.MonkeyPatch) -> None:
    if home is not None:
        nobody.setenv("XDG_CACHE_HOME", home)
    store = Store.of(MODELS / "tiny")
    assert store.find(KEY) is None
    assert store.changed
    with pytest.raises(OutputError, match=r"no home folder for a cache; .*OVERPAINT_ENGINES"):
        store.build(KEY, write)
    assert not (MODELS / "tiny/engines" / KEY.name).exists()


def test_a_folder_that_may_not_be_entered_holds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.stat", refuse)  # root, as tests may run, enters every folder
    assert Store(tmp_path).find(KEY) is None
    assert list(Store(tmp_path).built()) == []
    with pytest.raises(OutputError, match="OVERPAINT_ENGINES"):
        Store(tmp_path / "cache").build(KEY, write)


def test_a_bundle_that_cannot_be_written_uses_the_users_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OVERPAINT_ENGINES")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert Store.of(tmp_path).folder == tmp_path / "engines"
    monkeypatch.setattr("os.access", lambda *_: False)
    assert Store.of(tmp_path).folder == tmp_path / "cache/overpaint/engines"
