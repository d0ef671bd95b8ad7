"""`python -m sandbox.payments`: the local payment server in the foreground."""

import argparse
import asyncio
import logging
import sys
from pathlib import Path

from aiohttp.http import HttpProcessingError

from sandbox.payments.server import serve
from sandbox.payments.store import StateFileError


def main() -> int:
    options = _parser().parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("aiohttp.server").addFilter(_is_our_fault)
    try:
        asyncio.run(serve(host=options.host, port=options.port, state=options.state))
    except (StateFileError, OSError) as exc:
        print(f"payment server cannot start: {exc}", file=sys.stderr)
        return 1
    return 0


def _is_our_fault(record: logging.LogRecord) -> bool:
    """Keep bytes that are not HTTP out of the log: the client's fault, answered with 400."""
    return record.exc_info is None or not isinstance(record.exc_info[1], HttpProcessingError)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bin/payment-server",
        description="The part of Stripe's API that Orderkeep calls, on this machine. Not Stripe: "
        "see docs/payment-server.md. Any sk_test_ key is accepted; events are not sent yet.",
    )
    parser.add_argument("--port", type=int, required=True, help="TCP port; 0 picks a free one")
    parser.add_argument("--state", type=Path, required=True, help="SQLite file, made if missing")
    parser.add_argument("--host", default="127.0.0.1", help="address to bind (%(default)s)")
    parser.add_argument(
        "--webhook-url", help="accepted for the day events are sent; without effect so far"
    )
    parser.add_argument(
        "--webhook-secret", help="accepted for the day events are sent; without effect so far"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
