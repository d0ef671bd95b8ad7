"""Answers on their way out: the honest ones, and the ones a fault spoils."""

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
from sandbox.payments.documents import Document
from sandbox.payments.errors import ApiError, lock_timeout, rate_limited, server_error
from sandbox.payments.faults import Fault


def answer_with(document: Document, *, status: int = 200) -> Answer:
    return Answer(status=status, body=orjson.dumps(document))


def answer_error(error: ApiError) -> Answer:
    return Answer(
        status=error.status, body=orjson.dumps(error.document), headers=dict(error.headers)
    )


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
            return await drip(request, answer, pause=fault.settings["seconds"])
        case "malformed":
            return await _malformed(request, answer, form=fault.settings["form"])
        case "wrong_amount":
            return respond(_with_amount(answer, amount=fault.settings["amount"]))
        case "altered":
            return respond(_with_fields(answer, fields=fault.settings["fields"]))
        case _:
            raise ValueError(f"{fault.kind} is no fault of the answer")


async def _malformed(request: web.BaseRequest, answer: Answer, *, form: str) -> web.StreamResponse:
    bodies = {
        "truncated": answer.body[: len(answer.body) // 2],
        "html": BAD_GATEWAY_PAGE,
        "empty": b"",
        "error_200": orjson.dumps(server_error().document),
        "list": b"[]",
    }
    if form == "short":
        whole = replace(answer, status=200)
        return await shorter_than_promised(request, whole)
    content_type = "text/html" if form == "html" else answer.content_type
    return web.Response(
        status=200, body=bodies[form], headers=answer.headers, content_type=content_type
    )


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
