"""The page that shows how letters look: in a frame that can do nothing, to who may read letters."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from integrations.email import samples
from orders import answers
from orders.models import Letter
from tests.admin import rows

PAGE, FRAME = "/admin/letters/preview/", "/admin/letters/preview/frame/"


@pytest.fixture
def order(db):
    placed = rows.make_order(7, guest_email="guest@example.com", guest_first_name="<i>Gus</i>")
    rows.add_item(placed, product_name="<script>alert(1)</script>")
    return placed


def clerk_who_may(*permissions):
    browser, clerk = Client(), rows.make_customer(50, is_staff=True)
    for codename in permissions:
        clerk.user_permissions.add(Permission.objects.get(codename=codename))
    browser.force_login(clerk)
    return browser


@pytest.fixture
def browser(db):
    """A superuser's."""
    browser = Client()
    browser.force_login(rows.make_customer(99, is_staff=True, is_superuser=True))
    return browser


@pytest.mark.django_db
class TestPage:
    @pytest.mark.parametrize("name", samples.LETTERS)
    @pytest.mark.parametrize("language", ["en", "ar"])
    def test_shows_each_letter(self, browser, name, language):
        asked = {"letter": name, "language": language}

        page = browser.get(PAGE, asked)
        frame = browser.get(FRAME, asked)

        letter = samples.compose(name, reader=samples.reader_of(language))
        assert (page.status_code, frame.status_code) == (200, 200)
        assert letter.subject in page.content.decode()
        assert letter.heading in frame.content.decode()

    def test_shows_a_letter_about_an_order_without_the_key_of_its_guest(self, browser, order):
        asked = {"letter": "order.confirmed", "order": order.order_number}

        shown = (
            browser.get(PAGE, asked).content.decode() + browser.get(FRAME, asked).content.decode()
        )

        assert order.order_number in shown
        assert "&lt;i&gt;Gus" in shown
        assert "<script>alert" not in shown
        assert answers.guest_token(order) not in shown

    def test_sends_and_keeps_nothing(self, browser, order, mailoutbox):
        browser.get(PAGE, {"order": order.order_number})

        assert mailoutbox == []
        assert not Letter.objects.exists()

    @pytest.mark.parametrize("asked", [{"letter": "x"}, {"language": "xx"}, {"order": "NO-SUCH"}])
    def test_says_what_is_wrong_and_shows_no_letter(self, browser, asked):
        page = browser.get(PAGE, asked)

        assert page.status_code == 200
        assert "<iframe" not in page.content.decode()
        assert browser.get(FRAME, asked).status_code == 404

    def test_is_for_whoever_may_read_letters(self, order):
        reader = clerk_who_may("view_letter")

        assert reader.get(PAGE).status_code == reader.get(FRAME).status_code == 200
        about = {"order": order.order_number}
        assert reader.get(PAGE, about).status_code == reader.get(FRAME, about).status_code == 403

    def test_is_for_nobody_else(self):
        other = clerk_who_may("view_order")

        assert other.get(PAGE).status_code == other.get(FRAME).status_code == 403
        assert Client().get(FRAME).status_code == 302

    def test_leaves_the_policy_of_the_admin_as_it_is(self, browser):
        policy = browser.get(PAGE).headers["Content-Security-Policy"]
        framed = browser.get(FRAME).headers

        assert "unsafe-inline" not in policy
        assert "frame-ancestors 'none'" in policy
        assert framed["X-Frame-Options"] == "SAMEORIGIN"
        assert "default-src 'none'" in framed["Content-Security-Policy"]
        assert "sandbox" in framed["Content-Security-Policy"]
        assert "script" not in framed["Content-Security-Policy"]
