"""Reads what carriers tell by webhook: signed, of these minutes, and about one parcel.

Two dialects. `generic` is our own: any carrier, or a script between, signs as payment providers do.
`easypost` is EasyPost's documented one; no real account was contacted.
"""

from __future__ import annotations

import hashlib
import hmac
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson
from django.conf import settings
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from integrations import signatures
from integrations.fulfilment.errors import WebhookRefusedError
from integrations.fulfilment.models import TrackingEvent

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

LONGEST_ID: Final = 255
LONGEST_NUMBER: Final = 100
LONGEST_WORD: Final = 50

Stage = TrackingEvent.Stage
EASYPOST_STAGES: Final = {
    "pre_transit": Stage.ANNOUNCED,
    "in_transit": Stage.IN_TRANSIT,
    "available_for_pickup": Stage.OUT_FOR_DELIVERY,
    "out_for_delivery": Stage.OUT_FOR_DELIVERY,
    "delivered": Stage.DELIVERED,
    "return_to_sender": Stage.TROUBLE,
    "failure": Stage.TROUBLE,
    "error": Stage.TROUBLE,
    "cancelled": Stage.TROUBLE,
}
"""Its words for a tracker's status; any other is `unknown`, and kept."""
GENERIC_STAGES: Final = {stage.value: stage for stage in Stage if stage != Stage.UNKNOWN}


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """What a carrier tells of one parcel. `told` is its own word for the stage."""

    source: str
    event_id: str
    tracking_number: str
    carrier: str
    stage: str
    told: str
    happened_at: datetime


def read_generic(*, payload: bytes, signature: str) -> News:
    """Check a webhook in our own dialect, and read it.

    Args:
        payload: the body's very bytes.
        signature: `t=<Unix seconds>,v1=<hex HMAC-SHA256 of "t.body">`; during a change of secrets
            there may be several `v1`.

    Raises:
        ValidationFailedError: not signed with one of our secrets, not of these minutes, or no
            event.
    """
    signatures.check(
        payload=payload,
        signature=signature,
        secrets=settings.FULFILMENT_WEBHOOK_SECRETS,
        now=timezone.now(),
    )
    body = _object(payload)
    word = _text(body, "status")
    if word not in GENERIC_STAGES:
        raise _refused("status", f"One of: {', '.join(GENERIC_STAGES)}.")
    happened_at = _instant(body.get("occurred_at"))
    if happened_at is None:
        raise _refused("occurred_at", "A moment with its time zone, like 2026-11-28T09:30:00Z.")
    return News(
        source=TrackingEvent.Source.GENERIC,
        event_id=_text(body, "id", longest=LONGEST_ID),
        tracking_number=_text(body, "tracking_number", longest=LONGEST_NUMBER),
        carrier=_text(body, "carrier", required=False)[:LONGEST_WORD],
        stage=GENERIC_STAGES[word],
        told=word,
        happened_at=happened_at,
    )


def read_easypost(*, payload: bytes, signature: str) -> News | None:
    """Check EasyPost's webhook (`X-Hmac-Signature`), and read it; None if it is about no parcel.

    The signature covers no time: an old webhook is known by its id, and says nothing new.

    Raises:
        WebhookRefusedError: not signed with one of our secrets, or no event.
    """
    _check_easypost(payload, signature)
    body = _object(payload)
    tracker = body.get("result")
    if not isinstance(tracker, dict) or tracker.get("object") != "Tracker":
        return None
    word = _text(tracker, "status")
    happened_at = _latest_detail(tracker) or _instant(tracker.get("updated_at"))
    if happened_at is None:
        raise _refused("result.updated_at", "A moment with its time zone.")
    return News(
        source=TrackingEvent.Source.EASYPOST,
        event_id=_text(body, "id", longest=LONGEST_ID),
        tracking_number=_text(tracker, "tracking_code", longest=LONGEST_NUMBER),
        carrier=_text(tracker, "carrier", required=False)[:LONGEST_WORD],
        stage=EASYPOST_STAGES.get(word, Stage.UNKNOWN),
        told=word[:LONGEST_WORD],
        happened_at=happened_at,
    )


# --- signatures -------------------------------------------------------------------------------


def _check_easypost(payload: bytes, signature: str) -> None:
    given = signature.strip().removeprefix("hmac-sha256-hex=").encode()
    known = [unicodedata.normalize("NFKD", one) for one in settings.EASYPOST_WEBHOOK_SECRETS]
    ours = [hmac.new(one.encode(), payload, hashlib.sha256).hexdigest() for one in known]
    matches = [hmac.compare_digest(given, one.encode()) for one in ours]  # all are looked at
    if not any(matches):
        raise WebhookRefusedError("The signature is not valid.")


# --- bodies -----------------------------------------------------------------------------------


def _object(payload: bytes) -> dict[str, Any]:
    try:
        body = orjson.loads(payload)
    except orjson.JSONDecodeError:
        body = None
    if not isinstance(body, dict):
        raise WebhookRefusedError("The body is no JSON object.")
    return body


def _text(
    found: Mapping[str, Any], name: str, *, required: bool = True, longest: int | None = None
) -> str:
    """One line of printable text, without the spaces around it."""
    value = found.get(name)
    if value is None and not required:
        return ""
    if not isinstance(value, str) or not value.isprintable() or (required and not value.strip()):
        raise _refused(name, "Text in one line.")
    if longest is not None and len(value) > longest:
        raise _refused(name, f"At most {longest} characters.")
    return value.strip()


def _latest_detail(tracker: Mapping[str, Any]) -> datetime | None:
    """When the last thing happened; `updated_at` says when it came to be known."""
    details = tracker.get("tracking_details")
    if not isinstance(details, list):
        return None
    moments = [_instant(one.get("datetime")) for one in details if isinstance(one, dict)]
    return max((moment for moment in moments if moment is not None), default=None)


def _instant(value: Any) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        found = parse_datetime(value)
    except ValueError:
        return None
    return found if found is not None and timezone.is_aware(found) else None


def _refused(name: str, problem: str) -> WebhookRefusedError:
    return WebhookRefusedError(details={name: [problem]})
