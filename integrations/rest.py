"""Asks other systems over HTTP: bounded in time and size, and failures told apart for the relay.

Addresses come from the environment, and are trusted (docs/configuration.md). What is sent may hold
personal data, what an error says never does: it names the receiver, the call and the status.
"""

from __future__ import annotations

import email.utils
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import certifi
import orjson

from audit.outbox import DeliveryFailedError, ReceiverAwayError, RejectedError
from config.kernel.clock import Deadline
from config.kernel.transport import NoAnswerError, Transport

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from config.kernel.transport import Response

CALL_SECONDS: Final = 8.0
"""A call takes no longer: the relay gives a hand-over ten."""
USER_AGENT: Final = "Orderkeep/1"
# The token is wrong, the address is, or it is too much just now: the next message fares no better.
AWAY: Final = frozenset({401, 403, 404, 405, 407, 408, 421, 423, 425, 429})
LONGEST_ASKED_WAIT: Final = 3_600.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a receiver said. `body` is the JSON object that it sent; None if it sent none."""

    status: int
    body: dict[str, Any] | None


class RestClient:
    """One receiver: where it is, how we say who we are, and how it says why it refuses.

    Safe to share between threads; keeps one connection for each.

    Args:
        name: for people: `CRM`.
        base_url: no slash at its end.
        headers: of every call; the token is among them.
        reason: reads out of an error's body why the receiver refuses; a code or the name of one of
            our fields, never what stood in it: it is shown to staff and kept.
    """

    def __init__(
        self,
        *,
        name: str,
        base_url: str,
        headers: Mapping[str, str],
        reason: Callable[[dict[str, Any] | None], str] = lambda _: "",
        transport: Transport | None = None,
    ) -> None:
        self.name = name
        self._base_url = base_url.rstrip("/")
        self._headers = {"User-Agent": USER_AGENT, "Accept": "application/json", **headers}
        self._reason = reason
        self._transport = transport or Transport(ca_file=trusted_authorities())

    def call(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        query: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
        accepted: Collection[int] = (),
        needs_answer: bool = False,
        seconds: float = CALL_SECONDS,
    ) -> Answer:
        """Make one call, once; must not be called inside a transaction.

        Args:
            body: JSON to be; None: nothing is sent.
            accepted: statuses beyond 2xx that the caller understands.
            needs_answer: whether a 2xx without a JSON object is a failure.

        Raises:
            ReceiverAwayError: no answer, a server error, a redirect, too many calls, or we are
                not let in.
            RejectedError: the receiver refuses this very call, for good.
            DeliveryFailedError: it answered something that is no answer.
        """
        headers = dict(self._headers)
        content: bytes | None = None
        if body is not None:
            content = orjson.dumps(body)
            headers["Content-Type"] = "application/json"
        if idempotency_key is not None:
            headers["Idempotency-Key"] = idempotency_key
        where = f"{path}?{urlencode(query)}" if query else path
        try:
            response = self._transport.exchange(
                method,
                f"{self._base_url}{where}",
                headers=headers,
                body=content,
                deadline=Deadline(seconds),
            )
        except NoAnswerError as exc:
            raise ReceiverAwayError(f"{self.name} did not answer {method} {path}: {exc}") from exc
        return self._read(response, f"{method} {path}", accepted, needs_answer=needs_answer)

    def _read(
        self, response: Response, call: str, accepted: Collection[int], *, needs_answer: bool
    ) -> Answer:
        status, body = response.status, _object(response.body)
        if status in accepted:
            return Answer(status, body)
        if 200 <= status < 300:  # noqa: PLR2004 - HTTP's success
            if needs_answer and body is None:
                raise DeliveryFailedError(
                    f"{self.name} answered {call} with {status} and no object"
                )
            return Answer(status, body)
        why = self._reason(body)
        problem = f"{self.name} answered {status} to {call}{f': {why}' if why else ''}"
        # A redirect is not followed: what is behind it may be anybody. It may end, as maintenance.
        if status in AWAY or status < 400 or status >= 500:  # noqa: PLR2004 - HTTP's classes
            raise ReceiverAwayError(problem, retry_after=seconds_asked_for(response))
        raise RejectedError(problem)


def seconds_asked_for(response: Response) -> float | None:
    """The `Retry-After` of an answer (RFC 9110 §10.2.3) in seconds, at most an hour."""
    asked = (response.headers.get("Retry-After") or "").strip()
    if asked.isascii() and asked.isdigit():
        seconds = float(asked[:9])
    else:
        try:
            seconds = email.utils.parsedate_to_datetime(asked).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return min(max(seconds, 0.0), LONGEST_ASKED_WAIT)


def trusted_authorities() -> str:
    """Whose certificates are believed: the operator's file, as OpenSSL names it, or Mozilla's."""
    return os.environ.get("SSL_CERT_FILE") or certifi.where()


def _object(content: bytes) -> dict[str, Any] | None:
    try:
        found = orjson.loads(content) if content else None
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None
