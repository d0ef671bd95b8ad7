"""A mail server that delivers nothing: it keeps each message once, by its Message-ID.

Own code, some two hundred lines, because faults have to strike between any two words of the
conversation (RFC 5321) and the one library for it has had no release since 2024.
"""

import asyncio
import base64
import binascii
import contextlib
import email
import email.policy
import logging
import time
from dataclasses import dataclass, field
from typing import Any

from sandbox.answers import abort
from sandbox.sinks.calls import Call
from sandbox.sinks.faults import MAIL, Fault, Faults
from sandbox.sinks.store import Entry, Store

logger = logging.getLogger(__name__)

MAX_BYTES = 10 * 1024 * 1024
MAX_RECIPIENTS = 100
IDLE_SECONDS = 300.0  # RFC 5321, 4.5.3.2.7
JOURNAL_BYTES = 65_536
_MAX_LINE = 64 * 1024
_WORDS = {421: "try again later", 450: "busy", 451: "local error", 452: "no room"}


class HangUpError(Exception):
    """The conversation is over."""


# The client has gone, says nothing any more, or speaks no SMTP.
_OVER = (
    *(HangUpError, ConnectionError, TimeoutError),
    *(asyncio.IncompleteReadError, asyncio.LimitOverrunError),
)


@dataclass(kw_only=True)
class Envelope:
    """What was told of a message before its content."""

    sender: str | None = None
    recipients: list[str] = field(default_factory=list)


class MailServer:
    """Speaks SMTP with whoever comes."""

    def __init__(self, *, store: Store, faults: Faults, token: str) -> None:
        self._store = store
        self._faults = faults
        self._token = token

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection from its greeting to its end."""
        conversation = Conversation(
            reader=reader,
            writer=writer,
            store=self._store,
            faults=self._faults,
            token=self._token,
        )
        try:
            await conversation.hold()
        except _OVER:
            pass
        except asyncio.CancelledError:
            pass  # we stop; asyncio would log the cancellation that it has asked for itself
        except Exception:
            logger.exception("a conversation failed")
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


@dataclass(kw_only=True)
class Conversation:
    """One connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    store: Store
    faults: Faults
    token: str
    envelope: Envelope = field(default_factory=Envelope)

    async def hold(self) -> None:
        if await self._refuses("connect"):
            raise HangUpError
        await self._say(220, "sinks ESMTP: nothing is delivered")
        while True:
            line = (await self._line()).decode("utf-8", "surrogateescape")
            verb, _, rest = line.partition(" ")
            await self._obey(verb.upper(), rest.strip())

    async def _obey(self, verb: str, rest: str) -> None:
        match verb:
            case "EHLO" | "HELO":
                await self._greet(verb)
            case "AUTH":
                await self._authenticate(rest)
            case "MAIL":
                await self._begin(rest)
            case "RCPT":
                await self._add_recipient(rest)
            case "DATA":
                await self._take_content()
            case "RSET":
                self.envelope = Envelope()
                await self._say(250, "OK")
            case "NOOP":
                await self._say(250, "OK")
            case "VRFY":
                await self._say(252, "cannot verify")
            case "QUIT":
                await self._say(221, "bye")
                raise HangUpError
            case _:
                await self._say(500, "unknown command")

    async def _greet(self, verb: str) -> None:
        if await self._refuses("helo"):
            return
        self.envelope = Envelope()
        if verb == "HELO":
            await self._say(250, "sinks")
            return
        for line in ("sinks", f"SIZE {MAX_BYTES}", "8BITMIME", "SMTPUTF8", "PIPELINING"):
            self.writer.write(f"250-{line}\r\n".encode())
        await self._say(250, "AUTH PLAIN LOGIN")

    async def _authenticate(self, rest: str) -> None:
        how, _, initial = rest.partition(" ")
        try:
            match how.upper():
                case "PLAIN":
                    told = initial or await self._ask("")
                    password = base64.b64decode(told).split(b"\0")[-1].decode()
                case "LOGIN":
                    if not initial:
                        await self._ask("Username:")
                    password = base64.b64decode(await self._ask("Password:")).decode()
                case _:
                    await self._say(504, "unknown mechanism")
                    return
        except (binascii.Error, UnicodeDecodeError):
            await self._say(501, "no base 64")
            return
        if password == self.token:
            await self._say(235, "OK")
        else:
            await self._say(535, "5.7.8 authentication failed")

    async def _ask(self, prompt: str) -> str:
        await self._say(334, base64.b64encode(prompt.encode()).decode())
        return (await self._line()).decode()

    async def _begin(self, rest: str) -> None:
        address = _address_in(rest, "FROM:")
        if address is None:
            await self._say(501, "MAIL FROM:<address>")
        elif self.envelope.sender is not None:
            await self._say(503, "one message after the other")
        elif not await self._refuses("mail", content=address):
            self.envelope = Envelope(sender=address)
            await self._say(250, "OK")

    async def _add_recipient(self, rest: str) -> None:
        address = _address_in(rest, "TO:")
        if not address:
            await self._say(501, "RCPT TO:<address>")
        elif self.envelope.sender is None:
            await self._say(503, "MAIL comes first")
        elif len(self.envelope.recipients) >= MAX_RECIPIENTS:
            await self._say(452, "too many recipients")
        elif not await self._refuses("rcpt", content=address):
            self.envelope.recipients.append(address)
            await self._say(250, "OK")

    async def _take_content(self) -> None:
        if not self.envelope.recipients:
            await self._say(503, "RCPT comes first")
            return
        if await self._refuses("data"):
            return
        await self._say(354, "end with <CRLF>.<CRLF>")
        content = await self._content()
        envelope, self.envelope = self.envelope, Envelope()
        if len(content) > MAX_BYTES:
            await self._say(552, "too big")
            return
        await self._receive(envelope, content)

    async def _content(self) -> bytes:
        """Everything up to the lone dot, with the doubled dots made single."""
        lines: list[bytes] = []
        size = 0
        while (line := await self._line(keep_end=True)) != b".\r\n":
            line = line[1:] if line.startswith(b".") else line
            size += len(line)
            if size <= MAX_BYTES + _MAX_LINE:  # one byte too many is enough to refuse it
                lines.append(line)
        return b"".join(lines)

    # --- a whole message ---

    async def _receive(self, envelope: Envelope, content: bytes) -> None:
        message = email.message_from_bytes(content, policy=email.policy.default)
        call = self._call(content, message_id=str(message["Message-ID"] or "").strip())
        entry = self._entry(call)
        await self._dawdle(call, entry)
        refusal = self._refusal(call, "end")
        if refusal is not None:
            await self._say_refusal(refusal, entry)
            return
        fault = self._fault(call, "drop", "hang", applied=False)
        if fault is None:
            fault = self._fault(call, "answer_lost", "hang", applied=True)
            self._keep(call, entry, _described(envelope, message, content), fault)
        else:
            entry.note_fault(fault.kind)
            self._close(entry)
        if fault is not None:
            await self._break_off(fault)
        await self._say(250, "kept")

    def _keep(self, call: Call, entry: Entry, body: Any, fault: Fault | None) -> None:
        with self.store.transaction():
            key = call.message_key or f"without Message-ID {self.store.next_number()}"
            call.keep(kind="messages", key=key, body=body)
            entry.kept, entry.duplicates = call.kept, call.duplicates
            entry.status = 250 if fault is None else None
            if fault is not None:
                entry.note_fault(fault.kind)
            self.store.close_entry(entry)

    def _close(self, entry: Entry) -> None:
        with self.store.transaction():
            self.store.close_entry(entry)

    async def _dawdle(self, call: Call, entry: Entry) -> None:
        delay = self._fault(call, "latency")
        if delay is not None:
            entry.note_fault(delay.kind)
            with self.store.transaction():  # so that a test can see it arrive while it waits
                self.store.write(entry)
            await asyncio.sleep(delay.settings["seconds"])

    async def _break_off(self, fault: Fault) -> None:
        if fault.kind == "hang":
            await asyncio.sleep(fault.settings["seconds"])
        abort(self.writer.transport, reset=fault.settings.get("reset", False))
        raise HangUpError

    # --- faults between the words ---

    async def _refuses(self, at: str, *, content: str = "") -> bool:
        """Whether a fault refuses this word; then the client has been told, and it is noted."""
        call = self._call(content.encode("utf-8", "surrogateescape"), message_id="")
        fault = self._refusal(call, at)
        if fault is not None:
            await self._say_refusal(fault, self._entry(call))
        return fault is not None

    def _refusal(self, call: Call, at: str) -> Fault | None:
        return self.faults.first(
            lambda fault: (
                fault.kind == "refuse" and fault.settings["at"] == at and fault.strikes(call)
            )
        )

    def _fault(self, call: Call, *kinds: str, applied: bool = True) -> Fault | None:
        return self.faults.first(
            lambda fault: (
                fault.kind in kinds
                and fault.settings.get("applied", applied) == applied
                and fault.strikes(call)
            )
        )

    async def _say_refusal(self, fault: Fault, entry: Entry) -> None:
        code = fault.settings["code"]
        entry.note_fault(fault.kind)
        entry.status = code
        self._close(entry)
        await self._say(code, _WORDS.get(code, "not here"))
        if code == 421:  # noqa: PLR2004 - the server closes the connection
            raise HangUpError

    def _call(self, content: bytes, *, message_id: str) -> Call:
        return Call(
            store=self.store,
            receiver=MAIL,
            token=self.token,
            method="SMTP",
            path="/",
            query={},
            headers={"Idempotency-Key": message_id} if message_id else {},
            content=content,
            now=time.time(),
            base_url="",
        )

    def _entry(self, call: Call) -> Entry:
        return Entry(
            time=call.now,
            receiver=MAIL,
            method=call.method,
            path=call.path,
            idempotency_key=call.message_key,
            body=call.content[:JOURNAL_BYTES].decode(errors="replace"),
        )

    # --- words ---

    async def _line(self, *, keep_end: bool = False) -> bytes:
        async with asyncio.timeout(IDLE_SECONDS):
            line = await self.reader.readuntil(b"\r\n")
        return line if keep_end else line[:-2]

    async def _say(self, code: int, text: str) -> None:
        self.writer.write(f"{code} {text}\r\n".encode())
        await self.writer.drain()


def _address_in(rest: str, prefix: str) -> str | None:
    """The address of `FROM:<a@b> SIZE=7`; empty for a bounce's `<>`, None if it is no address."""
    if not rest.upper().startswith(prefix):
        return None
    told = rest[len(prefix) :].strip()
    if not told.startswith("<") or ">" not in told:
        return None
    return told[1 : told.index(">")]


def _described(envelope: Envelope, message: Any, content: bytes) -> dict[str, Any]:
    body = message.get_body(("plain", "html"))
    return {
        "sender": envelope.sender,
        "recipients": envelope.recipients,
        "subject": str(message["Subject"] or ""),
        "headers": {name: str(value) for name, value in message.items()},
        "text": "" if body is None else body.get_content(),
        "content": content.decode(errors="replace"),
    }
