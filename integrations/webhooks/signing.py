"""Secrets shared with merchants' systems, and signatures as Standard Webhooks has them.

A secret is worked out of one of our keys and a number that its row keeps: who reads the database,
or a backup of it, has none of them (ADR 0048). https://www.standardwebhooks.com
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.db.models import Q
from django.db.models.functions import Now

from audit.outbox import DeliveryFailedError
from integrations.webhooks.models import WebhookSecret

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

PREFIX: Final = "whsec_"


def key_id(key: bytes) -> str:
    """Names a key without telling it."""
    return hashlib.sha256(b"webhook key id:" + key).hexdigest()[:16]


def secret_bytes(secret: WebhookSecret) -> bytes:
    """What signs.

    Raises:
        DeliveryFailedError: the key it was made of is not in the settings any more.
    """
    keys = {key_id(key): key for key in (settings.WEBHOOK_KEY, *settings.WEBHOOK_OLD_KEYS)}
    if secret.key_id not in keys:
        raise DeliveryFailedError(
            "the key that its secret was made of is not set any more: give it a new secret"
        )
    return hmac.new(keys[secret.key_id], secret.nonce.bytes, hashlib.sha256).digest()


def shown(secret: WebhookSecret) -> str:
    """A secret as merchants enter it: `whsec_…`. Raises as `secret_bytes`."""
    return PREFIX + base64.b64encode(secret_bytes(secret)).decode()


def valid_secrets(*, endpoint_id: int) -> list[bytes]:
    """All that sign at this moment, the current one first. Raises as `secret_bytes`."""
    rows = WebhookSecret.objects.filter(
        Q(expires_at__isnull=True) | Q(expires_at__gt=Now()), endpoint_id=endpoint_id
    )
    return [secret_bytes(row) for row in rows.order_by("-pk")]


def headers(
    *, message_id: UUID, timestamp: int, body: bytes, secrets: Sequence[bytes]
) -> dict[str, str]:
    """The three headers of Standard Webhooks; one signature a secret.

    Args:
        timestamp: of this try, in Unix seconds: receivers refuse old ones.
    """
    signed = f"{message_id}.{timestamp}.".encode() + body
    digests = (hmac.new(secret, signed, hashlib.sha256).digest() for secret in secrets)
    return {
        "webhook-id": str(message_id),
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{base64.b64encode(one).decode()}" for one in digests),
    }
