"""Everybody at once: an hour without anybody, then a storm of faults, then counts on both sides.

Time is virtual: what waits is made due as if so many seconds had passed. The receivers, their
faults and the calls are real.
"""

from __future__ import annotations

import random
import socket
from collections import Counter
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from django.db.models import F

from audit import outbox
from audit.models import Delivery, Receiver
from customers.models import Customer
from tests.integrations import told
from tests.integrations.outbound import subscribe_anew
from tests.integrations.webhook_receiver import (
    MerchantsServer,
    answering,
    babbling,
    make_endpoint,
)

pytestmark = [pytest.mark.django_db, pytest.mark.timeout(300)]

PLAIN: Final = ("crm", "analytics", "fulfilment", "support", "marketing")
FAULTS: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("status", {"status": 500}),
    ("status", {"status": 502, "applied": True}),
    ("status", {"status": 429, "retry_after": 7}),
    ("drop", {}),
    ("drop", {"reset": True}),
    ("answer_lost", {}),
    ("answer_lost", {"reset": True}),
    ("junk", {"form": "html"}),
    ("junk", {"form": "short"}),
    ("latency", {"seconds": 0.02}),
)
OF_MAIL: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("refuse", {"code": 421, "at": "connect"}),
    ("refuse", {"code": 451, "at": "rcpt"}),
    ("refuse", {"code": 451, "at": "end"}),
    ("drop", {}),
    ("latency", {"seconds": 0.02}),
)
QUARTER_MINUTES_OF_AN_HOUR: Final = 240


@pytest.fixture
def everybody(settings, sinks, merchant, monkeypatch):
    """All receivers, each at its sink."""
    sinks.configure(settings, *PLAIN)
    mail = urlsplit(sinks.email_url)
    settings.EMAIL_BACKEND = "integrations.email.smtp.TimedSmtpBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = mail.hostname, mail.port
    subscribe_anew(monkeypatch)
    make_endpoint(merchant, "order.confirmed", "order.refunded")
    return sinks


def let_pass(seconds: float) -> None:
    span = timedelta(seconds=seconds)
    waiting = Delivery.objects.filter(status="pending")
    waiting.update(next_attempt_at=F("next_attempt_at") - span)
    for column in ("retry_at", "spent_until"):
        rows = Receiver.objects.filter(**{f"{column}__isnull": False})
        rows.update(**{column: F(column) - span})


def business(number: int) -> None:
    """What a shop states in a quarter of a minute."""
    order = told.paid_order(number)
    Customer.objects.filter(pk=order.customer_id).update(
        email_verified=True, marketing_consent=True
    )
    told.state("order.confirmed", order)
    told.state("customer.marketing_consent_changed", order.customer)
    if number % 3 == 0:
        told.refund(order, "5.00")
    if number % 5 == 0:
        told.state("order.disputed", order, dispute=f"dp_{number}", amount="5.00", currency="USD")


def delivered_to(subscriber: str) -> Counter[str]:
    """The ids of what was handed over to it, and not only noted as needless."""
    rows = Delivery.objects.filter(
        subscriber__startswith=subscriber, status="delivered", last_error=""
    )
    return Counter(str(uuid) for uuid in rows.values_list("message__uuid", flat=True))


def both_sides_agree(sinks, merchant: MerchantsServer) -> None:
    """Nothing waits, nothing was given up, and each receiver has each once."""
    assert set(Delivery.objects.values_list("status", flat=True)) == {"delivered"}
    for receiver in PLAIN:
        kept = Counter(event["id"] for event in sinks.received(receiver).bodies)
        assert kept == delivered_to(receiver), receiver
        assert kept, receiver
    letters = sinks.received("smtp").items
    ids = Counter(letter["key"].strip("<>").partition("@")[0] for letter in letters)
    assert ids == delivered_to("email")
    assert set(merchant.taken) == set(delivered_to("webhook:"))


def drain() -> None:
    for _ in range(200):
        outbox.relay(jitter=lambda: 0.0)
        if not Delivery.objects.filter(status="pending").exists():
            return
        let_pass(60)
    waiting = Delivery.objects.filter(status="pending").values_list("subscriber", "last_error")
    raise AssertionError(f"still waiting: {[*waiting[:5]]}")


def test_an_hour_without_anybody_loses_nothing_and_doubles_nothing(everybody, merchant):
    """Receivers that are away cost the others nothing: our own are told meanwhile."""
    everybody.fail("*", "drop", times=None)
    everybody.fail("smtp", "refuse", code=421, at="connect", times=None)
    merchant.answers(answering(503))
    orders = 0
    for quarter in range(QUARTER_MINUTES_OF_AN_HOUR):
        if quarter % 10 == 0:
            orders += 1
            business(orders)
        outbox.relay(jitter=lambda: 0.0)
        let_pass(15)
    calls = {receiver: everybody.received(receiver).calls for receiver in PLAIN}
    waiting_for_ours = Delivery.objects.filter(
        status="pending", subscriber__in=("invoices", "customer_metrics")
    )
    ours_wait = waiting_for_ours.count()

    everybody.clear_faults()
    merchant.answers(answering(204))
    drain()

    assert ours_wait == 0
    assert max(calls.values()) < QUARTER_MINUTES_OF_AN_HOUR
    both_sides_agree(everybody, merchant)


def test_letters_wait_three_hours_for_a_mail_server_that_does_not_listen(everybody, settings):
    """Twice as long as their tries would last."""
    listening = settings.EMAIL_PORT
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        settings.EMAIL_PORT = nobody.getsockname()[1]
        for number in range(1, 4):
            told.state("order.confirmed", told.paid_order(number))
        for _minute in range(180):
            outbox.relay(jitter=lambda: 0.0)
            let_pass(60)
        letters = Delivery.objects.filter(subscriber="email")
        waited = Counter(letters.values_list("status", flat=True))

    settings.EMAIL_PORT = listening
    drain()

    assert waited == {"pending": 3}
    assert everybody.received("smtp").kept == 3


@pytest.mark.parametrize("seed", range(2))
def test_after_a_storm_both_sides_count_the_same(everybody, merchant, seed):
    chance = random.Random(seed)  # noqa: S311 - which fault strikes is no secret
    for receiver in PLAIN:
        for kind, settings in chance.sample(FAULTS, 6):
            everybody.fail(
                receiver, kind, times=None, probability=0.12, seed=chance.randrange(99), **settings
            )
    for kind, settings in OF_MAIL:
        everybody.fail(
            "smtp", kind, times=None, probability=0.12, seed=chance.randrange(99), **settings
        )
    merchant.answer = lambda _: chance.choice(
        [answering(204), answering(204), answering(500), babbling, answering(429, Retry_After="9")]
    )
    for number in range(1, 25):
        business(number)
        outbox.relay(jitter=lambda: 0.0)
        let_pass(15)

    everybody.clear_faults()
    merchant.answers(answering(204))
    drain()

    both_sides_agree(everybody, merchant)
