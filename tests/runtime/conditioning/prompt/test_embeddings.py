"""Files of textual inversions."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from overpaint.errors import InputError
from overpaint.runtime.conditioning.prompt.embeddings import read_embedding

VECTORS = torch.arange(8, dtype=torch.float32).reshape(2, 4) / 4


def saved(path: Path, **tensors: torch.Tensor) -> Path:
    save_file(tensors, path)
    return path


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_it_is_read_in_every_precision(tmp_path: Path, dtype: torch.dtype) -> None:
    embedding = read_embedding(saved(tmp_path / "Easy-Negative.v2.safetensors", emb_params=VECTORS.to(dtype)))
    assert embedding.name == "Easy-Negative.v2"
    assert embedding.vectors.dtype == np.float32
    np.testing.assert_array_equal(embedding.vectors, VECTORS.numpy())


@pytest.mark.parametrize(
    ("key", "name", "wanted"), [("<toy>", None, "<toy>"), ("<toy>", "ink", "ink"), ("*", None, "file")]
)
def test_its_name(tmp_path: Path, key: str, name: str | None, wanted: str) -> None:
    embedding = read_embedding(saved(tmp_path / "file.safetensors", **{key: VECTORS[0]}), name)
    assert (embedding.name, embedding.vectors.shape) == (wanted, (1, 4))


def test_its_vectors_cannot_be_changed(tmp_path: Path) -> None:
    embedding = read_embedding(saved(tmp_path / "a.safetensors", emb_params=VECTORS))
    with pytest.raises(ValueError, match="read-only"):
        embedding.vectors[0] = 0


@pytest.mark.parametrize("ending", [".pt", ".bin", ".PT", ".ckpt"])
def test_pickles_are_refused(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"x{ending}"
    path.write_bytes(b"\x80")
    with pytest.raises(InputError, match=r"is a pickle.*save_file"):
        read_embedding(path)


def test_files_that_hold_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_embedding(tmp_path / "absent.safetensors")
    with pytest.raises(InputError, match="cannot be read"):
        read_embedding(tmp_path)
    garbled = tmp_path / "garbled.safetensors"
    for data in (b"", b"garbled", b"\xff" * 40):
        garbled.write_bytes(data)
        with pytest.raises(InputError, match=r"no \.safetensors file"):
            read_embedding(garbled)
    path = tmp_path / "x.safetensors"
    with pytest.raises(InputError, match="SDXL"):
        read_embedding(saved(path, clip_l=VECTORS, clip_g=VECTORS.clone()))
    with pytest.raises(InputError, match=r"2 tensors .*LoRA"):
        read_embedding(saved(path, up=VECTORS, down=VECTORS.clone()))
    with pytest.raises(InputError, match="I64"):
        read_embedding(saved(path, emb_params=VECTORS.long()))
    with pytest.raises(InputError, match="no finite vectors"):
        read_embedding(saved(path, emb_params=VECTORS / 0))
    with pytest.raises(InputError, match="0 tensors"):
        read_embedding(saved(path))
