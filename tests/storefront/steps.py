"""What a shopper does in the storefront, step by step."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from django.core import mail
from playwright.sync_api import expect

from audit import outbox
from orders.models import Order
from orders.services.shipping import Parcel, ship_order
from tests import factories

PASSWORD = factories.PASSWORD


def fill_cart(page, *names):
    page.goto("/search")
    for name in names or ("Fresh Milk",):
        page.get_by_role("button", name=f"Add {name}").click()
        expect(page.get_by_role("button", name=f"Add {name}")).to_have_text("Added ✓")


def fill_address(page, *, guest=True):
    page.goto("/checkout")
    if guest:
        page.get_by_label("E-mail").fill("ada@example.com")
        page.get_by_label("First name").fill("Ada")
        page.get_by_label("Last name").fill("Lovelace")
    page.get_by_label("Country").select_option("US")
    page.get_by_label("Full name").fill("Ada Lovelace")
    page.get_by_label("Street and number").fill("1 Main Street")
    page.get_by_label("City").fill("New York")
    page.get_by_label("State or province").fill("NY")
    with page.expect_response(
        lambda answer: answer.url.endswith("/quotes") and answer.status == 200
    ):
        page.get_by_label("Postal code").fill("10001")
        page.get_by_label("Postal code").blur()


def pay(page, card="Visa Pays at once."):
    page.get_by_role("radio", name=card).check()
    page.get_by_role("button", name=re.compile("^Pay")).click()


def sign_up(page, email="grace@example.com"):
    """From the log-in's page or any other that leads there; waits for nothing."""
    page.get_by_label("First name").fill("Grace")
    page.get_by_label("Last name").fill("Hopper")
    page.get_by_label("E-mail").fill(email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Make my account").click()


def heading(page, text):
    expect(page.get_by_role("heading", level=1)).to_contain_text(text)


def log_in(page, email, password=PASSWORD):
    page.goto("/account/login")
    page.get_by_label("E-mail").fill(email)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()


def linked(pattern):
    """Where the latest letter leads to: the path of its first link like this."""
    outbox.relay()
    (link,) = re.findall(rf"http\S*{pattern}\S*", mail.outbox[-1].body)
    return urlsplit(link).path


def order_link(placed):
    """What a guest is sent."""
    return f"/orders/{placed['order_number']}?token={placed['guest_token']}"


def ship(placed):
    """What staff do meanwhile."""
    order = Order.objects.get(order_number=placed["order_number"])
    ship_order(order_id=order.pk, parcel=Parcel(carrier="UPS", tracking_number="1Z999"))
