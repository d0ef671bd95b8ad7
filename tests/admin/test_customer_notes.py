"""Notes on a customer's page: read there, written by a button, once."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.contrib.auth.models import Group
from django.urls import reverse

from audit.models import AuditLog
from customers.models import Customer, CustomerNote
from tests.admin import rows

pytestmark = pytest.mark.django_db


@pytest.fixture
def customer():
    return rows.make_customer(1)


def press(browser, customer, text, key=None):
    return browser.post(
        reverse("admin:customers_customer_do", args=[customer.pk, "note"]),
        {"request_key": key or uuid4(), "text": text},
        follow=True,
    )


def test_a_note_is_written_once_and_stands_on_the_page(browser, superuser, customer):
    key = uuid4()
    for _ in range(2):
        page = press(browser, customer, "Call <before> noon.", key)

    note = CustomerNote.objects.get()
    assert (note.text, note.author, note.customer) == ("Call <before> noon.", superuser, customer)
    assert "Call &lt;before&gt; noon." in page.content.decode()
    assert "before" not in str(list(AuditLog.objects.values_list("data", flat=True)))


def test_a_note_with_a_card_number_is_refused(browser, customer):
    page = press(browser, customer, "4242 4242 4242 4242")

    assert "This looks like a card number" in page.content.decode()
    assert not CustomerNote.objects.exists()


def test_an_erased_customer_has_no_button(browser, customer):
    Customer.objects.filter(pk=customer.pk).update(erased_at="2026-01-01T00:00Z")

    page = browser.get(reverse("admin:customers_customer_change", args=[customer.pk]))

    assert "note" not in {button.name for button in page.context["buttons"]}


@pytest.mark.parametrize(("role", "status"), [("Support", 200), ("Finance", 403)])
def test_a_note_takes_its_right(client, customer, role, status):
    clerk = rows.make_customer(2, is_staff=True)
    clerk.groups.add(Group.objects.get(name=role))
    client.force_login(clerk)

    assert press(client, customer, "Call before noon.").status_code == status
    assert CustomerNote.objects.count() == (status == 200)
