"""Reports as files that staff ask for: by the same jobs as exports, of days instead of rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, Final

from config.kernel.errors import ValidationFailedError
from orders.reports import revenue, tax
from orders.reports.days import shop_days

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from orders.reports.days import Days
    from orders.reports.listing import Report

STATEMENT_SECONDS: Final = 50
"""Three of them fit into a job's lease."""
DIFFERS: Final = "It is not what the ledger says: see its differences, and the books."


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFile:
    """What a job needs to know; `read` makes the table, a file of another kind has none."""

    title: str
    permission: str
    formats: tuple[str, ...]
    read: Callable[..., Report] | None = None
    is_personal: bool = False
    personal: frozenset[str] = frozenset()

    def days(self, filters: Mapping[str, Any]) -> Days:
        """The days that were asked for.

        Raises:
            ValidationFailedError: they make no sense, or something else was asked for.
        """
        if set(filters) != {"from", "to"}:
            raise ValidationFailedError(f"{self.title} is picked by from and to alone")
        try:
            first, end = (date.fromisoformat(str(filters[name])) for name in ("from", "to"))
        except ValueError as exc:
            raise ValidationFailedError("a day is written like 2026-11-01") from exc
        return shop_days(first=first, end=end)


REPORTS: Final[Mapping[str, ReportFile]] = {
    "tax_report": ReportFile(
        title="the sales tax report",
        permission="payments.export_ledger",
        formats=("csv", "xlsx"),
        read=tax.read,
    ),
    "revenue_report": ReportFile(
        title="the revenue report",
        permission="payments.export_ledger",
        formats=("csv", "xlsx"),
        read=revenue.read,
    ),
    # What the log has of people, an erasure leaves there: account number, address, browser.
    "audit_log": ReportFile(
        title="the audit log",
        permission="audit.export_log",
        formats=("zip",),
        is_personal=True,
    ),
}
