"""Connects to public addresses alone: for URLs that somebody typed, not the operator.

The name is resolved once, and the very address that was looked at is the one that is connected to:
a name that leads elsewhere the second time (DNS rebinding) has no second time.
"""

from __future__ import annotations

import ipaddress
import queue
import socket
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    Address = ipaddress.IPv4Address | ipaddress.IPv6Address
    Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# What the public IPv6 internet has been given so far (RFC 4291 §2.4). All else is ours, nobody's,
# or carries an IPv4 address in it: ::127.0.0.1, NAT64's 64:ff9b::/96, fec0::/10.
_GIVEN_OUT: Final = ipaddress.ip_network("2000::/3")
_NOT_PUBLIC: Final = tuple(
    ipaddress.ip_network(network)
    for network in (
        *("2002::/16", "2001::/32"),  # 6to4 and Teredo carry an IPv4 address, too
        "192.0.0.0/24",  # a cloud's metadata are at 192.0.0.192
        "192.88.99.0/24",  # 6to4's relays
        "168.63.129.16/32",  # a cloud's host, which answers its guests alone
    )
)


class ForbiddenAddressError(OSError):
    """The name leads to an address that is not public, this machine's for one."""


@dataclass(frozen=True, slots=True)
class PublicDial:
    """Dials public addresses, and private ones of the networks that are allowed.

    `takes_public`: whether public ones are dialled; else those networks alone.
    """

    allowed: Sequence[Network] = ()
    takes_public: bool = True

    def __call__(self, host: str, port: int, seconds: float) -> socket.socket:
        """Connect to the first address that answers; the name's look-up is part of the time.

        Raises:
            ForbiddenAddressError: one of its addresses is not allowed; nothing was sent anywhere.
            OSError: the name is not known, or none of them answered within `seconds`.
        """
        give_up_at = time.monotonic() + seconds
        addresses = self.resolve(host, port, seconds=seconds)
        refused: OSError = TimeoutError("no time is left")
        for address in addresses:
            if (left := give_up_at - time.monotonic()) <= 0:
                break
            try:
                return socket.create_connection((str(address), port), left)
            except OSError as exc:
                refused = exc
        raise refused

    def resolve(self, host: str, port: int, *, seconds: float) -> list[Address]:
        """Every address of a host, all of them allowed.

        Raises:
            ForbiddenAddressError: one of them is not.
            OSError: the name is not known, or was not found within `seconds`.
        """
        found = dict.fromkeys(_look_up(host, port, seconds=seconds))
        for address in found:
            if not self.is_allowed(address):
                raise ForbiddenAddressError(f"{host} leads to an address that is not allowed")
        return list(found)

    def is_allowed(self, address: Address) -> bool:
        """Whether connections to this address may be made."""
        plain = getattr(address, "ipv4_mapped", None) or address
        if any(plain in network for network in self.allowed):
            return True
        return self.takes_public and _is_public(plain)


def _is_public(address: Address) -> bool:
    if address.version == 6 and address not in _GIVEN_OUT:  # noqa: PLR2004 - IP's versions
        return False
    if any(address in network for network in _NOT_PUBLIC):
        return False
    return address.is_global and not address.is_multicast


def _look_up(host: str, port: int, *, seconds: float) -> list[Address]:
    """What the resolver says, on a thread of its own: it knows no time limit of ours.

    A thread that is left behind ends with the resolver's own patience, some ten seconds.
    """
    answers: queue.SimpleQueue[list[Address] | OSError] = queue.SimpleQueue()
    asking = threading.Thread(target=_ask_resolver, args=(host, port, answers), daemon=True)
    asking.start()
    try:
        answer = answers.get(timeout=max(seconds, 0))
    except queue.Empty:
        raise TimeoutError("the name was not found in time") from None
    if isinstance(answer, OSError):
        raise answer
    return answer


def _ask_resolver(
    host: str, port: int, answers: queue.SimpleQueue[list[Address] | OSError]
) -> None:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        answers.put([ipaddress.ip_address(str(place[0]).partition("%")[0]) for *_, place in found])
    except OSError as exc:
        answers.put(exc)
    except ValueError as exc:  # no name at all: a part of it is empty or too long
        answers.put(OSError(str(exc)))
