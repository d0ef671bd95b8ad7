"""A customer at the other end of the wire: signs up, looks, orders; all of it over real HTTP."""

from __future__ import annotations

import json
import secrets
import time
from typing import TYPE_CHECKING, Any, Final

import httpx

if TYPE_CHECKING:
    from collections.abc import Callable

API: Final = "/api/v1"
ACCOUNTS: Final = "/_allauth/app/v1"
TIMEOUT_SECONDS: Final = 20.0  # above the shop's own 12 s: its answer is always worth waiting for
PATIENCE_SECONDS: Final = 120.0  # two windows of the shop's rate limits
CONNECTION_TRIES: Final = 20
PAUSE_SECONDS: Final = 0.25
COME_BACK_LATER: Final = (429, 503)
JSON: Final = {"Content-Type": "application/json"}
SHOWN_CHARACTERS: Final = 300


class NotAsPromisedError(Exception):
    """The shop did something else than its contract says; the message tells both."""


class Shopper:
    """One customer with an account, or nobody yet until `sign_up`.

    Does what a good client does: waits as long as `Retry-After` says, and sends the same bytes
    under the same key again when a connection is lost. `waits` and `resends` count how often.
    """

    def __init__(
        self,
        base_url: str,
        *,
        on_answer: Callable[[httpx.Response], None],
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Shop at `base_url`; `on_answer` hears of every answer."""
        self.http = httpx.Client(
            base_url=base_url,
            transport=transport,
            timeout=TIMEOUT_SECONDS,
            trust_env=False,  # a proxy for the internet is none for this machine
        )
        self.on_answer = on_answer
        self.email = f"demo-{secrets.token_hex(4)}@example.com"
        self.waits = 0
        self.resends = 0

    def sign_up(self) -> None:
        """Make the account and keep its token."""
        account = {
            "email": self.email,
            "password": secrets.token_urlsafe(16),
            "first_name": "Dana",
            "last_name": "Demo",
        }
        answer = expect(self.post(f"{ACCOUNTS}/auth/signup", account), 200)
        token = answer.get("meta", {}).get("access_token")
        if not token:
            raise NotAsPromisedError("the answer to the sign-up has no meta.access_token")
        self.http.headers["Authorization"] = f"Bearer {token}"

    def get(self, path: str, **query: str | int) -> httpx.Response:
        """Read something."""
        return self._send(self.http.build_request("GET", path, params=query))

    def post(
        self, path: str, body: dict[str, Any] | bytes | None = None, *, key: str | None = None
    ) -> httpx.Response:
        """Send something; `key` is the Idempotency-Key."""
        content = body if isinstance(body, bytes) else encode(body or {})
        headers = JSON | ({"Idempotency-Key": key} if key else {})
        return self._send(self.http.build_request("POST", path, content=content, headers=headers))

    def _send(self, request: httpx.Request) -> httpx.Response:
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        tries_left = CONNECTION_TRIES
        while True:
            try:
                response = self.http.send(request)
            except httpx.TransportError as exc:
                tries_left -= 1
                if not tries_left or not _is_repeatable(request):
                    raise NotAsPromisedError(
                        f"{request.method} {request.url.path}: no answer ({exc!r})"
                    ) from exc
                self.resends += 1
                time.sleep(PAUSE_SECONDS)
                continue
            self.on_answer(response)
            wait = float(response.headers.get("Retry-After", "inf"))
            if response.status_code not in COME_BACK_LATER or time.monotonic() + wait > give_up_at:
                return response
            self.waits += 1
            time.sleep(wait)


def encode(body: dict[str, Any]) -> bytes:
    """The bytes of a request, so that a replay can send exactly these again."""
    return json.dumps(body).encode()


def expect(response: httpx.Response, status: int, *, code: str | None = None) -> dict[str, Any]:
    """The answer's JSON, if it is the promised one.

    Raises:
        NotAsPromisedError: another status or error code, or no JSON object.
    """
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if isinstance(answer, dict) and response.status_code == status:
        error = answer.get("error")
        found = error.get("code") if isinstance(error, dict) else None
        if code is None or code == found:
            return answer
    promised = f"{status} {code}" if code else str(status)
    raise NotAsPromisedError(
        f"{response.request.method} {response.request.url.path}: expected {promised}, "
        f"got {response.status_code}: {' '.join(response.text.split())[:SHOWN_CHARACTERS]}"
    )


def expect_equal(what: str, found: object, promised: object) -> None:
    """Compare one fact.

    Raises:
        NotAsPromisedError: it is another one.
    """
    if found != promised:
        raise NotAsPromisedError(f"{what}: expected {promised!r}, got {found!r}")


def _is_repeatable(request: httpx.Request) -> bool:
    """Whether sending it twice is the same as once."""
    return request.method == "GET" or "Idempotency-Key" in request.headers
