"""`/_test/...`: what no API of a provider offers, and every test needs.

The shopper's and the bank's part (3-D Secure, redirects, debits), faults, the journal, a reset.
"""

import html
import time
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from aiohttp import web

from sandbox.control import (
    MAX_PAGE,
    ControlError,
    Routes,
    body_of,
    filters_of,
    id_in,
    json_response,
    page_of,
)
from sandbox.payments import attempts, disputes, intents, refunds
from sandbox.payments.calls import Call
from sandbox.payments.documents import Document, new_id
from sandbox.payments.errors import ApiError
from sandbox.payments.faults import Faults
from sandbox.payments.journal import Journal
from sandbox.payments.store import Store

OUTCOMES = ("succeed", "fail")


class Control(Routes):
    """Answers everything below `/_test/`."""

    def __init__(self, *, store: Store, faults: Faults, journal: Journal) -> None:
        self._store = store
        self._journal = journal
        super().__init__(
            faults=faults,
            more={
                ("GET", "journal"): self._read_journal,
                ("DELETE", "journal"): self._clear_journal,
                ("POST", "reset"): self._reset,
                ("POST", "disputes"): self._open_dispute,
                ("POST", "disputes/*/action"): self._decide_dispute,
                ("POST", "refunds/*/action"): self._decide_refund,
                ("GET", "deliveries"): self._read_deliveries,
                ("POST", "events/*/resend"): self._resend,
                ("POST", "payment_intents/*/action"): self._act,
                ("GET", "payment_intents/*/page"): self._show_page,
            },
        )

    # --- journal, reset ---------------------------------------------------------------

    async def _read_journal(self, request: web.BaseRequest) -> web.Response:
        query = filters_of(request, "path", "payment_intent", "order_id", "after", "limit")
        entries = self._journal.read(
            path=query.get("path"),
            payment_intent=query.get("payment_intent"),
            order_id=query.get("order_id"),
            **page_of(query),
        )
        return json_response({"requests": entries})

    async def _clear_journal(self, _request: web.BaseRequest) -> web.Response:
        with self._store.transaction():
            self._journal.clear()
        return json_response({"requests": []})

    async def _reset(self, _request: web.BaseRequest) -> web.Response:
        self._faults.clear()
        with self._store.transaction():
            self._journal.clear()
            self._store.clear()
        return json_response({"reset": True})

    async def _read_deliveries(self, _request: web.BaseRequest) -> web.Response:
        return json_response({"deliveries": self._store.deliveries(limit=MAX_PAGE)})

    async def _resend(self, request: web.BaseRequest) -> web.Response:
        """Tell of an event once more, as the dashboard's button does."""
        event = self._store.find(kind="event", object_id=id_in(request.path))
        if event is None:
            raise ControlError("no such event", status=HTTPStatus.NOT_FOUND)
        with self._store.transaction():
            self._store.add_delivery(
                event_id=event.body["id"], kind=event.body["type"], is_marked=True
            )
        return json_response(event.body)

    # --- the shopper and the bank -------------------------------------------------------------

    async def _act(self, request: web.BaseRequest) -> web.Response:
        """Let the shopper or the bank decide; from the page by form, from a test by JSON."""
        by_form = request.content_type == "application/x-www-form-urlencoded"
        wish = (
            dict(parse_qsl((await request.read()).decode(errors="replace")))
            if by_form
            else await body_of(request)
        )
        if not isinstance(wish, dict) or wish.get("outcome") not in OUTCOMES or len(wish) != 1:
            raise ControlError('the body must be {"outcome": "succeed"} or {"outcome": "fail"}')
        call = self._call(request)
        intent = self._intent(call)
        if not attempts.is_waiting(intent):
            raise ControlError(
                f"{intent['id']} is {intent['status']}: it waits for nobody's decision",
                status=HTTPStatus.CONFLICT,
            )
        back = _return_address(intent)
        succeed = wish["outcome"] == "succeed"
        with self._store.transaction():
            intent = attempts.decide(call, intent=intent, succeed=succeed)
        if by_form and back is not None:
            status = "succeeded" if succeed else "failed"
            return web.Response(status=303, headers={"Location": _back(back, intent, status)})
        return json_response(intent)

    async def _open_dispute(self, request: web.BaseRequest) -> web.Response:
        wish = _dispute_wish(await body_of(request))
        call = self._call(request, object_id="")
        try:
            charge = disputes.charge_to_dispute(
                call, payment_intent=wish["payment_intent"], charge=wish["charge"]
            )
        except ApiError as exc:
            raise ControlError(str(exc), status=HTTPStatus.CONFLICT) from exc
        amount, left = wish["amount"], disputes.money_left(charge)
        if amount is not None and not (type(amount) is int and 0 < amount <= left):
            raise ControlError(f"amount: must be minor units, at most the {left} that are left")
        with self._store.transaction():
            dispute = disputes.open_dispute(
                call,
                charge=charge,
                reason=wish["reason"],
                amount=amount,
                inquiry=wish["inquiry"],
            )
        return json_response(dispute, status=HTTPStatus.CREATED)

    async def _decide_dispute(self, request: web.BaseRequest) -> web.Response:
        won = await _outcome(request, yes="win", no="lose")
        call = self._call(request)
        try:
            dispute = disputes.get(call, dispute_id=call.object_id)
        except ApiError as exc:
            raise ControlError(str(exc), status=HTTPStatus.NOT_FOUND) from exc
        if dispute["status"] not in disputes.OPEN:
            raise ControlError("this dispute is closed", status=HTTPStatus.CONFLICT)
        with self._store.transaction():
            dispute = disputes.decide(call, dispute=dispute, won=won)
        return json_response(dispute)

    async def _decide_refund(self, request: web.BaseRequest) -> web.Response:
        succeed = await _outcome(request, yes="succeed", no="fail")
        call = self._call(request)
        try:
            refund = refunds.retrieve(call)
        except ApiError as exc:
            raise ControlError(str(exc), status=HTTPStatus.NOT_FOUND) from exc
        if not refunds.can_be_decided(refund, succeed=succeed):
            raise ControlError(f"this refund is {refund['status']}", status=HTTPStatus.CONFLICT)
        with self._store.transaction():
            refund = refunds.decide(call, refund=refund, succeed=succeed)
        return json_response(refund)

    async def _show_page(self, request: web.BaseRequest) -> web.Response:
        """The page a shopper is sent to: the bank's question with two answers."""
        intent = self._intent(self._call(request))
        page = _PAGE.format(
            intent=html.escape(intent["id"]),
            amount=intent["amount"],
            currency=html.escape(intent["currency"].upper()),
            status=html.escape(intent["status"]),
            disabled="" if attempts.is_waiting(intent) else "disabled",
        )
        return web.Response(text=page, content_type="text/html")

    def _call(self, request: web.BaseRequest, *, object_id: str | None = None) -> Call:
        return Call(
            store=self._store,
            request_id=new_id("req"),
            method=request.method,
            path=request.path,
            now=int(time.time()),
            base_url=f"http://{request.host}",
            object_id=id_in(request.path) if object_id is None else object_id,
        )

    def _intent(self, call: Call) -> Document:
        try:
            return intents.get(call, intent_id=call.object_id, param="intent", in_path=True)
        except ApiError as exc:
            raise ControlError(str(exc), status=HTTPStatus.NOT_FOUND) from exc


_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Local payment server</title>
<style>
:root {{ color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }}
body {{ max-width: 26rem; margin: 12vh auto; padding: 0 1rem; }}
button {{ width: 100%; min-height: 3rem; margin-top: .5rem; font: inherit; cursor: pointer; }}
</style>
<h1>Local payment server</h1>
<p>The shopper's bank asks about {intent}: {amount} {currency} in minor units ({status}).</p>
<form method="post" action="action">
<button name="outcome" value="succeed" {disabled}>Complete the payment</button>
<button name="outcome" value="fail" {disabled}>Fail the payment</button>
</form></html>
"""


def _return_address(intent: Document) -> str | None:
    action = intent["next_action"] or {}
    url: str | None = action.get("redirect_to_url", {}).get("return_url")
    return url


def _back(return_url: str, intent: Document, status: str) -> str:
    parts = urlsplit(return_url)
    told = urlencode(
        {
            "payment_intent": intent["id"],
            "payment_intent_client_secret": intent["client_secret"],
            "redirect_status": status,
        }
    )
    query = f"{parts.query}&{told}" if parts.query else told
    return urlunsplit(parts._replace(query=query))


def _dispute_wish(body: Any) -> Document:
    """What a dispute to open is to be like, with every name there; its amount is not checked."""
    wish: Document = {
        "payment_intent": None,
        "charge": None,
        "reason": "fraudulent",
        "amount": None,
        "inquiry": False,
    }
    if not isinstance(body, dict) or not body.keys() <= wish.keys():
        raise ControlError(f"the body must be an object of: {', '.join(wish)}")
    wish |= body
    for name in ("payment_intent", "charge"):
        if not isinstance(wish[name], str | None):
            raise ControlError(f"{name}: must be an id")
    if wish["reason"] not in disputes.REASONS:
        raise ControlError(f"reason: must be one of {', '.join(disputes.REASONS)}")
    if not isinstance(wish["inquiry"], bool):
        raise ControlError("inquiry: must be true or false")
    return wish


async def _outcome(request: web.BaseRequest, *, yes: str, no: str) -> bool:
    wish = await body_of(request)
    if not isinstance(wish, dict) or wish.get("outcome") not in (yes, no) or len(wish) != 1:
        raise ControlError(f'the body must be {{"outcome": "{yes}"}} or {{"outcome": "{no}"}}')
    return bool(wish["outcome"] == yes)
