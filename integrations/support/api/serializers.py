"""The shapes of what chat tools ask and hear."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from config.kernel.api.serializers import QuerySerializer
from orders.models import Order


class ContextQuerySerializer(QuerySerializer):
    """About whom or what: one of them."""

    order = serializers.CharField(required=False, max_length=40, help_text="An order's number.")
    email = serializers.CharField(
        required=False, max_length=255, help_text="A customer's or guest's address."
    )
    link = serializers.CharField(
        required=False,
        max_length=200,
        help_text="As it stands in a ticket's `context_url`; needs no token.",
    )


class ContextOrderSerializer(serializers.Serializer[Any]):
    """An order, as far as it has to be found again."""

    order_number = serializers.CharField()
    status = serializers.ChoiceField(choices=Order.Status.values)
    payment_status = serializers.ChoiceField(choices=Order.PaymentStatus.values)
    total_amount = serializers.CharField()
    currency = serializers.CharField()
    created_at = serializers.DateTimeField()
    url = serializers.URLField(help_text="Its page for staff, behind a log-in.")


class ContextSerializer(serializers.Serializer[Any]):
    """The latest orders, newest first, and the customer's page."""

    customer_url = serializers.URLField(allow_null=True, help_text="Null for guests.")
    orders = ContextOrderSerializer(many=True)
