"""What the local servers share of being a process: their log, and a clean stop."""

import asyncio
import logging
import signal
from collections.abc import Callable

from aiohttp.http import HttpProcessingError
from aiohttp.web import RequestPayloadError

MAX_PORT = 65_535


def log_to_stderr() -> None:
    """Log what went wrong inside the server itself, and nothing else."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("aiohttp.server").addFilter(_is_our_fault)


def _is_our_fault(record: logging.LogRecord) -> bool:
    """Keep bytes that are not HTTP out of the log: the client's fault, answered with 400."""
    return record.exc_info is None or not isinstance(
        record.exc_info[1], HttpProcessingError | RequestPayloadError
    )


async def until_told_to_stop(*, sweep: Callable[[], None], sweep_seconds: float) -> None:
    """Return at SIGTERM or SIGINT; tidy up now and every `sweep_seconds` meanwhile."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    while not stop.is_set():
        sweep()
        try:
            await asyncio.wait_for(stop.wait(), timeout=sweep_seconds)
        except TimeoutError:
            continue
