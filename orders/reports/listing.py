"""A report as a table of cells, for files; and how it stands to the ledger, for all of them."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Protocol

from config.kernel import money

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orders.reports.days import Days

NOTHING: Final = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One sum of a report beside the same sum of the ledger's entries, in one currency."""

    what: str
    currency: str
    reported: Decimal
    booked: Decimal

    @property
    def title(self) -> str:
        """What is compared, in words."""
        return self.what.replace("_", " ")

    @property
    def difference(self) -> Decimal:
        """What the report has more than the ledger; zero if it is right."""
        return self.reported - self.booked

    def as_json(self) -> dict[str, str]:
        """Amounts as text."""
        return {
            "what": self.what,
            "currency": self.currency,
            **{
                name: money.format_amount(getattr(self, name), self.currency)
                for name in ("reported", "booked", "difference")
            },
        }


class Report(Protocol):
    """What each report can be asked for."""

    @property
    def days(self) -> Days:
        """The period."""

    @property
    def comparisons(self) -> Sequence[Comparison]:
        """Its sums beside the ledger's."""

    @property
    def is_equal(self) -> bool:
        """Whether all of it is what the ledger says."""

    @property
    def columns(self) -> list[str]:
        """Of a file; the first one says what kind of line it is."""

    def cells(self) -> list[list[Any]]:
        """The lines of a file: figures, totals, and how they stand to the ledger."""

    def as_json(self) -> dict[str, Any]:
        """The same for programs, and all that a file has no room for."""


def cell(amount: Decimal, currency: str) -> Decimal:
    """An amount with as many digits as its currency has."""
    return Decimal(money.format_amount(amount, currency))
