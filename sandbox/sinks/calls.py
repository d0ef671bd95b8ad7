"""One call as the receivers see it, free of HTTP, and how they answer it."""

import base64
import binascii
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import orjson

from sandbox.answers import Answer
from sandbox.sinks.store import Kept, Store

Document: TypeAlias = dict[str, Any]

GENERIC = ("crm", "analytics", "fulfilment", "support", "marketing")
NAMES = (*GENERIC, "hubspot", "segment", "zendesk", "easypost", "webhooks", "smtp")
"""Every receiver."""


class Refusal(Exception):  # noqa: N818 - an answer like any other
    """The receiver refuses the call; whatever it has kept of it is undone."""

    def __init__(
        self, status: int, document: Any, *, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(status)
        self.answer = answer(document, status=status, headers=headers)


def answer(document: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """JSON to be sent."""
    return Answer(status=status, body=orjson.dumps(document), headers=dict(headers or {}))


@dataclass(kw_only=True)
class Call:
    """A call to one receiver.

    `path` is what stands behind the receiver's prefix, `/events` for example.
    """

    store: Store
    receiver: str
    token: str  # what callers have to know
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]  # names in any case
    content: bytes
    now: float  # Unix seconds
    base_url: str  # how the client reached the receiver
    kept: int = field(default=0, init=False)
    duplicates: int = field(default=0, init=False)
    ignored: int = field(default=0, init=False)

    @property
    def idempotency_key(self) -> str | None:
        return self.headers.get("Idempotency-Key")

    @property
    def message_key(self) -> str | None:
        """What its sender names the message by."""
        return self.idempotency_key or self.headers.get("webhook-id")

    @property
    def segments(self) -> list[str]:
        """The parts of the path, without empty ones."""
        return [part for part in self.path.split("/") if part]

    # --- what the store does, counted ---

    def keep(self, *, kind: str, key: str, body: Any, hidden: Any = None) -> bool:
        """Keep what is new; False if it is there already, which counts as a duplicate."""
        is_new = self.store.keep(
            receiver=self.receiver, kind=kind, key=key, body=body, hidden=hidden, now=self.now
        )
        self.kept += is_new
        self.duplicates += not is_new
        return is_new

    def ignore(self, *, reason: str, body: Any) -> None:
        """Keep for people what the receiver throws away without telling its caller."""
        key = f"{self.store.next_number()}"
        self.store.keep(
            receiver=self.receiver,
            kind="rejected",
            key=key,
            body={"reason": reason, "event": body},
            hidden=None,
            now=self.now,
        )
        self.ignored += 1

    def change(self, *, kind: str, key: str, body: Any) -> None:
        """Keep the newer state of something."""
        self.store.change(receiver=self.receiver, kind=kind, key=key, body=body)

    def find(self, *, kind: str, key: str) -> Kept | None:
        return self.store.find(receiver=self.receiver, kind=kind, key=key)

    def came_again(self, *, kind: str, key: str) -> None:
        """Count a duplicate that was recognized by something else than its own key."""
        self.store.count_copy(receiver=self.receiver, kind=kind, key=key)
        self.duplicates += 1

    def remember(self, *, key: str, value: Any) -> None:
        """Keep what was answered under an idempotency key."""
        self.store.remember(receiver=self.receiver, key=key, value=value, now=self.now)

    def recall(self, *, key: str, since: float) -> Any:
        """What was remembered under a key since then; None if nothing was."""
        return self.store.recall(receiver=self.receiver, key=key, since=since)

    # --- who calls ---

    def knows_bearer_token(self) -> bool:
        scheme, _, told = self.headers.get("Authorization", "").partition(" ")
        return scheme.lower() == "bearer" and self.is_token(told.strip())

    def basic_credentials(self) -> tuple[str, str] | None:
        """User name and password of HTTP's basic authentication."""
        scheme, _, told = self.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return None
        try:
            user, _, password = base64.b64decode(told, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        return user, password

    def is_token(self, told: str) -> bool:
        return hmac.compare_digest(told.encode(errors="replace"), self.token.encode())

    # --- what is asked ---

    def has_json(self) -> bool:
        content_type = self.headers.get("Content-Type", "")
        return content_type.partition(";")[0].strip().lower() == "application/json"

    def json(self) -> Any:
        """The body.

        Raises:
            ValueError: it is no JSON.
        """
        return orjson.loads(self.content)
