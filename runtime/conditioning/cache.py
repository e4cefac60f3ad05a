"""A small cache by content: encodings of pictures and prompts that come again are not computed again."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import cache
from threading import Event, Lock
from typing import Generic, TypeVar

import numpy as np

from ...bundles.tensor import Array

# A prime, so that the values come from many columns and every channel of a picture.
_APART = 4099
_Value = TypeVar("_Value")


class Cache(Generic[_Value]):
    """The `size` values used last; 0 keeps none.

    A value is computed once however many ask for it meanwhile: they wait for it, and for no other.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: OrderedDict[tuple[Hashable, Hashable], _Value] = OrderedDict()
        self._computing: dict[Hashable, Event] = {}
        self._lock = Lock()

    def get(self, key: Hashable, make: Callable[[], _Value]) -> tuple[_Value, bool]:
        """The value for `key`, made if it is not held; and whether it was held."""
        return self.get_sketched(key, lambda: key, make)

    def get_sketched(
        self, sketch: Hashable, key: Callable[[], Hashable], make: Callable[[], _Value]
    ) -> tuple[_Value, bool]:
        """The same for a key that takes long to work out, and a `sketch` of it that does not.

        Where nothing of the sketch is held, nothing of the key can be: then the value is made first, and a GPU works on
        it while the key is worked out.
        """
        key = cache(key)
        while (place := self._claimed(sketch, key)) is None:
            with self._lock:
                computing = self._computing.get(sketch)
            if computing is not None:
                computing.wait()
        if isinstance(place, tuple):
            return place[0], True
        try:
            value = make()
            whole = (sketch, key())
            with self._lock:
                self._values[whole] = value
                while len(self._values) > self._size:
                    self._values.popitem(last=False)
        finally:
            with self._lock:
                del self._computing[sketch]
            place.set()
        return value, False

    def _claimed(self, sketch: Hashable, key: Callable[[], Hashable]) -> tuple[_Value] | Event | None:
        """The value that is held; or else the event to set once it has been made here; None while another makes it."""
        with self._lock:
            likely = any(held == sketch for held, _ in self._values)
        whole = (sketch, key()) if likely else None
        with self._lock:
            if whole is not None and whole in self._values:
                self._values.move_to_end(whole)
                return (self._values[whole],)
            if sketch in self._computing or (not likely and any(held == sketch for held, _ in self._values)):
                return None
            self._computing[sketch] = made = Event()
            return made

    def forget(self, unwanted: Callable[[_Value], bool]) -> None:
        """Let go of the values of which `unwanted` is true."""
        with self._lock:
            values = list(self._values.items())
        gone = [key for key, value in values if unwanted(value)]
        with self._lock:
            for key in gone:
                self._values.pop(key, None)

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
