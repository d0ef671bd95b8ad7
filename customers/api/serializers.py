"""The profile as its owner reads and writes it."""

from __future__ import annotations

from datetime import date
from typing import Any

from django.utils import timezone
from rest_framework import serializers

from config.kernel.api.addresses import AddressSerializer
from config.kernel.api.serializers import (
    CountryField,
    PhoneField,
    StrictBooleanField,
    StrictCharField,
    StrictDateField,
    StrictIntegerField,
    StrictSerializer,
)
from customers.forms import LONGEST_NAME

EARLIEST_BIRTH = date(1900, 1, 1)


class ProfileSerializer(serializers.Serializer[Any]):
    """What `GET /me` answers."""

    id = serializers.IntegerField()
    email = serializers.EmailField()
    email_verified = serializers.BooleanField()
    first_name = serializers.CharField()
    last_name = serializers.CharField()
    phone = serializers.CharField(allow_null=True)
    date_of_birth = serializers.DateField(allow_null=True)
    marketing_consent = serializers.BooleanField()
    version = serializers.IntegerField()
    created_at = serializers.DateTimeField()


class ProfileChangeSerializer(StrictSerializer):
    """What `PATCH /me` takes; an address of its own account cannot be changed here."""

    version = StrictIntegerField(
        min_value=1, max_value=2**31 - 1, help_text="the one that was read"
    )
    first_name = StrictCharField(max_length=LONGEST_NAME, required=False)
    last_name = StrictCharField(max_length=LONGEST_NAME, required=False)
    phone = PhoneField(allow_null=True, required=False)
    date_of_birth = StrictDateField(
        allow_null=True, required=False, help_text="between 1900 and today"
    )
    marketing_consent = StrictBooleanField(required=False)

    def validate_date_of_birth(self, born: date | None) -> date | None:
        """Somebody alive today."""
        if born is not None and not EARLIEST_BIRTH <= born <= timezone.localdate():
            raise serializers.ValidationError("Must be a date between 1900 and today.")
        return born


class AddressChangeSerializer(StrictSerializer):
    """What `PATCH /me/addresses/{id}` takes: any part; the whole is checked by its country."""

    name = StrictCharField(max_length=100, required=False)
    line1 = StrictCharField(max_length=200, required=False)
    line2 = StrictCharField(max_length=200, required=False, allow_blank=True)
    city = StrictCharField(max_length=100, required=False, allow_blank=True)
    state = StrictCharField(max_length=100, required=False, allow_blank=True)
    postal_code = StrictCharField(max_length=20, required=False, allow_blank=True)
    country = CountryField(required=False)
    phone = PhoneField(required=False, allow_null=True, help_text="null: none any more")

    def validate_phone(self, phone: str | None) -> str:
        """Kept as an empty text where there is none."""
        return phone or ""


class SavedAddressSerializer(AddressSerializer):
    """An address with its id; without `line2`, `state` and `phone` where there are none."""

    id = serializers.UUIDField()
