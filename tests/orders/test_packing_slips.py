"""Packing slips: what is still to be packed and from where, no prices, in any script."""

from __future__ import annotations

import re

import pytest
from django.db import transaction
from django.urls import reverse
from reportlab.graphics.barcode.code128 import Code128

from audit.models import AuditLog
from config.kernel.errors import InvalidTransitionError, NotFoundError
from customers.models import Customer
from inventory.models import Warehouse
from orders.models import Order
from orders.services import packing_slips, printing, refunds
from orders.services.packing_slips import MOST_SLIPS, Slip, SlipLine, render
from orders.services.refunds import RefundWish
from orders.services.shipping import Parcel, ship_order
from tests import factories
from tests.admin import rows
from tests.shop import order_of

HEBREW = "שלום"


def count_pages(pdf: bytes) -> int:
    return len(re.findall(rb"/Type /Page\b", pdf))


@pytest.fixture
def order(provider, shopper):
    """Five units of a product that lies in two buildings, and one of another."""
    mug = factories.ProductFactory(sku="MUG", on_hand=3)
    east = factories.WarehouseFactory(code="EAST", name="East")
    Warehouse.objects.filter(pk=east.pk).update(priority=200)
    with transaction.atomic():
        factories.receive(mug, 10, warehouse=east)
    factories.ProductFactory(sku="POT", on_hand=1)
    return order_of(shopper.order(("MUG", 5), ("POT", 1)))


def lines(slip: Slip) -> set[tuple[str, int, str]]:
    return {(line.sku, line.quantity, line.warehouse) for line in slip.lines}


@pytest.mark.django_db
class TestSlipOfOrder:
    def test_lists_each_buildings_units(self, order):
        slip = packing_slips.slip_of_order(order=order)

        assert slip.units == 6
        assert {sku: 0 for sku, _, _ in lines(slip)} == {"MUG": 0, "POT": 0}
        assert sum(n for sku, n, _ in lines(slip) if sku == "MUG") == 5
        assert all(warehouse in {"MAIN", "EAST"} for _, _, warehouse in lines(slip))

    def test_leaves_out_what_has_left_and_what_was_refunded(self, order):
        ship_order(order_id=order.pk, parcel=Parcel(carrier="UPS", units={"MUG": 2}))
        refunds.decide_refund(
            order_id=order.pk, wish=RefundWish(reason="broken", units={"POT": 1}, request_key="k")
        )
        order.refresh_from_db()

        slip = packing_slips.slip_of_order(order=order)

        assert {sku for sku, _, _ in lines(slip)} == {"MUG"}
        assert slip.units == 3

    @pytest.mark.parametrize("status", ["pending", "cancelled"])
    def test_refuses_what_is_not_to_be_packed(self, status):
        order = rows.make_order(1)
        order.status = status

        with pytest.raises(InvalidTransitionError):
            packing_slips.slip_of_order(order=order)


@pytest.mark.django_db
class TestSlipOfShipment:
    def test_lists_what_lies_in_it_after_the_order_has_left(self, order):
        shipment = ship_order(
            order_id=order.pk,
            parcel=Parcel(carrier="UPS", tracking_number="1Z9", units={"MUG": 2}),
        )

        slip = packing_slips.slip_of_shipment(shipment_id=shipment.pk)

        assert lines(slip) == {("MUG", 2, "")}
        assert slip.shipment == shipment

    def test_refuses_a_parcel_that_there_is_not(self):
        with pytest.raises(NotFoundError):
            packing_slips.slip_of_shipment(shipment_id=1)


@pytest.mark.django_db
class TestRender:
    def slip(self, **fields):
        order = rows.make_order(1, **fields)
        return Slip(order=order, lines=[SlipLine(sku="MUG", name="Mug", quantity=2)])

    def test_is_the_same_whenever_it_is_printed(self):
        slip = self.slip()

        assert render([slip]) == render([slip])

    def test_says_no_price(self, monkeypatch):
        said = []
        text = printing.text
        monkeypatch.setattr(
            printing, "text", lambda words, **how: said.append(words) or text(words, **how)
        )
        slip = self.slip()

        render([slip])

        together = " ".join(said)
        assert "Ann Lee" in together
        assert slip.order.order_number in together
        for amount in ("25.66", "20.00", "10.00", "5.00", "USD", "$"):
            assert amount not in together

    def test_embeds_its_fonts_whatever_the_script(self):
        address = {**rows.ADDRESS, "name": f"{HEBREW} (XL)", "city": "東京"}
        printed = render([self.slip(shipping_address=address, notes=HEBREW)])

        assert len(re.findall(rb"/Type /FontDescriptor", printed)) == len(
            re.findall(rb"/FontFile2 \d", printed)
        )

    def test_of_many_lines_goes_on_on_another_page(self):
        slip = self.slip()
        many = [SlipLine(sku=f"S-{n}", name="Mug " * 30, quantity=1) for n in range(60)]

        assert count_pages(render([Slip(order=slip.order, lines=many)])) > 2

    def test_of_many_orders_gives_each_its_page(self):
        slips = [
            Slip(order=rows.make_order(n), lines=[SlipLine(sku="MUG", name="Mug", quantity=n)])
            for n in range(1, 4)
        ]

        assert count_pages(render(slips)) == 3

    def test_of_an_erased_buyer_has_no_address(self):
        assert render([self.slip(shipping_address={})])

    def test_has_bars_for_every_order_number(self):
        """Code 128 has each sign of one; a sign that it lacks would be left out silently."""
        bars = Code128("0123456789-ABCDEFGHJKMNPQRSTVWXYZ")

        assert bars.validate()
        assert bars.validated == bars.value


@pytest.mark.django_db
class TestAdmin:
    @pytest.fixture
    def browser(self, client):
        client.force_login(Customer.objects.create_superuser("b@example.com", None))
        return client

    def press(self, browser, model, row):
        return browser.post(
            reverse(f"admin:orders_{model}_do", args=[row.pk, "packing_slip"]),
            {"request_key": "5f2b6c1e-0000-4000-8000-000000000001"},
        )

    def test_gives_an_orders_slip_and_says_who_printed_it(self, browser, order):
        answer = self.press(browser, "order", order)

        assert answer["Content-Type"] == "application/pdf"
        assert answer.content.startswith(b"%PDF")
        assert order.order_number in answer["Content-Disposition"]
        done = AuditLog.objects.get(event_type="STAFF_ACTION_DONE")
        assert (done.entity_type, done.entity_id) == ("order", order.pk)

    def test_gives_a_parcels_slip(self, browser, order):
        shipment = ship_order(order_id=order.pk, parcel=Parcel(carrier="UPS"))

        assert self.press(browser, "shipment", shipment).content.startswith(b"%PDF")

    def test_of_an_order_that_has_left_says_so(self, browser, order):
        ship_order(order_id=order.pk, parcel=Parcel(carrier="UPS"))

        answer = self.press(browser, "order", order)

        assert answer.status_code == 302
        assert AuditLog.objects.filter(event_type="STAFF_ACTION_REFUSED").exists()

    def select(self, browser, *ids):
        return browser.post(
            reverse("admin:orders_order_changelist"),
            {"action": "print_packing_slips", "_selected_action": list(ids)},
        )

    def test_prints_a_selection_and_leaves_out_what_is_not_to_be_packed(self, browser, order):
        cancelled = rows.make_order(7)
        Order.objects.filter(pk=cancelled.pk).update(status="cancelled")

        answer = self.select(browser, order.pk, cancelled.pk)

        assert answer.content.startswith(b"%PDF")
        printed = AuditLog.objects.get(event_type="PACKING_SLIPS_PRINTED")
        assert printed.data == {"orders": [order.pk]}

    def test_of_a_selection_with_nothing_to_pack_says_so(self, browser):
        order = rows.make_order(7)
        Order.objects.filter(pk=order.pk).update(status="cancelled")

        assert self.select(browser, order.pk).status_code == 302

    def test_refuses_more_than_a_worker_should_print(self, browser, monkeypatch, order):
        monkeypatch.setattr(packing_slips, "MOST_SLIPS", 1)
        other = rows.make_order(7)

        answer = self.select(browser, order.pk, other.pk)

        assert MOST_SLIPS == 100
        assert answer.status_code == 302
        assert not AuditLog.objects.filter(event_type="PACKING_SLIPS_PRINTED").exists()
