"""`report_tax`: sales tax by jurisdiction, rate and class, equal to the ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table

from config.kernel import money
from orders.management.reporting import ReportCommand, add_numbers, ledger_table
from orders.reports import tax

if TYPE_CHECKING:
    from decimal import Decimal

    from rich.console import RenderableType

    from orders.reports.days import Days
    from orders.reports.listing import Report
    from orders.reports.tax import TaxReport


class Command(ReportCommand):
    help = (
        "Report the sales tax of whole days by destination (country and state), rate and class: "
        "what was sold, the tax on it, and what of both was given back; in each currency by "
        "itself. A sale is of the day on which it was paid, a refund of the day on which it was "
        "given back, as the ledger has them. Exit code: 0 it is equal to the ledger, 1 it is not, "
        "and the difference is told, 2 it could not be read or written."
    )
    subject = "tax_report"
    what = "sales that were paid, and refunds given back,"

    def read_report(self, days: Days) -> Report:
        return tax.read(days)

    def tables(self, report: Any) -> list[RenderableType]:
        return [_rates(report), _jurisdictions(report), ledger_table(report), *_gaps(report)]


def _rates(report: TaxReport) -> Table:
    table = Table("", "country", "state", "rate", "class", title=str(report.days))
    add_numbers(table, "net sold", "tax", "net returned", "tax back", "net", "tax due")
    for key, taxes in report.lines.items():
        place = key.place
        rate = "not kept" if key.rate is None else f"{100 * key.rate:f}".rstrip("0").rstrip(".")
        table.add_row(
            *place,
            rate if key.rate is None else f"{rate} %",
            key.tax_class or "",
            *_amounts(taxes, place.currency),
        )
    for currency, taxes in report.totals.items():
        table.add_section()
        table.add_row(currency, "total", "", "", "", *_amounts(taxes, currency))
    return table


def _jurisdictions(report: TaxReport) -> Table:
    table = Table("", "country", "state")
    add_numbers(table, "orders", "taxable", "exempt", "tax due")
    for place, found in report.jurisdictions.items():
        amounts = (found.taxable, found.exempt, found.taxes.tax_due)
        table.add_row(
            *place,
            str(found.orders),
            *(money.format_amount(amount, place.currency) for amount in amounts),
        )
    return table


def _gaps(report: TaxReport) -> list[str]:
    return [
        f"{gap.refunds} {tax.GAPS[gap.kind]} ({money.format_amount(gap.amount, gap.currency)}"
        f" {gap.currency})."
        for gap in report.gaps
    ]


def _amounts(taxes: tax.Taxes, currency: str) -> list[str]:
    amounts: list[Decimal] = [
        *(taxes.net_sold, taxes.tax_collected, taxes.net_returned, taxes.tax_returned),
        *(taxes.net, taxes.tax_due),
    ]
    return [money.format_amount(amount, currency) for amount in amounts]
