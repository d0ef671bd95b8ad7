"""What buyers are written about their orders: once each, in their language, and when it helps."""

from __future__ import annotations

import re
import threading
from datetime import timedelta
from decimal import Decimal

import pytest
from django.core import mail
from django.db import connection
from django.utils import timezone

from audit import outbox
from audit.models import Delivery, OutboxMessage
from config.kernel.clock import Deadline
from customers.models import Customer
from orders.models import Letter, Order
from orders.services import recovery, refunds, returns, waiting_payments
from orders.services.refunds import RefundWish
from orders.services.shipping import Parcel, deliver_order, ship_order
from orders.services.waiting_payments import ACTION_NEEDED
from tests import factories
from tests.shop import BERLIN, Shopper, order_of

pytestmark = pytest.mark.django_db

THREE_D_SECURE = "pm_card_threeDSecure2Required"
LATER = timedelta(minutes=4)


@pytest.fixture(autouse=True)
def _shop(settings):
    settings.PUBLIC_URL = "https://shop.example.com"


@pytest.fixture
def product(shop):
    return factories.ProductFactory(on_hand=50, name="Green tea")


@pytest.fixture
def paid(shopper, product):
    return order_of(shopper.order((product.sku, 3)))


@pytest.fixture
def waiting(shopper, product):
    return order_of(shopper.order((product.sku, 1), payment_method_id=THREE_D_SECURE))


def told():
    """Subjects of what is sent now, and forgotten here."""
    mail.outbox.clear()
    outbox.relay()
    return [letter.subject for letter in mail.outbox]


def placed_earlier(order, by):
    Order.objects.filter(pk=order.pk).update(created_at=order.created_at - by)


def notes(fact):
    deliveries = Delivery.objects.filter(message__fact=fact, subscriber="email")
    return list(deliveries.values_list("status", "last_error"))


def ship(order, **changes):
    told_of = {"carrier": "UPS", "tracking_number": "1Z999", **changes}
    return ship_order(order_id=order.pk, parcel=Parcel(**told_of))


class TestAnOrdersLife:
    def test_is_told_letter_by_letter(self, paid):
        number = paid.order_number
        assert told() == [f"Order {number} confirmed"]

        ship(paid)
        assert told() == [f"Order {number} shipped"]

        deliver_order(order_id=paid.pk)
        assert told() == [f"Order {number} delivered"]

        deliver_order(order_id=paid.pk)
        assert told() == []
        assert Letter.objects.filter(order=paid).count() == 3

    def test_each_parcel_has_its_letter_with_what_is_in_it(self, paid, product):
        told()

        ship(paid, units={product.sku: 1}, tracking_number="FIRST")
        (first,) = told() and mail.outbox
        ship(paid, units={product.sku: 2}, tracking_number="SECOND", carrier="Boat")
        (second,) = told() and mail.outbox

        assert "The rest follows in another parcel." in first.body
        assert "Tracking number: FIRST" in first.body
        assert "https://www.ups.com/track?tracknum=FIRST" in first.body
        assert "Green tea" in first.body
        assert "× 1" in first.body
        assert "The rest follows" not in second.body
        assert f"https://shop.example.com/orders/{paid.order_number}\n" in second.body
        assert "× 2" in second.body

    def test_a_cancelled_one_says_that_the_money_comes_back_and_then_that_it_did(
        self, shopper, paid
    ):
        told()

        shopper.post(f"/orders/{paid.order_number}/cancel")

        assert set(told()) == {
            f"Order {paid.order_number} cancelled",
            f"Refund for order {paid.order_number}",
        }
        cancelled, refunded = sorted(mail.outbox, key=lambda letter: letter.subject)
        assert "What you have paid goes back to you." in cancelled.body
        assert "We have given back $" in refunded.body

    def test_each_refund_has_its_letter(self, paid):
        told()
        for amount in ("1.00", "2.00"):
            refund = refunds.decide_refund(
                order_id=paid.pk, wish=RefundWish(reason="scratched", amount=Decimal(amount))
            )
            refunds.finish_refund(refund_id=refund.pk, deadline=Deadline(10))

        assert told() == [f"Refund for order {paid.order_number}"] * 2
        assert "scratched" not in mail.outbox[0].body  # said among staff
        for letter, amount in zip(mail.outbox, ("$1.00", "$2.00"), strict=True):
            assert f"We have given back {amount} of" in letter.body


class TestAReturn:
    @pytest.fixture
    def wish(self, paid, product):
        ship(paid)
        wish = returns.request_return(
            order_id=paid.pk, units={product.sku: 2}, reason="does not fit"
        )
        told()
        return wish

    def test_is_confirmed_to_whoever_asks(self, paid, product):
        ship(paid)
        told()

        returns.request_return(order_id=paid.pk, units={product.sku: 2}, reason="too big")

        assert told() == [f"Your return for order {paid.order_number}"]
        assert "× 2" in mail.outbox[0].body
        assert "too big" not in mail.outbox[0].body

    def test_tells_where_to_send_it(self, wish, settings):
        settings.SHOP_ADDRESS = "9 Quay, Boston"

        returns.accept_return(return_id=wish.pk)

        assert told() == [f"Your return for order {wish.order.order_number} is accepted"]
        assert "Send it to: 9 Quay, Boston" in mail.outbox[0].body

    def test_tells_why_not(self, wish):
        returns.refuse_return(return_id=wish.pk, reason="The seal\nis <b>broken</b>.")

        assert told() == [f"Your return for order {wish.order.order_number} is refused"]
        assert "The seal is <b>broken</b>.\n" in mail.outbox[0].body
        assert "<b>broken" not in mail.outbox[0].alternatives[0].content

    def test_tells_of_its_arrival_and_then_of_the_money_once(self, wish):
        number = wish.order.order_number
        returns.accept_return(return_id=wish.pk)
        told()

        returns.receive_return(return_id=wish.pk)
        assert told() == [f"Your return for order {number} has arrived"]

        returns.refund_return(return_id=wish.pk, deadline=Deadline(10))
        assert told() == [f"Refund for order {number}"]


class TestAPaymentThatWaits:
    def test_is_not_told_of_while_its_buyer_is_at_the_bank(self, waiting):
        assert waiting_payments.tell_waiting() == 0
        assert told() == []

    def test_is_told_of_once_some_minutes_later(self, waiting):
        placed_earlier(waiting, LATER)

        assert waiting_payments.tell_waiting() == 1
        assert waiting_payments.tell_waiting() == 0

        assert told() == [f"Order {waiting.order_number} waits for your payment"]
        (letter,) = mail.outbox
        assert f"https://shop.example.com/orders/{waiting.order_number}\n" in letter.body
        assert "Your things are kept for you until " in letter.body
        fact = OutboxMessage.objects.get(fact=ACTION_NEEDED)
        assert fact.payload == {"order_id": waiting.pk, "order_number": waiting.order_number}

    def test_is_not_told_of_when_there_is_no_time_left(self, waiting):
        placed_earlier(waiting, LATER)
        Order.objects.filter(pk=waiting.pk).update(
            hold_expires_at=timezone.now() + timedelta(seconds=90)
        )

        assert waiting_payments.tell_waiting() == 0

    def test_is_not_told_of_when_it_was_paid_meanwhile(self, shopper, waiting, provider):
        placed_earlier(waiting, LATER)
        waiting_payments.tell_waiting()
        provider.act(waiting.payments.get().payment_intent_id, "succeed")
        assert shopper.post(f"/orders/{waiting.order_number}/confirm").status_code == 200

        assert told() == [f"Order {waiting.order_number} confirmed"]
        assert notes(ACTION_NEEDED) == [
            ("delivered", "not sent: the payment does not wait for its buyer any more")
        ]

    def test_goes_through_all_of_them_however_many(self, shop, product):
        for _ in range(3):
            answer = Shopper().order((product.sku, 1), payment_method_id=THREE_D_SECURE)
            placed_earlier(order_of(answer), LATER)

        assert waiting_payments.tell_waiting(limit=1) == 3
        assert waiting_payments.tell_waiting(limit=1) == 0


@pytest.mark.concurrency
@pytest.mark.django_db(transaction=True)
def test_two_sweeps_at_once_tell_of_an_order_once(shopper, product, waiting):
    placed_earlier(waiting, LATER)
    barrier, counts = threading.Barrier(2), []

    def sweep():
        barrier.wait(10)
        counts.append(waiting_payments.tell_waiting())
        connection.close()

    threads = [threading.Thread(target=sweep) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert sorted(counts) == [0, 1]
    assert OutboxMessage.objects.filter(fact=ACTION_NEEDED).count() == 1


class TestAPaymentThatFailed:
    def test_is_not_told_to_whoever_was_told_at_the_checkout(self, shopper, product):
        shopper.order((product.sku, 1), payment_method_id="pm_card_chargeDeclined")

        assert told() == []
        assert notes("order.cancelled") == [
            ("delivered", "not sent: the buyer was told at the checkout")
        ]

    def test_is_told_when_it_fails_later(self, waiting, provider):
        placed_earlier(waiting, LATER)
        provider.act(waiting.payments.get().payment_intent_id, "fail")

        recovery.sweep(ignore_backoff=True)

        assert told() == [f"Payment for order {waiting.order_number} failed"]
        assert "You have not been charged" in mail.outbox[0].body

    def test_is_told_however_soon_to_whoever_was_promised_an_answer(
        self, shopper, product, provider
    ):
        answer = shopper.order((product.sku, 1), payment_method_id="pm_usBankAccount_success")
        assert answer.status_code == 202
        order = order_of(answer)
        provider.act(order.payments.get().payment_intent_id, "fail")

        recovery.sweep(ignore_backoff=True)

        order.refresh_from_db()
        assert order.payment_status == "failed"
        assert told() == [f"Payment for order {order.order_number} failed"]

    def test_that_never_came_says_that_nothing_was_charged(self, waiting):
        Order.objects.filter(pk=waiting.pk).update(hold_expires_at=waiting.created_at)

        recovery.release_expired()

        assert told() == [f"Order {waiting.order_number} cancelled"]
        assert "You have not been charged." in mail.outbox[0].body


class TestLanguage:
    @pytest.mark.parametrize(
        ("asked_for", "subject"),
        [
            ("de-AT,de;q=0.9,en;q=0.5", "Bestellung {} bestätigt"),
            ("fr", "Commande {} confirmée"),
            ("ar-EG", "تم تأكيد الطلب {}"),
            ("nl,de;q=0.2", "Bestellung {} bestätigt"),
            ("en-GB", "Order {} confirmed"),
            ("nl", "Order {} confirmed"),
            ("*", "Order {} confirmed"),
            ("", "Order {} confirmed"),
            ("x" * 4_000, "Order {} confirmed"),
        ],
    )
    def test_is_what_the_browser_asked_for(self, shop, product, asked_for, subject):
        guest = Shopper()
        guest.headers["Accept-Language"] = asked_for

        order = order_of(guest.order((product.sku, 1)))

        assert told() == [subject.format(order.order_number)]

    def test_of_the_customer_comes_first(self, shopper, paid):
        Customer.objects.filter(pk=paid.customer_id).update(language="fr")

        assert told() == [f"Commande {paid.order_number} confirmée"]

    def test_of_the_shop_comes_last(self, paid, settings):
        settings.SHOP_LANGUAGE = "de"

        assert told() == [f"Bestellung {paid.order_number} bestätigt"]

    def test_is_not_left_on_after_the_letter(self, shop, product):
        german, other = Shopper(), Shopper()
        german.headers["Accept-Language"] = "de"
        german.order((product.sku, 1))
        other.order((product.sku, 1), customer={
            "email": "other@example.com", "first_name": "Otto", "last_name": "Other",
        })  # fmt: skip

        first, second = told()

        assert first.startswith("Bestellung")
        assert second.startswith("Order")

    def test_is_kept_at_sign_up_and_written_in(self, client):
        client.post(
            "/_allauth/app/v1/auth/signup",
            {
                "email": "eve@example.com",
                "password": "correct horse battery staple",
                "first_name": "Eve",
                "last_name": "Lee",
            },
            content_type="application/json",
            headers={"Accept-Language": "fr-CH"},
        )

        assert Customer.objects.get(email="eve@example.com").language == "fr"
        assert told() == ["Confirmez votre adresse e-mail"]

    def test_amounts_and_days_are_written_as_the_reader_does(self, shop, product):
        factories.ShippingMethodFactory(code="abroad", countries=["DE"])
        guest = Shopper()
        guest.headers["Accept-Language"] = "de"
        order = order_of(guest.order((product.sku, 1), shipping_address=BERLIN))
        # The fifth of May in Berlin, the fourth in New York.
        Order.objects.filter(pk=order.pk).update(created_at="2026-05-04T23:30:00Z")

        told()

        assert "vom Dienstag, 5. Mai 2026" in mail.outbox[0].body
        assert re.search(r"Gesamtbetrag: \d+,\d\d\xa0\$", mail.outbox[0].body)


class TestErasure:
    def test_takes_the_language_along(self, paid):
        from customers import privacy as customers  # noqa: PLC0415
        from orders.services import privacy  # noqa: PLC0415

        Order.objects.filter(pk=paid.pk).update(language="fr")
        Customer.objects.filter(pk=paid.customer_id).update(language="fr")
        now = timezone.now()
        exported = privacy.export_customer(customer_id=paid.customer_id, now=now)
        assert exported["account"]["language"] == exported["orders"][0]["language"] == "fr"
        ship(paid)

        privacy.erase_customer(customer_id=paid.customer_id, now=now)
        outbox.relay()

        assert customers.get_erasable(customer_id=paid.customer_id).language == ""
        assert Order.objects.get(pk=paid.pk).language == ""
