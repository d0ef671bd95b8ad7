"""The shapes of what marketing tools and those who unsubscribe send."""

from __future__ import annotations

from typing import Any, Final

from rest_framework import serializers

FIELD: Final = "List-Unsubscribe"
VALUE: Final = "One-Click"
ONE_CLICK: Final[dict[str, Any]] = {
    "type": "object",
    "required": [FIELD],
    "properties": {FIELD: {"type": "string", "const": VALUE}},
}
"""The one pair that RFC 8058 has mail programs send; its name is none that Python has words for."""


class UnsubscribedSerializer(serializers.Serializer[Any]):
    """Whether it is done, or still to be confirmed."""

    unsubscribed = serializers.BooleanField()


class MarketingPersonSerializer(serializers.Serializer[Any]):
    """Whom it is about: one of the two is enough, the number counts."""

    contact_id = serializers.CharField(required=False, help_text="As in `contact.upserted`.")
    email = serializers.CharField(required=False)


class MarketingEventSerializer(serializers.Serializer[Any]):
    """What is read of the marketing tool's event, whatever else it holds."""

    type = serializers.CharField(
        help_text="`contact.unsubscribed`, `contact.complained`; others change nothing."
    )
    data = MarketingPersonSerializer()  # type: ignore[assignment]  # a field, not `Serializer.data`
