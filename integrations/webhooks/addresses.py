"""Which URLs staff may enter for webhooks: none that leads into our own network, or somewhere odd.

What a name leads to is looked at here, when it is entered, and again at each connection.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from django.conf import settings

from config.kernel.dialling import ForbiddenAddressError, PublicDial
from config.kernel.errors import ValidationFailedError
from integrations.webhooks.models import LONGEST_URL

if TYPE_CHECKING:
    from urllib.parse import SplitResult

LOOK_UP_SECONDS: Final = 2.0
PORTS: Final = {"https": 443, "http": 80}
FIRST_FREE_PORT: Final = 1_024
"""Below are other services: none of them is to be knocked at by way of ours."""
_CHARACTERS: Final = re.compile(r"[!#-;=?-\[\]_a-z~]+")  # of RFC 3986, and no more
_NAME: Final = re.compile(
    r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?"
    r"(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?)*"
)
_ENDS_IN_A_NUMBER: Final = re.compile(r"(^|\.)([0-9]+|0x[0-9a-f]*)$")


class BadAddressError(ValidationFailedError):
    """Nothing may be sent there; the message says why, and what to enter instead."""


def dial_for(scheme: str) -> PublicDial:
    """How connections for such a URL are made: what is not encrypted stays in allowed networks."""
    return PublicDial(
        allowed=tuple(settings.WEBHOOK_ALLOWED_NETWORKS), takes_public=scheme == "https"
    )


def check(url: str) -> str:
    """The URL as it is kept, if events may be sent there; asks the resolver, up to two seconds.

    Raises:
        BadAddressError: they may not.
    """
    read = _read(url.strip())
    parts = urlsplit(read)
    assert parts.hostname is not None  # noqa: S101 - it has been read
    port = parts.port or PORTS[parts.scheme]
    try:
        dial_for(parts.scheme).resolve(parts.hostname, port, seconds=LOOK_UP_SECONDS)
    except ForbiddenAddressError:
        if parts.scheme == "http":
            raise BadAddressError(
                "Must begin with https://: in the clear only what is in WEBHOOK_ALLOWED_NETWORKS."
            ) from None
        raise BadAddressError(
            "Leads to an address that is not public. The operator can allow a network of your own"
            " in WEBHOOK_ALLOWED_NETWORKS."
        ) from None
    except OSError:
        raise BadAddressError(
            f"Nobody knows where {parts.hostname} is: check the name, or try again."
        ) from None
    return read


def _read(url: str) -> str:
    if len(url) > LONGEST_URL:
        raise BadAddressError(f"At most {LONGEST_URL} characters.")
    parts = _split(url)
    if parts.scheme not in PORTS or not parts.hostname:
        raise BadAddressError("Must begin with https:// and a host: https://erp.example.com/hook")
    _check_characters(url, parts.hostname)
    if "@" in parts.netloc:
        raise BadAddressError("Without a user name or password: the signature says who we are.")
    if "#" in url:
        raise BadAddressError("Without a #fragment: it is never sent.")
    port = _port_of(parts)
    host = _host_of(parts)
    is_usual = port in {None, PORTS[parts.scheme]}
    place = host if is_usual else f"{host}:{port}"
    return parts._replace(netloc=place, path=parts.path or "/").geturl()


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        raise BadAddressError("Is no URL: https://erp.example.com/hook") from None


def _check_characters(url: str, host: str) -> None:
    if not host.isascii():
        try:
            hint = f": {host.encode('idna').decode()}"
        except UnicodeError:
            hint = ""
        raise BadAddressError(f"Write the host in its ASCII form{hint}.")
    if not _CHARACTERS.fullmatch(url.lower()):
        raise BadAddressError("Holds characters that no URL has; write them as %20 and the like.")


def _port_of(parts: SplitResult) -> int | None:
    try:
        port = parts.port
    except ValueError:
        raise BadAddressError("The port is none.") from None
    if port is not None and port not in PORTS.values() and port < FIRST_FREE_PORT:
        raise BadAddressError(
            f"The port must be 443, 80 or from {FIRST_FREE_PORT}: below are other services."
        )
    return port


def _host_of(parts: SplitResult) -> str:
    """The host in the one form in which it is kept: no dot at its end, no odd way to say an IP."""
    host = (parts.hostname or "").removesuffix(".")
    if "[" in parts.netloc:
        try:
            if "%" in host:
                raise ValueError("an interface of ours")  # noqa: TRY301 - said once, below
            return f"[{ipaddress.IPv6Address(host).compressed}]"
        except ValueError:
            raise BadAddressError("The address in brackets is none.") from None
    if _ENDS_IN_A_NUMBER.search(host):  # as browsers tell IPv4; 0x7f.1 is one for a resolver
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            raise BadAddressError("Write an address as four numbers: 203.0.113.7") from None
    if not _NAME.fullmatch(host):
        raise BadAddressError("The host is no name: https://erp.example.com/hook")
    return host
