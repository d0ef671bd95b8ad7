"""Answers on their way out: the honest ones, and the ones a fault spoils."""

import asyncio
import socket
import struct
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from sandbox.payments.documents import Document
from sandbox.payments.errors import ApiError, lock_timeout, rate_limited, server_error
from sandbox.payments.faults import Fault

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


def answer_with(document: Document, *, status: int = 200) -> Answer:
    return Answer(status=status, body=orjson.dumps(document))


def answer_error(error: ApiError) -> Answer:
    return Answer(
        status=error.status, body=orjson.dumps(error.document), headers=dict(error.headers)
    )


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
    transport = request.transport
    if transport is not None:
        if reset:
            connection: Any = transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        transport.abort()
    response = web.Response(status=500)
    response.force_close()
    return response


# --- faults on the way in: the answer of a request that was never executed ----------------------


def refused_on_arrival(fault: Fault) -> Answer | None:
    """What an ARRIVAL fault answers; None where it answers nothing."""
    match fault.kind:
        case "rate_limit":
            return answer_error(rate_limited(retry_after=fault.settings["retry_after"]))
        case "conflict":
            return answer_error(lock_timeout(status=fault.settings["status"]))
        case "unavailable":
            return answer_error(server_error(status=fault.settings["status"]))
        case "redirect":
            return Answer(status=302, body=b"", headers={"Location": fault.settings["location"]})
        case _:
            return None


# --- faults on the way out: the request was executed and committed ------------------------------


def status_sent(fault: Fault, answer: Answer) -> int | None:
    """The status the client gets to see of a spoiled answer; None if it sees none."""
    if fault.kind in ("answer_lost", "hang"):
        return None
    return 200 if fault.kind == "malformed" else answer.status


async def deliver_spoiled(
    request: web.BaseRequest, *, answer: Answer, fault: Fault
) -> web.StreamResponse:
    """Send what an ANSWER fault leaves of an answer."""
    match fault.kind:
        case "answer_lost":
            return hang_up(request, reset=fault.settings["reset"])
        case "hang":
            await asyncio.sleep(fault.settings["seconds"])
            return hang_up(request)
        case "drip":
            return await _drip(request, answer, pause=fault.settings["seconds"])
        case "malformed":
            return await _malformed(request, answer, form=fault.settings["form"])
        case "wrong_amount":
            return respond(_with_amount(answer, amount=fault.settings["amount"]))
        case "altered":
            return respond(_with_fields(answer, fields=fault.settings["fields"]))
        case _:
            raise ValueError(f"{fault.kind} is no fault of the answer")


async def _drip(request: web.BaseRequest, answer: Answer, *, pause: float) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    response.content_type = answer.content_type
    response.content_length = len(answer.body)
    await response.prepare(request)
    for position in range(len(answer.body)):
        await response.write(answer.body[position : position + 1])
        await asyncio.sleep(pause)
    return response


async def _malformed(request: web.BaseRequest, answer: Answer, *, form: str) -> web.StreamResponse:
    bodies = {
        "truncated": answer.body[: len(answer.body) // 2],
        "html": BAD_GATEWAY_PAGE,
        "empty": b"",
        "error_200": orjson.dumps(server_error().document),
        "list": b"[]",
    }
    if form == "short":
        return await _shorter_than_promised(request, answer)
    content_type = "text/html" if form == "html" else answer.content_type
    return web.Response(
        status=200, body=bodies[form], headers=answer.headers, content_type=content_type
    )


async def _shorter_than_promised(request: web.BaseRequest, answer: Answer) -> web.StreamResponse:
    response = web.StreamResponse(status=200, headers=answer.headers)
    response.content_type = answer.content_type
    response.content_length = len(answer.body)
    await response.prepare(request)
    await response.write(answer.body[: len(answer.body) // 2])
    if request.transport is not None:
        request.transport.close()  # flushes what was written, then says it is over
    return response


def _with_amount(answer: Answer, *, amount: int | None) -> Answer:
    document: Document = orjson.loads(answer.body)
    if "amount" in document:
        told = document["amount"] + 1 if amount is None else amount
        for name in ("amount", "amount_received", "amount_capturable"):
            if document.get(name):
                document[name] = told
    return _altered(answer, document)


def _with_fields(answer: Answer, *, fields: Document) -> Answer:
    return _altered(answer, {**orjson.loads(answer.body), **fields})


def _altered(answer: Answer, document: Document) -> Answer:
    return Answer(
        status=answer.status,
        body=orjson.dumps(document),
        headers=answer.headers,
        content_type=answer.content_type,
    )
