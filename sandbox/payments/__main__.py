"""`python -m sandbox.payments`: the local payment server in the foreground."""

import argparse
import asyncio
import sys
from pathlib import Path
from urllib.parse import urlsplit

from sandbox.payments.server import serve
from sandbox.payments.webhooks import Listener
from sandbox.serving import MAX_PORT, log_to_stderr
from sandbox.statefile import StateFileError


def main() -> int:
    options = _parser().parse_args()
    if not 0 <= options.port <= MAX_PORT:
        raise SystemExit(f"--port must be from 0 to {MAX_PORT}")
    log_to_stderr()
    try:
        asyncio.run(
            serve(
                host=options.host,
                port=options.port,
                state=options.state,
                listener=_listener(options),
            )
        )
    except (StateFileError, OSError) as exc:
        print(f"payment server cannot start: {exc}", file=sys.stderr)
        return 1
    return 0


def _listener(options: argparse.Namespace) -> Listener | None:
    if not options.webhook_url:
        return None
    if not options.webhook_secret:
        raise SystemExit("--webhook-url needs a --webhook-secret")
    if not _is_web_address(options.webhook_url):
        raise SystemExit("--webhook-url must be an address like http://127.0.0.1:8000/hooks")
    types = tuple(kind.strip() for kind in options.webhook_events.split(",") if kind.strip())
    return Listener(url=options.webhook_url, secret=options.webhook_secret, types=types)


def _is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number up to 65535
        return False


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bin/payment-server",
        description="The part of Stripe's API that Orderkeep calls, on this machine. Not Stripe: "
        "see docs/payment-server.md. Any sk_test_ key is accepted.",
    )
    parser.add_argument("--port", type=int, required=True, help="TCP port; 0 picks a free one")
    parser.add_argument("--state", type=Path, required=True, help="SQLite file, made if missing")
    parser.add_argument("--host", default="127.0.0.1", help="address to bind (%(default)s)")
    parser.add_argument("--webhook-url", help="where signed events are delivered to")
    parser.add_argument("--webhook-secret", help="what they are signed with, whsec_...")
    parser.add_argument(
        "--webhook-events",
        default="*",
        help="the types to deliver, separated by commas, * allowed (default: all)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
