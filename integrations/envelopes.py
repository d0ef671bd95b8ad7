"""What every generic receiver is sent: one event in an envelope, `POST {X_BASE_URL}/events`."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from integrations.refusals import code_of_error
from integrations.rest import CALL_SECONDS, RestClient

if TYPE_CHECKING:
    import uuid
    from collections.abc import Mapping
    from datetime import datetime

    from integrations.rest import Answer


@functools.lru_cache
def receiver(*, name: str, base_url: str, token: str) -> RestClient:
    """The generic receiver at this address; the same one for the same address.

    Args:
        name: for people: `Marketing`.
    """
    return RestClient(
        name=name,
        base_url=base_url,
        headers={"Authorization": f"Bearer {token}"},
        reason=code_of_error,
    )


def post(
    client: RestClient,
    *,
    key: uuid.UUID,
    kind: str,
    occurred_at: datetime,
    content: Mapping[str, Any],
    seconds: float = CALL_SECONDS,
) -> Answer:
    """Tell one event; must not be called inside a transaction.

    Args:
        key: by which the receiver knows a repetition: the outbox message's id.
        kind: dotted, past tense: `contact.upserted`.
        content: what the envelope carries as `data`.
        seconds: how long the call may take.

    Raises:
        DeliveryFailedError: as `RestClient.call`.
    """
    envelope = {
        "id": str(key),
        "type": kind,
        "occurred_at": occurred_at.isoformat(),
        "data": dict(content),
    }
    return client.call("POST", "/events", body=envelope, idempotency_key=str(key), seconds=seconds)
