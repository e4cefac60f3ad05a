"""Which addresses pictures may be fetched from: hosts by the setting, and of those public addresses alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network
from string import punctuation
from urllib.parse import quote, urlsplit

from ..errors import InputError

PORTS = {"http": 80, "https": 443}
_ENTRY = re.compile(r"\*|(?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*(?::[0-9]{1,5})?")
_GLOBAL = ip_network("2000::/3")
# Within what is global, or taken for it: addresses of IPv4 within IPv6 (Teredo, 6to4) and other special purposes.
_SPECIAL = [
    *map(ip_network, ("192.0.0.0/24", "192.88.99.0/24")),
    *map(ip_network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")),
]


@dataclass(frozen=True)
class Address:
    """The parts of an http or https address; `host` is ASCII, without brackets."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """The host as the header has it."""
        shown = f"[{self.host}]" if ":" in self.host else self.host
        return shown if self.port == PORTS[self.scheme] else f"{shown}:{self.port}"


def parse(text: str) -> Address:
    """An address; raises `ValueError`, in words, for what is none of http or https, or brings a password."""
    parts = urlsplit(text)
    if any(each.isspace() or not each.isprintable() for each in text) or parts.scheme not in PORTS:
        raise ValueError("it is no address of http or https")
    if parts.username is not None or parts.password is not None:
        raise ValueError("it has a user's name in it")
    host = (parts.hostname or "").rstrip(".")
    host = host if ":" in host else host.encode("idna").decode()
    port = PORTS[parts.scheme] if parts.port is None else parts.port
    if not host or not port:
        raise ValueError("it has no host, or no port")
    target = quote(parts.path or "/", safe=punctuation) + (
        f"?{quote(parts.query, safe=punctuation)}" * bool(parts.query)
    )
    return Address(parts.scheme, host, port, target)


def check_hosts(entries: Sequence[str], field: str) -> None:
    """Raise `InputError` for what names no hosts."""
    for entry in entries:
        if not _ENTRY.fullmatch(entry):
            cause = f"{field}: {entry!r} names no hosts; write example.com, *.example.com, example.com:8080 or *"
            raise InputError(cause, field)


def named(address: Address, entries: Sequence[str]) -> bool:
    """Whether an address is at one of the hosts: at the port that the entry names, or else at 80 or 443."""
    for entry in entries:
        host, _, port = entry.partition(":")
        ports = (int(port),) if port else PORTS.values()
        known = host in ("*", address.host) or (host.startswith("*.") and address.host.endswith(host[1:]))
        if known and address.port in ports:
            return True
    return False


def is_public(text: str) -> bool:
    """Whether an IP address is of the public internet: of no network of one's own, no device, and no group.

    IPv4 within IPv6 is not, whatever it leads to.
    """
    try:
        ip = ip_address(text)
    except ValueError:
        return False
    if ip.is_multicast or ip.is_reserved or not ip.is_global:
        return False
    special = any(ip in network for network in _SPECIAL if network.version == ip.version)
    return not special and (not isinstance(ip, IPv6Address) or ip in _GLOBAL)
