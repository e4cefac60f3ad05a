"""Pictures by their addresses, where the setting `fetch_urls` allows it.

A host is resolved once, and the connection goes to the address that it had then: a name that means something else the
next moment gains nothing by it. Every redirect goes the same way. What comes is only ever read as a picture.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urljoin

import httpcore2
from httpcore2 import SOCKET_OPTION, AsyncNetworkBackend, AsyncNetworkStream

from ..errors import InputError
from ..version import __version__
from .addresses import Address, is_public, named, parse
from .documents import Document
from .settings import Settings

MAX_REDIRECTS = 3
FIELDS = ("image", "mask", "negative_image")
"""The fields of the server's own documents that have pictures, wherever they are within them."""

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Gives the IP addresses of a host; raises `OSError`."""

_REDIRECTS = (301, 302, 303, 307, 308)
_SCHEMES = ("http://", "https://")
# Names that nobody answers for hold up one another, and nothing else.
_resolvers = ThreadPoolExecutor(4, "overpaint-names")


async def resolve(host: str, port: int) -> Sequence[str]:
    """The IP addresses of a host, as this machine finds them; also of numbers in any form that it takes for one."""

    def found() -> list[str]:
        return [str(each[4][0]) for each in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]

    return await asyncio.get_running_loop().run_in_executor(_resolvers, found)


class NotPublicError(Exception):
    """A host has an address that is not public."""


class PublicBackend(AsyncNetworkBackend):
    """Connects to public addresses alone, each of which is that of the one look-up that was checked."""

    def __init__(self, resolve: Resolve = resolve, inner: AsyncNetworkBackend | None = None) -> None:
        self._resolve, self._inner = resolve, inner or httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SOCKET_OPTION] | None = None,
    ) -> AsyncNetworkStream:
        """Connect; raises `NotPublicError` where one of the host's addresses is not public."""
        addresses = await self._resolve(host, port)
        if not addresses or not all(map(is_public, addresses)):
            raise NotPublicError
        for address in addresses[:-1]:
            try:
                return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                continue  # a machine without IPv6 has the others
        return await self._inner.connect_tcp(addresses[-1], port, timeout, local_address, socket_options)

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await self._inner.sleep(seconds)


BACKEND: AsyncNetworkBackend = PublicBackend()


async def fetch_pictures(document: Document, settings: Settings, fields: Collection[str] = FIELDS) -> Document:
    """A document whose `fields`, at any depth, have the bytes of files instead of http(s) addresses, alone or in lists.

    With `settings.fetch_urls` empty it is the document itself, whose addresses are then refused where files are read.
    Raises `InputError`, with the field's name, for an address that is not allowed, does not answer with a file in
    `settings.fetch_seconds` for all of them, or sends more than `settings.max_body` bytes for all.
    """
    if not settings.fetch_urls:
        return document
    async with httpcore2.AsyncConnectionPool(network_backend=BACKEND) as pool:
        fetching = _Fetching(settings, pool)

        async def filled(value: Any, field: str) -> Any:
            if isinstance(value, dict):
                return {name: await filled(each, name if name in fields else "") for name, each in value.items()}
            if isinstance(value, list):
                return [await filled(each, field) for each in value]
            if field and isinstance(value, str) and value[:8].lower().startswith(_SCHEMES):
                return await fetching.file(value, field)
            return value

        made: Document = await filled(document, "")
    return made


class _Fetching:
    """The addresses of one call, which share its limits."""

    def __init__(self, settings: Settings, pool: httpcore2.AsyncConnectionPool) -> None:
        self._settings, self._pool = settings, pool
        self._until = asyncio.get_running_loop().time() + settings.fetch_seconds
        self._bytes, self._files = settings.max_body, settings.max_images

    async def file(self, text: str, field: str) -> bytes:
        """The file at an address."""
        self._files -= 1
        if self._files < 0:
            raise InputError(f"more than {self._settings.max_images} addresses are in this call; send less", field)
        try:
            async with asyncio.timeout_at(self._until):
                return await self._follow(text)
        except NotPublicError:
            cause = "its host, or where it leads, is not at a public address"
        except (TimeoutError, httpcore2.TimeoutException):
            cause = f"it did not come within {self._settings.fetch_seconds:g} seconds"
        except ValueError as exc:  # also of what cannot be parsed
            cause = str(exc)
        except (OSError, httpcore2.NetworkError, httpcore2.ProtocolError):
            cause = "its host was not found, does not answer, or has no certificate that is trusted"
        raise InputError(f"the picture at this address cannot be fetched: {cause}; send the file itself", field)

    async def _follow(self, text: str) -> bytes:
        for _ in range(MAX_REDIRECTS + 1):
            address = parse(text)
            if not named(address, self._settings.fetch_urls):
                raise ValueError("its host, or where it leads, is none that this server fetches from")
            url = httpcore2.URL(
                scheme=address.scheme, host=address.host, port=address.port, target=address.target.encode()
            )
            async with self._pool.stream("GET", url, headers=_headers(address)) as answer:
                if answer.status not in _REDIRECTS:
                    return await self._read(answer)
                place = next((value for name, value in answer.headers if name.lower() == b"location"), b"")
            text = urljoin(text, place.decode("ascii"))
        raise ValueError(f"it leads on more than {MAX_REDIRECTS} times")

    async def _read(self, answer: httpcore2.Response) -> bytes:
        if answer.status != 200:
            raise ValueError(f"its server answers {answer.status}")
        made = bytearray()
        async for part in answer.aiter_stream():
            made += part
            self._bytes -= len(part)
            if self._bytes < 0:
                raise ValueError(f"it is larger than {self._settings.max_body} bytes")
        return bytes(made)


def _headers(address: Address) -> list[tuple[bytes, bytes]]:
    """What is sent: nothing of the caller, and no wish for what would have to be unpacked."""
    return [
        (b"Host", address.authority.encode()),
        (b"User-Agent", f"overpaint/{__version__}".encode()),
        (b"Accept", b"image/*"),
        (b"Accept-Encoding", b"identity"),
    ]
