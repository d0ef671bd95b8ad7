"""How gunicorn serves Orderkeep: `gunicorn -c python:config.gunicorn config.wsgi`.

Addresses, processes and threads are for whoever starts it.
"""

from __future__ import annotations

import gc
import json
import os
import uuid
from typing import TYPE_CHECKING, Any

from gunicorn import util
from prometheus_client import multiprocess

from config.kernel.errors import error_body

if TYPE_CHECKING:
    import socket

worker_class = "gthread"
limit_request_line = 8_190  # the longest it knows; URLs up to 8,000 bytes get an answer of ours


def post_worker_init(_worker: Any) -> None:
    """Let the collector leave alone what lives as long as the process: code, models, routes.

    Else each full collection walks through all of it, and every request of the process waits.
    """
    gc.collect()
    gc.freeze()


def child_exit(_server: Any, worker: Any) -> None:
    """Take a dead process's gauges out of the shared metrics."""
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


def write_error(connection: socket.socket, status: int, reason: str, _message: str) -> None:
    """Answer what is not even HTTP with the envelope, repeating nothing of it."""
    if not 400 <= status < 500:  # noqa: PLR2004 - e.g. 501 for a transfer coding: still bad input
        status, reason = 400, "Bad Request"
    request_id = str(uuid.uuid4())
    body = error_body(
        code="VALIDATION_FAILED",
        message="This is not a request that the server understands.",
        request_id=request_id,
    )
    content = json.dumps(body).encode()
    head = (
        f"HTTP/1.1 {status} {reason}\r\n"
        "Connection: close\r\n"
        "Content-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\n"
        f"X-Request-ID: {request_id}\r\n"
        "X-Content-Type-Options: nosniff\r\n"
        "Cache-Control: no-store\r\n"
        "\r\n"
    )
    util.write_nonblock(connection, head.encode("ascii") + content)


# gunicorn has no setting for its own error pages, which are HTML and quote the request.
util.write_error = write_error
