"""After the sale: parcels, returns, documents; whoever clicks at once, the books stay clean."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from unittest.mock import patch

import pgtrigger
import pytest
from django.db import connection, transaction

from audit import outbox
from audit.models import OutboxMessage
from config.kernel.clock import Deadline
from config.kernel.errors import InvalidTransitionError, ValidationFailedError
from inventory import services as stock
from inventory.errors import NotPromisedError
from inventory.models import Product, Reservation, StockLevel, StockMovement
from orders import books
from orders.errors import ShipmentRequestReusedError
from orders.models import Invoice, Order, Return, ReturnReceipt, Shipment, TaxDestination
from orders.services import events, invoicing, refunds, returns
from orders.services.refunds import RefundWish
from orders.services.shipping import Parcel, deliver_order, ship_order, tracking_page
from orders.services.timeline import timeline
from payments.errors import PaymentDisputedError
from payments.models import Dispute, Refund
from tests import factories, webhooks
from tests.shop import Shopper, order_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def products(shop):
    return [factories.ProductFactory(on_hand=50, price=Decimal("10.01")) for _ in range(2)]


@pytest.fixture
def paid(shopper, products):
    """Three of the one product, one of the other."""
    first, second = products
    return order_of(shopper.order((first.sku, 3), (second.sku, 1)))


@pytest.fixture(autouse=True)
def _clean_books(request):
    yield
    if "django_db" in request.keywords:
        with connection.cursor() as cursor:
            found = books.check_invariants(cursor)
        assert {finding.name for finding in found if finding.violations} == set()


def parcel(**changes):
    return Parcel(**{"carrier": "UPS", "tracking_number": "1Z999", **changes})


def ship(order, **changes):
    shipment = ship_order(order_id=order.pk, parcel=parcel(**changes))
    order.refresh_from_db()
    return shipment


def refund(order, **what):
    """Decided, and left to the sweeper."""
    return refunds.decide_refund(order_id=order.pk, wish=RefundWish(reason="sold out", **what))


def sent(order):
    return {
        item.order_item.product_sku: item.quantity for item in order.shipments.get().items.all()
    }


def refund_of(order, **wish):
    refund = refunds.decide_refund(order_id=order.pk, wish=RefundWish(reason="broken", **wish))
    refunds.finish_refund(refund_id=refund.pk, deadline=Deadline(10))
    refund.refresh_from_db()
    return refund


def fail(refund, provider):
    """The customer's bank sends it back."""
    provider.decide_refund(refund.stripe_refund_id, "fail")
    refunds.sync_refunds(payment_id=refund.payment_id, deadline=Deadline(10))


def stock_of(product):
    level = StockLevel.objects.get(product=product)
    return level.on_hand, level.allocated


class TestShipping:
    def test_sends_all_of_it(self, paid, products):
        shipment = ship(paid)

        assert paid.status == Order.Status.SHIPPED
        assert paid.shipped_at is not None
        assert shipment.tracking_url == "https://www.ups.com/track?tracknum=1Z999"
        assert [stock_of(product) for product in products] == [(47, 0), (49, 0)]
        assert {m.quantity for m in StockMovement.objects.filter(kind="ship")} == {-3, -1}
        assert set(Reservation.objects.values_list("status", flat=True)) == {"shipped"}

    def test_sends_a_part_then_the_rest(self, paid, products):
        first, _ = products

        ship(paid, units={first.sku: 2})

        assert paid.status == Order.Status.PROCESSING
        assert stock_of(first) == (48, 1)
        ship(paid)
        assert paid.status == Order.Status.SHIPPED
        assert Shipment.objects.count() == 2
        assert stock_of(first) == (47, 0)

    def test_sends_no_units_that_were_refunded(self, paid, products):
        first, second = products
        refund(paid, units={first.sku: 1})

        ship(paid)

        assert paid.status == Order.Status.SHIPPED
        assert sent(paid) == {first.sku: 2, second.sku: 1}
        assert [stock_of(product) for product in products] == [(48, 0), (49, 0)]

    def test_is_over_when_what_had_not_left_is_refunded(self, paid, products):
        first, second = products
        ship(paid, units={first.sku: 3})
        assert paid.status == Order.Status.PROCESSING

        refund(paid, units={second.sku: 1})

        paid.refresh_from_db()
        assert paid.status == Order.Status.SHIPPED
        assert stock_of(second) == (50, 0)
        with pytest.raises(InvalidTransitionError):
            ship(paid)

    def test_sends_units_again_whose_refund_failed(self, paid, products):
        made = refund(paid, units={products[0].sku: 1})
        Refund.objects.filter(pk=made.pk).update(status=Refund.Status.FAILED)

        ship(paid)

        assert sent(paid) == {products[0].sku: 3, products[1].sku: 1}

    def test_refuses_more_than_is_left_and_changes_nothing(self, paid, products):
        with pytest.raises(ValidationFailedError):
            ship(paid, units={products[0].sku: 4})

        assert stock_of(products[0]) == (50, 3)
        assert not Shipment.objects.exists()

    def test_a_second_click_is_the_same_parcel(self, paid, products):
        units = {products[0].sku: 1}
        first = ship(paid, units=units, request_key="click")

        assert ship(paid, units=units, request_key="click").pk == first.pk
        assert Shipment.objects.count() == 1
        with pytest.raises(ShipmentRequestReusedError):
            ship(paid, units={products[0].sku: 2}, request_key="click")

    def test_refuses_a_disputed_order(self, paid):
        payment = paid.payments.get()
        Dispute.objects.create(
            payment=payment,
            stripe_dispute_id="dp_1",
            status="needs_response",
            reason="fraudulent",
            currency=payment.currency,
            amount=payment.amount,
            opened_at=payment.created_at,
        )
        Order.objects.filter(pk=paid.pk).update(payment_status="disputed")

        with pytest.raises(PaymentDisputedError):
            ship(paid)

        assert not Shipment.objects.exists()

    def test_refuses_an_unpaid_order(self, shopper, products):
        waiting = order_of(
            shopper.order((products[0].sku, 1), payment_method_id="pm_card_threeDSecure2Required")
        )

        with pytest.raises(InvalidTransitionError):
            ship(waiting)

    def test_a_part_shipped_order_cannot_be_cancelled_by_its_buyer(self, paid, shopper, products):
        ship(paid, units={products[0].sku: 1})

        answer = shopper.post(f"/orders/{paid.order_number}/cancel")

        assert answer.status_code == 409
        assert not Refund.objects.exists()

    def test_never_ships_more_than_was_promised(self, paid, products):
        with pytest.raises(NotPromisedError), transaction.atomic():
            stock.ship(order_id=paid.pk, units={products[0].pk: 4})

        assert stock_of(products[0]) == (50, 3)

    @pytest.mark.parametrize("url", ["javascript:alert(1)", "ftp://x", "https://", "data:,x"])
    def test_refuses_a_link_that_is_no_web_page(self, paid, url):
        with pytest.raises(ValidationFailedError):
            ship(paid, tracking_url=url)

    def test_makes_links_for_known_carriers_alone(self):
        assert tracking_page(carrier="Royal Mail", number="A B").endswith("/A%20B")
        assert tracking_page(carrier="Pigeon", number="1") == ""

    def test_is_delivered_once(self, paid):
        with pytest.raises(InvalidTransitionError):
            deliver_order(order_id=paid.pk)
        ship(paid)

        deliver_order(order_id=paid.pk)
        deliver_order(order_id=paid.pk)

        paid.refresh_from_db()
        assert (paid.status, paid.version) == (Order.Status.DELIVERED, 3)
        assert paid.delivered_at is not None


class TestReturns:
    def ask(self, shopper, order, *items, reason="broken"):
        return shopper.post(
            f"/orders/{order.order_number}/returns",
            {"items": [{"sku": s, "quantity": q} for s, q in items], "reason": reason},
        )

    def test_go_all_the_way(self, shopper, paid, products):
        first, second = products
        ship(paid)

        answer = self.ask(shopper, paid, (first.sku, 2), (second.sku, 1))

        assert answer.status_code == 201
        body = answer.json()
        assert set(body) == {"id", "status", "items", "reason", "created_at"}
        assert body["status"] == "requested"
        wish = Return.objects.get(public_id=body["id"])
        returns.accept_return(return_id=wish.pk)
        returns.receive_return(
            return_id=wish.pk,
            arrived={
                first.sku: returns.Arrived(quantity=2, restocked=1),
                second.sku: returns.Arrived(quantity=0, restocked=0),
            },
        )
        assert stock_of(first) == (48, 0)
        assert returns.refund_return(return_id=wish.pk, deadline=Deadline(10))
        assert returns.refund_return(return_id=wish.pk, deadline=Deadline(10))
        wish.refresh_from_db()
        assert (wish.status, wish.version) == ("refunded", 3)
        assert Refund.objects.get().lines.get().quantity == 2
        assert ReturnReceipt.objects.filter(item__parent=wish).count() == 2
        listed = shopper.get(f"/orders/{paid.order_number}/returns").json()["results"]
        assert [found["status"] for found in listed] == ["refunded"]

    def test_are_listed_in_pages_and_read_one_by_one(self, shopper, paid, products):
        ship(paid)
        made = [self.ask(shopper, paid, (products[0].sku, 1)).json() for _ in range(3)]

        first = shopper.get(f"/orders/{paid.order_number}/returns", page_size="2").json()
        second = shopper.client.get(first["next"], headers=shopper.headers).json()

        assert first["results"] + second["results"] == made
        assert (first["previous"], second["next"]) == (None, None)
        one = shopper.get(f"/orders/{paid.order_number}/returns/{made[1]['id'].upper()}")
        assert one.json() == made[1]
        for unknown in ("none", made[1]["id"][:-1], "0192f0c1-7a60-7b11-9c4d-6a7b8c9d0e1f"):
            answer = shopper.get(f"/orders/{paid.order_number}/returns/{unknown}")
            assert answer.status_code == 404

    def test_take_no_more_than_was_shipped(self, shopper, paid, products):
        ship(paid)
        sku = products[0].sku

        assert self.ask(shopper, paid, (sku, 4)).status_code == 400
        assert self.ask(shopper, paid, (sku, 3)).status_code == 201
        assert self.ask(shopper, paid, (sku, 3)).status_code == 400
        assert self.ask(shopper, paid, ("NOPE", 1)).status_code == 400
        assert Return.objects.count() == 1

    def test_units_that_did_not_come_can_be_asked_for_again(self, shopper, paid, products):
        ship(paid)
        sku = products[0].sku
        wish = self.announced(shopper, paid, (sku, 3))

        returns.receive_return(
            return_id=wish.pk, arrived={sku: returns.Arrived(quantity=1, restocked=1)}
        )

        assert stock_of(products[0]) == (48, 0)
        assert self.ask(shopper, paid, (sku, 3)).status_code == 400
        assert self.ask(shopper, paid, (sku, 2)).status_code == 201

    def test_are_paid_by_another_refund_once_the_first_has_failed(
        self, shopper, products, provider
    ):
        placed = shopper.order((products[0].sku, 1), payment_method_id="pm_card_pendingRefund")
        paid = order_of(placed)
        ship(paid)
        wish = self.announced(shopper, paid, (products[0].sku, 1))
        returns.receive_return(return_id=wish.pk)
        assert not returns.refund_return(return_id=wish.pk, deadline=Deadline(10))
        first = Refund.objects.get()
        provider.decide_refund(first.stripe_refund_id, "fail")
        refunds.finish_refund(refund_id=first.pk, deadline=Deadline(10))

        for _ in range(2):
            assert not returns.refund_return(return_id=wish.pk, deadline=Deadline(10))

        second = Refund.objects.exclude(pk=first.pk).get()
        provider.decide_refund(second.stripe_refund_id, "succeed")
        assert returns.refund_return(return_id=wish.pk, deadline=Deadline(10))
        first.refresh_from_db()
        wish.refresh_from_db()
        assert (first.status, wish.refund) == ("failed", second)

    def test_of_what_cost_nothing_say_so(self, shopper, products):
        free = products[0]
        factories.CouponFactory(code="GIFT", kind="percent", value=Decimal(100))
        placed = shopper.order((free.sku, 1), coupon_code="GIFT")
        order = order_of(placed)
        ship(order)
        wish = self.announced(shopper, order, (free.sku, 1))
        returns.receive_return(return_id=wish.pk)

        with pytest.raises(InvalidTransitionError, match="cost nothing"):
            returns.refund_return(return_id=wish.pk, deadline=Deadline(10))

    def announced(self, shopper, order, *items):
        """Asked for, and accepted."""
        assert self.ask(shopper, order, *items).status_code == 201
        wish = Return.objects.get()
        returns.accept_return(return_id=wish.pk)
        return wish

    def test_refused_units_can_be_asked_for_again(self, shopper, paid, products):
        ship(paid)
        sku = products[0].sku
        self.ask(shopper, paid, (sku, 3))
        returns.refuse_return(return_id=Return.objects.get().pk, reason="worn out")

        assert self.ask(shopper, paid, (sku, 3)).status_code == 201

    def test_need_a_shipped_order_and_their_time(self, shopper, paid, products, settings):
        sku = products[0].sku
        assert self.ask(shopper, paid, (sku, 1)).status_code == 409
        ship(paid)
        Order.objects.filter(pk=paid.pk).update(shipped_at=paid.shipped_at - timedelta(days=31))

        assert self.ask(shopper, paid, (sku, 1)).status_code == 409
        assert not Return.objects.exists()

    def test_move_along_their_edges_alone(self, shopper, paid, products):
        ship(paid)
        self.ask(shopper, paid, (products[0].sku, 1))
        wish = Return.objects.get()

        for act in (returns.receive_return, returns.receive_as_scrap):
            with pytest.raises(InvalidTransitionError):
                act(return_id=wish.pk)
        with pytest.raises(InvalidTransitionError):
            returns.refund_return(return_id=wish.pk, deadline=Deadline(10))
        returns.accept_return(return_id=wish.pk)
        with pytest.raises(InvalidTransitionError):
            returns.accept_return(return_id=wish.pk)

        assert stock_of(products[0]) == (47, 0)

    def test_are_nobody_elses(self, shopper, paid, products):
        ship(paid)
        body = self.ask(shopper, paid, (products[0].sku, 1)).json()
        stranger = Shopper(factories.CustomerFactory())

        for path in ("returns", f"returns/{body['id']}", "timeline", "invoice", "documents"):
            answer = stranger.get(f"/orders/{paid.order_number}/{path}")
            assert answer.status_code == 404
        assert self.ask(stranger, paid, (products[0].sku, 1)).status_code == 404
        assert Return.objects.count() == 1


class TestDocuments:
    def test_an_invoice_is_the_same_each_time(self, shopper, paid):
        first = shopper.get(f"/orders/{paid.order_number}/invoice")
        second = shopper.get(f"/orders/{paid.order_number}/invoice")

        assert first.status_code == 200
        assert first["Content-Type"] == "application/pdf"
        assert first["Content-Disposition"] == 'attachment; filename="invoice-INV-000001.pdf"'
        assert first.content.startswith(b"%PDF")
        assert first.content == second.content
        assert Invoice.objects.count() == 1

    def test_there_is_none_before_the_payment(self, shopper, products):
        waiting = order_of(
            shopper.order((products[0].sku, 1), payment_method_id="pm_card_threeDSecure2Required")
        )

        answer = shopper.get(f"/orders/{waiting.order_number}/invoice")

        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "INVALID_TRANSITION")
        assert not Invoice.objects.exists()

    def test_a_refund_has_its_credit_note(self, shopper, paid):
        shopper.post(f"/orders/{paid.order_number}/cancel")
        note = invoicing.issue_credit_note(refund_id=Refund.objects.get().pk)

        assert invoicing.issue_credit_note(refund_id=Refund.objects.get().pk).pk == note.pk
        listed = shopper.get(f"/orders/{paid.order_number}/documents").json()["results"]
        assert [found["document_number"] for found in listed] == ["INV-000001", "CN-000001"]
        assert listed[1]["total_amount"] == str(paid.total_amount)
        answer = shopper.get(f"/orders/{paid.order_number}/documents/CN-000001")
        assert answer["Content-Disposition"].endswith('"credit-note-CN-000001.pdf"')

    def test_a_refund_that_fails_after_all_has_its_credit_note_reversed(
        self, shopper, paid, provider, settings
    ):
        settings.STRIPE_WEBHOOK_SECRETS = [webhooks.SECRET]
        refund = refund_of(paid, amount=Decimal("5.00"))
        note = invoicing.issue_credit_note(refund_id=refund.pk)
        (told,) = provider.refunds_of(paid.payments.get().payment_intent_id)
        provider.decide_refund(told["id"], "fail")
        (now_failed,) = provider.refunds_of(paid.payments.get().payment_intent_id)
        failed = webhooks.event("refund.failed", now_failed)

        for one in (failed, failed, webhooks.event("refund.updated", told)):  # twice, and late
            assert webhooks.send(one).status_code == 200
            events.process_due(deadline=Deadline(60), ignore_backoff=True)
        outbox.relay()  # the fact is told too

        refund.refresh_from_db()
        assert refund.status == Refund.Status.FAILED
        listed = shopper.get(f"/orders/{paid.order_number}/documents").json()["results"]
        assert [(found["document_number"], found["total_amount"]) for found in listed[1:]] == [
            ("CN-000001", "5.00"),
            ("RV-000001", "5.00"),
        ]
        reversal = Invoice.objects.get(reverses=note)
        assert (reversal.content["corrects"], reversal.buyer) == ("CN-000001", note.buyer)
        assert reversal.content["taxes"] == note.content["taxes"]
        answer = shopper.get(f"/orders/{paid.order_number}/documents/RV-000001")
        assert answer["Content-Disposition"].endswith('"reversal-RV-000001.pdf"')
        assert answer.content.startswith(b"%PDF")
        assert invoicing.issue_credit_note(refund_id=refund.pk) == note

    def test_an_invoice_takes_six_statements_to_issue(self, paid, django_assert_num_queries):
        with django_assert_num_queries(6 + 2):  # a savepoint of the test's own transaction
            issued = invoicing.issue_invoice(order_id=paid.pk)
        with django_assert_num_queries(1):
            assert invoicing.issue_invoice(order_id=paid.pk) == issued

    def test_a_refund_that_failed_gets_no_credit_note(self, paid, provider):
        refund = refund_of(paid, amount=Decimal("5.00"))
        invoicing.issue_invoice(order_id=paid.pk)
        fail(refund, provider)

        assert invoicing.issue_credit_note(refund_id=refund.pk) is None
        assert not Invoice.objects.exclude(kind="invoice").exists()

    def test_a_failure_that_an_older_release_noted_is_reversed_by_its_fact(self, paid, provider):
        refund = refund_of(paid, amount=Decimal("5.00"))
        note = invoicing.issue_credit_note(refund_id=refund.pk)
        with patch.object(invoicing, "reverse_credit_note"):
            fail(refund, provider)
        assert not Invoice.objects.filter(kind="reversal").exists()
        fact = OutboxMessage.objects.get(fact="order.refund_failed")

        for _ in range(2):
            assert invoicing.reverse_for_failure(fact) is None

        assert Invoice.objects.get(kind="reversal").reverses == note

    @pytest.mark.parametrize(
        "number", ["CN-1", "CN-000002", "INV", "-", "INV-²", "INV-" + "9" * 30]
    )
    def test_of_another_number_there_is_none(self, shopper, paid, number):
        assert shopper.get(f"/orders/{paid.order_number}/invoice").status_code == 200

        answer = shopper.get(f"/orders/{paid.order_number}/documents/{number}")

        assert answer.status_code == 404

    @pytest.mark.parametrize(
        "name", ["<b>&</i>", "</para><font size=90>", "李 金 カ 한 ع 😀 \u0378"]
    )
    def test_no_name_breaks_it(self, shopper, products, name):
        address = {
            "name": name,
            "line1": "1 Main",
            "city": "New York",
            "state": "NY",
            "postal_code": "10001",
            "country": "US",
        }
        answer = shopper.order((products[0].sku, 1), shipping_address=address)
        order = order_of(answer)

        assert shopper.get(f"/orders/{order.order_number}/invoice").status_code == 200


def documents_of(order):
    return order.invoices.order_by("id")


def taxes_of(document):
    return [
        tuple(row[column] for column in ("rate", "net", "tax", "gross"))
        for row in document.content["taxes"]
    ]


class TestTaxByRate:
    """The shop's 8.875 % for most things, 4 % for books, 2 % for sending them."""

    @pytest.fixture
    def books(self, shop):
        factories.TaxRateFactory(tax_class="books", rate=Decimal("0.04"))
        factories.TaxRateFactory(tax_class="shipping", rate=Decimal("0.02"))
        product = factories.ProductFactory(on_hand=50, price=Decimal("7.77"))
        Product.objects.filter(pk=product.pk).update(tax_class="books")
        return product

    @pytest.fixture
    def mixed(self, shopper, products, books):
        return order_of(shopper.order((products[0].sku, 3), (books.sku, 2)))

    def test_is_kept_with_the_order(self, mixed):
        rates = mixed.items.order_by("id").values_list("tax_rate", flat=True)

        assert list(rates) == [Decimal("0.08875"), Decimal("0.04")]
        assert mixed.shipping_tax_rate == Decimal("0.02")

    @pytest.mark.parametrize("is_included", [False, True])
    def test_adds_up_to_the_order(self, shopper, products, books, is_included):
        TaxDestination.objects.create(country="US", prices_include_tax=is_included)
        order = order_of(shopper.order((products[0].sku, 3), (books.sku, 2)))

        taxes = taxes_of(invoicing.issue_invoice(order_id=order.pk))

        assert [rate for rate, *_ in taxes] == ["0.02", "0.04", "0.08875"]
        nets, tax, gross = ([Decimal(row[n]) for row in taxes] for n in (1, 2, 3))
        assert sum(tax) == order.tax_amount
        assert sum(gross) == order.total_amount
        if not is_included:
            assert nets == [order.shipping_amount, Decimal("15.54"), Decimal("30.03")]

    def test_goes_back_with_the_money_bit_by_bit(self, mixed, products, books, provider):
        wishes = [
            {"amount": Decimal("3.33")},
            {"units": {products[0].sku: 2}},
            {"units": {books.sku: 1, products[0].sku: 1}},
            {},
        ]
        for wish in wishes:
            invoicing.issue_credit_note(refund_id=refund_of(mixed, **wish).pk)

        invoice, *notes = documents_of(mixed)
        for column in ("net", "tax", "gross"):
            sold, given = (
                sum(Decimal(row[column]) for document in some for row in document.content["taxes"])
                for some in ([invoice], notes)
            )
            assert sold == given
        assert [sum(Decimal(row[3]) for row in taxes_of(note)) for note in notes] == [
            note.total_amount for note in notes
        ]

    def test_of_a_reversed_credit_note_goes_back_once_more(self, mixed, provider):
        first = refund_of(mixed, amount=Decimal("20.00"))
        note = invoicing.issue_credit_note(refund_id=first.pk)
        fail(first, provider)

        again = refund_of(mixed, amount=Decimal("20.00"))

        assert taxes_of(invoicing.issue_credit_note(refund_id=again.pk)) == taxes_of(note)

    def test_is_not_told_of_orders_from_before(self, shopper, mixed):
        with pgtrigger.ignore():
            Order.objects.filter(pk=mixed.pk).update(shipping_tax_rate=None)
            mixed.items.update(tax_rate=None)
        refund = refund_of(mixed, amount=Decimal("3.33"))

        note = invoicing.issue_credit_note(refund_id=refund.pk)

        assert [document.content["taxes"] for document in documents_of(mixed)] == [None, None]
        answer = shopper.get(f"/orders/{mixed.order_number}/documents/{note.document_number}")
        assert answer.status_code == 200


class TestTimeline:
    def test_tells_what_happened_in_order(self, shopper, paid, products):
        ship(paid)
        shopper.post(
            f"/orders/{paid.order_number}/returns",
            {"items": [{"sku": products[0].sku, "quantity": 1}], "reason": "broken"},
        )
        returns.refuse_return(return_id=Return.objects.get().pk, reason="worn out")
        deliver_order(order_id=paid.pk)

        answer = shopper.get(f"/orders/{paid.order_number}/timeline")

        assert [entry["event"] for entry in answer.json()["results"]] == [
            "placed",
            "confirmed",
            "shipped",
            "return_requested",
            "return_refused",
            "delivered",
        ]
        assert "worn out" not in answer.content.decode()

    def test_asks_as_many_queries_for_many_parcels_as_for_one(
        self, paid, products, django_assert_num_queries
    ):
        ship(paid, units={products[0].sku: 1})
        with django_assert_num_queries(6):
            timeline(paid)
        ship(paid, units={products[0].sku: 1})
        ship(paid)
        with django_assert_num_queries(6):
            assert len(timeline(paid)) == 5

    def test_tells_of_money_given_back(self, shopper, paid):
        shopper.post(f"/orders/{paid.order_number}/cancel")

        told = shopper.get(f"/orders/{paid.order_number}/timeline").json()["results"]

        assert [entry["event"] for entry in told] == [
            "placed",
            "confirmed",
            "refund_requested",
            "cancelled",
            "refunded",
        ]
        refunded = next(entry for entry in told if entry["event"] == "refunded")
        assert refunded["data"] == {"amount": str(paid.total_amount), "currency": "USD"}
