"""One HTTP exchange at a time, against servers that say things just so."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from typing import TYPE_CHECKING

import pytest

from config.kernel.clock import Deadline
from config.kernel.transport import MAX_ANSWER_BYTES, NoAnswerError, Transport

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@pytest.fixture
def transport():
    return Transport(ca_file=ssl.get_default_verify_paths().cafile or "")


@contextlib.contextmanager
def answering(*pieces: bytes, pause: float = 0.0) -> Iterator[str]:
    """A server that sends the pieces, a pause before each but the first, and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError), server.accept()[0] as client:
                client.recv(65_536)
                for number, piece in enumerate(pieces):
                    time.sleep(pause if number else 0.0)
                    client.sendall(piece)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/v1/x"
        thread.join(timeout=5)


def ask(transport: Transport, url: str, *, seconds: float = 5.0):
    return transport.exchange("GET", url, headers={}, body=None, deadline=Deadline(seconds))


def answer(body: bytes, *headers: str) -> list[bytes]:
    head = ["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *headers]
    return ["\r\n".join([*head, "", ""]).encode(), body]


def halves(pieces: Sequence[bytes]) -> list[bytes]:
    head, body = pieces
    middle = len(body) // 2
    return [head, body[:middle], body[middle:]]


class TestAnAnswerThatEndsTheConnection:
    """nginx says "Connection: close" on the last request of a connection, and while it reloads."""

    def test_is_read_to_its_end_however_it_is_cut(self, transport):
        with answering(*halves(answer(b'{"a": 1}', "Connection: close")), pause=0.05) as url:
            assert ask(transport, url).body == b'{"a": 1}'

    def test_is_read_to_its_end_however_long_it_is(self, transport):
        body = b"x" * 300_000
        with answering(*answer(body, "Connection: close")) as url:
            assert ask(transport, url).body == body

    def test_is_followed_by_a_new_connection(self, transport):
        for body in (b"first", b"second"):
            with answering(*answer(body, "Connection: close")) as url:
                assert ask(transport, url).body == body


class TestAnAnswerThatIsNone:
    def test_cut_off_before_its_end(self, transport):
        head, body = answer(b"0123456789")
        with answering(head, body[:5]) as url, pytest.raises(NoAnswerError):
            ask(transport, url)

    def test_too_long(self, transport):
        with (
            answering(*answer(b"x" * (MAX_ANSWER_BYTES + 1))) as url,
            pytest.raises(NoAnswerError),
        ):
            ask(transport, url)

    def test_drop_by_drop(self, transport):
        """Each byte comes in time, the answer as a whole does not."""
        drops = [bytes([byte]) for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]
        started = time.monotonic()
        with answering(*drops, pause=0.1) as url, pytest.raises(NoAnswerError):
            ask(transport, url, seconds=0.5)
        assert time.monotonic() - started < 5
