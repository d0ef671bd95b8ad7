"""Any collector that takes plain JSON: `POST {ANALYTICS_BASE_URL}/events`, or batches of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings

from integrations import envelopes
from integrations.analytics.events import key_of_call
from integrations.rest import CALL_SECONDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from config.kernel.clock import Deadline
    from integrations.analytics.events import Event


class GenericCollector:
    """One call an event, unless `ANALYTICS_BATCH` says that the collector takes more."""

    def __init__(self, *, base_url: str, token: str, deadline: Deadline) -> None:
        self._client = envelopes.receiver(name="Analytics", base_url=base_url, token=token)
        self._deadline = deadline

    def collect(self, collected: Sequence[Event]) -> None:
        if settings.ANALYTICS_BATCH > 1:
            self._collect_together(collected)
            return
        for event in collected:
            envelopes.post(
                self._client,
                key=event.id,
                kind=event.fact,
                occurred_at=event.occurred_at,
                content=_content(event),
            )

    def _collect_together(self, collected: Sequence[Event]) -> None:
        body = {"events": [_envelope(event) for event in collected]}
        self._client.call(
            "POST",
            "/events/batch",
            body=body,
            idempotency_key=key_of_call([str(event.id) for event in collected]),
            seconds=min(self._deadline.remaining(), CALL_SECONDS),
        )


def _envelope(event: Event) -> dict[str, Any]:
    return {
        "id": str(event.id),
        "type": event.fact,
        "occurred_at": event.occurred_at.isoformat(),
        "data": _content(event),
    }


def _content(event: Event) -> dict[str, Any]:
    content: dict[str, Any] = {
        **event.data,
        "customer": event.customer or None,
        "anonymous": event.anonymous or None,
    }
    if event.items:
        content["items"] = list(event.items)
    return content
