"""A merchant's system on loopback: remembers what it was sent, and answers as it is told."""

from __future__ import annotations

import ipaddress
import json
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from standardwebhooks import Webhook

from integrations.webhooks import events, services
from integrations.webhooks.models import WebhookEndpoint
from tests import factories

LOOPBACK: Final = [ipaddress.ip_network("127.0.0.0/8")]


@dataclass(frozen=True)
class Request:
    """What came in."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def event(self) -> dict[str, Any]:
        return json.loads(self.body)

    def is_signed_with(self, secret: str) -> bool:
        """As a merchant finds out."""
        Webhook(secret).verify(self.body, self.headers)  # raises if it is not
        return True


Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: MerchantsServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = self.request_seen = Request(self.path, headers, body)
        with self.server.lock:
            self.server.requests.append(request)
            answer = self.server.answer(request)
        answer(self)

    def say(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        if 200 <= status < 300:
            with self.server.lock:
                self.server.taken.append(self.request_seen.id)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


def answering(status: int, body: bytes = b"", **headers: str) -> Answer:
    return lambda handler: handler.say(status, body, **headers)


def stalling(seconds: float) -> Answer:
    def answer(handler: Handler) -> None:
        handler.server.let_go.wait(seconds)
        handler.close_connection = True

    return answer


def babbling(handler: Handler) -> None:
    """No HTTP at all."""
    handler.wfile.write(b"\x00\xff junk junk\r\n\r\n" * 3)
    handler.close_connection = True


def flooding(handler: Handler) -> None:
    """A body without an end, of which nobody reads more than a megabyte."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(1 << 34))
    handler.end_headers()
    try:
        for _ in range(1_000):
            handler.wfile.write(b"x" * 65_536)
    except OSError:
        pass
    handler.close_connection = True


class MerchantsServer(ThreadingHTTPServer):
    """Listens until `close`; `answer` decides by the request, `requests` is all that came in."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, *, certificate: tuple[str, str] | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.scheme = "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True)
            self.scheme = "https"
        self.lock = threading.RLock()
        self.let_go = threading.Event()
        self.requests: list[Request] = []
        self.taken: list[str] = []
        self.answer: Callable[[Request], Answer] = lambda _: answering(204)
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def answers(self, answer: Answer) -> None:
        """To everything from now on."""
        self.answer = lambda _: answer

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_address[1]}/hook"

    @property
    def last(self) -> Request:
        return self.requests[-1]

    @property
    def kinds(self) -> Counter[str]:
        return Counter(request.event["type"] for request in self.requests)

    def handle_error(self, *_: Any) -> None:
        """Whoever hangs up is none of our business."""

    def close(self) -> None:
        self.let_go.set()
        self.shutdown()
        self._thread.join()
        self.server_close()


def make_endpoint(
    server: MerchantsServer | str,
    *kinds: str,
    is_enabled: bool = True,
    with_secret: bool = True,
) -> tuple[WebhookEndpoint, str]:
    """An endpoint of this server for these kinds, all of them if none is named; and its secret."""
    made = WebhookEndpoint.objects.create(
        url=server if isinstance(server, str) else server.url,
        events=list(kinds or events.KINDS),
        created_by=factories.CustomerFactory(is_staff=True),
    )
    secret = ""
    if with_secret:
        secret = services.give_secret(
            endpoint_id=made.pk, request_key="first", user_id=made.created_by_id
        )
    if is_enabled:
        WebhookEndpoint.objects.filter(pk=made.pk).update(status="enabled")
    made.refresh_from_db()
    return made, secret


def free_port() -> int:
    """One that nobody listens on."""
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return int(place.getsockname()[1])


def wait_until(condition: Callable[[], bool], *, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
