"""What a promotion would do, on its page: shown to whoever may see it, and nothing is changed."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest
from django.contrib.auth.models import Permission
from django.urls import reverse

from audit.models import AuditLog
from orders.models import Coupon
from tests import factories
from tests.admin import rows
from tests.admin.test_changes import save
from tests.shop import Shopper

pytestmark = pytest.mark.django_db


@pytest.fixture
def coupon(shop):
    factories.ProductFactory(sku="TEA", price="20.00")
    shopper = Shopper(factories.CustomerFactory())
    assert shopper.order(("TEA", 2)).status_code == 201
    return factories.CouponFactory(code="TEN", value=Decimal(10), is_active=False)


def url(coupon):
    return reverse("admin:orders_coupon_effect", args=[coupon.pk])


def words(answer):
    """What a person reads."""
    assert answer.status_code == 200
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", answer.content.decode()))


def tried(**changes):
    return {"value": "10", "minimum_subtotal": "0", "currency": "USD", **changes}


class TestThePage:
    def test_tells_what_it_would_have_given(self, browser, coupon):
        shown = words(browser.get(url(coupon)))

        assert "Orders it applies to 1 of 1" in shown
        assert "It would have given 4.00" in shown
        assert "8.89 %" in shown

    def test_tries_other_terms_without_saving_them(self, browser, coupon):
        shown = words(browser.get(url(coupon), tried(value="25")))

        assert "It would have given 10.00" in shown
        assert Coupon.objects.values_list("value", flat=True).get() == 10
        assert not AuditLog.objects.filter(event_type__startswith="STAFF").exists()

    def test_tries_a_basket(self, browser, coupon):
        shown = words(browser.get(url(coupon), tried(basket="tea 3\n")))

        assert "Goods 60.00 60.00" in shown
        assert "Discount 0.00 6.00" in shown

    def test_says_why_a_basket_gets_nothing(self, browser, coupon):
        Coupon.objects.update(currency="USD")

        shown = words(browser.get(url(coupon), tried(basket="TEA", minimum_subtotal="21")))

        assert "does not reach its minimum" in shown

    @pytest.mark.parametrize(
        ("changes", "why"),
        [
            ({"basket": "TEA 1\nTEA 2"}, "Each SKU once"),
            ({"basket": "TEA 0"}, "At least one"),
            ({"basket": "TEA and two"}, "a SKU and how many"),
            ({"basket": "A\n" * 21}, "At most 20 lines"),
            ({"basket": "PLUM 1"}, "There is no such product"),
            ({"value": "0"}, "is not above 0"),
            ({"value": "x"}, "Enter a number"),
            ({"currency": "XXX"}, "not one of the available choices"),
        ],
    )
    def test_says_what_is_wrong_with_what_was_typed(self, browser, coupon, changes, why):
        assert why in words(browser.get(url(coupon), tried(**changes)))

    def test_is_linked_from_the_coupons_page(self, browser, coupon):
        change = reverse("admin:orders_coupon_change", args=[coupon.pk])

        assert url(coupon) in browser.get(change).content.decode()

    def test_of_none_does_not_exist(self, browser, coupon):
        coupon.pk += 1
        assert browser.get(url(coupon)).status_code == 404

    def test_is_for_whoever_may_see_coupons(self, client, coupon):
        user = rows.make_customer(99, email="clerk@example.com", is_staff=True)
        client.force_login(user)
        assert client.get(url(coupon)).status_code == 403

        user.user_permissions.add(Permission.objects.get(codename="view_coupon"))

        assert client.get(url(coupon)).status_code == 200

    def test_still_saves_the_coupon_on_record(self, browser, coupon):
        """The page of a coupon has buttons and a form: both leave their traces."""
        save(browser, coupon, value="12")

        told = AuditLog.objects.get(event_type="STAFF_CHANGED").data
        assert (told["before"]["value"], told["after"]["value"]) == ("10.00", "12")
