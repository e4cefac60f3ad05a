"""Weights that are read when they are written."""

from __future__ import annotations

from functools import partial

import torch
from onnxscript import ir
from torch import Tensor


def lazy(tensor: Tensor, dtype: torch.dtype) -> ir.LazyTensor:
    """A weight that is read, and brought to its precision, when it is asked for."""
    kind = {torch.float32: ir.DataType.FLOAT, torch.float16: ir.DataType.FLOAT16, torch.int64: ir.DataType.INT64,
            torch.bool: ir.DataType.BOOL}[dtype]  # fmt: skip
    return ir.LazyTensor(partial(_read, tensor, dtype), kind, ir.Shape(tensor.shape))


def _read(tensor: Tensor, dtype: torch.dtype) -> ir.Tensor:
    return ir.tensor(tensor.detach().to(dtype).contiguous().numpy())
