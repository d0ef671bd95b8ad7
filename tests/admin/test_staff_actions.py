"""Buttons on rows: who sees them, who may press them, and the two audit rows of each press."""

import html
import re
from uuid import uuid4

import pytest
from django.contrib.auth.models import Permission
from django.db import InterfaceError, OperationalError
from django.urls import reverse

from audit import outbox
from audit.models import AuditLog, Delivery
from config.kernel.db import LOCK_NOT_AVAILABLE, CommitOutcomeUnknownError
from inventory.models import StockLevel
from orders.models import Order, OrderNote
from orders.services import notes
from tests.admin import rows

pytestmark = pytest.mark.django_db


@pytest.fixture
def delivery():
    delivery = rows.make_everything(1).delivery
    Delivery.objects.filter(pk=delivery.pk).update(
        status="dead", attempts=12, last_error="SMTP is away"
    )
    return delivery


def page_of(row):
    return reverse("admin:audit_delivery_change", args=[row.pk])


def button_of(row, name="retry"):
    return reverse("admin:audit_delivery_do", args=[row.pk, name])


def press(client, row, name="retry", **data):
    return client.post(button_of(row, name), {"request_key": uuid4(), **data}, follow=True)


def audited():
    return list(
        AuditLog.objects.filter(event_type__startswith="STAFF_ACTION")
        .order_by("pk")
        .values_list("event_type", "entity_type", "entity_id", "user_id", "data")
    )


class TestAButton:
    def test_stands_on_the_page_while_it_is_of_use(self, browser, delivery):
        assert "Retry now" in browser.get(page_of(delivery)).content.decode()

        Delivery.objects.filter(pk=delivery.pk).update(
            status="delivered", delivered_at=delivery.created_at
        )

        assert "Retry now" not in browser.get(page_of(delivery)).content.decode()

    def test_that_asks_for_something_leads_to_its_page(self, browser, delivery):
        for row, name in ((Order.objects.get(), "ship"), (StockLevel.objects.get(), "count")):
            place = f"admin:{row._meta.app_label}_{row._meta.model_name}"

            page = browser.get(reverse(f"{place}_change", args=[row.pk])).content.decode()

            assert f'href="{reverse(f"{place}_do", args=[row.pk, name])}"' in page

    def test_does_its_work_and_says_so(self, browser, delivery):
        answer = press(browser, delivery)

        assert "It is tried again now." in answer.content.decode()
        delivery.refresh_from_db()
        assert (delivery.status, delivery.attempts) == ("pending", 0)

    def test_leaves_the_state_before_and_after(self, browser, superuser, delivery):
        press(browser, delivery)

        who = ("delivery", delivery.pk, superuser.pk)
        before, after = {"status": "dead", "attempts": 12}, {"status": "pending", "attempts": 0}
        assert audited() == [
            ("STAFF_ACTION_ASKED", *who, {"action": "retry", "state": before}),
            ("STAFF_ACTION_DONE", *who, {"action": "retry", "state": after}),
        ]

    def test_that_is_refused_says_why_and_is_on_record(self, browser, superuser, delivery):
        Delivery.objects.filter(pk=delivery.pk).update(
            status="delivered", delivered_at=delivery.created_at
        )

        answer = press(browser, delivery)

        assert "It is delivered, or on its way at this moment." in answer.content.decode()
        assert audited()[-1][0] == "STAFF_ACTION_REFUSED"
        assert audited()[-1][4]["code"] == "INVALID_TRANSITION"

    def test_without_its_key_does_nothing_and_says_why(self, browser, delivery):
        page = browser.post(button_of(delivery), {}).content.decode()

        assert "Request key: This field is required." in page
        delivery.refresh_from_db()
        assert delivery.status == "dead"
        assert audited() == []

    def test_by_get_only_asks(self, browser, delivery):
        page = browser.get(button_of(delivery)).content.decode()

        assert "also where it was given up" in page
        assert audited() == []

    @pytest.mark.parametrize("name", ["nothing", "run", "__class__"])
    def test_that_does_not_exist(self, browser, delivery, name):
        assert press(browser, delivery, name).status_code == 404

    def test_on_a_row_that_does_not_exist(self, browser, delivery):
        delivery.pk += 1
        assert press(browser, delivery).status_code == 404


class LockTimeoutError(Exception):
    pgcode = LOCK_NOT_AVAILABLE


class TestWhenTheDatabaseGoesAway:
    """A refund may be decided by then: what is sent again must have the key of the first time."""

    @pytest.fixture
    def order(self):
        return rows.make_everything(1).order

    def press(self, browser, order, key):
        url = reverse("admin:orders_order_do", args=[order.pk, "note"])
        return browser.post(url, {"request_key": key, "text": "Called, rings back."})

    def fail_once(self, monkeypatch, failure):
        really = notes.add_note
        failures = [failure]

        def add_note(**fields):
            really(**fields)
            if failures:
                raise failures.pop()

        monkeypatch.setattr(notes, "add_note", add_note)

    @pytest.mark.parametrize(
        "failure", [OperationalError("away"), InterfaceError("away"), CommitOutcomeUnknownError()]
    )
    def test_the_page_stays_with_what_was_typed_and_its_key(
        self, browser, order, monkeypatch, failure
    ):
        self.fail_once(monkeypatch, failure)
        key, before = uuid4(), OrderNote.objects.count()

        page = self.press(browser, order, key)

        text = page.content.decode()
        assert "Send this page again" in text
        assert "Called, rings back." in text
        assert page.context["form"]["request_key"].value() == str(key)
        assert self.press(browser, order, key).status_code == 302
        assert OrderNote.objects.count() == before + 1
        assert [event for event, *_ in audited()] == [
            "STAFF_ACTION_ASKED",
            "STAFF_ACTION_UNKNOWN",
            "STAFF_ACTION_ASKED",
            "STAFF_ACTION_DONE",
        ]
        assert audited()[1][-1]["error"] == type(failure).__name__

    def test_a_lock_that_is_not_to_be_had_is_told_as_such(self, browser, order, monkeypatch):
        failure = OperationalError("canceling statement due to lock timeout")
        failure.__cause__ = LockTimeoutError()
        self.fail_once(monkeypatch, failure)

        page = self.press(browser, order, uuid4())

        assert "Somebody else is at it" in page.content.decode()

    def test_a_button_of_one_click_leads_back_and_says_so(self, browser, delivery, monkeypatch):
        def is_away(**_):
            raise OperationalError("away")

        monkeypatch.setattr(outbox, "retry", is_away)

        page = press(browser, delivery)

        assert page.redirect_chain[-1][0] == page_of(delivery)
        assert "Send this page again" in page.content.decode()


class TestLinksAmongTheButtons:
    """As a browser finds them: what is drawn as a link is followed, a form is sent."""

    @pytest.mark.parametrize(
        ("label", "words"),
        [("customers_customer", "Place a phone order"), ("orders_coupon", "Preview its effect")],
    )
    def test_lead_to_their_page(self, browser, label, words):
        everything = rows.make_everything(1)
        row = everything.customer if label == "customers_customer" else everything.coupon
        text = browser.get(reverse(f"admin:{label}_change", args=[row.pk])).content.decode()

        [link] = re.findall(
            rf'<a class="staff-button[^>]*href="([^"]*)">[^<]*<span[^>]*>[^<]*</span>{words}', text
        )

        page = browser.get(html.unescape(link))
        assert page.status_code == 200
        assert not page.context["form"].errors


class TestRights:
    @pytest.fixture
    def clerk(self, client):
        clerk = rows.make_customer(2)
        type(clerk).objects.filter(pk=clerk.pk).update(is_staff=True)
        client.force_login(clerk)
        return clerk

    def allow(self, clerk, *codenames):
        clerk.user_permissions.add(
            *Permission.objects.filter(codename__in=codenames, content_type__app_label="audit")
        )

    def test_to_look_are_none_to_press(self, client, clerk, delivery):
        self.allow(clerk, "view_delivery")

        assert "Retry now" not in client.get(page_of(delivery)).content.decode()
        assert client.get(button_of(delivery)).status_code == 403
        assert press(client, delivery).status_code == 403
        delivery.refresh_from_db()
        assert delivery.status == "dead"

    def test_of_a_customer_are_none(self, client, delivery):
        client.force_login(rows.make_customer(3))

        assert client.post(button_of(delivery), {"request_key": uuid4()}).status_code == 302
        delivery.refresh_from_db()
        assert delivery.status == "dead"
