"""What a LoRA, or another adapter of its kind, adds to a layer's weights, materialised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..bundles.tensor import Array
from .keys import ALPHA, DOWN, UP

Tensors = Mapping[str, Array]
MIDDLE = "lora_mid"


def delta(tensors: Tensors, shape: Sequence[int]) -> Array:
    """The difference of weights of a `shape`, float32, from a layer's tensors by the last part of their names.

    LoRA, and LoCon for convolutions (Yeh et al., "Navigating Text-To-Image Customization", arXiv:2309.14859, section
    3), LoHa (a product of two element by element), LoKr (a Kronecker product) and full differences. Raises `ValueError`
    where the tensors do not fit the shape.
    """
    made = next((make(tensors) for name, make in _KINDS.items() if any(key.startswith(name) for key in tensors)), None)
    if made is None or made.size != np.prod(shape):
        raise ValueError(f"{sorted(tensors)} give no weights {list(shape)}")
    whole: Array = made.reshape(shape)
    return whole


def fits(tensors: Tensors, shape: Sequence[int]) -> bool:
    """Whether a layer's tensors give differences of weights of a `shape`; of a LoRA its factors' shapes tell."""
    if tensors.keys() <= {DOWN, UP, ALPHA}:
        if not {DOWN, UP} <= tensors.keys():
            return False
        down, up = tensors[DOWN], tensors[UP]
        return len(down) == up[0].size and len(up) * (down.size // len(down)) == int(np.prod(shape))
    try:
        delta(tensors, shape)
    except (KeyError, ValueError):
        return False
    return True


def _lora(tensors: Tensors) -> Array:
    down, up = tensors[DOWN], tensors[UP]
    if MIDDLE in tensors:
        product = np.einsum("mnkl,im,nj->ijkl", tensors[MIDDLE], up.reshape(up.shape[:2]), down.reshape(down.shape[:2]))
    else:
        product = up.reshape(len(up), -1) @ down.reshape(len(down), -1)
    return _scaled(tensors, product, len(down))


def _loha(tensors: Tensors) -> Array:
    first, second = (_product(tensors, f"hada_w{n}", f"hada_t{n}") for n in (1, 2))
    return _scaled(tensors, first * second, len(tensors["hada_w1_b"]))


def _lokr(tensors: Tensors) -> Array:
    first, second = (_product(tensors, f"lokr_w{n}", f"lokr_t{n}") for n in (1, 2))
    ranks = [len(tensors[name]) for name in ("lokr_w2_b", "lokr_w1_b") if name in tensors]
    left = first.reshape(*first.shape, *[1] * (second.ndim - first.ndim))
    # Two whole factors have no rank, and no scale.
    return _scaled(tensors, np.kron(left, second), ranks[0]) if ranks else np.kron(left, second)


def _product(tensors: Tensors, name: str, middle: str) -> Array:
    """A factor that is whole, or the product of two, or of three."""
    if name in tensors:
        return tensors[name]
    left, right = tensors[f"{name}_a"], tensors[f"{name}_b"]
    if middle in tensors:
        core: Array = np.einsum("ijkl,ip,jr->prkl", tensors[middle], left, right)
        return core
    flat: Array = left @ right.reshape(len(right), -1)
    return flat.reshape(len(left), *right.shape[1:])


def _scaled(tensors: Tensors, product: Array, rank: int) -> Array:
    scale = float(tensors[ALPHA].reshape(())) / rank if ALPHA in tensors else 1.0
    scaled: Array = product * np.float32(scale)
    return scaled


_KINDS = {"hada_": _loha, "lokr_": _lokr, "diff": lambda tensors: tensors["diff"], DOWN: _lora}
