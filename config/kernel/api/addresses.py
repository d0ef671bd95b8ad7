"""A postal address as requests send it: strict in its types, checked by its country's rules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rest_framework import serializers

from config.kernel import postal
from config.kernel.api.serializers import (
    CountryField,
    PhoneField,
    StrictCharField,
    StrictSerializer,
)
from config.kernel.errors import ValidationFailedError

if TYPE_CHECKING:
    from collections.abc import Mapping


class AddressSerializer(StrictSerializer):
    """Where to. What is required besides, and the form of the rest, is for the country to say."""

    name = StrictCharField(max_length=100)
    line1 = StrictCharField(max_length=200)
    line2 = StrictCharField(max_length=200, required=False, allow_blank=True)
    city = StrictCharField(
        max_length=100, allow_blank=True, help_text="may be empty in a country that is a city"
    )
    state = StrictCharField(
        max_length=100,
        required=False,
        allow_blank=True,
        help_text="its code or its name; required where addresses have one, as in US, CA and AU",
    )
    postal_code = StrictCharField(
        max_length=20, allow_blank=True, help_text="may be empty in a country that has none"
    )
    country = CountryField()
    phone = PhoneField(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """As its country writes it: the state by its code, the postal code in capitals."""
        try:
            return postal.checked(attrs)
        except ValidationFailedError as exc:
            raise serializers.ValidationError(exc.details) from None


def checked_address(sent: Mapping[str, Any]) -> dict[str, Any]:
    """An address as an order keeps it, for those who ask from elsewhere than a request's body.

    Raises:
        ValidationFailedError: `details` name the fields.
    """
    try:
        return AddressSerializer.read(sent)
    except serializers.ValidationError as exc:
        raise ValidationFailedError(details=exc.detail) from None
