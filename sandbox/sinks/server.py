"""The server: one pipeline for every call, and a clean stop.

What a call leaves behind is committed, with its entry in the journal, before it is answered.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from sandbox.answers import Answer, hang_up, respond
from sandbox.serving import until_told_to_stop
from sandbox.sinks import TOKEN, page
from sandbox.sinks.answers import deliver_spoiled, status_sent
from sandbox.sinks.calls import Call, Refusal, answer
from sandbox.sinks.control import Control
from sandbox.sinks.faults import Fault, Faults, Stage
from sandbox.sinks.receivers import RECEIVERS, Receiver
from sandbox.sinks.smtp import MailServer
from sandbox.sinks.store import Entry, Store

logger = logging.getLogger(__name__)

# A call that is being answered slowly on purpose must not hold up a stop.
SHUTDOWN_SECONDS = 0.5
SWEEP_SECONDS = 600.0
JOURNAL_BYTES = 65_536  # so much of a body is remembered of a call


@dataclass(frozen=True, kw_only=True)
class Options:
    """Where to serve and from which state."""

    host: str
    port: int
    state: Path
    smtp_port: int | None = None  # None: no mail is taken
    token: str = TOKEN


class Sinks:
    """Answers every receiver below its name, and the tests' own below `/_test/`."""

    def __init__(self, *, store: Store, token: str) -> None:
        self.store = store
        self.token = token
        self.faults = Faults()
        self.control = Control(store=store, faults=self.faults)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one HTTP request, whatever it is."""
        try:
            if request.path.startswith("/_test/"):
                return await self.control.handle(request)
            if request.path == "/" and request.method == "GET":
                return page.show(self.store)
            return await self._handle_call(request)
        except ConnectionError:
            return hang_up(request)  # the client has gone already
        except web.HTTPException:
            raise  # aiohttp's own refusals, such as a body over a megabyte
        except Exception:
            logger.exception("%s %s failed", request.method, request.path)
            return respond(answer({"error": {"message": "the sinks failed"}}, status=500))

    async def _handle_call(self, request: web.BaseRequest) -> web.StreamResponse:
        name = request.path.split("/")[1]
        receiver = RECEIVERS.get(name)
        if receiver is None:
            error = {"message": f"no such receiver: {name}"}
            return respond(answer({"error": error}, status=404))
        call = await self._read(request, name)
        entry = _entry_of(call)
        fault = self.faults.take(Stage.ARRIVAL, call)
        if fault is not None:
            return await self._spoil_arrival(request, receiver, entry, fault)
        delay = self.faults.take(Stage.DELAY, call)
        if delay is not None:
            entry.note_fault(delay.kind)
            with self.store.transaction():  # so that a test can see it arrive while it waits
                self.store.write(entry)
            await asyncio.sleep(delay.settings["seconds"])
        given, fault = self._execute(call, receiver, entry)
        if fault is None:
            return respond(given)
        error = receiver.error(fault.settings.get("status", given.status))
        return await deliver_spoiled(request, given=given, error=error, fault=fault)

    async def _read(self, request: web.BaseRequest, receiver: str) -> Call:
        return Call(
            store=self.store,
            receiver=receiver,
            token=self.token,
            method=request.method,
            path="/" + request.path.removeprefix(f"/{receiver}").removeprefix("/"),
            query=dict(request.rel_url.query),
            headers=request.headers,
            content=await request.read(),
            now=time.time(),
            base_url=f"http://{request.host}/{receiver}",
        )

    async def _spoil_arrival(
        self, request: web.BaseRequest, receiver: Receiver, entry: Entry, fault: Fault
    ) -> web.StreamResponse:
        entry.note_fault(fault.kind)
        given = answer({"status": "accepted"})
        entry.status = status_sent(fault, given)
        with self.store.transaction():
            self.store.close_entry(entry)
        error = receiver.error(fault.settings.get("status", given.status))
        return await deliver_spoiled(request, given=given, error=error, fault=fault)

    def _execute(self, call: Call, receiver: Receiver, entry: Entry) -> tuple[Answer, Fault | None]:
        """Let the receiver take the call; the answer is committed with what it kept."""
        with self.store.transaction():
            try:
                with self.store.savepoint():
                    given = receiver.take(call)
            except Refusal as refusal:
                given = refusal.answer
                entry.is_refused = True
            fault = self.faults.take(Stage.ANSWER, call)
            entry.status = given.status
            if fault is not None:
                entry.note_fault(fault.kind)
                entry.status = status_sent(fault, given)
            entry.is_refused = entry.is_refused or bool(call.ignored)
            if given.status < 400:  # noqa: PLR2004 - what a refused call did is undone
                entry.kept, entry.duplicates = call.kept, call.duplicates
            self.store.close_entry(entry)
        return given, fault


def _entry_of(call: Call) -> Entry:
    return Entry(
        time=call.now,
        receiver=call.receiver,
        method=call.method,
        path=call.path,
        idempotency_key=call.message_key,
        body=call.content[:JOURNAL_BYTES].decode(errors="replace"),
    )


@contextlib.asynccontextmanager
async def _mail(sinks: Sinks, options: Options) -> AsyncIterator[str]:
    """Take mail, too, if a port is given; says where."""
    if options.smtp_port is None:
        yield ""
        return
    mail = MailServer(store=sinks.store, faults=sinks.faults, token=sinks.token)
    server = await asyncio.start_server(
        mail.converse, options.host, options.smtp_port, limit=65_536
    )
    try:
        yield f"mail: smtp://{options.host}:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def serve(options: Options) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        StateFileError: the state file cannot be used.
        OSError: the address cannot be bound.
    """
    store = Store(path=options.state)
    try:
        sinks = Sinks(store=store, token=options.token)
        runner = web.ServerRunner(web.Server(sinks.handle), shutdown_timeout=SHUTDOWN_SECONDS)
        await runner.setup()
        try:
            site = web.TCPSite(runner, options.host, options.port, backlog=1024)
            await site.start()
            address = f"http://{options.host}:{runner.addresses[0][1]}"
            async with _mail(sinks, options) as mail:
                told = f"{mail}, state: {options.state}" if mail else f"state: {options.state}"
                print(f"sinks listening on {address} ({told})", flush=True)
                await until_told_to_stop(sweep=lambda: None, sweep_seconds=SWEEP_SECONDS)
        finally:
            await runner.cleanup()
    finally:
        store.close()
