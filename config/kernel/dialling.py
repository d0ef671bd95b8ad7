"""Connects to public addresses alone: for URLs that somebody typed, not the operator.

The name is resolved once, and the very address that was looked at is the one that is connected to:
a name that leads elsewhere the second time (DNS rebinding) has no second time.
"""

from __future__ import annotations

import ipaddress
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    Address = ipaddress.IPv4Address | ipaddress.IPv6Address
    Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# IPv6 that carries an IPv4 address in it: NAT64 (RFC 6052, 8215), 6to4, Teredo.
_TRANSLATED: Final = tuple(
    ipaddress.ip_network(network)
    for network in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")
)


class ForbiddenAddressError(OSError):
    """The name leads to an address that is not public, this machine's for one."""


@dataclass(frozen=True, slots=True)
class PublicDial:
    """Dials public addresses, and private ones of the networks that are allowed."""

    allowed: Sequence[Network] = ()

    def __call__(self, host: str, port: int, seconds: float) -> socket.socket:
        """Connect to the first address that answers.

        Raises:
            ForbiddenAddressError: one of its addresses is not allowed; nothing was sent anywhere.
            OSError: none of them answered within `seconds`.
        """
        addresses = self.resolve(host, port)
        give_up_at = time.monotonic() + seconds
        refused: OSError = TimeoutError("no time is left")
        for address in addresses:
            if (left := give_up_at - time.monotonic()) <= 0:
                break
            try:
                return socket.create_connection((str(address), port), left)
            except OSError as exc:
                refused = exc
        raise refused

    def resolve(self, host: str, port: int) -> list[Address]:
        """Every address of a host, all of them allowed.

        Raises:
            ForbiddenAddressError: one of them is not.
            OSError: the name is not known.
        """
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = [ipaddress.ip_address(str(place[0]).partition("%")[0]) for *_, place in found]
        for address in addresses:
            if not self.is_allowed(address):
                raise ForbiddenAddressError(f"{host} leads to an address that is not public")
        return addresses

    def is_allowed(self, address: Address) -> bool:
        """Whether connections to this address may be made."""
        plain = getattr(address, "ipv4_mapped", None) or address
        if any(plain in network for network in self.allowed):
            return True
        if any(plain in network for network in _TRANSLATED):
            return False
        return plain.is_global and not plain.is_multicast
