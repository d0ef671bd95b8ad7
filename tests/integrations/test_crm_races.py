"""Many hands tell of one customer at once, while the customer changes: one contact, as it is."""

from __future__ import annotations

import gc
import threading
import time
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from audit import outbox
from audit.models import Delivery
from audit.outbox import pump
from config.kernel.clock import Deadline
from config.kernel.db import short_transaction
from customers.models import Customer
from customers.privacy import erase_account
from integrations.crm import adapter
from integrations.crm.resync import resync
from tests.admin import rows
from tests.integrations.told import make_due, only_these_subscribers, paid_order, state

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.concurrency]

HANDS = 6
ORDERS = 12


@pytest.fixture
def hubspot(settings, sinks, monkeypatch):
    settings.CRM_BASE_URL, settings.CRM_TOKEN = sinks.base_url("hubspot"), sinks.token
    settings.CRM_ADAPTER = "hubspot"
    settings.CRM_PER_SECOND = 1_000
    only_these_subscribers(monkeypatch, "crm")
    adapter.chosen(deadline=Deadline(30.0)).prepare()
    yield sinks
    pump.let_hands_go()
    gc.collect()  # Django's connections are parts of cycles


def aside(work) -> threading.Thread:
    def run() -> None:
        try:
            work()
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def relay_all() -> None:
    for _ in range(40):
        outbox.relay(threads=HANDS, jitter=lambda: 0.0)
        if not Delivery.objects.filter(status="pending").exists():
            break
        make_due()
    assert [*Delivery.objects.exclude(status="delivered").values_list("last_error")] == []


def contacts(hubspot) -> list[dict[str, Any]]:
    return [body["properties"] for body in hubspot.received("hubspot", kind="contacts").bodies]


def orders_of_one_customer() -> Customer:
    customer = rows.make_customer(1, email_verified=True)
    for n in range(1, ORDERS + 1):
        state("order.confirmed", paid_order(n, customer=customer))
    return customer


def test_a_customer_who_changes_meanwhile_is_one_contact_as_they_are_in_the_end(hubspot):
    customer = orders_of_one_customer()
    state("customer.email_verified", customer)

    def change() -> None:
        for number in range(10):
            with short_transaction():
                Customer.objects.filter(pk=customer.pk).update(
                    last_name=f"Lee {number}", email=f"ann.{number}@example.com"
                )
                state("account.email_changed", customer, email_address_id=1)

    changing = aside(change)
    again = aside(lambda: resync(pause=lambda _: None))
    relay_all()
    for thread in (changing, again):
        thread.join(timeout=60)
    relay_all()

    [contact] = contacts(hubspot)
    assert contact["orderkeep_customer"] == str(customer.pk)
    assert (contact["lastname"], contact["email"]) == ("Lee 9", "ann.9@example.com")
    kinds = hubspot.received("hubspot").kinds
    assert (kinds["deals"], kinds["associations"]) == (ORDERS, 2 * ORDERS)


def test_a_customer_who_is_erased_meanwhile_is_no_contact_in_the_end(hubspot):
    customer = orders_of_one_customer()

    def erase() -> None:
        deadline = time.monotonic() + 30
        while not contacts(hubspot):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        with short_transaction():
            erase_account(customer_id=customer.pk, at=timezone.now())

    erasing = aside(erase)
    again = aside(lambda: resync(pause=lambda _: None))
    relay_all()
    for thread in (erasing, again):
        thread.join(timeout=60)
    relay_all()

    assert Customer.objects.get(pk=customer.pk).erased_at is not None
    assert contacts(hubspot) == []
    assert hubspot.received("hubspot").kinds["deals"] == ORDERS
