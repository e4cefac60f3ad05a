"""Textual inversion: vectors that stand in a prompt for a name, read from .safetensors files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, deserialize

from ....bundles.tensor import Array
from ....errors import InputError

PICKLES = {".bin", ".ckpt", ".pt", ".pth"}
# kohya's trainers and A1111's converters call the vectors so whatever the name; diffusers calls them by the name.
NAMELESS = ("emb_params", "*", "clip_l")
_DTYPES = {"F16": "<f2", "F32": "<f4", "F64": "<f8", "BF16": "<u2"}


@dataclass(frozen=True, eq=False)
class Embedding:
    """A name and the vectors, float32 [n, dim], that it stands for in a prompt.

    A1111 and ComfyUI use it by the name of its file, `file`, whatever the file itself says; "" is the same name.
    Raises `InputError` for a blank name, and for vectors of another shape or that are not finite.
    """

    name: str
    vectors: Array = field(repr=False)
    file: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise InputError(f"an embedding needs a name that prompts can use, not {self.name!r}")
        vectors = np.array(self.vectors, np.float32, ndmin=2)
        if vectors.ndim != 2 or not vectors.size or not np.isfinite(vectors).all():
            raise InputError(f"embedding {self.name!r} holds no finite vectors [n, dim] (its shape is {vectors.shape})")
        vectors.flags.writeable = False
        object.__setattr__(self, "vectors", vectors)

    @property
    def width(self) -> int:
        """The length of a vector: that of the text encoder's token embeddings."""
        return int(self.vectors.shape[1])


def read_embedding(path: str | Path, name: str | None = None) -> Embedding:
    """Read a textual inversion; float16, bfloat16, float32 or float64.

    Its name is `name`, or the tensor's in a file of diffusers' (`<token>`), or else the file's without its ending.
    Raises `InputError` for a pickle and for a file that holds no single tensor of vectors.
    """
    path = Path(path).expanduser()
    if path.suffix.lower() in PICKLES:
        raise InputError(
            f"{path}: is a pickle, and loading one can run any code hidden in it; fetch the .safetensors edition, or "
            "convert it on a machine you can afford to lose: read it with torch.load(path, weights_only=True), and "
            "write its vectors (string_to_param['*'] in A1111's files) with "
            "safetensors.torch.save_file({'emb_params': vectors}, path)"
        )
    key, vectors = _only_tensor(path, _read(path))
    return Embedding(name or (path.stem if key in NAMELESS else key), vectors, name or path.stem)


def _read(path: Path) -> list[tuple[str, Mapping[str, Any]]]:
    try:
        return list(deserialize(path.read_bytes()))  # type: ignore[no-untyped-call]
    except OSError as exc:
        raise InputError(f"{path}: cannot be read ({exc.strerror}); name a textual inversion's .safetensors") from exc
    except SafetensorError as exc:
        raise InputError(f"{path}: is no .safetensors file ({exc}); fetch it again") from exc


def _only_tensor(path: Path, tensors: list[tuple[str, Mapping[str, Any]]]) -> tuple[str, Array]:
    names = [name for name, _ in tensors]
    if "clip_g" in names:
        raise InputError(f"{path}: is made for SDXL's two text encoders; use one made for this model")
    if len(tensors) != 1:
        raise InputError(
            f"{path}: holds {len(tensors)} tensors ({', '.join(sorted(names)[:4])}), a textual inversion is a single "
            "one; is it a LoRA or a checkpoint?"
        )
    ((name, tensor),) = tensors
    if tensor["dtype"] not in _DTYPES:
        raise InputError(f"{path}: its vectors are {tensor['dtype']}; store them as float32")
    data = np.frombuffer(tensor["data"], _DTYPES[tensor["dtype"]]).reshape(tensor["shape"])
    return name, (data.astype(np.uint32) << 16).view(np.float32) if tensor["dtype"] == "BF16" else data
