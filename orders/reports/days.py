"""The period of a report: whole days of the shop's time zone, however long each of them is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from django.conf import settings
from django.utils import timezone

from config.kernel.errors import ValidationFailedError

MOST_DAYS: Final = 3_660  # ten years
EARLIEST, LATEST = date(1990, 1, 1), date(9000, 1, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Days:
    """From `first` on and before `end`; `zone` is an IANA name."""

    first: date
    end: date
    zone: str

    @property
    def begin(self) -> datetime:
        """The instant at which the first day begins."""
        return self._beginning(self.first)

    @property
    def until(self) -> datetime:
        """The instant at which the last day is over."""
        return self._beginning(self.end)

    @property
    def is_over(self) -> bool:
        """Whether nothing more can happen in it."""
        return self.until <= timezone.now()

    def each(self) -> list[date]:
        """The days, in their order."""
        return [self.first + timedelta(days=n) for n in range((self.end - self.first).days)]

    def cuts(self) -> list[datetime]:
        """The instants at which they begin."""
        return [self._beginning(day) for day in self.each()]

    def _beginning(self, day: date) -> datetime:
        return datetime.combine(day, time.min, tzinfo=ZoneInfo(self.zone))

    def __str__(self) -> str:
        return f"{self.first} to {self.end - timedelta(days=1)}"


def shop_days(*, first: date, end: date) -> Days:
    """The days from `first` on and before `end`, as the shop's clock counts them.

    Raises:
        ValidationFailedError: it ends before it begins, or is longer than ten years.
    """
    if first >= end:
        raise ValidationFailedError("the first day must be earlier than the day after the last")
    if not EARLIEST <= first < end <= LATEST:
        raise ValidationFailedError(f"the days must lie between {EARLIEST} and {LATEST}")
    if (end - first).days > MOST_DAYS:
        raise ValidationFailedError(f"at most {MOST_DAYS:,} days, which is ten years")
    return Days(first=first, end=end, zone=settings.SHOP_TIME_ZONE)
