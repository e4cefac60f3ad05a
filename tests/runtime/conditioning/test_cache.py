"""The cache by content: what is held, what is made, and what of a key is worked out when."""

from collections.abc import Hashable

import numpy as np

from overpaint.runtime.conditioning.cache import Cache, content, sketch


def test_what_was_used_last_is_held() -> None:
    cache: Cache[int] = Cache(2)
    assert [cache.get(key, lambda: 1) for key in "ababcb"] == [(1, False)] * 2 + [(1, True)] * 2 + [
        (1, False),
        (1, True),
    ]
    assert cache.get("a", lambda: 2) == (2, False)
    assert Cache[int](0).get("a", lambda: 1) == (1, False)


def test_a_key_is_worked_out_after_what_cannot_be_held_is_made() -> None:
    cache: Cache[int] = Cache(8)
    first, alike = np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64, 3), np.uint8)
    alike[0, 0, 1] = 1  # what no sketch sees
    assert sketch(first) == sketch(alike)
    log: list[str] = []

    def get(array: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bool:
        def key() -> Hashable:
            log.append("key")
            return content(array)

        def make() -> int:
            log.append("make")
            return 1

        return cache.get_sketched(sketch(array), key, make)[1]

    assert (get(first), log) == (False, ["make", "key"])
    log.clear()
    assert (get(alike), log) == (False, ["key", "make"])
    log.clear()
    assert (get(first), get(alike), log) == (True, True, ["key", "key"])
