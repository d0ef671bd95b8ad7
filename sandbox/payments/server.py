"""The server: one pipeline for every request, and a clean stop.

The order matters and is Stripe's: who asks, the idempotency key, the parameters, the execution.
What a request changes is committed, with its key and its journal entry, before it is answered.
"""

import asyncio
import logging
import time
from pathlib import Path

import orjson
from aiohttp import web

from sandbox.answers import Answer, hang_up, respond
from sandbox.payments import idempotency
from sandbox.payments.access import refuse_without_key
from sandbox.payments.answers import (
    answer_error,
    answer_with,
    deliver_spoiled,
    refused_on_arrival,
    status_sent,
)
from sandbox.payments.calls import API_VERSION, Call
from sandbox.payments.control import Control
from sandbox.payments.documents import Document, new_id
from sandbox.payments.endpoints import Endpoint, find_endpoint
from sandbox.payments.errors import ApiError, invalid_request, server_error, unrecognized_url
from sandbox.payments.events import KEPT_SECONDS
from sandbox.payments.expansion import check_expansions, expand
from sandbox.payments.faults import Fault, Faults, Stage
from sandbox.payments.forms import parse_form
from sandbox.payments.idempotency import Keys, Remembered
from sandbox.payments.journal import Entry, Journal
from sandbox.payments.parameters import DEFAULT_API_VERSION, read_parameters
from sandbox.payments.store import Store
from sandbox.payments.webhooks import Courier, Listener
from sandbox.serving import until_told_to_stop

logger = logging.getLogger(__name__)

# A request that is being answered slowly on purpose must not hold up a stop.
SHUTDOWN_SECONDS = 0.5
EXPIRY_SWEEP_SECONDS = 600.0
FORM = "application/x-www-form-urlencoded"


class PaymentServer:
    """Answers Stripe's API below `/v1/` and the tests' own below `/_test/`."""

    def __init__(self, *, store: Store) -> None:
        self.store = store
        self.faults = Faults()
        self.journal = Journal(store=store)
        self.keys = Keys(store=store)
        self.control = Control(store=store, faults=self.faults, journal=self.journal)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one HTTP request, whatever it is."""
        try:
            if request.path.startswith("/_test/"):
                return await self.control.handle(request)
            return await self._handle_api(request)
        except web.HTTPException:
            raise  # aiohttp's own refusals, such as a body that is too large
        except ConnectionError:
            return hang_up(request)  # the client has gone already
        except Exception:
            logger.exception("%s %s failed", request.method, request.path)
            return respond(answer_error(server_error()))

    async def _handle_api(self, request: web.BaseRequest) -> web.StreamResponse:
        now = time.time()
        call = _call_of(request, store=self.store, now=now)
        entry = Entry(
            id=self.journal.next_id(),
            time=now,
            request_id=call.request_id,
            method=call.method,
            path=call.path,
            idempotency_key=call.idempotency_key,
        )
        refusal = await _read_form(request, call)
        entry.params = call.params
        if refusal is not None:
            return self._refuse(call, entry, answer_error(refusal))
        spoiled = self.faults.take(Stage.ARRIVAL, call)
        if spoiled is not None:
            return await self._spoil_arrival(request, call, entry, spoiled)
        answer, spoiled = await self._answer(call, entry)
        answer.headers |= _headers(call)
        if spoiled is not None:
            return await deliver_spoiled(request, answer=answer, fault=spoiled)
        return respond(answer)

    def _refuse(self, call: Call, entry: Entry, answer: Answer) -> web.Response:
        """Answer a request of which nothing was executed."""
        entry.status = answer.status
        self._write(entry)
        answer.headers |= _headers(call)
        return respond(answer)

    async def _spoil_arrival(
        self, request: web.BaseRequest, call: Call, entry: Entry, fault: Fault
    ) -> web.StreamResponse:
        entry.note_fault(fault.kind)
        answer = refused_on_arrival(fault)
        if answer is not None:
            return self._refuse(call, entry, answer)
        self._write(entry)
        if fault.kind == "hang":
            await asyncio.sleep(fault.settings["seconds"])
            return hang_up(request)
        return hang_up(request, reset=fault.settings["reset"])

    async def _answer(self, call: Call, entry: Entry) -> tuple[Answer, Fault | None]:
        """Execute a request, holding its idempotency key meanwhile.

        Returns the answer, committed, and the fault that will spoil its way to the client.
        """
        key, fingerprint = call.idempotency_key, idempotency.fingerprint_of(call)
        if key is None:
            return await self._execute_after_delay(call, entry, fingerprint)
        try:
            self.keys.claim(key=key, path=call.path, fingerprint=fingerprint)
        except ApiError as refusal:
            answer = answer_error(refusal)
            entry.status = answer.status
            self._write(entry)
            return answer, None
        try:
            return await self._execute_after_delay(call, entry, fingerprint)
        finally:
            self.keys.release(key=key)

    async def _execute_after_delay(
        self, call: Call, entry: Entry, fingerprint: bytes
    ) -> tuple[Answer, Fault | None]:
        delay = self.faults.take(Stage.DELAY, call)
        if delay is not None:
            entry.note_fault(delay.kind)
            self._write(entry)  # so that a test can see the request arrive while it waits
            await asyncio.sleep(delay.settings["seconds"])
            call.now = int(time.time())
        try:
            with self.store.transaction():
                answer = self._execute(call, entry, fingerprint)
                spoiled = self._close(call, entry, answer)
        except Exception:
            logger.exception("%s %s failed (%s)", call.method, call.path, call.request_id)
            answer = answer_error(server_error())
            entry.status, entry.executed = answer.status, False
            self._write(entry)
            return answer, None
        return answer, spoiled

    def _close(self, call: Call, entry: Entry, answer: Answer) -> Fault | None:
        """Journal what the client will get to see; requires the transaction of the effect."""
        spoiled = self.faults.take(Stage.ANSWER, call)
        entry.status = answer.status
        entry.replayed = answer.replayed
        if spoiled is not None:
            entry.note_fault(spoiled.kind)
            entry.status = status_sent(spoiled, answer)
        self.journal.write(entry)
        return spoiled

    def _execute(self, call: Call, entry: Entry, fingerprint: bytes) -> Answer:
        """Replay what was answered under the key, or run the endpoint and remember its answer."""
        found = find_endpoint(method=call.method, path=call.path)
        try:
            if found is None:
                raise unrecognized_url(method=call.method, path=call.path)
            endpoint, call.object_id = found
            remembered = self._recall(call, entry, fingerprint)
            if remembered is not None:
                _note_payment(entry, call, orjson.loads(remembered.body))
                return _replay(remembered)
            call.params = read_parameters(
                call.params,
                schema=endpoint.accepts,
                required=endpoint.requires,
                api_version=call.api_version,
            )
            check_expansions(call, of_list=endpoint.answers_list)
            if endpoint.check is not None:
                endpoint.check(call)
        except ApiError as refusal:  # nothing was executed, so nothing is remembered
            return answer_error(refusal)
        answer = self._run(endpoint, call, entry)
        if call.idempotency_key is not None:
            self.keys.remember(
                key=call.idempotency_key,
                path=call.path,
                fingerprint=fingerprint,
                answer=Remembered(answer.status, answer.body, call.request_id),
                now=entry.time,
            )
        return answer

    def _recall(self, call: Call, entry: Entry, fingerprint: bytes) -> Remembered | None:
        if call.idempotency_key is None:
            return None
        return self.keys.recall(
            key=call.idempotency_key, path=call.path, fingerprint=fingerprint, now=entry.time
        )

    def _run(self, endpoint: Endpoint, call: Call, entry: Entry) -> Answer:
        fault = self.faults.take(Stage.EXECUTION, call)
        if fault is not None:
            entry.note_fault(fault.kind)
            if fault.kind == "error_before":
                return answer_error(server_error(status=fault.settings["status"]))
        entry.executed = True
        try:
            document = endpoint.run(call)
            answer = answer_with(expand(call, document))
        except ApiError as refusal:  # a decline, an illegal state: an answer like any other
            document = refusal.document
            answer = answer_error(refusal)
        _note_payment(entry, call, document)
        if fault is not None:  # error_after: it has happened, but nobody is told
            return answer_error(server_error(status=fault.settings["status"]))
        return answer

    def _write(self, entry: Entry) -> None:
        with self.store.transaction():
            self.journal.write(entry)


# --- reading a request --------------------------------------------------------------------------


def _call_of(request: web.BaseRequest, *, store: Store, now: float) -> Call:
    # Keys have no effect on GET and DELETE, says the documentation.
    key = request.headers.get("Idempotency-Key") if request.method == "POST" else None
    return Call(
        store=store,
        request_id=new_id("req"),
        method=request.method,
        path=_ascii(request.rel_url.raw_path),
        now=int(now),
        base_url=f"http://{_ascii(request.host)}",
        idempotency_key=None if key is None else _ascii(key),
        api_version=_ascii(request.headers.get("Stripe-Version", DEFAULT_API_VERSION)),
    )


def _ascii(text: str) -> str:
    """Escape what a header or request line should not have held; it may not even be UTF-8."""
    return text if text.isascii() else text.encode("ascii", "backslashreplace").decode()


async def _read_form(request: web.BaseRequest, call: Call) -> ApiError | None:
    """Put the decoded parameters into the call, or say why the request is refused."""
    refusal = refuse_without_key(request.headers.get("Authorization", ""))
    if refusal is not None:
        return refusal
    try:
        if API_VERSION.fullmatch(call.api_version) is None:
            raise invalid_request(f"Invalid Stripe API version: {call.api_version[:100]}")
        if call.idempotency_key is not None:
            idempotency.check_key(call.idempotency_key)
        call.params = parse_form(await _encoded_form(request))
    except ApiError as exc:
        return exc
    return None


async def _encoded_form(request: web.BaseRequest) -> bytes:
    query = request.rel_url.raw_query_string.encode(errors="surrogateescape")
    if request.method == "GET" or not request.body_exists:
        return query
    if request.content_type != FORM:
        raise invalid_request(
            "Invalid request (check that your POST content type is "
            "application/x-www-form-urlencoded). If you have questions, we can help at "
            "https://support.stripe.com/."
        )
    try:
        body = await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise invalid_request("Request body too large.") from None
    except web.RequestPayloadError:
        raise invalid_request("Invalid request: the body cannot be read.") from None
    return body + b"&" + query if query else body


# --- answering ----------------------------------------------------------------------------------


def _replay(remembered: Remembered) -> Answer:
    return Answer(
        status=remembered.status,
        body=remembered.body,
        headers={"Idempotent-Replayed": "true", "Original-Request": remembered.request_id},
        replayed=True,
    )


def _headers(call: Call) -> dict[str, str]:
    headers = {"Request-Id": call.request_id, "Stripe-Version": call.api_version}
    if call.idempotency_key is not None:
        headers["Idempotency-Key"] = call.idempotency_key
    return headers


def _note_payment(entry: Entry, call: Call, document: Document) -> None:
    """Let the journal say which payment and which order a request was about."""
    document = document.get("error", {}).get("payment_intent", document)
    if document.get("object") == "payment_intent":
        entry.payment_intent = document["id"]
    else:
        entry.payment_intent = document.get("payment_intent") or call.get("payment_intent")
    entry.order_id = (document.get("metadata") or {}).get("order_id")


# --- running ------------------------------------------------------------------------------------


async def serve(*, host: str, port: int, state: Path, listener: Listener | None = None) -> None:
    """Serve until SIGTERM or SIGINT, and tell `listener` of events.

    Raises:
        StateFileError: the state file cannot be used.
        OSError: the address cannot be bound.
    """
    store = Store(path=state)
    try:
        server = PaymentServer(store=store)
        runner = web.ServerRunner(
            web.Server(server.handle),
            shutdown_timeout=SHUTDOWN_SECONDS,
        )
        await runner.setup()
        try:
            site = web.TCPSite(runner, host, port, backlog=1024)
            await site.start()
            bound = runner.addresses[0][1]
            print(f"payment server listening on http://{host}:{bound} (state: {state})", flush=True)
            courier = asyncio.create_task(_tell_of_events(server, listener))
            await until_told_to_stop(
                sweep=lambda: _forget_expired(server), sweep_seconds=EXPIRY_SWEEP_SECONDS
            )
            courier.cancel()
        finally:
            await runner.cleanup()
    finally:
        store.close()


async def _tell_of_events(server: PaymentServer, listener: Listener | None) -> None:
    if listener is None:
        return
    courier = Courier(store=server.store, faults=server.faults, listener=listener)
    server.store.is_listened_to = listener.wants
    server.store.on_delivery = courier.wake
    await courier.run()


def _forget_expired(server: PaymentServer) -> None:
    with server.store.transaction():
        server.keys.forget_expired(now=time.time())
        server.store.forget_events(before=int(time.time()) - KEPT_SECONDS)
