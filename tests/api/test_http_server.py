"""The real web server under bytes that no HTTP client would send."""

import json
import os
import socket
import subprocess
import sys
import time

import pytest

CAP = 256 * 1024
ME = b"/api/v1/me"


@pytest.fixture(scope="module")
def server():
    """A web process; none of these requests reaches a database."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    argv = [
        *(sys.executable, "-m", "granian", "config.wsgi:application", "--interface", "wsgi"),
        *("--http", "1", "--port", str(port), "--blocking-threads", "4", "--no-ws"),
    ]
    with subprocess.Popen(argv, stderr=subprocess.DEVNULL, env=os.environ) as process:
        try:
            wait_until_it_listens(port)
            yield port
        finally:
            process.terminate()


def wait_until_it_listens(port):
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        else:
            return


def talk(port, data):
    """Status, headers and body of whatever comes back."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(data)
        answer = b""
        while b"\r\n\r\n" not in answer:
            received = connection.recv(65_536)
            assert received, answer
            answer += received
        head, _, body = answer.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        while len(body) < int(headers["content-length"]):
            body += connection.recv(65_536)
    return int(first.split()[1]), headers, body


def request(target, *headers, method=b"GET", body=b"", host=b"Host: 127.0.0.1"):
    lines = [b"%s %s HTTP/1.1" % (method, target), host, b"Connection: close", *headers, b"", body]
    return b"\r\n".join(lines)


def assert_envelope(answer, status):
    answered, headers, body = answer
    assert answered == status, body
    assert headers["content-type"] == "application/json"
    read = json.loads(body)
    assert set(read) == {"success", "error", "request_id"}
    assert read["request_id"] == headers["x-request-id"]


class TestServer:
    def test_answers_urls_of_eight_thousand_bytes(self, server):
        assert_envelope(talk(server, request(b"/api/v1/" + b"x" * 7_992)), 404)
        assert_envelope(talk(server, request(b"/api/v1/x?" + b"x" * 7_990)), 404)

    def test_answers_longer_ones_in_json_too(self, server):
        assert_envelope(talk(server, request(b"/api/v1/" + b"x" * 20_000)), 414)

    @pytest.mark.parametrize(
        ("data", "status"),
        [
            (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400),
            (b"GET /\r\n\r\n", 400),
            (request(ME, b"Content-Length: 5", b"Content-Length: 6", body=b"{}"), 400),
            (request(ME, b"Content-Length: -1"), 400),
            (request(ME, b"Transfer-Encoding: xchunked", body=b"2\r\n{}\r\n0\r\n\r\n"), 400),
            (request(ME, b"X-Request-ID: a\rSet-Cookie: b"), 400),
            (request(ME, b"Idempotency-Key: a\x00b"), 400),
            (request(ME, *[b"X-%d: a" % n for n in range(200)]), 431),
        ],
    )
    def test_refuses_what_is_no_http_in_as_many_words(self, server, data, status):
        """The server itself does: no code of ours sees such a request."""
        answered, headers, body = talk(server, data)

        assert (answered, headers["connection"], body) == (status, "close", b"")

    @pytest.mark.parametrize(
        "data",
        [
            request(ME, b"Host: 127.0.0.1"),
            request(ME, host=b"Host: evil.example"),
        ],
    )
    def test_refuses_what_is_ambiguous(self, server, data):
        assert_envelope(talk(server, data), 400)

    def test_believes_the_chunks_where_a_length_is_told_too(self, server):
        """RFC 9112, 6.3. What follows the last chunk is another request, and was never a body."""
        two = request(
            b"/api/v1/orders",
            b"Content-Length: 40",
            b"Transfer-Encoding: chunked",
            method=b"POST",
            body=b"0\r\n\r\n" + request(ME),
        )

        assert_envelope(talk(server, two), 401)  # a guest who says nothing

    def test_finds_nothing_under_an_address_that_is_no_text(self, server):
        assert_envelope(talk(server, request("/api/v1/é".encode())), 404)

    @pytest.mark.parametrize("method", [b"TRACE", b"FOO", b"PUT"])
    def test_refuses_methods_that_are_none(self, server, method):
        assert_envelope(talk(server, request(ME, method=method)), 405)

    def test_refuses_a_body_over_the_cap_before_it_is_sent(self, server):
        started = time.monotonic()

        assert_envelope(
            talk(server, request(ME, b"Content-Length: 100000000", method=b"PATCH")), 413
        )

        assert time.monotonic() - started < 5

    def test_refuses_chunks_over_the_cap(self, server):
        chunk = b"%x\r\n%s\r\n" % (CAP + 1, b"x" * (CAP + 1))

        answer = talk(
            server, request(ME, b"Transfer-Encoding: chunked", method=b"PATCH", body=chunk)
        )

        assert_envelope(answer, 413)
