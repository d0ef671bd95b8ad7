"""Answers of the local servers on their way out: whole ones, and what a fault leaves of them."""

import asyncio
import socket
import struct
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

JSON = "application/json"
BAD_GATEWAY_PAGE = (
    b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n"
    b"<body><center><h1>502 Bad Gateway</h1></center></body>\r\n</html>\r\n"
)
# SO_LINGER with a time of 0: closing throws away what was not sent and sends RST instead of FIN.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(kw_only=True)
class Answer:
    """A status, a body and what the client is told about them."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = JSON
    replayed: bool = False


def respond(answer: Answer) -> web.Response:
    return web.Response(
        status=answer.status,
        body=answer.body,
        headers=answer.headers,
        content_type=answer.content_type,
    )


def hang_up(request: web.BaseRequest, *, reset: bool = False) -> web.Response:
    """Close the connection without an answer: politely, or with a TCP reset.

    Returns a response because aiohttp wants one; there is no connection left to send it on.
    """
    if request.transport is not None:
        abort(request.transport, reset=reset)
    response = web.Response(status=500)
    response.force_close()
    return response


def abort(transport: asyncio.WriteTransport, *, reset: bool) -> None:
    """End a connection at once, with FIN or with RST."""
    if reset:
        connection: Any = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.abort()


async def drip(request: web.BaseRequest, answer: Answer, *, pause: float) -> web.StreamResponse:
    """Send the body byte by byte, with a pause in seconds after each."""
    response = await _begin(request, answer)
    for position in range(len(answer.body)):
        await response.write(answer.body[position : position + 1])
        await asyncio.sleep(pause)
    return response


async def shorter_than_promised(request: web.BaseRequest, answer: Answer) -> web.StreamResponse:
    """Send half of what Content-Length promises, then close."""
    response = await _begin(request, answer)
    await response.write(answer.body[: len(answer.body) // 2])
    if request.transport is not None:
        request.transport.close()  # flushes what was written, then says it is over
    return response


async def _begin(request: web.BaseRequest, answer: Answer) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    response.content_type = answer.content_type
    response.content_length = len(answer.body)
    await response.prepare(request)
    return response
