"""Webhooks: whom EasyPost tells that a parcel has moved, signed with a shared secret.

https://docs.easypost.com/guides/webhooks-guide. Simpler than the real ones: an event is told when a
test says so, once, and a failure is reported to the test and not retried.
"""

import hashlib
import hmac
import time
import unicodedata
from http import HTTPStatus
from uuid import uuid4

import aiohttp
import orjson
from aiohttp import web

from sandbox.answers import Answer
from sandbox.control import ControlError, Route, body_of, id_in, json_response
from sandbox.sinks.calls import Call, Document, answer
from sandbox.sinks.easypost import trackers
from sandbox.sinks.easypost.requests import blank, instant, made, refuse, wish_of
from sandbox.sinks.store import Kept, Store

RECEIVER = "easypost"
ANSWER_SECONDS = 7.0


def take(call: Call, rest: list[str]) -> Answer:
    """Answer a call below `/v2/webhooks`."""
    match call.method, rest:
        case "POST", []:
            return answer(_create(call), status=201)
        case "GET", []:
            kept = call.store.received(receiver=call.receiver, kind="webhooks")
            return answer({"webhooks": [one.body for one in kept]})
        case "GET", [key]:
            return answer(_get(call, key).body)
        case "DELETE", [key]:
            call.store.remove(receiver=call.receiver, kind="webhooks", key=_get(call, key).key)
            return answer({})
        case _:
            return refuse(405, "METHOD_NOT_ALLOWED", "The method is not supported.")


def _create(call: Call) -> Document:
    wish = wish_of(call, "webhook")
    url = wish.get("url")
    if not isinstance(url, str) or not url.startswith(("http://", "https://")):
        refuse(422, "WEBHOOK.INVALID_PARAMS", "Unable to create webhook.", blank("url"))
    body = made(call, "Webhook", "hook", url=url, disabled_at=None)
    del body["updated_at"]
    hidden = {"secret": wish.get("webhook_secret")}
    call.keep(kind="webhooks", key=body["id"], body=body, hidden=hidden)
    return body


def _get(call: Call, key: str) -> Kept:
    found = call.find(kind="webhooks", key=key)
    if found is None:
        refuse(404, "NOT_FOUND", "The requested resource could not be found.")
    return found


def sign(content: bytes, *, secret: str) -> str:
    """The `X-Hmac-Signature` of a content, as the client libraries verify it."""
    key = unicodedata.normalize("NFKD", secret).encode()
    return f"hmac-sha256-hex={hmac.new(key, content, hashlib.sha256).hexdigest()}"


# --- what a test has the carrier do -------------------------------------------------------------


class Carrier:
    """`POST /_test/trackers/ID`: a parcel moves, and everybody who wants to know is told."""

    def __init__(self, *, store: Store) -> None:
        self._store = store

    def routes(self) -> dict[tuple[str, str], Route]:
        return {
            ("POST", "trackers/*"): self._move,
            ("POST", "events/*/resend"): self._resend,
        }

    async def _move(self, request: web.BaseRequest) -> web.Response:
        """Move a parcel on: `{"status": "delivered"}`, found by its tracker or tracking code."""
        wish = await body_of(request)
        status = wish.get("status") if isinstance(wish, dict) else None
        if status not in trackers.STATUSES:
            raise ControlError(f"status: must be one of {', '.join(trackers.STATUSES)}")
        tracker = self._tracker(id_in(request.path))
        now = time.time()
        body = trackers.moved(tracker.body, status=status, at=now)
        event = _event(body, before=tracker.body["status"], hooks=self._hooks(), now=now)
        with self._store.transaction():
            self._store.change(receiver=RECEIVER, kind="trackers", key=tracker.key, body=body)
            self._store.keep(
                receiver=RECEIVER, kind="events", key=event["id"], body=event, hidden=None, now=now
            )
        return json_response({"event": event, "told": await self._tell(event)})

    async def _resend(self, request: web.BaseRequest) -> web.Response:
        """Tell of an event once more."""
        event = self._store.find(receiver=RECEIVER, kind="events", key=id_in(request.path))
        if event is None:
            raise ControlError("no such event", status=HTTPStatus.NOT_FOUND)
        return json_response({"event": event.body, "told": await self._tell(event.body)})

    def _tracker(self, wanted: str) -> Kept:
        for one in self._store.received(receiver=RECEIVER, kind="trackers"):
            if wanted in (one.key, one.body["tracking_code"]):
                return one
        raise ControlError(f"no such tracker: {wanted}", status=HTTPStatus.NOT_FOUND)

    def _hooks(self) -> list[Kept]:
        return self._store.received(receiver=RECEIVER, kind="webhooks")

    async def _tell(self, event: Document) -> list[Document]:
        """Tell everybody; returns what each one said."""
        content = orjson.dumps(event)
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as http:
            return [
                {"url": hook.body["url"], "answer": await _post(http, hook, content)}
                for hook in self._hooks()
            ]


async def _post(http: aiohttp.ClientSession, hook: Kept, content: bytes) -> int | str:
    headers = {"Content-Type": "application/json"}
    if hook.hidden["secret"]:
        headers["X-Hmac-Signature"] = sign(content, secret=hook.hidden["secret"])
    try:
        async with http.post(
            hook.body["url"], data=content, headers=headers, allow_redirects=False
        ) as said:
            return said.status
    except (aiohttp.ClientError, TimeoutError, OSError) as exc:
        return type(exc).__name__


def _event(tracker: Document, *, before: str, hooks: list[Kept], now: float) -> Document:
    return {
        "id": f"evt_{uuid4().hex}",
        "object": "Event",
        "mode": "test",
        "description": "tracker.updated",
        "previous_attributes": {"status": before},
        "result": tracker,
        "status": "pending",
        "pending_urls": [hook.body["url"] for hook in hooks],
        "completed_urls": [],
        "user_id": "user_sinks",
        "created_at": instant(now),
        "updated_at": instant(now),
    }
