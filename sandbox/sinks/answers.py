"""What a fault leaves of an answer."""

import asyncio
from dataclasses import replace

import orjson
from aiohttp import web

from sandbox.answers import (
    BAD_GATEWAY_PAGE,
    Answer,
    drip,
    hang_up,
    respond,
    shorter_than_promised,
)
from sandbox.sinks.calls import Document, answer
from sandbox.sinks.faults import Fault

CHUNK = b" " * 65_536


def status_sent(fault: Fault, given: Answer) -> int | None:
    """The status the client gets to see; None if it sees none."""
    match fault.kind:
        case "drop" | "answer_lost" | "hang":
            return None
        case "status" | "redirect" | "junk":
            return int(fault.settings["status"])
        case _:
            return given.status


async def deliver_spoiled(
    request: web.BaseRequest, *, given: Answer, error: Document, fault: Fault
) -> web.StreamResponse:
    """Send what a fault leaves.

    Args:
        given: the receiver's answer, or what it would be like if the receiver never got the call.
        error: the receiver's own words for the fault's status.
        fault: what happens to it.
    """
    settings = fault.settings
    match fault.kind:
        case "status":
            return respond(_with_status(settings, error))
        case "redirect":
            headers = {"Location": settings["location"]}
            return respond(Answer(status=settings["status"], body=b"", headers=headers))
        case "drop" | "answer_lost":
            return hang_up(request, reset=settings["reset"])
        case "hang":
            await asyncio.sleep(settings["seconds"])
            return hang_up(request)
        case "drip":
            return await drip(request, given, pause=settings["seconds"])
        case "huge":
            return await _huge(request, given, size=settings["size"])
        case "junk":
            return await _junk(request, given, form=settings["form"], status=settings["status"])
        case _:
            raise ValueError(f"{fault.kind} is no fault of an answer")


def _with_status(settings: Document, error: Document) -> Answer:
    body = error if settings["body"] is None else settings["body"]
    wait = settings["retry_after"]
    headers = {} if wait is None else {"Retry-After": str(wait)}
    return answer(body, status=settings["status"], headers=headers)


async def _huge(request: web.BaseRequest, given: Answer, *, size: int) -> web.StreamResponse:
    """Valid JSON, with so many bytes of white space before it."""
    response = web.StreamResponse(status=given.status, headers=given.headers)
    response.content_type = given.content_type
    await response.prepare(request)
    left = size
    while left > 0:
        await response.write(CHUNK[:left])
        left -= len(CHUNK)
    await response.write(given.body)
    return response


async def _junk(
    request: web.BaseRequest, given: Answer, *, form: str, status: int
) -> web.StreamResponse:
    given = replace(given, status=status)
    bodies = {
        "html": BAD_GATEWAY_PAGE,
        "invalid_json": b'{"id": ',
        "truncated": given.body[: len(given.body) // 2],
        "empty": b"",
        "text": orjson.dumps("OK"),
        "list": b"[]",
        "binary": bytes(range(256)),
    }
    if form == "short":
        return await shorter_than_promised(request, given)
    content_type = "text/html" if form == "html" else given.content_type
    return respond(replace(given, body=bodies[form], content_type=content_type))
