"""A LoRA's file: its tensors, what it says of itself, and its hashes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, deserialize

from ..bundles.tensor import Array
from ..errors import InputError

SUFFIX = ".safetensors"
PICKLES = {".bin", ".ckpt", ".pt", ".pth"}
# What PEFT calls the file that it writes beside its configuration, which has the alphas.
_PEFT, _PEFT_CONFIG = "adapter_model", "adapter_config.json"
_LENGTH = 8
_DTYPES = {"F16": "<f2", "F32": "<f4", "F64": "<f8", "BF16": "<u2"}


@dataclass(frozen=True, eq=False)
class LoraFile:
    """The tensors of a LoRA, float32 by their names, and the metadata of its file.

    `sha256` is of the whole file. `hash` is of what comes after its header, as A1111 and its addnet have it: it stays
    when metadata is edited, and infotexts name its first 12 digits.
    """

    name: str
    tensors: Mapping[str, Array] = field(repr=False)
    metadata: Mapping[str, str] = field(repr=False)
    sha256: str
    hash: str

    @property
    def short_hash(self) -> str:
        """The hash as A1111 writes it into infotexts."""
        return self.hash[:12]


def read_lora(path: Path) -> LoraFile:
    """Read a LoRA; float16, bfloat16, float32 or float64.

    Raises `InputError` for a pickle, and for a file that cannot be read.
    """
    if path.suffix.lower() in PICKLES:
        raise InputError(
            f"{path}: is a pickle, and loading one can run any code hidden in it; fetch the .safetensors edition, or "
            "convert it on a machine you can afford to lose (torch.load with weights_only=True, then "
            "safetensors.torch.save_file)"
        )
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise InputError(f"{path}: cannot be read ({exc.strerror}); name a LoRA's .safetensors") from exc
    try:
        tensors = {name: _array(path, name, tensor) for name, tensor in deserialize(data)}  # type: ignore[no-untyped-call]
    except SafetensorError as exc:
        raise InputError(f"{path}: is no .safetensors file ({exc}); fetch it again") from exc
    length = int.from_bytes(data[:_LENGTH], "little")
    header = json.loads(data[_LENGTH : _LENGTH + length])
    metadata = {str(key): str(value) for key, value in (header.get("__metadata__") or {}).items()}
    body = hashlib.sha256(memoryview(data)[_LENGTH + length :]).hexdigest()
    own = LoraFile(path.stem, tensors, metadata, hashlib.sha256(data).hexdigest(), body)
    return _with_peft_alphas(path, own) if path.stem == _PEFT else own


def _array(path: Path, name: str, tensor: Mapping[str, Any]) -> Array:
    if tensor["dtype"] not in _DTYPES:
        raise InputError(f"{path}: its tensor {name} is {tensor['dtype']}; store it as float16 or float32")
    data = np.frombuffer(tensor["data"], _DTYPES[tensor["dtype"]]).reshape(tensor["shape"])
    values = (data.astype(np.uint32) << 16).view(np.float32) if tensor["dtype"] == "BF16" else data
    values = values.astype(np.float32)
    if not np.isfinite(values).all():
        raise InputError(f"{path}: its tensor {name} holds NaN or infinity; fetch it again, or train it anew")
    return values


def _with_peft_alphas(path: Path, own: LoraFile) -> LoraFile:
    """A file of PEFT's with the alpha of its configuration, named after the folder that both lie in."""
    place = path.parent / _PEFT_CONFIG
    try:
        config = json.loads(place.read_text(encoding="utf-8"))
        alpha = float(config["lora_alpha"])
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise InputError(f"{place}: is not readable, and has the scale of {path.name}; keep both together") from exc
    if patterns := [name for name in ("alpha_pattern", "rank_pattern", "use_rslora", "use_dora") if config.get(name)]:
        raise InputError(f"{place}: has {' and '.join(patterns)}, which is not served; convert it to kohya's format")
    downs = [name.rpartition(".lora_A")[0] for name in own.tensors if ".lora_A" in name]
    alphas = {f"{name}.alpha": np.array(alpha, np.float32) for name in downs}
    return LoraFile(path.parent.name, {**own.tensors, **alphas}, own.metadata, own.sha256, own.hash)
