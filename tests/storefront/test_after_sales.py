"""What comes after an order, in a browser: slow payments, papers, and goods that go back."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from audit import outbox
from config.kernel.clock import Deadline
from orders.models import Order, Return
from orders.services import events
from tests.browser import IN_A_BROWSER
from tests.storefront.steps import (
    fill_address,
    fill_cart,
    heading,
    order_link,
    pay,
    ship,
)
from tests.webhooks import SECRET, event, send

pytestmark = IN_A_BROWSER


@pytest.fixture
def bank(provider, settings):
    """Decides on the debit of the one order that there is, and tells the shop."""
    settings.STRIPE_WEBHOOK_SECRETS = [SECRET]

    def decide(outcome, told):
        intent_id = Order.objects.get().payments.get().payment_intent_id
        provider.act(intent_id, outcome)
        send(event(told, provider.intent(intent_id)))
        events.process_due(deadline=Deadline(60))

    return decide


class TestBankDebit:
    def test_is_followed_until_it_is_paid(self, page, bank):
        fill_cart(page)
        fill_address(page)
        pay(page, "Bank debit")
        heading(page, "Your payment is on its way")
        expect(page.locator("#cart-count")).to_have_text("0")  # ordered, though not yet paid
        expect(page.get_by_role("button", name="Cancel this order")).to_have_count(0)
        bank("succeed", "payment_intent.succeeded")

        heading(page, "Thank you")
        expect(page.get_by_role("button", name="Invoice")).to_be_visible()
        assert Order.objects.get().status == "confirmed"

    def test_is_followed_until_it_has_failed(self, page, guest, bank):
        placed = guest.order(("MILK-1", 1), payment_method_id="pm_usBankAccount_noAccount").json()
        page.goto(order_link(placed))
        heading(page, "Your payment is on its way")
        bank("fail", "payment_intent.payment_failed")

        heading(page, "This order was cancelled")
        expect(page.get_by_text("You were not charged.")).to_be_visible()


class TestPapers:
    def test_are_an_invoice_and_once_cancelled_a_credit_note(self, page, guest):
        placed = guest.order(("MILK-1", 1)).json()
        page.goto(order_link(placed))
        assert self.downloaded(page, "Invoice") == (
            f"invoice-{placed['order_number']}.pdf",
            b"%PDF-",
        )
        page.get_by_role("button", name="Cancel this order").click()
        page.get_by_role("button", name="Yes, cancel it").click()
        heading(page, "This order was cancelled")
        expect(page.get_by_text("Refunded, $")).to_be_visible()
        outbox.relay()
        page.reload()

        assert self.downloaded(page, "CN-000001") == ("CN-000001.pdf", b"%PDF-")
        expect(page.get_by_role("button", name="Invoice")).to_be_visible()

    @staticmethod
    def downloaded(page, name):
        with page.expect_download() as downloading:
            page.get_by_role("button", name=name).click()
        return downloading.value.suggested_filename, Path(downloading.value.path()).read_bytes()[:5]


class TestReturn:
    def test_is_asked_for_and_shown_and_no_more_than_is_left(self, page, guest):
        placed = guest.order(("MILK-1", 2), ("BREAD-1", 1)).json()
        ship(placed)
        page.goto(order_link(placed))
        heading(page, "Your order is on its way")
        expect(page.get_by_role("link", name="1Z999")).to_be_visible()
        page.get_by_text("Send something back").click()
        page.get_by_label("Why").fill("One came broken.")
        page.get_by_role("button", name="Ask for the return").click()
        expect(page.get_by_text("Choose what you want to send back.")).to_be_visible()
        page.get_by_label("How many of Fresh Milk (2)").fill("1")
        page.get_by_role("button", name="Ask for the return").click()

        expect(page.get_by_text("We have your request")).to_be_visible()
        expect(page.get_by_text("1 × Fresh Milk")).to_be_visible()
        expect(page.get_by_text("Return requested")).to_be_visible()
        wish = Return.objects.get()
        assert (wish.status, wish.reason) == ("requested", "One came broken.")
        assert [item.quantity for item in wish.items.all()] == [1]
        page.get_by_text("Send something back").click()
        expect(page.get_by_label("How many of Fresh Milk (1)")).to_have_attribute("max", "1")
