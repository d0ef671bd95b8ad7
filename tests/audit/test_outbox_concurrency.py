"""Several relays at once, on real connections."""

from __future__ import annotations

import threading
from collections import Counter

import pytest
from django.db import connection, transaction

from audit import outbox
from audit.models import Delivery, OutboxMessage

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.concurrency,
    pytest.mark.usefixtures("nobody_listens"),
]

RELAYS = 3
FACT = "parcel.sent"


def make_messages(count: int) -> None:
    OutboxMessage.objects.bulk_create(
        OutboxMessage(
            fact=FACT, aggregate_type="order", aggregate_id=n, dedupe_key=f"p.{n}", payload={}
        )
        for n in range(count)
    )


def relay_in_threads(*, count: int, limit: int | None = None) -> list[outbox.RelayReport]:
    start = threading.Barrier(count)
    reports: list[outbox.RelayReport] = []

    def run() -> None:
        try:
            start.wait(timeout=10)
            reports.append(outbox.relay(limit=limit))
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    return reports


def test_relays_side_by_side_fan_out_each_fact_once():
    outbox.subscribe(FACT, "crm", lambda _: None)
    outbox.subscribe(FACT, "desk", lambda _: None)
    make_messages(700)

    reports = relay_in_threads(count=RELAYS, limit=0)

    assert sum(reports, outbox.RelayReport()) == outbox.RelayReport(fanned_out=700)
    assert Delivery.objects.count() == 1400


def test_relays_side_by_side_share_the_work_and_deliver_once_each():
    told: Counter[int] = Counter()
    lock = threading.Lock()
    all_are_at_it = threading.Barrier(RELAYS)
    seen_threads: set[int] = set()

    def receive(message: OutboxMessage) -> None:
        if threading.get_ident() not in seen_threads:
            seen_threads.add(threading.get_ident())
            all_are_at_it.wait(timeout=10)
        with lock:
            told[message.aggregate_id] += 1

    outbox.subscribe(FACT, "crm", receive)
    outbox.subscribe(FACT, "desk", receive)
    make_messages(40)
    outbox.relay(limit=0)

    reports = relay_in_threads(count=RELAYS)

    assert sum(reports, outbox.RelayReport()) == outbox.RelayReport(delivered=80)
    assert all(report.delivered >= 1 for report in reports)
    assert told == Counter(dict.fromkeys(range(40), 2))
    assert set(Delivery.objects.values_list("status", "attempts")) == {("delivered", 1)}


def test_a_row_that_another_transaction_holds_is_passed_over():
    outbox.subscribe(FACT, "crm", lambda _: None)
    make_messages(2)
    outbox.relay(limit=0)

    with transaction.atomic():
        Delivery.objects.select_for_update().order_by("pk").first()
        meanwhile = relay_in_threads(count=1)
    afterwards = outbox.relay()

    assert meanwhile == [outbox.RelayReport(delivered=1)]
    assert afterwards == outbox.RelayReport(delivered=1)
