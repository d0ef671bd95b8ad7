"""The shapes of what carriers and warehouses send."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from config.kernel.api.serializers import StrictCharField, StrictIntegerField, StrictSerializer
from integrations.fulfilment.stock_feed import LONGEST_FEED_ID, MOST_LINES, Count
from integrations.fulfilment.webhooks import GENERIC_STAGES
from inventory.documents import MOST_UNITS
from orders.api.serializers import LinesField


class TrackingEventSerializer(serializers.Serializer[Any]):
    """What a carrier tells of a parcel; whatever else is sent is not looked at."""

    id = serializers.CharField(max_length=255, help_text="The same event again has the same id.")
    tracking_number = serializers.CharField(max_length=100)
    carrier = serializers.CharField(required=False)
    status = serializers.ChoiceField(choices=sorted(GENERIC_STAGES))
    occurred_at = serializers.DateTimeField(help_text="With its time zone.")


class EasyPostTrackerSerializer(serializers.Serializer[Any]):
    """What is read of EasyPost's tracker."""

    id = serializers.CharField()
    object = serializers.CharField()
    tracking_code = serializers.CharField(max_length=100)
    carrier = serializers.CharField(required=False)
    status = serializers.CharField()
    updated_at = serializers.DateTimeField(required=False)


class EasyPostEventSerializer(serializers.Serializer[Any]):
    """What is read of EasyPost's event, whatever else it holds."""

    id = serializers.CharField(max_length=255)
    object = serializers.CharField()
    description = serializers.CharField(required=False)
    result = EasyPostTrackerSerializer()


class CountSerializer(StrictSerializer):
    """What lies in the building of one product."""

    sku = StrictCharField(max_length=100, may_be_card_number=True)
    on_hand = StrictIntegerField(
        min_value=0,
        max_value=MOST_UNITS,
        help_text="Units in the building, those promised to orders that have not left among them.",
    )
    expected = StrictIntegerField(
        min_value=0,
        max_value=MOST_UNITS,
        required=False,
        help_text="What the sender believes that the shop has; if it has not, nothing is changed.",
    )


class CountsField(LinesField):
    """The lines of a feed: each SKU once."""

    line = CountSerializer
    most = MOST_LINES


class StockFeedSerializer(StrictSerializer):
    """What a warehouse's system has counted in one building."""

    feed_id = StrictCharField(
        max_length=LONGEST_FEED_ID,
        may_be_card_number=True,
        help_text="The same id with the same counts again is the same feed.",
    )
    warehouse = StrictCharField(max_length=20, help_text="The code of the building.")
    items = CountsField()

    @staticmethod
    def counts(checked: dict[str, Any]) -> list[Count]:
        """The lines, for the service."""
        return [
            Count(sku=line["sku"], on_hand=line["on_hand"], expected=line.get("expected"))
            for line in checked["items"]
        ]


class StockFeedAppliedSerializer(serializers.Serializer[Any]):
    """What a feed did."""

    feed_id = serializers.CharField()
    warehouse = serializers.CharField()
    document = serializers.IntegerField(help_text="The stock document, as staff sees it.")
    lines = serializers.IntegerField()
    changed = serializers.IntegerField(help_text="Lines that changed what is on hand.")
