"""How fast the pages of the admin open on a shop of a million orders, as a superuser sees them.

In a database of its own, which is dropped afterwards: filled with orders as the services leave them
(`benchmarks.books_shop`). Each page is asked for several times through all of the application's
layers; the slowest counts. The promise is 500 ms for every list, search and page of a row. Exit
code 3 if a page is slower, 1 if one does not open.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks import books

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).resolve().parent.parent
PROMISED_MS: Final = 500.0
MISSED: Final = 3
TIMES: Final = 5


def pages() -> Iterator[tuple[str, str]]:
    """What is opened: a name and an address each."""
    from django.contrib import admin  # noqa: PLC0415 - only once Django is set up
    from django.urls import reverse  # noqa: PLC0415 - as above

    from audit.models import Delivery  # noqa: PLC0415 - as above
    from orders.models import Order, OrderItem  # noqa: PLC0415 - as above
    from payments.models import Payment, Refund  # noqa: PLC0415 - as above

    for span in ("day", "week", "month", "quarter"):
        yield f"dashboard, {span}", f"/admin/?span={span}"
    yield "not moving", "/admin/stuck/"
    for model, page in sorted(admin.site._registry.items(), key=lambda one: one[0]._meta.label):  # noqa: SLF001 - Django's own names
        opts = model._meta  # noqa: SLF001 - as above
        where = f"{opts.app_label}_{opts.model_name}"
        where_listed = reverse(f"admin:{where}_changelist")
        yield f"list {opts.label}", where_listed
        if page.search_fields:
            yield f"search {opts.label}", f"{where_listed}?q=SKU-1"
            yield f"search {opts.label} in vain", f"{where_listed}?q=no-such-thing"
        newest = model._default_manager.order_by("-pk").first()  # noqa: SLF001 - as above
        if newest is not None:
            yield f"row {opts.label}", reverse(f"admin:{where}_change", args=[newest.pk])
    orders = reverse("admin:orders_order_changelist")
    for status in Order.Status.values:
        yield f"orders, status {status}", f"{orders}?status__exact={status}"
    for status in Order.PaymentStatus.values:
        yield f"orders, payment {status}", f"{orders}?payment_status__exact={status}"
    yield "orders, 50th page", f"{orders}?p=50"  # the last that a list has
    order = Order.objects.filter(status=Order.Status.CONFIRMED).order_by("-pk")[0]
    guest = Order.objects.filter(guest_email__isnull=False).order_by("-pk")[0]
    customer = Order.objects.filter(customer__isnull=False).select_related("customer")[0].customer
    payment = Payment.objects.filter(order=order)[0]
    searched = {
        "order number": order.order_number,
        "customer's e-mail": customer.email if customer else "",
        "guest's e-mail": guest.guest_email,
        "best-selling SKU": OrderItem.objects.order_by("-pk")[0].product_sku,
        "payment intent": payment.payment_intent_id,
        "refund": Refund.objects.exclude(stripe_refund_id=None)[0].stripe_refund_id,
        "tracking number": "1Z-NOBODY-HAS",
        "nothing there is": "no such thing",
    }
    for what, text in searched.items():
        yield f"orders, search {what}", f"{orders}?q={text}"
    payments = reverse("admin:payments_payment_changelist")
    for status in Payment.Status.values:
        yield f"payments, status {status}", f"{payments}?status__exact={status}"
    deliveries = reverse("admin:audit_delivery_changelist")
    for status in Delivery.Status.values:
        yield f"deliveries, status {status}", f"{deliveries}?status__exact={status}"
    log = reverse("admin:audit_auditlog_changelist")
    yield "audit log, of an order", f"{log}?entity_type__exact=order&entity_id__exact={order.pk}"
    yield "audit log, ORDER_CONFIRMED", f"{log}?q=ORDER_CONFIRMED"
    yield "audit log, nothing there is", f"{log}?q=NO_SUCH_EVENT"


def seal(progress: Progress) -> None:
    """Have the audit log sealed, as that of a shop that runs is: pages look at what waits."""
    from django.conf import settings  # noqa: PLC0415 - set up by now

    from audit.seals import sealing  # noqa: PLC0415 - likewise

    task = progress.add_task("Sealing", total=None)
    with tempfile.TemporaryDirectory() as copies:
        settings.AUDIT_SEAL_DIR = copies
        sealing.seal_all()
    progress.update(task, description="Sealed", total=1, completed=1)


def measure(*, only: str, progress: Progress) -> list[dict[str, Any]]:
    """Open every page whose name holds `only`."""
    from django.core.cache import cache  # noqa: PLC0415 - only once Django is set up
    from django.db import connection  # noqa: PLC0415 - as above
    from django.test import Client  # noqa: PLC0415 - as above
    from django.test.utils import CaptureQueriesContext  # noqa: PLC0415 - as above
    from django.utils import timezone  # noqa: PLC0415 - as above

    from customers import staff_log_in  # noqa: PLC0415 - as above
    from customers.models import Customer  # noqa: PLC0415 - as above

    logging.disable(logging.INFO)  # a line a request is for servers
    boss = Customer.objects.create_superuser(
        "boss@example.com", None, first_name="The", last_name="Boss"
    )
    client = Client(headers={"host": "localhost"})
    client.force_login(boss)
    session = client.session
    staff_log_in.mark(session, now=timezone.now())
    session.save()
    wanted = [page for page in pages() if only in page[0]]
    task = progress.add_task("Opening pages", total=len(wanted))
    told = []
    for name, address in wanted:
        took: list[float] = []
        queries = CaptureQueriesContext(connection)
        status = 0
        while len(took) < TIMES:
            cache.clear()  # what is kept for some seconds must not flatter
            with queries:
                started = time.perf_counter()
                status = client.get(address).status_code
                took.append((time.perf_counter() - started) * 1_000)
        slowest = max(queries.captured_queries, key=lambda query: float(query["time"]))
        told.append(
            {
                "page": name,
                "address": address,
                "status": status,
                "median_ms": round(statistics.median(took), 1),
                "slowest_ms": round(max(took), 1),
                "statements": len(queries),
                "database_ms": round(1_000 * sum(float(q["time"]) for q in queries), 1),
                "slowest_statement": slowest["sql"][:2_000],
            }
        )
        progress.advance(task)
    return told


def tell(told: list[dict[str, Any]], console: Console, *, shown: int) -> None:
    """Print the slowest pages."""
    table = Table("page", "median, ms", "slowest, ms", "in the database", "statements")
    for column in table.columns[1:]:
        column.justify = "right"
    for row in sorted(told, key=lambda row: -row["slowest_ms"])[:shown]:
        table.add_row(
            row["page"],
            f"{row['median_ms']:.0f}",
            f"{row['slowest_ms']:.0f}",
            f"{row['database_ms']:.0f}",
            str(row["statements"]),
        )
    console.print(table)
    console.print(f"{len(told)} pages, {TIMES} times each; the promise is {PROMISED_MS:.0f} ms.")


def main() -> int:
    """Run it; returns the exit code."""
    parser = argparse.ArgumentParser(prog="bin/bench admin", description=__doc__)
    parser.add_argument("--orders", type=int, default=1_000_000, help="%(default)s")
    parser.add_argument("--only", default="", help="pages whose name holds this")
    parser.add_argument("--shown", type=int, default=25, help="so many in the table (%(default)s)")
    options = parser.parse_args()
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    try:
        with (
            books.own_database(os.environ["DATABASE_URL"]) as url,
            Progress(*columns, console=Console(stderr=True)) as progress,
        ):
            books.start_django(url)
            books.fill(url, orders=options.orders, progress=progress)
            seal(progress)
            told = measure(only=options.only, progress=progress)
    except books.UnusableError as exc:
        print(f"bench admin: {exc}", file=sys.stderr)
        return 1
    tell(told, Console(), shown=options.shown)
    home = Path(os.environ.get("ORDERKEEP_HOME", ROOT / ".local"))
    (home / "bench" / "admin.json").write_text(json.dumps(told, indent=2) + "\n")
    if any(row["status"] != 200 for row in told):  # noqa: PLR2004 - HTTP
        return 1
    return MISSED if any(row["slowest_ms"] > PROMISED_MS for row in told) else 0


if __name__ == "__main__":
    sys.exit(main())
