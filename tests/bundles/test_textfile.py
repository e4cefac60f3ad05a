"""Text files as editors save them: the same text whatever its encoding, its mark no part of it."""

import codecs
import json
from pathlib import Path

import pytest

from overpaint import InputError
from overpaint.bundles.format import MANIFEST, read_any
from overpaint.bundles.textfile import decode
from overpaint.export.checkpoints.checkpoint import read_json
from overpaint.runtime.diagnostics.calibration import read_prompts
from overpaint.runtime.tools.folder import caption

TEXT = "a cat, 猫 🐈\nwith a hat"
ENCODED = {
    "UTF-8": TEXT.encode(),
    "UTF-8 with a mark": codecs.BOM_UTF8 + TEXT.encode(),
    "UTF-16, little end first": codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le"),
    "UTF-16, big end first": codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
    "UTF-32": codecs.BOM_UTF32_LE + TEXT.encode("utf-32-le"),
    "lines of Windows": codecs.BOM_UTF16_LE + TEXT.replace("\n", "\r\n").encode("utf-16-le"),
    "lines of old Macs": TEXT.replace("\n", "\r").encode(),
}


@pytest.mark.parametrize("data", ENCODED.values(), ids=ENCODED)
def test_captions_and_prompts_are_the_same_in_every_encoding(data: bytes, tmp_path: Path) -> None:
    assert decode(data) == TEXT
    (tmp_path / "a.txt").write_bytes(data)
    assert caption(tmp_path / "a.png", "fox") == TEXT
    assert read_prompts(tmp_path / "a.txt") == TEXT.splitlines()


@pytest.mark.parametrize("mark", [codecs.BOM_UTF8, codecs.BOM_UTF16_LE])
def test_a_file_of_a_mark_alone_is_blank(mark: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(mark)
    assert caption(tmp_path / "a.png", "fox") == "fox"
    with pytest.raises(InputError, match="has no prompt"):
        read_prompts(tmp_path / "a.txt")


@pytest.mark.parametrize("data", [TEXT.encode("utf-16-le"), "caf\xe9".encode("latin-1"), codecs.BOM_UTF16_LE + b"\0"])
def test_other_encodings_are_refused_with_what_to_do(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(data)
    with pytest.raises(InputError, match="save it as UTF-8"):
        caption(tmp_path / "a.png", "fox")
    with pytest.raises(InputError, match="in UTF-8 or UTF-16"):
        read_prompts(tmp_path / "a.txt")


def test_zero_bytes_are_named() -> None:
    with pytest.raises(UnicodeDecodeError, match="needs a byte order mark"):
        decode("a fox".encode("utf-16-le"))


def test_json_that_an_editor_saved(tmp_path: Path) -> None:
    """Configurations of checkpoints and a bundle's manifest."""
    path = tmp_path / MANIFEST
    for encoding in ("utf-8-sig", "utf-16"):
        path.write_text(json.dumps({"format": 1}), encoding=encoding)
        assert read_json(path) == {"format": 1}
        assert read_any(tmp_path) == {"format": 1}
