"""Staff who press at once, or twice: each wish is done once, and the rest is refused in words."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import pytest
from allauth.mfa.totp.internal import auth as totp
from django.test import Client
from django.utils import timezone

from audit import outbox
from audit.models import AuditLog, OutboxMessage
from config.kernel.clock import Deadline
from config.kernel.errors import DomainError
from customers import services as customers
from customers.models import CustomerNote
from inventory.models import StockLevel
from orders.models import Letter, Order, OrderNote, PaymentLink
from orders.services.cancellation import cancel_order
from orders.services.letters import MOST_RESENT, RESEND, keep_letter, resend_letter
from orders.services.notes import add_note
from orders.services.payment_links import PhoneOrder, make_link, send_link, withdraw_link
from orders.services.placement import Guest
from orders.services.quoting import BasketLine
from orders.services.shipping import begin_processing
from tests import factories
from tests.concurrency.test_races import at_once
from tests.shop import ADDRESS, Shopper, order_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.concurrency]


@pytest.fixture
def order(transactional_db, provider):
    factories.open_shop()
    factories.ProductFactory(sku="APPLE", on_hand=9)
    return order_of(Shopper(factories.CustomerFactory()).order(("APPLE", 2)))


@pytest.fixture
def clerk(transactional_db):
    return factories.CustomerFactory(is_staff=True)


def told(call):
    """Whether it went well, or the code of the refusal."""

    def run():
        try:
            call()
        except DomainError as exc:
            return exc.code
        return "done"

    return run


def test_a_note_that_is_sent_several_times_is_one(order, clerk):
    said = {"order_id": order.pk, "text": "Ring.", "user_id": clerk.pk, "request_key": "k"}

    outcomes = at_once(*[told(lambda: add_note(**said))] * 4)

    assert set(outcomes) <= {"done", "ORDER_IN_PROGRESS"}
    assert OrderNote.objects.count() == 1
    assert AuditLog.objects.filter(event_type="ORDER_NOTE_ADDED").count() == 1


def test_a_letter_is_sent_again_once_a_wish(order):
    outbox.relay()
    letter = Letter.objects.get()

    at_once(*[told(lambda: resend_letter(letter_id=letter.pk, request_key="k"))] * 4)

    assert OutboxMessage.objects.filter(fact=RESEND).count() == 1


def test_a_buyer_is_not_flooded_by_many_at_once(order):
    outbox.relay()
    letter = Letter.objects.get()

    outcomes = at_once(
        *(
            told(lambda n=n: resend_letter(letter_id=letter.pk, request_key=f"k{n}"))
            for n in range(MOST_RESENT + 3)
        )
    )

    assert Counter(outcomes) == {"done": MOST_RESENT, "RATE_LIMIT_EXCEEDED": 3}
    assert OutboxMessage.objects.filter(fact=RESEND).count() == MOST_RESENT


def test_a_message_that_two_relays_deliver_is_kept_once(order):
    outbox.relay()
    (letter,) = Letter.objects.all()
    message = OutboxMessage.objects.get(uuid=letter.message_uuid)

    def keep():
        keep_letter(
            order_id=order.pk,
            message=message,
            recipient="other@example.com",
            subject="Other",
            body_text="Other",
            body_html="",
        )

    at_once(*[keep] * 3)

    assert Letter.objects.get().body_text == letter.body_text


def test_an_order_is_taken_up_and_cancelled_without_harm(order):
    at_once(
        told(lambda: begin_processing(order_id=order.pk)),
        told(lambda: cancel_order(order_id=order.pk, reason="", deadline=Deadline(9))),
    )

    order.refresh_from_db()
    assert order.status == Order.Status.CANCELLED
    assert StockLevel.objects.get().allocated == 0


class TestPhoneOrders:
    def make(self, clerk, key="k"):
        return make_link(
            wish=PhoneOrder(
                customer_id=None,
                guest=Guest(email="grace@example.com", first_name="Grace", last_name="Hopper"),
                lines=[BasketLine(sku="APPLE", quantity=1)],
                shipping_address=ADDRESS,
            ),
            request_key=key,
            user_id=clerk.pk,
            is_sent=False,
            now=timezone.now(),
        )

    def test_sent_several_times_are_one_link(self, order, clerk):
        outcomes = at_once(*[told(lambda: self.make(clerk))] * 4)

        assert outcomes == ["done"] * 4
        assert PaymentLink.objects.count() == 1
        assert AuditLog.objects.filter(event_type="PAYMENT_LINK_MADE").count() == 1

    def test_are_ordered_once_by_two_who_have_the_link(self, order, clerk):
        link = self.make(clerk)

        def pay():
            return Shopper().order(items=None, cart_id=str(link.cart_id)).status_code

        statuses = at_once(pay, pay)

        assert sorted(statuses) == [201, 409]
        assert Order.objects.filter(cart_id=link.cart_id).exclude(status="cancelled").count() == 1

    def test_are_sent_again_once_a_wish(self, order, clerk):
        link = self.make(clerk)

        at_once(*[told(lambda: send_link(link_id=link.pk, request_key="k"))] * 4)

        facts = OutboxMessage.objects.filter(aggregate_type="payment-link")
        assert facts.count() == 1

    def test_are_withdrawn_once(self, order, clerk):
        link = self.make(clerk)

        at_once(*[told(lambda: withdraw_link(link_id=link.pk))] * 3)

        assert AuditLog.objects.filter(event_type="PAYMENT_LINK_WITHDRAWN").count() == 1


class TestACustomer:
    @pytest.fixture
    def customer(self, transactional_db):
        return factories.CustomerFactory()

    def happened(self, event_type):
        return AuditLog.objects.filter(event_type=event_type).count()

    def test_is_suspended_once_a_wish_and_noted_once(self, customer, clerk):
        said = {
            "customer_id": customer.pk,
            "reason": "Chargebacks.",
            "is_logged_out": True,
            "user_id": clerk.pk,
            "request_key": "k",
        }

        outcomes = at_once(*[told(lambda: customers.suspend_customer(**said))] * 4)

        assert set(outcomes) <= {"done", "ORDER_IN_PROGRESS"}
        assert self.happened("CUSTOMER_SUSPENDED") == 1
        assert CustomerNote.objects.count() == 1

    def test_whom_two_suspend_is_suspended_by_one(self, customer, clerk):
        def suspend(key):
            return told(
                lambda: customers.suspend_customer(
                    customer_id=customer.pk,
                    reason=f"Because of {key}.",
                    is_logged_out=False,
                    user_id=clerk.pk,
                    request_key=key,
                )
            )

        outcomes = at_once(suspend("one"), suspend("two"))

        assert sorted(outcomes) == ["INVALID_TRANSITION", "done"]
        assert self.happened("CUSTOMER_SUSPENDED") == 1
        assert CustomerNote.objects.count() == 1

    def test_suspended_while_they_order_has_an_order_or_none(self, customer, clerk, provider):
        factories.open_shop()
        factories.ProductFactory(sku="APPLE", on_hand=9)
        shopper = Shopper(customer)

        answer, outcome = at_once(
            lambda: shopper.order(("APPLE", 2)),
            told(
                lambda: customers.suspend_customer(
                    customer_id=customer.pk,
                    reason="Chargebacks.",
                    is_logged_out=False,
                    user_id=clerk.pk,
                    request_key="k",
                )
            ),
        )

        assert outcome == "done"
        assert answer.status_code in {201, 403}
        living = Order.objects.filter(customer=customer, status="confirmed").count()
        assert living == (answer.status_code == 201)
        assert StockLevel.objects.get().allocated == 2 * living


def test_one_code_lets_one_of_many_in_while_the_cache_is_away(clerk, monkeypatch):
    monkeypatch.setattr("config.cache.outage.is_on", lambda: True)
    monkeypatch.setattr(totp, "time", SimpleNamespace(time=lambda: 1_800_000_010))
    secret = totp.generate_totp_secret()
    totp.TOTP.activate(clerk, secret)
    [step] = totp.yield_hotp_counters_from_time()
    code = totp.format_hotp_value(totp.hotp_value(secret, step))
    browsers = [Client() for _ in range(6)]
    for browser in browsers:
        said = {"username": clerk.email, "password": factories.PASSWORD}
        assert browser.post("/admin/login/", said)["Location"] == "/admin/login/code/"

    answers = at_once(
        *[
            lambda browser=browser: browser.post("/admin/login/code/", {"code": code}).status_code
            for browser in browsers
        ]
    )

    assert sorted(answers) == [200] * 5 + [302]
    assert sum(browser.get("/admin/").status_code == 200 for browser in browsers) == 1
