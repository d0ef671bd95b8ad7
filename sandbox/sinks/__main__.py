"""`python -m sandbox.sinks`: the sinks in the foreground."""

import argparse
import asyncio
import sys
from pathlib import Path

from sandbox.serving import MAX_PORT, log_to_stderr
from sandbox.sinks import TOKEN
from sandbox.sinks.server import Options, serve
from sandbox.statefile import StateFileError


def main() -> int:
    options = _parser().parse_args()
    for name, port in (("--port", options.port), ("--smtp-port", options.smtp_port or 0)):
        if not 0 <= port <= MAX_PORT:
            raise SystemExit(f"{name} must be from 0 to {MAX_PORT}")
    log_to_stderr()
    try:
        asyncio.run(serve(Options(**vars(options))))
    except (StateFileError, OSError) as exc:
        print(f"sinks cannot start: {exc}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bin/sinks",
        description="The systems that Orderkeep tells of orders, played on this machine: none of "
        "them is real, see docs/sinks.md.",
    )
    parser.add_argument("--port", type=int, required=True, help="TCP port; 0 picks a free one")
    parser.add_argument("--state", type=Path, required=True, help="SQLite file, made if missing")
    parser.add_argument(
        "--smtp-port", type=int, help="take mail at this port; 0 picks a free one (default: none)"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to bind (%(default)s)")
    parser.add_argument(
        "--token", default=TOKEN, help="the secret that callers have to know (%(default)s)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
