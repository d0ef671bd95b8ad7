"""The shapes of what carriers and warehouses send."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from integrations.fulfilment.webhooks import GENERIC_STAGES


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


class ReceivedSerializer(serializers.Serializer[Any]):
    """That an event is kept."""

    received = serializers.BooleanField()
