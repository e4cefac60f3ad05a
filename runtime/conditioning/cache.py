"""A small cache by content: encodings of pictures and prompts that come again are not computed again."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import cache
from threading import Lock
from typing import Generic, TypeVar

import numpy as np

from ...bundles.tensor import Array

# A prime, so that the values come from many columns and every channel of a picture.
_APART = 4099
_Value = TypeVar("_Value")


class Cache(Generic[_Value]):
    """The `size` values used last; 0 keeps none. Threads that ask for the same at once have it made once."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: OrderedDict[tuple[Hashable, Hashable], _Value] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Hashable, make: Callable[[], _Value]) -> tuple[_Value, bool]:
        """The value for `key`, made if it is not held; and whether it was held."""
        return self.get_sketched(None, lambda: key, make)

    def get_sketched(
        self, sketch: Hashable, key: Callable[[], Hashable], make: Callable[[], _Value]
    ) -> tuple[_Value, bool]:
        """The same for a key that takes long to work out, and a `sketch` of it that does not.

        Where nothing of the sketch is held, nothing of the key can be: then the value is made first, and a GPU works on
        it while the key is worked out.
        """
        key = cache(key)
        with self._lock:
            if any(held == sketch for held, _ in self._values) and (whole := (sketch, key())) in self._values:
                self._values.move_to_end(whole)
                return self._values[whole], True
            value = make()
            self._values[sketch, key()] = value
            while len(self._values) > self._size:
                self._values.popitem(last=False)
            return value, False

    def clear(self) -> None:
        """Let go of all values."""
        with self._lock:
            self._values.clear()


def content(array: Array) -> Hashable:
    """A key that two arrays share exactly when their shape, dtype and bytes are the same (SHA-256)."""
    values = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return array.shape, array.dtype.str, hashlib.sha256(values.data).digest()


def sketch(array: Array) -> Hashable:
    """A key that two arrays share where a few of their values are the same."""
    return array.shape, array.dtype.str, array.reshape(-1)[::_APART].tobytes()
