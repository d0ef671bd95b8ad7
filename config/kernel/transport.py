"""One HTTP exchange at a time with somebody else's server, each within a time limit as a whole.

Bytes out, bytes in, over one kept connection a thread. What the other side is told and what its
answers mean is for `payments.gateway` and `integrations.rest`.
"""

from __future__ import annotations

import functools
import http.client
import io
import select
import socket
import ssl
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from config.kernel.clock import Deadline

    Dial = Callable[[str, int, float], socket.socket]

CONNECT_SECONDS: Final = 2.0
READ_SECONDS: Final = 8.0
MAX_ANSWER_BYTES: Final = 1024 * 1024
_CHUNK_BYTES: Final = 64 * 1024
_LEAST_SECONDS: Final = 0.1  # a time-out of zero would mean "do not block", not "no time"


class NoAnswerError(Exception):
    """No connection, or no whole answer within time and size: what was sent may have arrived."""


@dataclass(frozen=True, slots=True)
class Response:
    """What came back, redirects included: they are not followed."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes


def dial(host: str, port: int, seconds: float) -> socket.socket:
    """A connection to wherever this name leads; `config.kernel.dialling` has a choosier one."""
    return socket.create_connection((host, port), seconds)


class Transport:
    """Keep-alive connections, one for each thread and server. No proxies, no .netrc, no cookies."""

    def __init__(self, *, ca_file: str, dial: Dial = dial) -> None:
        """Trust the servers whose certificates the authorities in `ca_file` vouch for.

        Args:
            dial: connects to a host and port within so many seconds, or raises OSError.
        """
        self._ca_file = ca_file
        self._dial = dial
        self._of_thread = threading.local()

    def exchange(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes | str | None,
        deadline: Deadline,
    ) -> Response:
        """Send one request, never twice, and read its answer to the end.

        Raises:
            NoAnswerError: see there.
        """
        parts = urlsplit(url)
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        try:
            connection = self._connection(parts.scheme, parts.netloc)
            return _exchange(connection, method, target, headers, body, deadline)
        except (OSError, http.client.HTTPException, ValueError) as exc:
            self._hang_up()
            raise NoAnswerError(type(exc).__name__) from exc

    def _connection(self, scheme: str, netloc: str) -> _Connection | _SecureConnection:
        """This thread's connection, unless the server has closed it meanwhile."""
        kept = getattr(self._of_thread, "connection", None)
        if kept is not None:
            if self._of_thread.place == (scheme, netloc) and not _is_over(kept.sock):
                return kept  # type: ignore[no-any-return]  # a thread's locals have no types
            self._hang_up()
        if scheme == "https":
            made: _Connection | _SecureConnection = _SecureConnection(
                netloc, context=_trust(self._ca_file)
            )
        else:
            made = _Connection(netloc)
        made.dial = self._dial
        self._of_thread.connection, self._of_thread.place = made, (scheme, netloc)
        return made

    def _hang_up(self) -> None:
        kept = getattr(self._of_thread, "connection", None)
        if kept is not None:
            self._of_thread.connection = None
            kept.close()


def _exchange(
    connection: _Connection | _SecureConnection,
    method: str,
    target: str,
    headers: Mapping[str, str],
    body: bytes | str | None,
    deadline: Deadline,
) -> Response:
    if connection.sock is None:
        connection.timeout = _at_most(CONNECT_SECONDS, deadline)
        connection.connect()
    connection.sock.settimeout(_at_most(READ_SECONDS, deadline))
    # "identity": what we read is what was sent.
    connection.request(method, target, body, {"Accept-Encoding": "identity", **headers})
    connection.give_up_at = time.monotonic() + min(READ_SECONDS, deadline.remaining())
    with connection.getresponse() as response:
        content = _read(response)
    if response.will_close:
        connection.close()
    return Response(response.status, response.headers, content)


def _read(response: http.client.HTTPResponse) -> bytes:
    content = bytearray()
    while chunk := response.read1(_CHUNK_BYTES):
        content += chunk
        if len(content) > MAX_ANSWER_BYTES:
            raise ValueError("the answer is too large")
    if response.length:
        raise http.client.IncompleteRead(bytes(content), response.length)
    return bytes(content)


def _is_over(sock: socket.socket | None) -> bool:
    """Whether a kept connection was closed, or is out of step: nothing may be waiting on it."""
    if sock is None:
        return False  # not yet open
    waiting = select.poll()
    waiting.register(sock, select.POLLIN)
    return bool(waiting.poll(0))


def _at_most(seconds: float, deadline: Deadline) -> float:
    return max(min(seconds, deadline.remaining()), _LEAST_SECONDS)


@functools.cache
def _trust(ca_file: str) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca_file)


class TimedReader(io.RawIOBase):
    """What comes from the socket, until time is up: for http.client from the status line on.

    A time-out of the socket's own holds for each read: one byte a second would never end.
    """

    def __init__(self, connection: socket.socket, *, give_up_at: float) -> None:
        super().__init__()
        self._socket = connection
        # Keeps the socket open: http.client closes it before it reads an answer that says "close".
        self._file = connection.makefile("rb", buffering=0)
        self._give_up_at = give_up_at

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()
        super().close()

    def readinto(self, buffer: Any) -> int:
        left = self._give_up_at - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer did not end in time")
        self._socket.settimeout(left)
        return self._file.readinto(buffer) or 0


class _TimedSocket:
    """All that http.client wants of a socket to read a response from."""

    def __init__(self, connection: socket.socket, *, give_up_at: float) -> None:
        self._socket = connection
        self._give_up_at = give_up_at

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(TimedReader(self._socket, give_up_at=self._give_up_at))


class _Timed:
    """What plain and secure connections share: answers end in time, and so does the connection."""

    give_up_at = float("inf")
    dial: Dial

    def _dialled(self) -> socket.socket:
        made: Any = self  # the connection that this is mixed into
        dialled = self.dial(made.host, made.port, made.timeout)
        dialled.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as http.client does
        return dialled

    def response_class(self, sock: Any, **options: Any) -> http.client.HTTPResponse:
        """What http.client makes a response with."""
        timed: Any = _TimedSocket(sock, give_up_at=self.give_up_at)
        return http.client.HTTPResponse(timed, **options)

    def __del__(self) -> None:
        self.close()  # type: ignore[attr-defined]  # of the connection it is mixed into


class _Connection(_Timed, http.client.HTTPConnection):  # type: ignore[misc]  # a method for a class
    """In the clear: to a server on this machine."""

    def connect(self) -> None:
        self.sock = self._dialled()


class _SecureConnection(_Timed, http.client.HTTPSConnection):  # type: ignore[misc]  # likewise
    """To everybody else."""

    def __init__(self, netloc: str, *, context: ssl.SSLContext) -> None:
        super().__init__(netloc, context=context)
        self._trust = context

    def connect(self) -> None:
        self.sock = self._trust.wrap_socket(self._dialled(), server_hostname=self.host)
