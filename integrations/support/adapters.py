"""The support systems that we know, each behind the same few calls."""

from __future__ import annotations

import base64
import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from django.conf import settings

from audit.outbox import DeliveryFailedError, RejectedError
from integrations import envelopes
from integrations.rest import RestClient
from integrations.support import context

if TYPE_CHECKING:
    import uuid
    from datetime import datetime

    from integrations.support.matters import Entry
    from integrations.support.models import SupportTicket

# A hand-over has ten seconds for two looks and one word.
LOOK_SECONDS: Final = 2.5
TELL_SECONDS: Final = 4.0
GONE: Final = "the ticket is not there any more"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A ticket as the support system calls it. `url` is for staff; empty if it has not told one."""

    ticket_id: str
    url: str = ""


class Adapter(Protocol):
    """A support system. All calls raise `DeliveryFailedError`; none may be made in a transaction.

    `key` is the outbox message's id. `is_repetition`: the same was tried before, without an answer.
    """

    def find(self, *, matter: str) -> Opened | None:
        """The ticket of a matter, if the system can tell."""

    def open(self, entry: Entry, *, key: uuid.UUID, at: datetime) -> Opened:
        """Open a ticket; under the same key it is the same one."""

    def add(
        self,
        ticket: SupportTicket,
        entry: Entry,
        *,
        key: uuid.UUID,
        at: datetime,
        is_repetition: bool,
    ) -> None:
        """Add a comment to a ticket, and settle it if the entry does."""

    def erase(self, ticket: SupportTicket, *, key: uuid.UUID, at: datetime) -> None:
        """Have a ticket be deleted, with what it tells of a person."""


def adapter() -> Adapter:
    """The support system that the settings name."""
    return _adapter(settings.SUPPORT_ADAPTER, settings.SUPPORT_BASE_URL, settings.SUPPORT_TOKEN)


@functools.lru_cache
def _adapter(name: str, base_url: str, token: str) -> Adapter:
    if name == "zendesk":
        return Zendesk(base_url=base_url, token=token)
    return Generic(base_url=base_url, token=token)


class Generic:
    """Any system that takes CONTRACT's events, and knows repetitions by their ids."""

    def __init__(self, *, base_url: str, token: str) -> None:
        self._client = envelopes.receiver(name="Support", base_url=base_url, token=token)

    def find(self, *, matter: str) -> Opened | None:  # noqa: ARG002 - the protocol's
        return None

    def open(self, entry: Entry, *, key: uuid.UUID, at: datetime) -> Opened:
        answer = envelopes.post(
            self._client, key=key, kind="ticket.opened", occurred_at=at, content=_told(entry)
        )
        body = answer.body if isinstance(answer.body, dict) else {}
        ticket_id, url = body.get("ticket_id"), body.get("ticket_url")
        return Opened(
            ticket_id=str(ticket_id)[:120] if ticket_id else entry.matter,
            url=url if isinstance(url, str) and _is_of_the_web(url) else "",
        )

    def add(
        self,
        ticket: SupportTicket,
        entry: Entry,
        *,
        key: uuid.UUID,
        at: datetime,
        is_repetition: bool,  # noqa: ARG002 - it knows by the key
    ) -> None:
        envelopes.post(
            self._client,
            key=key,
            kind="ticket.settled" if entry.settles else "ticket.commented",
            occurred_at=at,
            content={**_told(entry), "ticket_id": ticket.ticket_id},
        )

    def erase(self, ticket: SupportTicket, *, key: uuid.UUID, at: datetime) -> None:
        envelopes.post(
            self._client,
            key=key,
            kind="ticket.erased",
            occurred_at=at,
            content={"matter": ticket.matter, "ticket_id": ticket.ticket_id},
            seconds=TELL_SECONDS,
        )


class Zendesk:
    """Zendesk's Tickets API, as documented; no real account was contacted.

    A ticket is known by its external id, which is the matter, a comment by its last line, which is
    the message's id: the `Idempotency-Key` is honoured for new tickets alone, and for two hours.
    All we write are internal notes: the customer reads none of it.
    """

    def __init__(self, *, base_url: str, token: str) -> None:
        self._base_url = base_url
        credentials = base64.b64encode(token.encode()).decode()
        self._client = RestClient(
            name="Zendesk",
            base_url=f"{base_url}/api/v2",
            headers={"Authorization": f"Basic {credentials}"},
            reason=_zendesk_reason,
        )

    def find(self, *, matter: str) -> Opened | None:
        answer = self._client.call(
            "GET",
            "/tickets.json",
            query={"external_id": matter},
            needs_answer=True,
            seconds=LOOK_SECONDS,
        )
        numbers = [
            one["id"]
            for one in _list(answer.body, "tickets")
            if one.get("external_id") == matter and isinstance(one.get("id"), int)
        ]
        return self._opened(min(numbers)) if numbers else None

    def open(self, entry: Entry, *, key: uuid.UUID, at: datetime) -> Opened:  # noqa: ARG002 - the protocol's
        ticket: dict[str, Any] = {
            "subject": entry.subject,
            "comment": _note(entry, key),
            "external_id": entry.matter,
            "tags": ["orderkeep", f"orderkeep_{entry.kind}"],
        }
        if entry.person:
            ticket["requester"] = {"name": entry.person.name, "email": entry.person.email}
        answer = self._client.call(
            "POST",
            "/tickets.json",
            body={"ticket": ticket},
            idempotency_key=str(key),
            needs_answer=True,
            seconds=TELL_SECONDS,
        )
        made = answer.body.get("ticket") if isinstance(answer.body, dict) else None
        if not isinstance(made, dict) or not isinstance(made.get("id"), int):
            raise DeliveryFailedError("Zendesk's answer names no ticket")
        return self._opened(made["id"])

    def add(
        self,
        ticket: SupportTicket,
        entry: Entry,
        *,
        key: uuid.UUID,
        at: datetime,  # noqa: ARG002 - the protocol's
        is_repetition: bool,
    ) -> None:
        if is_repetition and self._has_comment(ticket.ticket_id, key):
            return
        changes: dict[str, Any] = {"comment": _note(entry, key)}
        if entry.settles:
            changes["status"] = "solved"
        answer = self._client.call(
            "PUT",
            f"/tickets/{ticket.ticket_id}.json",
            body={"ticket": changes},
            accepted={404},
            needs_answer=True,
            seconds=TELL_SECONDS,
        )
        if answer.status == 404:  # noqa: PLR2004 - HTTP's not found
            raise RejectedError(f"Zendesk: {GONE}")

    def erase(self, ticket: SupportTicket, *, key: uuid.UUID, at: datetime) -> None:  # noqa: ARG002 - the protocol's
        found = None if ticket.ticket_id else self.find(matter=ticket.matter)
        if ticket_id := ticket.ticket_id or (found and found.ticket_id):
            self._client.call(
                "DELETE",
                f"/tickets/{ticket_id}.json",
                accepted={404},
                seconds=TELL_SECONDS,
            )

    def _has_comment(self, ticket_id: str, key: uuid.UUID) -> bool:
        """Whether a comment is among the last hundred of a ticket."""
        answer = self._client.call(
            "GET",
            f"/tickets/{ticket_id}/comments.json",
            query={"sort_order": "desc", "per_page": "100"},
            accepted={404},
            needs_answer=True,
            seconds=LOOK_SECONDS,
        )
        return any(str(key) in str(one.get("body")) for one in _list(answer.body, "comments"))

    def _opened(self, number: int) -> Opened:
        return Opened(ticket_id=str(number), url=f"{self._base_url}/agent/tickets/{number}")


def _told(entry: Entry) -> dict[str, Any]:
    person = entry.person
    return {
        "matter": entry.matter,
        "kind": entry.kind,
        "order_number": entry.order_number,
        "order_url": entry.order_url,
        "context_url": context.link_for(order_number=entry.order_number) or None,
        "subject": entry.subject,
        "text": entry.text,
        "requester": {"email": person.email, "name": person.name} if person else None,
    }


def _note(entry: Entry, key: uuid.UUID) -> dict[str, Any]:
    return {"body": f"{entry.text}\n\nOrderkeep {key}", "public": False}


def _list(body: Any, name: str) -> list[dict[str, Any]]:
    found = body.get(name) if isinstance(body, dict) else None
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _is_of_the_web(url: str) -> bool:
    return bool(re.fullmatch(r"https?://[^\s\"'<>]{1,480}", url))


def _zendesk_reason(body: Any) -> str:
    """The code and the fields' names: `{"error": "RecordInvalid", "details": {"requester": …}}`."""
    if not isinstance(body, dict):
        return ""
    details = body.get("details")
    fields = sorted(details) if isinstance(details, dict) else []
    words = [body.get("error"), *fields]
    return " ".join(
        word for word in words if isinstance(word, str) and re.fullmatch(r"\w{1,60}", word)
    )
