"""The cache by content: what is held, what is made, and what of a key is worked out when."""

from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import numpy as np
import pytest

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


class Slow:
    """Makes a value once it may, and counts how often it was asked to."""

    def __init__(self, value: int) -> None:
        self.value, self.calls, self.begun, self.go = value, 0, Event(), Event()

    def __call__(self) -> int:
        self.calls += 1
        self.begun.set()
        assert self.go.wait(10)
        return self.value


class Sketched:
    """A key whose sketch is another's too."""

    def __init__(self, key: str) -> None:
        self.key, self.worked_out = key, 0

    def __call__(self) -> str:
        self.worked_out += 1
        return self.key


def test_a_key_is_computed_once_however_many_ask_for_it_meanwhile() -> None:
    cache, slow = Cache[int](8), Slow(1)
    with ThreadPoolExecutor(5) as threads:
        first = threads.submit(cache.get, "a", slow)
        assert slow.begun.wait(10)
        others = [threads.submit(cache.get, "a", slow) for _ in range(4)]
        slow.go.set()
        assert first.result(10) == (1, False)
        assert [other.result(10) for other in others] == [(1, True)] * 4
    assert slow.calls == 1


def test_neither_a_hit_nor_another_key_waits() -> None:
    cache, slow = Cache[int](8), Slow(1)
    cache.get("held", lambda: 2)
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(cache.get, "a", slow)
        assert slow.begun.wait(10)
        assert cache.get("held", lambda: 3) == (2, True)
        assert cache.get("b", lambda: 4) == (4, False)
        cache.forget(lambda value: value == 4)
        assert cache.get("b", lambda: 5) == (5, False)
        slow.go.set()
        assert first.result(10) == (1, False)


def test_a_hit_does_not_wait_for_one_of_the_same_sketch() -> None:
    cache, slow, held = Cache[int](8), Slow(1), Sketched("held")
    cache.get_sketched("sketch", held, lambda: 2)
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(cache.get_sketched, "sketch", Sketched("a"), slow)
        assert slow.begun.wait(10)
        assert cache.get_sketched("sketch", held, lambda: 3) == (2, True)
        slow.go.set()
        assert first.result(10) == (1, False)


@pytest.mark.parametrize("keys", ["aaaa", "abab"])
def test_keys_of_one_sketch_are_each_made_once(keys: str) -> None:
    cache, made, go = Cache[str](8), list[str](), Event()

    def make(key: str) -> Callable[[], str]:
        def made_now() -> str:
            assert go.wait(10)
            made.append(key)
            return key

        return made_now

    with ThreadPoolExecutor(4) as threads:
        asked = [threads.submit(cache.get_sketched, "sketch", Sketched(key), make(key)) for key in keys]
        go.set()
        assert [each.result(10)[0] for each in asked] == list(keys)
    assert sorted(made) == sorted(set(keys))


def test_one_that_fails_is_made_by_who_waited() -> None:
    cache, begun, go = Cache[int](8), Event(), Event()

    def fail() -> int:
        begun.set()
        assert go.wait(10)
        raise ValueError("no")

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(cache.get, "a", fail)
        assert begun.wait(10)
        second = threads.submit(cache.get, "a", lambda: 2)
        go.set()
        with pytest.raises(ValueError, match="no"):
            first.result(10)
        assert second.result(10) == (2, False)
    assert cache.get("a", lambda: 3) == (2, True)
