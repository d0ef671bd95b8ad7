"""A receiver on this machine that remembers what it got, and answers as it is told."""

from __future__ import annotations

import json
import threading
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Got:
    """A request as it came in."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class Receiver:
    """What came in, by order; `answers` are given first, one each, then `usual`.

    An answer is (status, JSON); a callable is given the request and answers so. `DROP` closes the
    connection without a word.
    """

    url: str = ""
    got: list[Got] = field(default_factory=list)
    answers: deque[Any] = field(default_factory=deque)
    usual: Any = (200, {})

    def keys(self) -> list[str]:
        return [one.headers["Idempotency-Key"] for one in self.got]


DROP = object()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    receiver: Receiver

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        raw = self.rfile.read(length)
        request = Got(
            self.command, self.path, dict(self.headers.items()), json.loads(raw) if raw else None
        )
        self.receiver.got.append(request)
        said = self.receiver.answers.popleft() if self.receiver.answers else self.receiver.usual
        if callable(said):
            said = said(request)
        if said is DROP:
            self.close_connection = True
            return
        status, body = said
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_DELETE = do_PUT = _answer  # noqa: N815 - as http.server has them

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


class Listening:
    """A receiver that listens while the block lasts."""

    def __enter__(self) -> Receiver:
        receiver = Receiver()
        handler = type("Handler", (_Handler,), {"receiver": receiver})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        receiver.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.01,), daemon=True
        )
        self._thread.start()
        return receiver

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
