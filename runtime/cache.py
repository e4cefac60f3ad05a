"""A small cache by content: encodings of pictures and prompts that come again are not computed again."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar

import numpy as np

from ..engines.base import Array

_Value = TypeVar("_Value")


class Cache(Generic[_Value]):
    """The `size` values used last; 0 keeps none. Threads that ask for the same at once have it made once."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: OrderedDict[Hashable, _Value] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Hashable, make: Callable[[], _Value]) -> tuple[_Value, bool]:
        """The value for `key`, made if it is not held; and whether it was held."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key], True
            value = make()
            self._values[key] = value
            while len(self._values) > self._size:
                self._values.popitem(last=False)
            return value, False


def content(array: Array) -> Hashable:
    """A key that two arrays share exactly when their shape, dtype and bytes are the same (SHA-256)."""
    values = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return array.shape, array.dtype.str, hashlib.sha256(values.data).digest()
