"""Input fields that take exactly one JSON type and never repeat a value in an error."""

from __future__ import annotations

import functools
import re
import uuid
from collections.abc import Mapping
from decimal import Decimal
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar

from babel import Locale
from django.core.validators import validate_email
from drf_spectacular.drainage import set_override
from drf_spectacular.extensions import OpenApiSerializerExtension
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from config.kernel.api.parsers import MOST_PROBLEMS, shown_name
from config.kernel.api.text import normalized, problem_with, unprintable_in
from config.kernel.money import SUPPORTED_CURRENCIES

if TYPE_CHECKING:
    from rest_framework.request import Request

_PLAIN_DECIMAL = re.compile(r"(?:0|[1-9][0-9]{0,6})(?:\.[0-9]{1,2})?")
_PHONE = re.compile(r"\+?[0-9][0-9 ()./-]{3,18}")
_NOT_COUNTRIES = frozenset({"EU", "EZ", "QO", "UN", "XA", "XB", "ZZ"})


class StrictSerializer(serializers.Serializer[Any]):
    """An object whose unknown fields are refused by name.

    Of the fields in `exactly_one_of` one has to be sent; none of them is `required` by itself.
    """

    exactly_one_of: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def read(cls, data: Any) -> dict[str, Any]:
        """The checked input.

        Raises:
            ValidationError: `detail` names the fields.
        """
        checked: dict[str, Any] = _checker(cls).run_validation(data)
        return checked

    def to_internal_value(self, data: Any) -> Any:
        sent = data if isinstance(data, Mapping) else {}
        problems = {**self._unknown(sent), **self._choice(sent)}
        try:
            value = super().to_internal_value(data)
        except serializers.ValidationError as exc:
            raise serializers.ValidationError({**problems, **exc.detail}) from None  # type: ignore[dict-item]  # a serializer's detail is a dict
        if problems:
            raise serializers.ValidationError(problems)
        return value

    def _unknown(self, sent: Mapping[Any, Any]) -> dict[str, list[str]]:
        known = self.fields
        names = (name for name in sent if name not in known)
        return {
            shown_name(str(name)): ["This field is not known."]
            for name in islice(names, MOST_PROBLEMS)
        }

    def _choice(self, sent: Mapping[Any, Any]) -> dict[str, list[str]]:
        names = self.exactly_one_of
        given = [name for name in names if name in sent]
        if not names or len(given) == 1:
            return {}
        problem = f"Send {'only ' if given else ''}one of: {', '.join(names)}."
        return {(given[-1:] or names)[0]: [problem]}


class StrictObject(OpenApiSerializerExtension):  # type: ignore[no-untyped-call]
    """How OpenAPI shows a `StrictSerializer`: what is not named is not taken."""

    target_class = StrictSerializer
    match_subclasses = True

    def map_serializer(self, auto_schema: Any, direction: str) -> dict[str, Any]:
        shown: dict[str, Any] = auto_schema._map_serializer(  # noqa: SLF001 - as its docs have it
            self.target, direction, bypass_extensions=True
        )
        if direction != "request":
            return shown
        choice = self.target.exactly_one_of
        one_of = {"oneOf": [{"required": [name]} for name in choice]} if choice else {}
        return {**shown, "additionalProperties": False, **one_of}


@functools.cache
def _checker(serializer: type[StrictSerializer]) -> StrictSerializer:
    """One instance for all requests: `run_validation` keeps nothing of what it checks.

    Making one copies each of its fields, which takes longer than checking an order by them.
    """
    return serializer()


class QuerySerializer(serializers.Serializer[Any]):
    """The query parameters of a list: unknown ones are ignored, bad values refused."""

    @classmethod
    def read(cls, request: Request) -> dict[str, Any]:
        """The known parameters that were sent, checked; of a repeated one the last.

        Raises:
            ValidationError: a value that its field refuses.
        """
        sent = request.query_params
        known = (str(name) for name in cls().fields)
        query = cls(data={name: sent[name] for name in known if name in sent})
        query.is_valid(raise_exception=True)
        return dict(query.validated_data)


class StrictIntegerField(serializers.IntegerField):
    """A JSON integer: not `1.0`, `"1"` or `true`."""

    default_error_messages = {"invalid": "A whole number is required."}

    def to_internal_value(self, data: Any) -> int:
        if type(data) is not int:
            self.fail("invalid")
        return data


class StrictUUIDField(serializers.UUIDField):
    """A UUID as it is usually written: hexadecimal digits in groups of 8, 4, 4, 4 and 12."""

    default_error_messages = {"invalid": "Must be a UUID."}

    def to_internal_value(self, data: Any) -> uuid.UUID:
        if not isinstance(data, str) or len(data) != len(str(uuid.UUID(int=0))):
            self.fail("invalid", value="")
        return super().to_internal_value(data)


class StrictBooleanField(serializers.BooleanField):
    """`true` or `false`, nothing that resembles them."""

    default_error_messages = {"invalid": "Must be true or false."}

    def to_internal_value(self, data: Any) -> bool:
        if type(data) is not bool:
            self.fail("invalid")
        return data


class QueryBooleanField(serializers.BooleanField):
    """`true` or `false` as a parameter: no `1`, no `yes`, and not left empty."""

    default_error_messages = {"invalid": "Must be true or false."}

    def to_internal_value(self, data: Any) -> bool:
        if data not in ("true", "false"):
            self.fail("invalid")
        return bool(data == "true")


class StrictCharField(serializers.CharField):
    """A JSON string, trimmed and in Unicode's NFC; `multiline` lets newline and tab in.

    What looks like a card number is refused, unless the field `may_be_card_number`: a barcode.
    """

    default_error_messages = {"invalid": "A text is required."}

    def __init__(
        self, *, multiline: bool = False, may_be_card_number: bool = False, **kwargs: Any
    ) -> None:
        self.multiline = multiline
        self.problem_with = unprintable_in if may_be_card_number else problem_with
        super().__init__(**kwargs)

    def run_validation(self, data: Any = serializers.empty) -> Any:
        if data is not serializers.empty and data is not None and not isinstance(data, str):
            self.fail("invalid")
        return super().run_validation(data)

    def to_internal_value(self, data: Any) -> str:
        # What is too long is refused as that, without a look at all of it.
        is_short = self.max_length is None or len(data.strip()) <= self.max_length
        if is_short and (problem := self.problem_with(data, multiline=self.multiline)):
            raise serializers.ValidationError(problem)
        return normalized(super().to_internal_value(data))


class StrictRegexField(StrictCharField):
    """A string of one form; the form is told in the error, the value is not."""

    def __init__(self, pattern: str, *, form: str, **kwargs: Any) -> None:
        self.pattern = re.compile(pattern)
        self.form = form
        super().__init__(**kwargs)
        set_override(self, "field", {"type": "string", "pattern": f"^{pattern}$"})

    def to_internal_value(self, data: Any) -> str:
        text = super().to_internal_value(data)
        if not self.pattern.fullmatch(text):
            raise serializers.ValidationError(f"Must be {self.form}.")
        return text


class StrictChoiceField(serializers.ChoiceField):
    """One of a few words."""

    default_error_messages = {"invalid_choice": "This is not one of the allowed values."}

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, str):
            self.fail("invalid_choice", input="")
        return super().to_internal_value(data)


@extend_schema_field(OpenApiTypes.EMAIL)
class StrictEmailField(StrictCharField):
    """An e-mail address, in lower case: so accounts and guests are found whatever was typed."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("max_length", 254)  # RFC 5321, 4.5.3.1.3: a path has 256 with its <>
        super().__init__(**kwargs)
        self.validators.append(validate_email)

    def to_internal_value(self, data: Any) -> str:
        return super().to_internal_value(data).lower()


@extend_schema_field(
    {"type": "string", "pattern": f"^{_PLAIN_DECIMAL.pattern}$", "example": "19.99"}
)
class MoneyField(serializers.Field[Decimal, str, str, Any]):
    """An amount as a plain decimal string, at most two digits after the point.

    Whether the digits suit a currency is for whoever knows the currency (`money.parse_amount`).
    """

    default_error_messages = {
        "invalid": 'Must be a plain decimal string like "19.99", at most 9999999.99.'
    }

    def to_internal_value(self, data: Any) -> Decimal:
        if not isinstance(data, str) or not _PLAIN_DECIMAL.fullmatch(data):
            self.fail("invalid")
        return Decimal(data)

    def to_representation(self, value: Decimal) -> str:
        return f"{value:f}"


@extend_schema_field({"type": "string", "pattern": "^[A-Z]{3}$", "example": "USD"})
class CurrencyField(StrictCharField):
    """An upper-case ISO 4217 code that the shop can charge in."""

    def to_internal_value(self, data: Any) -> str:
        code = super().to_internal_value(data)
        if code not in SUPPORTED_CURRENCIES:
            raise serializers.ValidationError("Must be a supported ISO 4217 code like USD.")
        return code


@extend_schema_field({"type": "string", "pattern": "^[A-Z]{2}$", "example": "US"})
class CountryField(StrictCharField):
    """An upper-case ISO 3166-1 alpha-2 code."""

    def to_internal_value(self, data: Any) -> str:
        code = super().to_internal_value(data)
        if code not in country_codes():
            raise serializers.ValidationError("Must be an ISO 3166 country code like US.")
        return code


@extend_schema_field(
    {"type": "string", "pattern": f"^{_PHONE.pattern}$", "example": "+1 212 555 0100"}
)
class PhoneField(StrictCharField):
    """A telephone number as people write it: digits and the signs that group them."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("max_length", 20)
        super().__init__(**kwargs)

    def to_internal_value(self, data: Any) -> str:
        number = super().to_internal_value(data)
        if not _PHONE.fullmatch(number):
            raise serializers.ValidationError("Must be a telephone number like +1 212 555 0100.")
        return number


class StrictDateField(serializers.DateField):
    """A JSON string `YYYY-MM-DD`."""

    default_error_messages = {"invalid": "Must be a date like 1990-12-31."}

    def to_internal_value(self, value: Any) -> Any:
        if not isinstance(value, str) or not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
            self.fail("invalid", format="YYYY-MM-DD")
        return super().to_internal_value(value)


@functools.cache
def country_codes() -> frozenset[str]:
    """Every ISO 3166-1 alpha-2 code (from the CLDR's list of territories)."""
    territories = (str(code) for code in Locale("en").territories)
    return frozenset(code for code in territories if code.isalpha()) - _NOT_COUNTRIES
