"""Orders taken by telephone: what staff puts together, and what the buyer makes of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from django.core import mail
from django.utils import timezone

from audit import outbox
from audit.models import AuditLog, Delivery, OutboxMessage
from config.kernel.errors import (
    InvalidTransitionError,
    NotFoundError,
    RateLimitExceededError,
    RequestKeyReusedError,
    ValidationFailedError,
)
from inventory.models import StockLevel
from orders.errors import CouponInvalidError, PaymentLinkUsedError
from orders.models import Cart, Order, PaymentLink
from orders.services import carts, payment_links
from orders.services.payment_links import (
    LIFE,
    MOST_SENT,
    PhoneOrder,
    make_link,
    quote_phone_order,
    send_link,
    withdraw_link,
)
from orders.services.placement import Guest
from orders.services.quoting import BasketLine
from tests import factories
from tests.shop import ADDRESS, Shopper, order_of

pytestmark = pytest.mark.django_db

GRACE = {"email": "grace@example.com", "first_name": "Grace", "last_name": "Hopper"}


@pytest.fixture
def apple(shop):
    return factories.ProductFactory(sku="APPLE", on_hand=10)


@pytest.fixture
def clerk(db):
    return factories.CustomerFactory(is_staff=True, email="clerk@example.com")


@pytest.fixture
def wish(apple):
    return PhoneOrder(
        customer_id=None,
        guest=Guest(**GRACE),
        lines=[BasketLine(sku="APPLE", quantity=2)],
        shipping_address=ADDRESS,
        notes="Ring twice.",
    )


@pytest.fixture
def make(wish, clerk):
    def make(*, request_key="key", is_sent=False, **changes):
        return make_link(
            wish=replace(wish, **changes),
            request_key=request_key,
            user_id=clerk.pk,
            is_sent=is_sent,
            now=timezone.now(),
        )

    return make


def read(link, shopper=None):
    return (shopper or Shopper()).get(f"/payment-links/{link.public_id}")


def expire(link):
    PaymentLink.objects.filter(pk=link.pk).update(expires_at=timezone.now())


class TestAQuote:
    def test_is_what_the_link_will_cost_and_holds_nothing(self, wish, make):
        quote = quote_phone_order(wish=wish, now=timezone.now())

        assert not Cart.objects.exists()
        assert quote["total_amount"] == read(make()).json()["total_amount"]
        assert (quote["items"][0]["sku"], quote["items"][0]["quantity"]) == ("APPLE", 2)

    def test_says_what_is_short(self, wish):
        many = replace(wish, lines=[BasketLine(sku="APPLE", quantity=11)])

        quote = quote_phone_order(wish=many, now=timezone.now())

        assert quote["unavailable_items"] == [{"sku": "APPLE", "requested": 11, "available": 10}]


class TestALink:
    def test_keeps_what_was_said_and_reserves_nothing(self, make, clerk):
        link = make()

        assert (link.email, link.notes, link.created_by) == (GRACE["email"], "Ring twice.", clerk)
        assert link.shipping_address == ADDRESS
        cart = Cart.objects.get(public_id=link.cart_id)
        assert (cart.customer_id, cart.items.get().quantity) == (None, 2)
        assert StockLevel.objects.get().allocated == 0
        assert not Order.objects.exists()

    def test_is_written_down_without_the_buyer(self, make, clerk):
        link = make()

        row = AuditLog.objects.get(event_type="PAYMENT_LINK_MADE")
        assert (row.entity_type, row.entity_id) == ("payment_link", link.pk)
        assert row.data["lines"] == [["APPLE", 2]]
        assert "grace" not in str(row.data).lower()
        assert str(link.public_id) not in str(row.data)

    def test_asked_for_twice_is_one(self, make):
        assert make() == make()

        assert PaymentLink.objects.count() == 1
        assert AuditLog.objects.filter(event_type="PAYMENT_LINK_MADE").count() == 1

    def test_of_the_same_key_for_something_else_is_refused(self, make):
        make()

        with pytest.raises(RequestKeyReusedError):
            make(lines=[BasketLine(sku="APPLE", quantity=3)])

        assert PaymentLink.objects.count() == 1

    def test_for_an_account_names_the_account(self, make):
        customer = factories.CustomerFactory()

        link = make(customer_id=customer.pk, guest=None)

        assert (link.customer, link.email) == (customer, customer.email)

    def test_leaves_the_customers_own_cart_alone(self, make):
        shopper = Shopper(factories.CustomerFactory())
        own = shopper.post("/carts", {"items": [{"sku": "APPLE", "quantity": 1}]}).json()["id"]

        make(customer_id=shopper.customer.pk, guest=None)

        assert shopper.get(f"/carts/{own}").json()["items"][0]["quantity"] == 1

    def test_is_no_cart_that_somebody_has_left_alone(self, make):
        make()
        Cart.objects.update(changed_at=timezone.now() - timedelta(days=1))

        carts.tell_abandoned(limit=10)

        assert not OutboxMessage.objects.filter(fact="cart.abandoned").exists()

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"lines": []}, "items"),
            ({"lines": [BasketLine(sku="APPLE", quantity=0)]}, "items"),
            ({"lines": [BasketLine(sku="APPLE", quantity=10_000)]}, "items"),
            ({"lines": [BasketLine(sku="APPLE", quantity=1)] * 2}, "items"),
            ({"lines": [BasketLine(sku="NO-SUCH", quantity=1)]}, "items"),
            ({"guest": None}, "customer"),
            ({"customer_id": 0, "guest": None}, "customer"),
            ({"guest": Guest(**GRACE | {"email": "no address"})}, "email"),
            ({"guest": Guest(**GRACE | {"first_name": " "})}, "first_name"),
            ({"guest": Guest(**GRACE | {"last_name": "a\nb"})}, "last_name"),
            ({"shipping_address": {**ADDRESS, "postal_code": "?"}}, "shipping_address"),
            ({"shipping_address": {**ADDRESS, "country": "XX"}}, "shipping_address"),
            ({"shipping_address": {}}, "shipping_address"),
            ({"shipping_method": "by-balloon"}, "shipping_method"),
            ({"notes": "x" * 2_001}, "notes"),
            ({"notes": "4242 4242 4242 4242"}, "notes"),
        ],
    )
    def test_of_something_wrong_is_refused_and_named(self, make, changes, field):
        with pytest.raises(ValidationFailedError) as caught:
            make(**changes)

        assert list(caught.value.details) == [field]
        assert not PaymentLink.objects.exists()
        assert not Cart.objects.exists()

    def test_with_a_coupon_that_does_not_apply_is_refused(self, make):
        with pytest.raises(CouponInvalidError):
            make(coupon_code="NO-SUCH")

        assert not PaymentLink.objects.exists()

    def test_for_a_suspended_account_is_refused(self, make):
        customer = factories.CustomerFactory(status="suspended")

        with pytest.raises(ValidationFailedError):
            make(customer_id=customer.pk, guest=None)


class TestWhatIsBehindIt:
    def test_is_all_that_is_needed_to_order(self, make):
        link = make()

        told = read(link).json()

        assert told["customer"] == GRACE
        assert (told["shipping_address"], told["notes"]) == (ADDRESS, "Ring twice.")
        assert told["cart_id"] == str(link.cart_id)
        assert told["items"][0]["product_name"] == "Product APPLE"

    def test_becomes_an_order_like_any_other(self, make):
        told = read(make()).json()

        answer = Shopper().order(
            items=None,
            **{name: told[name] for name in ("cart_id", "shipping_address", "notes", "customer")},
            expected_total=told["total_amount"],
        )

        order = order_of(answer)
        assert (answer.status_code, order.status) == (201, "confirmed")
        assert (order.guest_email, order.notes) == (GRACE["email"], "Ring twice.")
        assert StockLevel.objects.get().allocated == 2

    def test_may_be_paid_by_whoever_is_logged_in_without_becoming_theirs_before(self, make):
        shopper = Shopper(factories.CustomerFactory())
        own = shopper.post("/carts", {"items": [{"sku": "APPLE", "quantity": 5}]}).json()["id"]
        link = make()

        told = read(link, shopper).json()
        answer = shopper.order(items=None, cart_id=told["cart_id"])

        order = order_of(answer)
        assert (order.customer, order.items.get().quantity) == (shopper.customer, 2)
        assert shopper.get(f"/carts/{own}").json()["items"][0]["quantity"] == 5

    def test_is_used_once(self, make):
        link = make()
        placed = Shopper().order(items=None, cart_id=str(link.cart_id))

        again = Shopper().order(items=None, cart_id=str(link.cart_id))
        told = read(link)

        assert placed.status_code == 201
        assert again.status_code == 409
        assert (told.status_code, told.json()["error"]["details"]) == (
            409,
            {"order_number": order_of(placed).order_number},
        )
        assert "grace" not in told.content.decode()

    def test_can_be_tried_again_after_a_declined_card(self, make):
        link = make()
        declined = Shopper().order(
            items=None, cart_id=str(link.cart_id), payment_method_id="pm_card_chargeDeclined"
        )
        assert declined.status_code == 402

        assert read(link).status_code == 200
        assert Shopper().order(items=None, cart_id=str(link.cart_id)).status_code == 201

    @pytest.mark.parametrize("end", [expire, lambda link: withdraw_link(link_id=link.pk)])
    def test_is_gone_when_it_is_over(self, make, end):
        link = make()
        end(link)

        assert read(link).status_code == 404

    def test_is_nothing_for_an_id_that_is_none(self, shop):
        for name in ("8d0f6b1c-3a2e-4c57-b9d4-1e6f7a8b9c0d", "1", "x"):
            assert Shopper().get(f"/payment-links/{name}").status_code == 404

    def test_says_that_it_is_no_longer_sold(self, make, apple):
        link = make()
        type(apple).objects.filter(pk=apple.pk).update(is_active=False)

        told = read(link)

        assert told.status_code == 409
        assert "call the shop" in told.json()["error"]["message"]

    def test_lives_for_a_week(self, make):
        link = make()

        assert timedelta(days=6, hours=23) < link.expires_at - timezone.now() <= LIFE

    def test_writes_nothing(self, make, django_assert_max_num_queries):
        link = make()
        before = Cart.objects.values().get()

        with django_assert_max_num_queries(7):
            read(link)

        assert Cart.objects.values().get() == before

    def test_is_asked_for_so_many_times_a_minute(self, make, settings):
        settings.THROTTLE = True
        settings.THROTTLE_RATES = {**settings.THROTTLE_RATES, "payment_links": (2, 60)}
        link = make()

        assert [read(link).status_code for _ in range(3)] == [200, 200, 429]


class TestSendingIt:
    def test_sends_the_address_of_its_page(self, make):
        link = make(is_sent=True)
        outbox.relay()

        (letter,) = mail.outbox
        assert letter.to == [GRACE["email"]]
        assert payment_links.page_of(link) in letter.body
        assert f"/pay/{link.public_id}" in letter.body
        assert "Nothing is reserved before you pay" in letter.body
        assert str(link.public_id) not in str(OutboxMessage.objects.values())

    def test_is_left_to_staff(self, make):
        make()
        outbox.relay()

        assert mail.outbox == []

    def test_again_sends_it_once_a_wish_and_not_too_often(self, make):
        link = make(is_sent=True)
        assert send_link(link_id=link.pk, request_key="again")
        assert not send_link(link_id=link.pk, request_key="again")
        for n in range(MOST_SENT - 2):
            send_link(link_id=link.pk, request_key=f"wish {n}")

        with pytest.raises(RateLimitExceededError):
            send_link(link_id=link.pk, request_key="one more")

        outbox.relay()
        assert len(mail.outbox) == MOST_SENT

    def test_of_one_that_is_over_is_refused(self, make):
        link = make()
        expire(link)

        with pytest.raises(InvalidTransitionError, match="expired"):
            send_link(link_id=link.pk, request_key="again")

    def test_sends_none_that_was_withdrawn_meanwhile(self, make):
        link = make(is_sent=True)
        withdraw_link(link_id=link.pk)
        outbox.relay()

        assert mail.outbox == []
        delivery = Delivery.objects.get(message__fact=payment_links.SEND)
        assert delivery.last_error == "not sent: This link was withdrawn."

    def test_of_nothing_is_refused(self, db):
        with pytest.raises(NotFoundError):
            send_link(link_id=1, request_key="again")


class TestWithdrawingIt:
    def test_is_written_down_and_may_be_repeated(self, make):
        link = make()

        withdraw_link(link_id=link.pk)
        withdraw_link(link_id=link.pk)

        assert AuditLog.objects.filter(event_type="PAYMENT_LINK_WITHDRAWN").count() == 1

    def test_comes_too_late_for_an_order(self, make):
        link = make()
        Shopper().order(items=None, cart_id=str(link.cart_id))

        with pytest.raises(PaymentLinkUsedError):
            withdraw_link(link_id=link.pk)


class TestForgetting:
    def test_takes_those_long_over_that_became_no_order(self, make):
        used, unused, young = (make(request_key=key) for key in ("used", "unused", "young"))
        Shopper().order(items=None, cart_id=str(used.cart_id))
        long_ago = timezone.now() - timedelta(days=24)
        PaymentLink.objects.exclude(pk=young.pk).update(expires_at=long_ago)

        assert payment_links.forget_expired(limit=10) == 1

        assert set(PaymentLink.objects.all()) == {used, young}
        assert unused not in PaymentLink.objects.all()
