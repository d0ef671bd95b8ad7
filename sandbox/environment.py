"""The environment of everything that runs here: the person's own variables over our defaults.

The names and their meaning are those of docs/configuration.md. In production nothing is made up.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from config import env
from config.processes import write_private
from sandbox.processes import StartError, last_line
from sandbox.servers import secret

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parent.parent
STOREFRONT = ROOT / "sandbox" / "storefront"
INTEGRATIONS = ("CRM", "ANALYTICS", "FULFILMENT", "SUPPORT", "MARKETING")
# What a command of the same checkout takes over from the `bin/up` that runs.
SHARED = (
    *("ENVIRONMENT", "BIND", "PORT", "PUBLIC_URL", "DATABASE_URL", "REDIS_URL", "SECRET_KEY"),
    "BACKUP_DATABASE_URL",
    *("STRIPE_SECRET_KEY", "STRIPE_PUBLISHABLE_KEY", "STRIPE_WEBHOOK_SECRET", "STRIPE_API_BASE"),
    *("ALLOWED_HOSTS", "CSRF_TRUSTED_ORIGINS", "CORS_ALLOWED_ORIGINS"),
    *("SHOP_CURRENCY", "SHOP_COUNTRY", "SHOP_TIME_ZONE", "HOLD_MINUTES", "THROTTLE"),
    *(
        "SENTRY_DSN",
        "EMAIL_URL",
        "EMAIL_FROM",
        "ACCESS_TOKEN_MINUTES",
        "METRICS_TOKEN",
        "TRUSTED_PROXIES",
    ),
    *("AUDIT_SEAL_KEY", "AUDIT_SEAL_TRUSTED_KEYS", "AUDIT_SEAL_DIR", "AUDIT_SEAL_SECONDS"),
    *("SUPPRESSION_KEY", "SUPPRESSION_OLD_KEYS", "WEBHOOK_KEY", "WEBHOOK_OLD_KEYS"),
    "STOREFRONT_DIR",
    *(f"{name}_{part}" for name in INTEGRATIONS for part in ("BASE_URL", "TOKEN")),
)
LOCAL_STRIPE = {
    "STRIPE_SECRET_KEY": "sk_test_orderkeep_local",
    "STRIPE_WEBHOOK_SECRET": "whsec_orderkeep_local",
    "STRIPE_PUBLISHABLE_KEY": "pk_test_orderkeep_local",
}
CHECK_SETTINGS = (
    "import importlib; from config import env; importlib.import_module(env.apply_settings_module())"
)


def home() -> Path:
    """The directory of all local state."""
    return Path(os.environ.get("ORDERKEEP_HOME") or ROOT / ".local").absolute()


def is_set(name: str) -> bool:
    """Whether a variable was given, itself or as a file."""
    return bool(os.environ.get(name) or os.environ.get(f"{name}_FILE"))


def defaults() -> dict[str, str]:
    """Every default that does not depend on a server.

    Raises:
        env.ConfigurationError: PORT or BIND is no port or address.
    """
    port = env.integer("PORT", 8000, minimum=1, maximum=65_535)
    bind = env.text("BIND", "127.0.0.1")
    public_url = env.text("PUBLIC_URL", f"http://127.0.0.1:{port}")
    values = {
        "ORDERKEEP_HOME": str(home()),
        "ENVIRONMENT": "local",
        "PORT": str(port),
        "BIND": bind,
        "PUBLIC_URL": public_url,
    }
    if os.environ.get("ENVIRONMENT") != "production":
        hosts = {"localhost", "127.0.0.1", "[::1]", bind, urlsplit(public_url).hostname or ""}
        values["ALLOWED_HOSTS"] = ",".join(sorted(hosts - {"", "0.0.0.0", "::"}))  # noqa: S104
        values["CSRF_TRUSTED_ORIGINS"] = public_url.rstrip("/")
        values["SECRET_KEY"] = secret(home() / "secret_key")
        values["STOREFRONT_DIR"] = str(STOREFRONT)
        if not is_set("STRIPE_API_BASE") or stripe_is_local():
            values |= LOCAL_STRIPE
    return values


def stripe_is_local() -> bool:
    """Whether STRIPE_API_BASE names a server of this machine."""
    return urlsplit(os.environ.get("STRIPE_API_BASE", "")).hostname in env.LOOPBACK_HOSTS


def complete(endpoints: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of a child: what the person set, then endpoints, then defaults."""
    offered = {**defaults(), **endpoints}
    missing = {name: value for name, value in offered.items() if not is_set(name)}
    # Read already, wherever they came from, since our own commands need them too.
    read = {name: offered[name] for name in ("PORT", "BIND", "PUBLIC_URL")}
    return {**os.environ, **missing, **read, "PYTHONPATH": str(ROOT)}


def save(path: Path, environment: Mapping[str, str]) -> None:
    """Write down where the servers are, for other commands of this checkout."""
    shared = {name: environment[name] for name in SHARED if name in environment}
    write_private(path, json.dumps(shared, indent=1))


def load(path: Path) -> dict[str, str]:
    """Read what `save` wrote; empty if nobody runs."""
    try:
        shared: dict[str, str] = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    return shared


def check_settings(environment: Mapping[str, str], *, log: Path) -> None:
    """Have Django's settings read the environment before anything is started.

    Raises:
        StartError: a variable has a bad value; the message names it.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        done = subprocess.run(
            [sys.executable, "-c", CHECK_SETTINGS],
            env=dict(environment),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode:
        raise StartError(last_line(log).removeprefix("orderkeep: "))
