"""The box that searches everything: rows by what is in hand, pages by name, as far as one may."""

import re

import pytest
from django.contrib.auth.models import Permission
from django.core.cache import cache

from payments.models import Refund
from tests.admin import rows

pytestmark = pytest.mark.django_db


def found(client, text):
    page = client.get("/admin/search/", {"s": text, "extended": "1"})
    assert page.status_code == 200
    return re.findall(r'href="([^"]+)" data-title="([^"]+)"', page.content.decode())


@pytest.fixture
def shop():
    return rows.make_everything(1)


@pytest.mark.parametrize(
    "text", ["ABCD-0001", "ann1@example.com", "apple-1", "pi_1", "re_1", "1Z1"]
)
def test_finds_an_order(browser, shop, text):
    Refund.objects.update(stripe_refund_id="re_1")

    assert (f"/admin/orders/order/{shop.order.pk}/change/", "ABCD-0001") in found(browser, text)


def test_finds_customers_products_coupons_and_pages(browser, shop):
    assert ("ann1@example.com") in [title for _, title in found(browser, "Ann1@example.com")]
    assert "APPLE-1" in [title for _, title in found(browser, "apple")]
    assert "SAVE1" in [title for _, title in found(browser, "save")]
    assert ("/admin/audit/auditlog/", "Audit log") in found(browser, "audit")


@pytest.mark.parametrize("text", ["", "a", "%", "__", "'; --", "x" * 5_000])
def test_odd_texts_find_nothing_and_break_nothing(browser, shop, text):
    assert found(browser, text) == []


def test_keeps_nothing_of_what_it_found(browser, shop):
    cache.clear()
    found(browser, "ann1@example.com")

    assert cache._cache.get_client().keys("*unfold*") == []


def test_shows_what_may_be_read(client, shop):
    clerk = rows.make_customer(2)
    type(clerk).objects.filter(pk=clerk.pk).update(is_staff=True)
    client.force_login(clerk)
    assert found(client, "ABCD-0001") == []
    assert found(client, "apple") == []

    clerk.user_permissions.add(
        Permission.objects.get(codename="view_order", content_type__app_label="orders")
    )

    assert [title for _, title in found(client, "ABCD-0001")] == ["ABCD-0001"]
    assert [title for _, title in found(client, "ann1@example.com")] == ["ABCD-0001"]


def test_is_for_staff(client, shop):
    client.force_login(rows.make_customer(3))
    assert client.get("/admin/search/", {"s": "ABCD-0001"}).status_code == 302
