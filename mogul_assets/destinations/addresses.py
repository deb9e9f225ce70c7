"""Which addresses may be connected to: those of the public internet, and those that the settings name.

A server of ours that posts wherever a setting says can be made to post into its own network. A name is no
protection: it may be resolved to one address when it is checked and to another when it is used. So what is
checked is the address that a socket is about to connect to.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, TypeAlias
from urllib.parse import SplitResult, urlsplit

Network: TypeAlias = IPv4Network | IPv6Network
AddressInfo: TypeAlias = tuple[Any, Any, int, str, tuple[Any, ...]]
"""As ``socket.getaddrinfo`` gives it; its last part begins with the address."""

_UNICAST = IPv6Network("2000::/3")
"""All that IANA has given out for the public internet (RFC 4291, 2.4)."""
_CARRYING = (IPv6Network("64:ff9b::/96"), IPv6Network("::/96"))
"""Their last 32 bits are the IPv4 address that is meant (RFC 6052; RFC 4291, 2.5.5.1)."""
_ASSIGNMENTS = IPv4Network("192.0.0.0/24")
"""For protocols (RFC 6890): not all of it is known as such to each patch of Python 3.11."""
_NUMERIC = re.compile(r"[0-9.]+|0x[0-9a-f.x]*", re.IGNORECASE)


class NotAllowed(OSError):
    """The address is neither public nor named by the settings. Says nothing more: a name may have several."""

    def __init__(self) -> None:
        super().__init__("the address is private")


def endpoint(url: str) -> SplitResult:
    """The parts of a URL that may be posted to.

    Raises:
        ValueError: saying what is wrong with it, and not repeating it.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("write a whole URL, https://… or http://…")
    if parts.username is not None or parts.password is not None:
        raise ValueError("credentials do not belong in a URL; use bearer or headers")
    if not 0 < (parts.port or 1) < 65536:
        raise ValueError("there is no such port")
    if _NUMERIC.fullmatch(parts.hostname):
        try:
            IPv4Address(parts.hostname)
        except ValueError:
            raise ValueError("write an IPv4 address as four numbers, such as 192.0.2.1") from None
    return parts


def port(parts: SplitResult) -> int:
    return parts.port or {"http": 80, "https": 443}[parts.scheme]


def networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Networks from addresses and CIDR ranges (``10.0.0.0/8``, ``::1``).

    Raises:
        ValueError: naming the text that is neither.
    """
    found = []
    for text in texts:
        try:
            found.append(ip_network(text))
        except ValueError:
            raise ValueError(f"'{text}' is neither an address nor a range such as 10.0.0.0/8") from None
    return tuple(found)


def public(address: str) -> bool:
    """Whether an address is one of the public internet, and so is what it stands for."""
    meant = _meant(ip_address(address))
    if isinstance(meant, IPv6Address):
        return meant in _UNICAST and meant.is_global
    return meant.is_global and not meant.is_multicast and meant not in _ASSIGNMENTS


def _meant(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address that an IPv6 address carries, or itself."""
    if isinstance(address, IPv4Address):
        return address
    if carried := address.ipv4_mapped or address.sixtofour:
        return carried
    if any(address in network for network in _CARRYING):
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


@dataclass(frozen=True, slots=True)
class Gate:
    """Opens sockets to public addresses, and to those of ``allowed``."""

    allowed: tuple[Network, ...] = ()

    def lets(self, address: str) -> bool:
        meant = _meant(ip_address(address))
        return public(address) or any(meant in network or ip_address(address) in network for network in self.allowed)

    def socket(self, info: AddressInfo) -> socket.socket:
        """A socket for the address that it is about to be connected to.

        Raises:
            NotAllowed: where it may not.
        """
        family, kind, protocol, _, address = info
        if not self.lets(str(address[0])):
            raise NotAllowed
        return socket.socket(family, kind, protocol)
