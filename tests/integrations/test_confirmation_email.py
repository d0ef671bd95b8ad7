"""The confirmation e-mail: to whom, saying what, and safe from what customers call themselves."""

from __future__ import annotations

import smtplib
from decimal import Decimal
from email import message_from_bytes
from email.policy import default
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest
from django.core import mail
from django.db import connection

from audit import outbox
from audit import services as audit
from audit.models import Delivery, OutboxMessage
from integrations.email import about_orders
from orders import answers
from tests.admin import rows

if TYPE_CHECKING:
    from orders.models import Order

pytestmark = pytest.mark.django_db

HOSTILE = "<script>alert(1)</script>{{7*7}}"


@pytest.fixture(autouse=True)
def _shop(settings):
    settings.PUBLIC_URL = "https://shop.example.com"
    settings.DEFAULT_FROM_EMAIL = "orders@shop.example.com"
    settings.SHOP_TIME_ZONE = "America/New_York"


@pytest.fixture
def order():
    placed = rows.make_order(7)
    rows.add_item(placed, product_name="Apple")
    return placed


def confirmed(order: Order) -> OutboxMessage:
    audit.publish(
        "order.confirmed",
        aggregate_type="order",
        aggregate_id=order.pk,
        dedupe_key=f"order.{order.pk}.confirmed.1",
        payload={
            "order_id": order.pk,
            "order_number": order.order_number,
            "total_amount": str(order.total_amount),
            "currency": order.currency,
        },
    )
    return OutboxMessage.objects.get(aggregate_id=order.pk)


def delivery() -> Delivery:
    return Delivery.objects.get(subscriber="email")  # others listen to the same fact


def sent():
    assert len(mail.outbox) == 1
    return mail.outbox[0]


def as_received():
    return message_from_bytes(sent().message().as_bytes(), policy=default)


def html_of(email):
    [(content, mime_type)] = email.alternatives
    assert mime_type == "text/html"
    return content


class Tags(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.found.add(tag)


class TestConfirmation:
    def test_goes_to_the_customer_once(self, order):
        message = confirmed(order)

        outbox.relay()
        outbox.relay()

        email = sent()
        assert email.to == ["ann7@example.com"]
        assert email.from_email == "orders@shop.example.com"
        assert email.subject == "Order ABCD-0007 confirmed"
        assert as_received()["Message-ID"] == f"<{message.uuid}@shop.example.com>"
        assert as_received()["Auto-Submitted"] == "auto-generated"
        assert delivery().status == "delivered"

    def test_goes_to_the_guest(self):
        placed = rows.make_order(guest_email="guest@example.com", guest_first_name="Gus")

        about_orders.send(confirmed(placed))

        assert sent().to == ["guest@example.com"]
        assert "Hello Gus," in sent().body

    def test_leads_a_customer_to_the_order(self, order):
        about_orders.send(confirmed(order))

        page = "https://shop.example.com/orders/ABCD-0007"
        assert f"{page}\n" in sent().body
        assert f'href="{page}"' in html_of(sent())

    def test_lets_a_guest_in_by_its_link_alone(self):
        placed = rows.make_order(guest_email="guest@example.com")

        about_orders.send(confirmed(placed))

        link = f"{placed.order_number}?token={answers.guest_token(placed)}"
        assert link in sent().body
        assert link in html_of(sent())

    def test_says_what_was_ordered_for_how_much(self, order):
        about_orders.send(confirmed(order))

        for text in (sent().body, html_of(sent())):
            for said in (
                "ABCD-0007",
                "Sunday, May 3, 2026",  # New York's day, not UTC's
                "Friday, May 8, 2026",
                "Apple",
                "APPLE-1",
                "$10.00",
                "$20.00",
                "-$1.00",
                "$5.00",
                "$1.66",
                "$25.66",
                "1 Main St",
                "Springfield IL 62701",
                "United States",
            ):
                assert said in text

    def test_writes_amounts_as_the_currency_does(self):
        placed = rows.make_order(
            currency="JPY",
            subtotal=Decimal(1999),
            discount_amount=0,
            shipping_amount=0,
            tax_amount=0,
            total_amount=Decimal(1999),
        )

        about_orders.send(confirmed(placed))

        assert "Total: ¥1,999\n" in sent().body
        assert "Discount" not in sent().body

    def test_names_included_tax_as_a_part_of_the_total(self):
        placed = rows.make_order(tax_included=True, total_amount=Decimal("24.00"))

        about_orders.send(confirmed(placed))

        for text in (sent().body, html_of(sent())):
            assert "Tax included" in text
        assert "Total: $24.00\n" in sent().body

    def test_asks_a_constant_number_of_queries(self, order, django_assert_num_queries):
        for n in range(2, 6):
            rows.add_item(order, n=n)
        message = confirmed(order)

        # The order, its lines, whether its address is suppressed, whether it was sent; keeping it:
        # a lock and a row in a transaction.
        with django_assert_num_queries(4 + 4):
            about_orders.send(message)

    def test_is_sent_outside_any_transaction_of_the_relay(self, order, monkeypatch):
        depths = []
        outside = len(connection.atomic_blocks)
        monkeypatch.setattr(
            mail.EmailMultiAlternatives,
            "send",
            lambda _: depths.append(len(connection.atomic_blocks)),
        )
        confirmed(order)

        outbox.relay()

        assert depths == [outside]


class TestHostileParticulars:
    def test_are_shown_as_text(self):
        address = rows.ADDRESS | {"name": HOSTILE, "line2": HOSTILE}
        placed = rows.make_order(
            guest_email="guest@example.com",
            guest_first_name=HOSTILE,
            shipping_address=address,
        )
        rows.add_item(placed, product_name=HOSTILE)

        about_orders.send(confirmed(placed))

        html = html_of(sent())
        assert "script" not in Tags(html).found
        assert html.count("&lt;script&gt;alert(1)&lt;/script&gt;{{7*7}}") == 4
        assert sent().body.count(HOSTILE) == 4

    def test_write_no_lines_and_no_headers_of_their_own(self):
        placed = rows.make_order(
            guest_email="guest@example.com",
            guest_first_name="Gus\r\nBcc: evil@example.com\r\n\r\nTotal: $0.00",
        )

        about_orders.send(confirmed(placed))

        received = as_received()
        assert received["Bcc"] is None
        assert sent().recipients() == ["guest@example.com"]
        assert "Hello Gus Bcc: evil@example.com Total: $0.00,\n" in sent().body

    @pytest.mark.parametrize(
        "address",
        [
            "guest@example.com\r\nBcc: evil@example.com",
            "guest@example.com, evil@example.com",
            "erased-7@erased.invalid",
            "",
        ],
    )
    def test_an_address_that_is_none_gets_nothing(self, address):
        confirmed(rows.make_order(guest_email=address))

        outbox.relay()

        assert mail.outbox == []
        assert delivery().status == "delivered"
        assert delivery().last_error == "not sent: no address left to send it to"


class TestRefusedMail:
    @pytest.mark.parametrize(
        ("error", "noted"),
        [
            (
                smtplib.SMTPServerDisconnected("bye ann7@example.com"),
                "the mail server takes nothing: SMTPServerDisconnected",
            ),
            (
                smtplib.SMTPDataError(451, b"ann7@example.com later"),
                "the mail server refuses the letter: SMTP 451",
            ),
            (
                smtplib.SMTPRecipientsRefused({"ann7@example.com": (450, b"no such user")}),
                "the mail server refuses the recipient: SMTP 450",
            ),
            (OSError(28, "No space left"), "the mail server takes nothing: OSError"),
        ],
    )
    def test_is_tried_again_and_noted_without_the_address(self, order, monkeypatch, error, noted):
        def refuse(_):
            raise error

        monkeypatch.setattr(mail.EmailMultiAlternatives, "send", refuse)
        confirmed(order)

        outbox.relay()

        assert (delivery().status, delivery().attempts) == ("pending", 1)
        assert delivery().last_error.startswith(noted)
        assert "ann7" not in delivery().last_error


@pytest.mark.parametrize(
    ("public_url", "domain"),
    [
        ("https://shop.example.com", "shop.example.com"),
        ("http://127.0.0.1:8000", "[127.0.0.1]"),
        ("http://[::1]:8000", "[IPv6:::1]"),
    ],
)
def test_message_ids_are_legal_whatever_the_host(settings, order, public_url, domain):
    settings.PUBLIC_URL = public_url
    message = confirmed(order)

    about_orders.send(message)

    assert as_received()["Message-ID"] == f"<{message.uuid}@{domain}>"


def test_becomes_one_file_a_message_where_there_is_no_mail_server(settings, order, tmp_path):
    settings.EMAIL_BACKEND = "integrations.email.backend.EmlFileBackend"
    settings.MAIL_DIR = tmp_path
    confirmed(order)

    outbox.relay()

    [file] = tmp_path.glob("*.eml")
    assert b"Subject: Order ABCD-0007 confirmed" in file.read_bytes()
