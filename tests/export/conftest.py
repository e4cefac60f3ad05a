"""A tiny checkpoint and its bundle, made once for all tests of the export."""

from pathlib import Path

import pytest

from overpaint.bundles.manifest import Bundle
from overpaint.export import export_bundle
from overpaint.export.bundle import ADAPTERS
from tests.support.checkpoints import tiny_checkpoint


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("checkpoints") / "tiny", seed=1)


@pytest.fixture(scope="session")
def bundle(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return export_bundle(checkpoint, tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture(scope="session")
def adapted(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The same, ready for adapters."""
    return export_bundle(checkpoint, tmp_path_factory.mktemp("adapted") / "tiny", adapters=ADAPTERS)
