"""Reads the environment, typed; a bad value stops the start with one clear line.

The variables and their defaults are listed in docs/configuration.md.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import json
import os
from email.utils import formataddr, parseaddr
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn
from urllib.parse import parse_qs, unquote, urlsplit

from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from config.kernel import money

if TYPE_CHECKING:
    from decimal import Decimal

ENVIRONMENTS = ("local", "test", "production")
SUBMISSION_PORT = 587
# What anymail calls the parts of each provider's address.
MAIL_PROVIDERS: Final = {
    "postmark": ("SERVER_TOKEN",),
    "mailgun": ("API_KEY", "SENDER_DOMAIN"),
    "brevo": ("API_KEY",),
}
MAIL_DEFAULTS: Final = {
    "REQUESTS_TIMEOUT": 8,  # seconds; the relay gives a hand-over ten
    # Nobody is watched reading; where that cannot be said by letter, the account says it.
    "SEND_DEFAULTS": {"track_opens": False, "track_clicks": False},
    "IGNORE_UNSUPPORTED_FEATURES": True,
}
LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})
KEY_BYTES: Final = 32
SHORTEST_SECRET: Final = 24


class ConfigurationError(SystemExit):
    """Ends the process with one line on stderr instead of a traceback."""


def fail(name: str, problem: str) -> NoReturn:
    """Stop the start.

    Raises:
        ConfigurationError: always.
    """
    raise ConfigurationError(f"orderkeep: {name}: {problem}")


def text(name: str, default: str | None = None) -> str:
    """A value, from `NAME` or, for secrets mounted as files, from the file `NAME_FILE` names."""
    value = os.environ.get(name)
    if not value and (path := os.environ.get(f"{name}_FILE")):
        try:
            value = Path(path).read_text(encoding="utf-8").strip()
        except OSError as exc:
            fail(f"{name}_FILE", f"cannot be read: {exc.strerror}")
    if value:
        return value
    if default is None:
        fail(name, "is required here and not set")
    return default


def integer(name: str, default: int, *, minimum: int = 0, maximum: int = 2**31 - 1) -> int:
    """A whole number within its bounds."""
    raw = text(name, str(default))
    if not (raw.isascii() and raw.isdigit()) or not minimum <= int(raw) <= maximum:
        fail(name, f"must be a whole number from {minimum} to {maximum}, not {raw!r}")
    return int(raw)


def switch(name: str, *, default: bool) -> bool:
    """`on` or `off`."""
    raw = text(name, "on" if default else "off").lower()
    if raw not in {"on", "off"}:
        fail(name, f"must be 'on' or 'off', not {raw!r}")
    return raw == "on"


def choice(name: str, default: str, allowed: tuple[str, ...]) -> str:
    """One of a few words."""
    raw = text(name, default)
    if raw not in allowed:
        fail(name, f"must be one of {', '.join(allowed)}, not {raw!r}")
    return raw


def items(name: str, default: str = "") -> list[str]:
    """A list separated by commas; empty parts are dropped."""
    return [part.strip() for part in text(name, default).split(",") if part.strip()]


def secrets(name: str) -> list[str]:
    """A list of secrets, several during a change of them; none of them can be guessed."""
    found = items(name)
    if any(len(one) < SHORTEST_SECRET for one in found):
        fail(name, f"needs {SHORTEST_SECRET} characters or more, as `openssl rand -hex 32` prints")
    return found


def amounts(name: str, default: str, *, currency: str) -> dict[str, Decimal]:
    """An amount of this currency, and of others by name: `500.00, EUR=450.00`."""
    found = {}
    for part in items(name, default):
        code, _, amount = part.rpartition("=")
        try:
            found[code.strip() or currency] = money.parse_amount(
                amount.strip(), code.strip() or currency
            )
        except (money.InvalidAmountError, money.UnsupportedCurrencyError) as exc:
            fail(name, f"must look like 500.00 or 500.00,EUR=450.00; {part!r}: {exc}")
    return found


def renamed(name: str) -> dict[str, str | None]:
    """A JSON object of texts: what each thing is called; null: it is left out."""
    raw = text(name, "{}")
    try:
        found = json.loads(raw)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(
        isinstance(value, str | None) for value in found.values()
    ):
        fail(name, """must be a JSON object of texts, like {"customer.phone": "mobilephone"}""")
    return found


def key(name: str, default: bytes) -> bytes:
    """A key of 32 bytes in base64; no message shows it."""
    raw = text(name, "")
    return _decoded(name, raw) if raw else default


def keys(name: str) -> list[bytes]:
    """A list of such keys, separated by commas."""
    return [_decoded(name, part) for part in items(name)]


def _decoded(name: str, raw: str) -> bytes:
    try:
        found = base64.b64decode(raw, validate=True)
    except (binascii.Error, ValueError):
        found = b""
    if len(found) != KEY_BYTES:
        fail(name, f"must be {KEY_BYTES} bytes in base64, as `openssl rand -base64 32` prints them")
    return found


def tokens(name: str) -> list[tuple[str, str]]:
    """Tokens by whose they are: `MAIN=…,EAST=…`; no message shows one."""
    found = []
    for part in items(name):
        owner, _, token = part.partition("=")
        if not owner.strip() or len(token.strip()) < SHORTEST_SECRET:
            fail(name, f"must look like MAIN=token, each of at least {SHORTEST_SECRET} characters")
        found.append((owner.strip(), token.strip()))
    return found


def origins(name: str, default: str = "") -> list[str]:
    """A list of web origins, `https://shop.example`, without a path."""
    found = items(name, default)
    for origin in found:
        parts = urlsplit(origin)
        if parts.scheme not in {"http", "https"} or not parts.netloc or parts.path:
            fail(name, f"must list origins like https://shop.example, not {origin!r}")
    return found


def url(name: str, default: str | None = None, *, schemes: tuple[str, ...]) -> str:
    """An absolute URL of one of these schemes."""
    raw = text(name, default)
    try:
        parts = urlsplit(raw)
        port_is_sound = parts.port is None or parts.port > 0
    except ValueError:
        fail(name, f"is not a URL: {hide_password(raw)!r}")
    if parts.scheme not in schemes or not parts.hostname or not port_is_sound:
        wanted = " or ".join(f"{scheme}://…" for scheme in schemes)
        fail(name, f"must look like {wanted}, not {hide_password(raw)!r}")
    return raw


def receiver(name: str) -> tuple[str, str]:
    """Where another system listens and what lets us in: `NAME_BASE_URL`, `NAME_TOKEN`.

    Both empty if no address is set: then it is told nothing.
    """
    if not text(f"{name}_BASE_URL", ""):
        return "", ""
    base_url = url(f"{name}_BASE_URL", schemes=("http", "https")).rstrip("/")
    return base_url, text(f"{name}_TOKEN")


def networks(name: str) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """A list of networks, `10.1.0.0/16, fd00:1::/32`."""
    found = []
    for part in items(name):
        try:
            found.append(ipaddress.ip_network(part))
        except ValueError:
            fail(name, f"must list networks like 10.1.0.0/16, not {part!r}")
    return found


def directory(name: str) -> str:
    """A directory that exists; empty if none is named."""
    raw = text(name, "")
    if raw and not Path(raw).is_dir():
        fail(name, f"is no directory: {raw!r}")
    return raw


def hide_password(raw: str) -> str:
    """A URL fit for an error message."""
    head, at, tail = raw.rpartition("@")
    return f"{head.partition('://')[0]}://…@{tail}" if at else raw


def database(name: str) -> dict[str, object]:
    """Django's connection settings from `postgres://user:password@host:port/database`."""
    parts = urlsplit(url(name, schemes=("postgres", "postgresql")))
    if not parts.path.strip("/"):
        fail(name, "names no database: postgres://user:password@host:port/database")
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.lstrip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname,
        "PORT": str(parts.port or 5432),
    }


def sender(name: str, default: str) -> str:
    """Whom e-mail is from: `address` or `Name <address>`."""
    raw = text(name, default)
    shown, address = parseaddr(raw)
    try:
        validate_email(address)
        is_sound = raw.isprintable() and raw in {
            address,
            f"{shown} <{address}>",
            formataddr((shown, address)),
        }
    except ValidationError:
        is_sound = False
    if not is_sound:
        fail(name, f"must look like orders@shop.example or Shop <orders@shop.example>, not {raw!r}")
    return raw


def mail_server(name: str) -> dict[str, object]:
    """Django's e-mail settings from `smtp://user:password@host:port`; `smtps` is TLS throughout.

    `smtp` on port 587 turns to TLS before it says anything (STARTTLS).
    """
    parts = urlsplit(url(name, schemes=("smtp", "smtps")))
    implicit_tls = parts.scheme == "smtps"
    port = parts.port or (465 if implicit_tls else 25)
    return {
        "EMAIL_HOST": parts.hostname,
        "EMAIL_PORT": port,
        "EMAIL_HOST_USER": unquote(parts.username or ""),
        "EMAIL_HOST_PASSWORD": unquote(parts.password or ""),
        "EMAIL_USE_SSL": implicit_tls,
        "EMAIL_USE_TLS": port == SUBMISSION_PORT and not implicit_tls,
    }


def mail_provider(name: str, *, webhook_secret: str) -> dict[str, object]:
    """Django's and anymail's e-mail settings from `postmark://TOKEN` or `mailgun://KEY@DOMAIN`.

    The provider's API elsewhere, in the European Union for one: `?api_url=https://…`.

    Args:
        webhook_secret: `user:password` that the provider calls our webhook with; Mailgun's is the
            key that it signs with. Empty: it calls none.
    """
    raw = text(name)
    parts = urlsplit(raw)
    wanted = MAIL_PROVIDERS[parts.scheme]
    credentials, at, domain = parts.netloc.rpartition("@")
    given = (credentials, domain) if at else (domain,)
    if len(given) != len(wanted) or not all(given) or parts.path:
        form = "KEY@DOMAIN" if len(wanted) > 1 else "KEY"
        fail(name, f"must look like {parts.scheme}://{form}")
    esp = parts.scheme.upper()
    values = {f"{esp}_{key}": unquote(value) for key, value in zip(wanted, given, strict=True)}
    if api_url := parse_qs(parts.query).get("api_url"):
        values[f"{esp}_API_URL"] = api_url[0]
    if webhook_secret:
        if parts.scheme == "mailgun":
            values["MAILGUN_WEBHOOK_SIGNING_KEY"] = webhook_secret
        elif ":" not in webhook_secret:
            fail("EMAIL_WEBHOOK_SECRET", "must look like user:password")
        else:
            values["WEBHOOK_SECRET"] = webhook_secret
    return {
        "EMAIL_BACKEND": f"anymail.backends.{parts.scheme}.EmailBackend",
        "EMAIL_PROVIDER": parts.scheme,
        "ANYMAIL": {**MAIL_DEFAULTS, **values},
    }


def apply_settings_module() -> str:
    """Choose `config.settings.<ENVIRONMENT>` for this process; an explicit choice stands."""
    environment = choice("ENVIRONMENT", "local", ENVIRONMENTS)
    return os.environ.setdefault("DJANGO_SETTINGS_MODULE", f"config.settings.{environment}")
