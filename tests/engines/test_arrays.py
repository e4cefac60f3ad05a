"""Arrays on both sides, against the stand-in."""

from concurrent.futures import ThreadPoolExecutor
from threading import get_ident

import numpy as np
import pytest

from overpaint import InputError
from overpaint.engines import arrays
from tests.support.device import Array, Stream

pytestmark = pytest.mark.usefixtures("cupy")
HOST = np.arange(6, dtype=np.float32).reshape(2, 3)


def test_an_array_that_is_there_is_not_copied() -> None:
    there = arrays.to_device(HOST, "cuda")
    assert arrays.to_device(there, "cuda") is there
    assert arrays.to_host(HOST) is arrays.to_device(HOST, "cpu") is HOST
    assert (arrays.device_of(HOST), arrays.device_of(there)) == ("cpu", "cuda")
    assert arrays.device_of(np.float32(1)) == "cpu"


def test_a_round_trip_waits_once() -> None:
    assert np.array_equal(arrays.to_device(arrays.to_device(HOST, "cuda"), "cpu"), HOST)
    assert Array.waits == 1


def test_the_stream_is_the_current_one_of_every_thread_that_reads() -> None:
    there = arrays.to_device(HOST, "cuda")

    def read() -> int:
        arrays.to_host(there)
        return get_ident()

    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(read).result()
    assert reader != get_ident()
    assert Stream.used[reader] is Stream.used[get_ident()] is arrays.stream()


def test_memory_of_another_library_is_kept_alive_by_its_owner() -> None:
    wrapped = arrays.wrap(HOST.ctypes.data, [2, 3], "float32", HOST)
    assert np.array_equal(arrays.to_host(wrapped), HOST)
    assert arrays.pointer(wrapped) == HOST.ctypes.data
    assert wrapped.owner is HOST


def test_another_device() -> None:
    with pytest.raises(InputError, match="unknown device 'cud'; did you mean 'cuda'"):
        arrays.namespace("cud")
