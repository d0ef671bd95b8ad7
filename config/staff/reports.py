"""The admin's pages of reports: days are picked, figures and plots shown, files asked for.

What takes longer than a page may is said to, and still written to a file by a worker.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from django import forms
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.db import OperationalError
from django.http import HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.formats import date_format
from unfold.widgets import UnfoldAdminDateWidget

from audit import selectors as log
from audit.seals import export as seals
from audit.staff_actions import StaffForm, told
from config.kernel import money, request_context
from config.kernel.db import QUERY_CANCELED, snapshot, sqlstate
from config.kernel.errors import DomainError, NotFoundError
from config.staff.dashboard import BAD, CALM, GOOD, WARM, Chart, Series
from orders.errors import NotAllowedError
from orders.reports import revenue, tax
from orders.reports.days import shop_days
from orders.services import jobs
from orders.transfer.exports import Selection
from orders.transfer.reports import REPORTS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from decimal import Decimal

    from django.contrib.admin import AdminSite
    from django.http import HttpRequest
    from django.http.response import HttpResponseBase
    from django.urls import URLPattern

    from orders.reports.days import Days
    from orders.reports.listing import Report

MOST_DAYS: Final = 100  # shown on a page: a quarter, and some
MOST_SECONDS: Final = 8.0  # of each statement: somebody waits
SHOWN_OF_TAX: Final = tax.AMOUNTS[:6]  # the rest is compared above, and in the file
TOO_LONG: Final = "This takes longer than a page may: have it written to a file."
TOO_MANY_DAYS: Final = f"A page shows up to {MOST_DAYS} days: have more of them written to a file."


class PeriodForm(forms.Form):
    """Which days, both included."""

    first = forms.DateField(label="First day", widget=UnfoldAdminDateWidget)
    last = forms.DateField(label="Last day", widget=UnfoldAdminDateWidget)

    def days(self) -> Days:
        """What was picked.

        Raises:
            ValidationFailedError: it makes no sense.
        """
        first, last = self.cleaned_data["first"], self.cleaned_data["last"]
        end = last + timedelta(days=1) if last < date.max else last
        return shop_days(first=first, end=end)


class FileForm(StaffForm, PeriodForm):
    """The same days as a file."""

    file_format = forms.ChoiceField(label="Format")
    first = forms.DateField(widget=forms.HiddenInput)
    last = forms.DateField(widget=forms.HiddenInput)

    def __init__(self, *args: Any, formats: Sequence[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices = [(name, name.upper()) for name in formats]
        self.fields["file_format"].choices = choices  # type: ignore[attr-defined]  # of a choice


@dataclass(slots=True, kw_only=True)
class Shown:
    """What a page has besides its forms."""

    charts: list[Chart] = field(default_factory=list)
    report: Any = None
    tables: list[Any] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One report: who may look at it, the file it can be had as, and how it is shown."""

    name: str
    title: str
    right: str
    subject: str
    says: str
    show: Callable[[Days], Shown]


def urls(site: AdminSite) -> list[URLPattern]:
    """Their routes, below the admin's."""
    return [
        path(
            f"reports/{page.name}/",
            site.admin_view(functools.partial(report_view, site, page)),
            name=f"report_{page.name}",
        )
        for page in PAGES
    ]


def report_view(site: AdminSite, page: Page, request: HttpRequest) -> HttpResponseBase:
    """Show a report of the days that were picked, this month's if none were; or have it written."""
    if not request.user.has_perm(page.right):
        raise PermissionDenied
    report = REPORTS[page.subject]
    may = request.user.has_perm
    may_export = may(report.permission) and (
        not report.is_personal or may("customers.export_customers")
    )
    is_sent = request.method == "POST"
    if is_sent and not may_export:
        raise PermissionDenied
    period = PeriodForm(_picked(request))
    file_form = FileForm(request.POST if is_sent else None, formats=report.formats)
    shown = Shown()
    if period.is_valid():
        try:
            days = period.days()
            if is_sent and file_form.is_valid():
                return _ask(request, page, days, file_form)
            if not is_sent:
                file_form = FileForm(initial=period.cleaned_data, formats=report.formats)
            shown = _show(page, days)
        except NotAllowedError as exc:
            raise PermissionDenied from exc
        except DomainError as exc:
            period.add_error(None, told(exc))
    context = {
        **site.each_context(request),
        "title": page.title,
        "page": page,
        "period": period,
        "spans": _spans(),
        "file_form": file_form if may_export else None,
        "zone": settings.SHOP_TIME_ZONE,
        "shown": shown,
    }
    return TemplateResponse(request, "staff/report.html", context)


def _picked(request: HttpRequest) -> Any:
    if request.method == "POST":
        return request.POST
    if "first" in request.GET or "last" in request.GET:
        return request.GET
    return _spans()[0][1]


def _ask(request: HttpRequest, page: Page, days: Days, form: FileForm) -> HttpResponseBase:
    request_context.set_user(user_id=request.user.pk)
    job = jobs.request_export(
        subject=page.subject,
        file_format=form.cleaned_data["file_format"],
        selection=Selection(filters={"from": days.first.isoformat(), "to": days.end.isoformat()}),
        user=request.user,  # type: ignore[arg-type]  # staff: the site lets nobody else in
        request_key=str(form.cleaned_data["request_key"]),
    )
    return HttpResponseRedirect(reverse("admin:job", args=(job.pk,)))


def _show(page: Page, days: Days) -> Shown:
    if len(days.each()) > MOST_DAYS:
        return Shown(notes=[TOO_MANY_DAYS])
    try:
        return page.show(days)
    except OperationalError as exc:
        if sqlstate(exc) != QUERY_CANCELED:
            raise
        return Shown(notes=[TOO_LONG])


def _spans() -> list[tuple[str, dict[str, str], str]]:
    """What is mostly wanted: a title, the days, and the link."""
    today = timezone.now().astimezone(ZoneInfo(settings.SHOP_TIME_ZONE)).date()
    month = today.replace(day=1)
    before = (month - timedelta(days=1)).replace(day=1)
    quarter = month.replace(month=3 * ((month.month - 1) // 3) + 1)
    last_of_before = quarter - timedelta(days=1)
    quarter_before = last_of_before.replace(month=3 * ((last_of_before.month - 1) // 3) + 1, day=1)
    spans = [
        ("This month", month, today),
        ("Last month", before, month - timedelta(days=1)),
        ("This quarter", quarter, today),
        ("Last quarter", quarter_before, last_of_before),
    ]
    found = []
    for title, first, last in spans:
        days = {"first": first.isoformat(), "last": last.isoformat()}
        found.append((title, days, f"?{urlencode(days)}"))
    return found


# --- revenue --------------------------------------------------------------------------------------


def _show_revenue(days: Days) -> Shown:
    report = revenue.read(days, most_seconds=MOST_SECONDS)
    shown = Shown(report=report, notes=_notes(report))
    for currency, total in report.totals.items():
        of_days = [each for (_, of), each in report.by_day.items() if of == currency]
        shown.charts.append(_revenue_chart(days, currency, of_days, total))
    shown.tables = [
        (
            "By day",
            ["Day", "", "Orders", *(_worded(name) for name in revenue.AMOUNTS)],
            [
                *(
                    ["Total", currency, *total.cells(currency)]
                    for currency, total in report.totals.items()
                ),
                *(
                    [day.isoformat(), currency, *each.cells(currency)]
                    for (day, currency), each in report.by_day.items()
                ),
            ],
            2,
        )
    ]
    return shown


def _revenue_chart(
    days: Days, currency: str, of_days: list[revenue.Revenue], total: revenue.Revenue
) -> Chart:
    return Chart(
        name=f"revenue-{currency}",
        title=f"What came in and went out, {currency}",
        kind="bar",
        labels=[date_format(day, "j M") for day in days.each()],
        series=[
            Series(
                label=name,
                colour=colour,
                values=[money.format_amount(getattr(each, name), currency) for each in of_days],
            )
            for name, colour in (
                ("captured", GOOD),
                ("refunds", WARM),
                ("disputes", BAD),
                ("fees", CALM),
            )
        ],
        is_stacked=True,
        headline=f"{_amount(total.net, currency)} left of {_amount(total.captured, currency)}",
    )


# --- tax ------------------------------------------------------------------------------------------


def _show_tax(days: Days) -> Shown:
    report = tax.read(days, most_seconds=MOST_SECONDS)
    shown = Shown(report=report, notes=_notes(report))
    shown.notes += [
        f"{gap.refunds} {tax.GAPS[gap.kind]} ({_amount(gap.amount, gap.currency)})."
        for gap in report.gaps
    ]
    for currency, total in report.totals.items():
        of = {at: each for at, each in report.jurisdictions.items() if at.currency == currency}
        shown.charts.append(_tax_chart(currency, of, total))
    shown.tables = [
        (
            "By jurisdiction",
            ["", "Country", "State", "Orders", "Taxable", "Exempt", "Tax due"],
            [
                [
                    *place,
                    found.orders,
                    *(
                        money.format_amount(amount, place.currency)
                        for amount in (found.taxable, found.exempt, found.taxes.tax_due)
                    ),
                ]
                for place, found in report.jurisdictions.items()
            ],
            3,
        ),
        (
            "By rate and class",
            ["", "Country", "State", "Class", "Rate", *(_worded(name) for name in SHOWN_OF_TAX)],
            [
                [
                    *key.place,
                    key.tax_class or "",
                    _percent(key.rate),
                    *taxes.cells(key.place.currency)[: len(SHOWN_OF_TAX)],
                ]
                for key, taxes in report.lines.items()
            ],
            4,
        ),
    ]
    return shown


def _tax_chart(currency: str, of: dict[tax.Place, tax.Jurisdiction], total: tax.Taxes) -> Chart:
    return Chart(
        name=f"tax-{currency}",
        title=f"Tax by jurisdiction, {currency}",
        kind="bar",
        head="Where",
        labels=[f"{place.country} {place.state}".strip() for place in of],
        series=[
            Series(
                label=label,
                colour=colour,
                values=[
                    money.format_amount(sign * getattr(found.taxes, name), currency)
                    for found in of.values()
                ],
            )
            for label, name, sign, colour in (
                ("collected", "tax_collected", 1, GOOD),
                ("given back", "tax_returned", -1, WARM),
            )
        ],
        is_stacked=True,
        headline=f"{_amount(total.tax_due, currency)} due",
    )


def _percent(rate: Decimal | None) -> str:
    return "not kept" if rate is None else f"{(100 * rate).normalize():f} %"


def _worded(name: str) -> str:
    return name.replace("_", " ").capitalize()


# --- audit ----------------------------------------------------------------------------------------


def _show_log(days: Days) -> Shown:
    with snapshot(most_seconds=MOST_SECONDS):
        counts = log.rows_by_day(cuts=days.cuts(), begin=days.begin, end=days.until)
    values = [counts.get(nth, 0) for nth in range(1, len(days.each()) + 1)]
    shown = Shown()
    shown.charts = [
        Chart(
            name="log",
            title="Rows of the audit log",
            kind="bar",
            labels=[date_format(day, "j M") for day in days.each()],
            series=[Series(label="rows", colour=GOOD, values=values)],
            headline=f"{sum(values):,} rows",
        )
    ]
    try:
        extent = seals.find_extent(begin=days.begin, end=days.until)
    except NotFoundError as exc:
        shown.notes.append(exc.message.capitalize())
        return shown
    shown.tables = [
        (
            "What the file would have",
            ["", ""],
            [
                ["Seals", f"{extent.first_seal} to {extent.last_seal}"],
                ["Rows of these seals", extent.rows],
                ["Rows of these days without a seal yet", extent.unsealed],
            ],
            1,
        )
    ]
    return shown


def _notes(report: Report) -> list[str]:
    is_over = report.days.is_over
    return [] if is_over else ["The last day is not over: these figures will still change."]


def _amount(amount: Decimal, currency: str) -> str:
    return f"{money.exact(amount, currency):,} {currency}"


PAGES: Final[Sequence[Page]] = (
    Page(
        name="revenue",
        title="Revenue by day",
        right="payments.view_ledgerentry",
        subject="revenue_report",
        says="Each amount is of the day on which the ledger booked it; what goes out is negative,"
        " and net is by how much the account at the provider changed.",
        show=_show_revenue,
    ),
    Page(
        name="tax",
        title="Sales tax",
        right="payments.view_ledgerentry",
        subject="tax_report",
        says="A sale is of the day on which it was paid, a refund of the day on which it was given"
        " back; where it went decides the jurisdiction.",
        show=_show_tax,
    ),
    Page(
        name="audit",
        title="Audit export",
        right="audit.export_log",
        subject="audit_log",
        says="The rows of these days with their seals, a signed manifest and the program that"
        " verifies them: an auditor needs nothing else. It names accounts by number, and has"
        " network addresses and browsers.",
        show=_show_log,
    ),
)
