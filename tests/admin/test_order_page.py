"""An order's page: it answers every question, and has a button for all that may be done now."""

from __future__ import annotations

import re
from decimal import Decimal
from uuid import uuid4

import pgtrigger
import pytest
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.core import mail
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from audit import outbox
from audit.models import AuditLog, Delivery
from inventory.models import StockLevel
from orders import order_page
from orders.models import Letter, Order, OrderNote, PaymentLink
from orders.services.notes import add_note
from orders.services.returns import request_return
from orders.services.shipping import Parcel, ship_order
from orders.staff_actions.of_orders import ORDER_ACTIONS
from orders.staff_actions.of_payment_links import LINK_ACTIONS
from orders.staff_actions.of_returns import RETURN_ACTIONS
from payments.models import Payment, Refund
from tests import factories
from tests.admin import rows
from tests.admin.plans import read_without_an_index
from tests.shop import ADDRESS, Shopper, order_of, payment_link

pytestmark = pytest.mark.django_db

THREE_D_SECURE = "pm_card_threeDSecure2Required"


@pytest.fixture
def goods(shop):
    return [factories.ProductFactory(sku=sku, price="10.00", on_hand=9) for sku in ("TEA", "CUP")]


@pytest.fixture
def order(shopper, goods, provider):
    """Three teas and a cup, paid."""
    return order_of(shopper.order(("TEA", 3), ("CUP", 1)))


@pytest.fixture
def waiting(shopper, goods, provider):
    return order_of(shopper.order(("TEA", 1), payment_method_id=THREE_D_SECURE))


def path_of(row, page="change", *args):
    opts = row._meta
    return reverse(f"admin:{opts.app_label}_{opts.model_name}_{page}", args=[row.pk, *args])


def look(browser, row):
    answer = browser.get(path_of(row))
    assert answer.status_code == 200
    return answer.content.decode()


def press(browser, row, name, *, key=None, **said):
    """The page that follows; the row as it stands then."""
    answer = browser.post(
        path_of(row, "do", name), {"request_key": key or uuid4(), **said}, follow=True
    )
    row.refresh_from_db()
    return answer.content.decode()


def units(order, **wanted):
    """The fields of the order's lines."""
    return {f"line_{item.pk}": wanted.get(item.product_sku, 0) for item in order.items.all()}


def refund(browser, order, **said):
    """Asked for twice, as people do: the sum is shown, then it is done. Both pages."""
    said = {"reason": "broken", "key": uuid4(), **said}
    shown = press(browser, order, "refund", **said)
    seen = dict(re.findall(r'name="(seen_\w+)" value="([\w.]+)"', shown))
    return shown, press(browser, order, "refund", **seen, **said)


def buttons_of(browser, row):
    text = look(browser, row)
    return set(re.findall(rf"{re.escape(path_of(row, 'do', 'x')[:-2])}(\w+)/", text))


def events(order):
    rows = AuditLog.objects.filter(entity_type="order", entity_id=order.pk).order_by("pk")
    return list(rows.values_list("event_type", flat=True))


class TestThePage:
    def test_answers_who_what_where_and_when(self, browser, order, shopper):
        outbox.relay()

        text = look(browser, order)

        assert shopper.customer.email in text
        assert "1 Main Street" in text
        assert "Product TEA" in text
        assert "MAIN: 3 committed" in text
        assert "Captured" in text
        assert str(order.total_amount) in text
        assert "Paid and confirmed" in text
        assert f"E-mail sent: Order {order.order_number} confirmed" in text
        assert "What it said" in text

    def test_shows_notes_and_open_returns(self, browser, superuser, order):
        add_note(order_id=order.pk, text="Ring\ntwice.", user_id=superuser.pk, request_key="k")
        ship_order(order_id=order.pk, parcel=Parcel(carrier="UPS"))
        request_return(order_id=order.pk, units={"TEA": 1}, reason="too strong")

        text = look(browser, order)

        assert "Ring\ntwice." in text
        assert "A return is requested" in text

    def test_opens_a_guests_letter_without_the_guests_key(self, browser, guest, goods, provider):
        answer = guest.order(("TEA", 1))
        outbox.relay()

        text = look(browser, order_of(answer))

        assert "without an account" in text
        assert answer.json()["guest_token"] not in text

    def test_opens_an_erased_order(self, browser, order):
        Order.objects.filter(pk=order.pk).update(
            erased_at=order.created_at, shipping_address={}, billing_address={}
        )

        assert "Erased" in look(browser, order)

    def test_takes_as_many_statements_for_a_long_story_as_for_a_short_one(
        self, browser, superuser, order
    ):
        outbox.relay()
        look(browser, order)
        with CaptureQueriesContext(connection) as few:
            look(browser, order)
        for n in range(3):
            ship_order(order_id=order.pk, parcel=Parcel(carrier="UPS", units={"TEA": 1}))
            add_note(order_id=order.pk, text="x", user_id=superuser.pk, request_key=f"{n}")
        outbox.relay()

        with CaptureQueriesContext(connection) as many:
            look(browser, order)

        assert len(many) == len(few) <= 55

    def test_reads_everything_by_an_index(self, order):
        outbox.relay()
        with CaptureQueriesContext(connection) as queries:
            order_page.shown(order, may=lambda _permission: True)

        assert len(queries) > 20
        assert read_without_an_index(queries) == {}

    def test_links_to_what_may_be_opened_alone(self, client, order):
        clerk = rows.make_customer(2, is_staff=True)
        allow(clerk, "orders.view_order")
        client.force_login(clerk)

        text = look(client, order)

        assert reverse("admin:customers_customer_change", args=[order.customer_id]) not in text
        assert "/admin/payments/" not in text


class TestWhichButtons:
    def test_a_paid_order_has(self, browser, order):
        outbox.relay()

        assert buttons_of(browser, order) == {
            *("process", "packing_slip", "ship", "refund", "cancel", "note", "resend_letter"),
        }

    def test_one_that_waits_for_its_payment_has(self, browser, waiting):
        assert buttons_of(browser, waiting) == {"settle", "cancel", "note"}

    def test_one_in_quarantine_has(self, browser, waiting):
        Payment.objects.filter(order=waiting).update(status="quarantined")

        assert "end_quarantine" in buttons_of(browser, waiting)

    def test_one_that_is_partly_shipped_has(self, browser, order):
        ship_order(order_id=order.pk, parcel=Parcel(carrier="UPS", units={"TEA": 1}))
        outbox.relay()

        assert buttons_of(browser, order) == {
            *("packing_slip", "ship", "refund", "note", "resend_letter"),
        }

    def test_one_that_is_on_its_way_has(self, browser, order):
        ship_order(order_id=order.pk, parcel=Parcel(carrier="UPS"))
        outbox.relay()

        assert buttons_of(browser, order) == {"deliver", "refund", "note", "resend_letter"}

    def test_one_with_a_delivery_that_did_not_arrive_has(self, browser, order):
        outbox.relay()
        Delivery.objects.update(status="dead")

        assert "retry_deliveries" in buttons_of(browser, order)


class TestSettling:
    def test_asks_the_provider(self, browser, superuser, waiting, provider):
        provider.act(waiting.payments.get().payment_intent_id, "succeed")

        text = press(browser, waiting, "settle")

        assert (waiting.status, "Settled." in text) == ("confirmed", True)
        asked, *_, done = (
            AuditLog.objects.filter(entity_id=waiting.pk)
            .exclude(event_type="ORDER_CREATED")
            .order_by("pk")
        )
        assert (asked.event_type, asked.user_id, asked.data["state"]["status"]) == (
            "STAFF_ACTION_ASKED",
            superuser.pk,
            "pending",
        )
        assert (done.event_type, done.data["state"]["status"]) == (
            "STAFF_ACTION_DONE",
            "confirmed",
        )

    def test_says_that_the_customer_has_not_acted(self, browser, waiting):
        text = press(browser, waiting, "settle")

        assert waiting.status == "pending"
        assert "has not decided" in text

    def test_the_end_of_a_quarantine_gives_back_and_cancels(self, browser, waiting, provider):
        payment = waiting.payments.get()
        provider.act(payment.payment_intent_id, "succeed")
        with pgtrigger.ignore():
            Payment.objects.update(
                status="quarantined", create_params={**payment.create_params, "amount": 1}
            )

        text = press(browser, waiting, "end_quarantine")

        assert (waiting.status, "ended" in text) == ("cancelled", True)
        assert len(provider.refunds_of(payment.payment_intent_id)) == 1

    def test_no_quarantine_has_no_end(self, browser, waiting):
        text = press(browser, waiting, "end_quarantine")

        assert "No payment of this order is in quarantine." in text


class TestShipping:
    def test_begins_with_the_warehouse(self, browser, order):
        press(browser, order, "process")

        assert order.status == "processing"

    def test_shows_what_is_left_and_where_it_lies(self, browser, order):
        ship_order(order_id=order.pk, parcel=Parcel(carrier="UPS", units={"CUP": 1, "TEA": 1}))

        text = browser.get(path_of(order, "do", "ship")).content.decode()

        assert "TEA, Product TEA" in text
        assert "At most 2 of 3. 2 in MAIN" in text
        assert "CUP, Product CUP" not in text

    def test_tells_of_a_line_what_left_and_what_never_will(self, browser, order):
        ship_order(order_id=order.pk, parcel=Parcel(carrier="UPS", units={"CUP": 1, "TEA": 1}))
        assert "MAIN: 1 shipped, 2 committed" in look(browser, order)

        refund(browser, order, what="units", **units(order, TEA=2))

        text = look(browser, order)
        assert "MAIN: 1 shipped, 2 released" in text
        assert "MAIN: 1 shipped<" in re.sub(r"\s+<", "<", text)  # the cup

    def test_sends_a_part_once_however_often_the_page_is_sent(self, browser, order):
        said = {"carrier": "UPS", "tracking_number": "1Z9", "key": uuid4(), **units(order, TEA=2)}
        for _ in range(2):
            text = press(browser, order, "ship", **said)
            assert "The parcel is on record." in text

        assert (order.status, order.shipments.count()) == ("processing", 1)
        assert StockLevel.objects.get(product__sku="TEA").on_hand == 7

        press(browser, order, "ship", carrier="UPS", **units(order, TEA=1, CUP=1))
        assert (order.status, order.shipments.count()) == ("shipped", 2)

    def test_sent_twice_for_all_of_it_is_one_parcel(self, browser, order):
        said = {"carrier": "UPS", "key": uuid4(), **units(order, TEA=3, CUP=1)}

        texts = [press(browser, order, "ship", **said) for _ in range(2)]

        assert ["The parcel is on record." in text for text in texts] == [True, True]
        assert order.shipments.count() == 1

    @pytest.mark.parametrize(
        ("said", "told"),
        [
            ({"TEA": 0}, "Say at least one unit."),
            ({"TEA": 4}, "less than or equal to 3"),
            ({"TEA": -1}, "greater than or equal to 0"),
            ({"TEA": "two"}, "Enter a whole number."),
        ],
    )
    def test_says_what_is_wrong_with_the_units(self, browser, order, said, told):
        text = press(browser, order, "ship", carrier="UPS", **units(order, **said))

        assert told in text
        assert not order.shipments.exists()

    def test_wants_a_carrier(self, browser, order):
        text = press(browser, order, "ship", **units(order, TEA=1))

        assert "This field is required." in text
        assert not order.shipments.exists()

    def test_sends_no_more_than_is_left(self, browser, order):
        ship_order(order_id=order.pk, parcel=Parcel(carrier="UPS", units={"TEA": 2}))

        text = press(browser, order, "ship", carrier="UPS", **units(order, TEA=2))

        assert "Between 1 and 1 units can still be shipped." in text
        assert order.shipments.count() == 1

    def test_ends_with_the_delivery(self, browser, order):
        ship_order(order_id=order.pk, parcel=Parcel(carrier="UPS"))

        for _ in range(2):
            press(browser, order, "deliver")

        assert order.status == "delivered"
        assert events(order).count("ORDER_DELIVERED") == 1


class TestGivingBack:
    def test_shows_the_sum_before_anything_happens(self, browser, order):
        text = press(browser, order, "refund", what="units", reason="broken", **units(order, TEA=1))

        assert "This gives" in text
        assert not Refund.objects.exists()

    def test_of_units_gives_what_was_paid_for_them(self, browser, order, provider):
        shown, done = refund(browser, order, what="units", **units(order, TEA=1))

        given = Refund.objects.get()
        assert f"This gives {given.amount} USD back." in shown
        assert (given.status, given.reason) == ("succeeded", "broken")
        assert given.lines.get().quantity == 1
        assert "The money is back." in done

    def test_of_an_amount_gives_it_once_however_often_the_page_is_sent(self, browser, order):
        said = {
            "what": "amount",
            "amount": "1.50",
            "seen_amount": "1.50",
            "reason": "late",
            "key": uuid4(),
        }

        texts = [press(browser, order, "refund", **said) for _ in range(2)]

        assert ["The money is back." in text for text in texts] == [True, True]
        assert Refund.objects.get().amount == Decimal("1.50")

    def test_of_all_before_it_is_sent_cancels_and_says_so(self, browser, order):
        shown, _ = refund(browser, order, what="all")

        assert "the order is cancelled" in shown
        assert (order.status, order.payment_status) == ("cancelled", "refunded")
        assert Refund.objects.get().amount == order.total_amount

    def test_of_all_sent_twice_is_one(self, browser, order):
        said = {"what": "all", "reason": "x", "key": uuid4()}
        said |= {"seen_amount": str(order.total_amount), "seen_cancels": "True"}

        texts = [press(browser, order, "refund", **said) for _ in range(2)]

        assert ["The money is back." in text for text in texts] == [True, True]
        assert Refund.objects.count() == 1

    def test_of_all_is_shown_anew_when_it_was_shipped_in_between(self, browser, order, provider):
        said = {"what": "all", "reason": "x", "key": uuid4()}
        shown = press(browser, order, "refund", **said)
        seen = dict(re.findall(r'name="(seen_\w+)" value="([\w.]+)"', shown))
        assert "the order is cancelled" in shown
        ship_order(order_id=order.pk, parcel=Parcel(carrier="UPS"))

        shown = press(browser, order, "refund", **said, **seen)

        assert f"This gives {order.total_amount} USD back." in shown
        assert "the order is cancelled" not in shown
        assert not Refund.objects.exists()

    def test_of_all_above_the_limit_proposes_to_cancel(self, browser, order, settings, provider):
        settings.REFUND_LIMITS = {"USD": Decimal("5.00")}

        refund(browser, order, what="all")

        proposal = order.refund_proposals.get()
        assert (proposal.kind, proposal.ends_order) == ("cancellation", True)
        assert proposal.amount == order.total_amount

    def test_of_an_amount_sent_twice_is_no_cancellation_of_the_rest(self, browser, order):
        half = order.total_amount / 2
        said = {"what": "amount", "amount": half, "seen_amount": half, "reason": "x"}
        said["key"] = uuid4()

        texts = [press(browser, order, "refund", **said) for _ in range(2)]

        assert ["The money is back." in text for text in texts] == [True, True]
        order.refresh_from_db()
        assert (order.status, Refund.objects.count()) == ("confirmed", 1)

    def test_gives_no_other_sum_than_the_one_that_was_seen(self, browser, order):
        press(
            browser,
            order,
            "refund",
            what="amount",
            amount="5.00",
            seen_amount="1.50",
            reason="x",
        )

        assert not Refund.objects.exists()

    @pytest.mark.parametrize(
        ("said", "told"),
        [
            ({"what": "amount"}, "How much?"),
            ({"what": "amount", "amount": "0"}, "greater than or equal to 0.01"),
            ({"what": "amount", "amount": "1.005"}, "no more than 2 decimal places"),
            ({"what": "amount", "amount": "9999.00"}, "left"),
            ({"what": "units"}, "Of which lines?"),
            ({"what": "everything"}, "Select a valid choice"),
            ({"what": "all", "reason": ""}, "This field is required."),
        ],
    )
    def test_says_what_is_wrong(self, browser, order, said, told):
        text = press(browser, order, "refund", **{"reason": "x", **said})

        assert told in text
        assert not Refund.objects.exists()

    @pytest.mark.parametrize("way", ["refund", "cancel"])
    def test_of_much_takes_a_second_person(self, browser, order, settings, way):
        settings.REFUND_LIMITS = {"USD": Decimal("5.00")}

        if way == "refund":
            _, text = refund(browser, order, what="all")
        else:
            text = press(browser, order, "cancel", reason="x")

        assert "takes a second person" in text
        assert order.status == "confirmed"
        assert not Refund.objects.exists()
        assert order.refund_proposals.get().status == "waiting"

    def test_says_that_the_provider_does_not_answer(self, browser, order, provider):
        provider.fail("unavailable", path="/v1/refunds", times=None)

        _, done = refund(browser, order, what="amount", amount="1.00")

        assert "not back yet" in done
        assert Refund.objects.get().status == "due"

    def test_keeps_the_reason_out_of_the_log(self, browser, order):
        refund(browser, order, what="amount", amount="1.00", reason="whisper")

        assert "whisper" not in str(list(AuditLog.objects.values_list("data", flat=True)))
        asked = AuditLog.objects.filter(event_type="STAFF_ACTION_ASKED").latest("pk")
        assert asked.data["asked"] == {
            "what": "amount",
            "units": "{}",
            "seen_amount": "1.00",
            "seen_cancels": "False",
        }
        done = AuditLog.objects.filter(event_type="STAFF_ACTION_DONE").latest("pk")
        assert done.data["state"]["given_back"] == "1.00"

    def test_cancelling_gives_everything_back(self, browser, superuser, order):
        text = press(browser, order, "cancel", reason="ordered twice")

        assert (order.status, order.cancellation_reason) == ("cancelled", "ordered twice")
        assert Refund.objects.get().requested_by == superuser
        assert "Cancelled" in text

    def test_cancelling_twice_is_once(self, browser, order):
        for _ in range(2):
            press(browser, order, "cancel", reason="")

        assert Refund.objects.count() == 1

    def test_cancelling_what_has_left_is_refused(self, browser, order):
        ship_order(order_id=order.pk, parcel=Parcel(carrier="UPS", units={"TEA": 1}))

        text = press(browser, order, "cancel", reason="")

        assert "A part of this order has been shipped." in text
        assert order.status == "processing"
        assert events(order)[-1] == "STAFF_ACTION_REFUSED"


class TestWriting:
    def test_a_note_is_kept_once(self, browser, superuser, order):
        said = {"text": "Ring twice.", "key": uuid4()}
        for _ in range(2):
            press(browser, order, "note", **said)

        note = OrderNote.objects.get()
        assert (note.text, note.author) == ("Ring twice.", superuser)
        assert "Ring twice." not in str(list(AuditLog.objects.values_list("data", flat=True)))

    def test_a_note_with_a_card_number_is_refused(self, browser, order):
        text = press(browser, order, "note", text="card 4242 4242 4242 4242")

        assert "This looks like a card number" in text
        assert not OrderNote.objects.exists()

    def test_a_letter_is_sent_again_once(self, browser, order):
        outbox.relay()
        said = {"letter": Letter.objects.get().pk, "key": uuid4()}
        for _ in range(2):
            text = press(browser, order, "resend_letter", **said)
        outbox.relay()

        assert "sent again within seconds" in text
        assert len(mail.outbox) == 2

    def test_a_letter_of_another_order_is_none_of_this_one(self, browser, order, shopper):
        other = order_of(shopper.order(("TEA", 1)))
        outbox.relay()
        theirs = Letter.objects.get(order=other)

        text = press(browser, order, "resend_letter", letter=theirs.pk)
        outbox.relay()

        assert "Select a valid choice" in text
        assert len(mail.outbox) == 2  # the confirmations

    def test_deliveries_are_tried_again(self, browser, order):
        outbox.relay()
        Delivery.objects.filter(subscriber="email").update(status="dead", attempts=12)

        press(browser, order, "retry_deliveries")

        assert Delivery.objects.get(subscriber="email").status == "pending"
        assert "DELIVERIES_RETRIED" in events(order)


class TestReturns:
    @pytest.fixture
    def wish(self, order):
        """All of the tea shall come back."""
        ship_order(order_id=order.pk, parcel=Parcel(carrier="UPS"))
        return request_return(order_id=order.pk, units={"TEA": 3}, reason="too strong")

    def count(self, wish, arrived, restocked):
        item = wish.items.get()
        return {f"arrived_{item.pk}": arrived, f"restocked_{item.pk}": restocked}

    def test_go_all_the_way_as_counted(self, browser, wish):
        assert buttons_of(browser, wish) == {"accept", "refuse"}
        press(browser, wish, "accept")
        assert buttons_of(browser, wish) == {"receive"}
        press(browser, wish, "receive", **self.count(wish, 2, 1))
        assert wish.status == "received"
        assert StockLevel.objects.get(product__sku="TEA").on_hand == 7
        assert buttons_of(browser, wish) == {"refund"}

        text = press(browser, wish, "refund")

        assert ("The money is back." in text, wish.status) == (True, "refunded")
        assert wish.refund.lines.get().quantity == 2
        assert buttons_of(browser, wish) == set()

    @pytest.mark.parametrize(
        ("arrived", "restocked", "told"),
        [(4, 0, "less than or equal to 3"), (1, 2, "No more than arrived."), ("", 0, "required")],
    )
    def test_say_what_is_wrong_with_the_count(self, browser, wish, arrived, restocked, told):
        press(browser, wish, "accept")

        text = press(browser, wish, "receive", **self.count(wish, arrived, restocked))

        assert told in text
        assert wish.status == "accepted"

    def test_that_are_refused_keep_the_words(self, browser, wish):
        press(browser, wish, "refuse", words="Worn out.")

        assert (wish.status, wish.refusal) == ("refused", "Worn out.")

    def test_pressed_twice_move_once(self, browser, wish):
        press(browser, wish, "accept")
        text = press(browser, wish, "accept")

        assert "not possible in the current state" in text
        press(browser, wish, "receive", **self.count(wish, 3, 3))
        press(browser, wish, "receive", **self.count(wish, 3, 3))
        assert StockLevel.objects.get(product__sku="TEA").on_hand == 9
        for _ in range(2):
            press(browser, wish, "refund")
        assert Refund.objects.count() == 1

    def test_say_that_the_money_is_not_back_yet(self, browser, wish, provider):
        press(browser, wish, "accept")
        press(browser, wish, "receive", **self.count(wish, 3, 3))
        provider.fail("unavailable", path="/v1/refunds", times=None)

        text = press(browser, wish, "refund")

        assert "not back yet" in text
        assert wish.refund.status == "due"


class TestAPhoneOrder:
    @pytest.fixture
    def typed(self, goods, provider):
        return {
            "request_key": str(uuid4()),
            "email": "grace@example.com",
            "first_name": "Grace",
            "last_name": "Hopper",
            **{name: value for name, value in ADDRESS.items() if name != "name"},
            "name": "Grace Hopper",
            "sku": ["tea", "CUP", ""],
            "quantity": ["2", "1", ""],
            "notes": "Ring twice.",
        }

    def send(self, browser, typed, **changes):
        return browser.post(
            reverse("admin:orders_paymentlink_add"), {**typed, **changes}, follow=True
        ).content.decode()

    def both(self, browser, typed, **changes):
        shown = self.send(browser, typed, **changes)
        seen = re.search(r'name="seen_total" value="([\d.]+)"', shown)
        return shown, self.send(browser, typed, **changes, seen_total=seen[1] if seen else "")

    def test_is_priced_first(self, browser, typed):
        text = self.send(browser, typed)

        assert "What it costs now:" in text
        assert "Product TEA" in text
        assert not PaymentLink.objects.exists()

    def test_becomes_a_link_by_which_the_customer_pays(self, browser, superuser, typed):
        shown, made = self.both(browser, typed, is_sent="on")
        outbox.relay()

        link = PaymentLink.objects.get()
        assert (link.email, link.created_by) == ("grace@example.com", superuser)
        assert f"/pay/{link.public_id}" in made
        assert mail.outbox[0].to == ["grace@example.com"]
        told = Shopper().get(f"/payment-links/{link.public_id}").json()
        assert f"What it costs now: {told['total_amount']} USD" in shown
        assert [(item["sku"], item["quantity"]) for item in told["items"]] == [
            ("TEA", 2),
            ("CUP", 1),
        ]

    def test_sent_twice_is_one_link(self, browser, typed):
        shown, _ = self.both(browser, typed)
        seen = re.search(r'name="seen_total" value="([\d.]+)"', shown)[1]

        self.send(browser, typed, seen_total=seen)

        assert PaymentLink.objects.count() == 1

    def test_for_an_account_is_the_accounts(self, browser, typed):
        customer = factories.CustomerFactory(email="grace@example.com")

        self.both(browser, typed, first_name="", last_name="")

        assert PaymentLink.objects.get().customer == customer

    def test_says_what_is_short(self, browser, typed):
        assert "Of TEA there are only 9." in self.send(browser, typed, quantity=["99", "1", ""])

    @pytest.mark.parametrize(
        ("changes", "told"),
        [
            ({"sku": ["", "", ""], "quantity": ["", "", ""]}, "Say at least one line."),
            ({"quantity": ["0", "1", ""]}, "a SKU and a quantity"),
            ({"quantity": ["two", "1", ""]}, "a SKU and a quantity"),
            ({"quantity": ["", "1", ""]}, "a SKU and a quantity"),
            ({"sku": ["TEA", "TEA", ""]}, "Each SKU stands in one line."),
            ({"sku": ["NO-SUCH", "CUP", ""]}, "There is no such product."),
            ({"email": "nobody"}, "Enter a valid email address."),
            ({"first_name": ""}, "Write something."),
            ({"postal_code": "?"}, "not a postal code of US"),
            ({"shipping_method": "balloon"}, "There is no such method"),
            ({"coupon_code": "NOPE"}, "This coupon cannot be used."),
            ({"notes": "4242 4242 4242 4242"}, "This looks like a card number"),
        ],
    )
    def test_says_what_is_wrong_and_makes_nothing(self, browser, typed, changes, told):
        assert told in self.both(browser, typed, **changes)[1]
        assert not PaymentLink.objects.exists()

    def test_is_for_those_who_may(self, client, typed):
        clerk = rows.make_customer(2, is_staff=True)
        allow(clerk, "orders.view_paymentlink")
        client.force_login(clerk)

        answer = client.post(reverse("admin:orders_paymentlink_add"), typed)

        assert answer.status_code == 403
        allow(clerk, "orders.place_order")
        assert "What it costs now:" in self.send(client, typed)

    def test_its_link_is_shown_to_those_who_may_alone(self, client, goods):
        link = payment_link(("TEA", 1))
        clerk = rows.make_customer(2, is_staff=True)
        allow(clerk, "orders.view_paymentlink")
        client.force_login(clerk)

        assert str(link.public_id) not in look(client, link)
        allow(clerk, "orders.place_order")
        assert str(link.public_id) in look(client, link)

    def test_its_link_is_sent_again_and_withdrawn(self, browser, goods):
        link = payment_link(("TEA", 1))

        press(browser, link, "send")
        outbox.relay()
        press(browser, link, "withdraw")

        assert len(mail.outbox) == 1
        assert link.withdrawn_at is not None
        assert buttons_of(browser, link) == set()


def allow(person, *permissions):
    """Give rights by their names."""
    for permission in permissions:
        app, codename = permission.split(".")
        model = {"audit": "delivery", "payments": "payment"}.get(app, "order")
        found = Permission.objects.filter(content_type__app_label=app, codename=codename).first()
        if found is None:
            about = ContentType.objects.get(app_label=app, model=model)
            found = Permission.objects.create(codename=codename, name=codename, content_type=about)
        person.user_permissions.add(found)
    for cached in ("_perm_cache", "_user_perm_cache"):
        person.__dict__.pop(cached, None)


class TestRights:
    @pytest.fixture
    def clerk(self, client):
        clerk = rows.make_customer(2, is_staff=True)
        client.force_login(clerk)
        allow(clerk, "orders.view_order", "orders.view_return", "orders.view_paymentlink")
        return clerk

    @pytest.fixture
    def subjects(self, order):
        """Something of each kind on which there are buttons."""
        ship_order(order_id=order.pk, parcel=Parcel(carrier="UPS"))
        wish = request_return(order_id=order.pk, units={"TEA": 1}, reason="x")
        return {
            **dict.fromkeys(ORDER_ACTIONS, order),
            **dict.fromkeys(RETURN_ACTIONS, wish),
            **dict.fromkeys(LINK_ACTIONS, payment_link(("TEA", 1))),
        }

    def test_to_look_are_none_to_press(self, client, clerk, subjects):
        for action, row in subjects.items():
            path = path_of(row, "do", action.name)
            before = type(row).objects.filter(pk=row.pk).values().get()

            assert client.get(path).status_code == 403, action
            assert client.post(path, {"request_key": uuid4()}).status_code == 403, action
            assert type(row).objects.filter(pk=row.pk).values().get() == before
        assert not AuditLog.objects.filter(event_type__startswith="STAFF_ACTION").exists()

    def test_for_one_thing_are_none_for_another(self, client, clerk, subjects):
        names = {action.permission for action in subjects}
        for permission in names:
            clerk.user_permissions.clear()
            allow(clerk, "orders.view_order", "orders.view_return", "orders.view_paymentlink")
            allow(clerk, permission)
            opened = {
                action.permission
                for action, row in subjects.items()
                if client.get(path_of(row, "do", action.name)).status_code == 200
            }
            assert opened == {permission}

    def test_of_a_button_show_it(self, client, clerk, order):
        assert buttons_of(client, order) == set()
        allow(clerk, "orders.ship_order")
        assert buttons_of(client, order) == {"process", "packing_slip", "ship"}

    def test_of_nobody_are_none(self, client, subjects):
        for action, row in subjects.items():
            assert client.post(path_of(row, "do", action.name)).status_code == 302
