"""Whom a letter is written for: in which language, and how they write amounts, days and hours."""

from __future__ import annotations

import functools
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_skeleton, format_time, get_timezone_location
from babel.numbers import format_currency
from django.conf import settings

from config.kernel.languages import LANGUAGES

if TYPE_CHECKING:
    from datetime import date, timedelta
    from decimal import Decimal

    from customers.models import Customer
    from orders.models import Order


# An amount is read from left to right in every language. Within a text that runs the other way,
# its sign and its currency would change places.
LEFT_TO_RIGHT: Final = "\N{LEFT-TO-RIGHT ISOLATE}"
END: Final = "\N{POP DIRECTIONAL ISOLATE}"
RIGHT_TO_LEFT_MARK: Final = "\N{RIGHT-TO-LEFT MARK}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """`locale` is the language as it is written in the reader's country; `zone` what clocks say."""

    language: str
    locale: Locale
    zone: ZoneInfo

    @classmethod
    def in_language(cls, language: str, *, country: str = "") -> Reader:
        """Somebody who reads this language, in this country; the shop's where that is not known."""
        language = language if language in LANGUAGES else settings.SHOP_LANGUAGE
        return cls(
            language=language,
            locale=_locale(language, country or settings.SHOP_COUNTRY),
            zone=ZoneInfo(_zones().get(country, settings.SHOP_TIME_ZONE)),
        )

    @classmethod
    def of_order(cls, order: Order) -> Reader:
        """The buyer of an order, its customer at hand: their own language, else the order's."""
        own = order.customer.language if order.customer else ""
        country = order.shipping_address.get("country") or ""
        return cls.in_language(own or order.language, country=country)

    @classmethod
    def of_account(cls, customer: Customer | None) -> Reader:
        """The owner of an account."""
        return cls.in_language(customer.language if customer else "")

    def money(self, amount: Decimal, currency: str) -> str:
        """An amount in major units of an ISO 4217 currency."""
        written = format_currency(amount, currency, locale=self.locale)
        if self.locale.text_direction == "ltr":
            return written
        return f"{LEFT_TO_RIGHT}{written.replace(RIGHT_TO_LEFT_MARK, '')}{END}"

    def day(self, value: date) -> str:
        """A calendar day, with its weekday."""
        return format_date(value, format="full", locale=self.locale)

    def day_of(self, instant: datetime) -> str:
        """The day that it was, or will be, by the reader's clock."""
        return self.day(instant.astimezone(self.zone).date())

    def moment(self, instant: datetime) -> str:
        """A day and hour by the reader's clock, and where clocks say so."""
        day = format_skeleton("MMMMd", instant, tzinfo=self.zone, locale=self.locale)
        hour = format_time(instant, "short", tzinfo=self.zone, locale=self.locale)
        city = get_timezone_location(self.zone, locale=self.locale, return_city=True)
        return f"{day}, {hour} ({city})"

    def country(self, code: str) -> str:
        """What a country is called."""
        return str(self.locale.territories.get(code, code))


@functools.cache
def _locale(language: str, country: str) -> Locale:
    """The language as that country writes it; where it does not, as it is written by itself."""
    try:
        return Locale(language, country)
    except (UnknownLocaleError, ValueError):
        return Locale(language)


@functools.cache
def _zones() -> dict[str, str]:
    """The time zone of each country whose clocks all say the same, by the tz database."""
    table = files("tzdata.zoneinfo").joinpath("zone1970.tab").read_text(encoding="utf-8")
    zones: dict[str, list[str]] = defaultdict(list)
    for line in table.splitlines():
        if not line.startswith("#"):
            countries, _, zone, *_ = line.split("\t")
            for country in countries.split(","):
                zones[country].append(zone)
    return {
        country: names[0]
        for country, names in zones.items()
        if len({_offsets(ZoneInfo(name)) for name in names}) == 1
    }


def _offsets(zone: ZoneInfo) -> tuple[timedelta | None, ...]:
    """What its clocks are ahead, in winter and in summer."""
    return tuple(datetime(2026, month, 1, tzinfo=zone).utcoffset() for month in (1, 7))
