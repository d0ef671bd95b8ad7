"""`report_revenue`: what came in and went out day by day, equal to the ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table

from orders.management.reporting import ReportCommand, add_numbers, ledger_table
from orders.reports import revenue

if TYPE_CHECKING:
    from rich.console import RenderableType

    from orders.reports.days import Days
    from orders.reports.listing import Report


class Command(ReportCommand):
    help = (
        "Report revenue and refunds day by day, in each currency by itself: what was sold, less "
        "discounts, with shipping and tax, what of it was captured, refunded, disputed and kept "
        "as fees, and what is left. Each is of the day on which the ledger booked it; fees and "
        "disputes follow some minutes later, so report days when they are over. Exit code: 0 it "
        "is equal to the ledger, 1 it is not, and the difference is told, 2 it could not be read "
        "or written."
    )
    subject = "revenue_report"
    what = "money that moved"

    def read_report(self, days: Days) -> Report:
        return revenue.read(days)

    def tables(self, report: Any) -> list[RenderableType]:
        table = Table("day", "", title=str(report.days))
        add_numbers(table, "orders", *(name.replace("_", " ") for name in revenue.AMOUNTS))
        for (day, currency), found in report.by_day.items():
            table.add_row(str(day), currency, *_cells(found, currency))
        for currency, total in report.totals.items():
            table.add_section()
            table.add_row("total", currency, *_cells(total, currency))
        return [table, ledger_table(report)]


def _cells(found: revenue.Revenue, currency: str) -> list[str]:
    return [str(value) for value in found.cells(currency)]
