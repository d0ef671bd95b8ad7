"""What staff changes leaves a trace, writes nothing else, and gives nobody more rights."""

from __future__ import annotations

from decimal import Decimal
from types import SimpleNamespace

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, Permission
from django.urls import reverse

from audit import outbox
from audit import services as audit
from audit.admin import AuditedAdmin
from audit.models import AuditLog, Delivery
from customers.models import Customer
from inventory.models import Category, Price
from orders.models import Coupon, ShippingRate, ShippingZone
from tests import factories
from tests.admin import rows

pytestmark = pytest.mark.django_db

AUDITED = [page for page in admin.site._registry.values() if isinstance(page, AuditedAdmin)]
PERSONAL = {"first_name", "last_name", "phone", "date_of_birth"}
"""Of these the log keeps that they were changed, and no more."""


@pytest.fixture
def shop():
    everything = rows.make_everything(1)
    Delivery.objects.all().delete()
    return everything


@pytest.fixture
def clerk(client):
    """Browser of staff with every permission but no superuser."""
    user = rows.make_customer(99, email="clerk@example.com", is_staff=True)
    user.user_permissions.set(Permission.objects.all())
    client.force_login(user)
    return client


def change_page(row):
    meta = row._meta
    return reverse(f"admin:{meta.app_label}_{meta.model_name}_change", args=[row.pk])


def form_of(browser, row):
    """What a browser would send back unchanged."""
    context = browser.get(change_page(row)).context
    sent = {}
    forms = [context["adminform"].form]
    for inline in context["inline_admin_formsets"]:
        forms += [inline.formset.management_form, *inline.formset.forms]
    for form in forms:
        for bound in form:
            value = bound.value()
            if value is True:
                sent[bound.html_name] = "on"
            elif value is not None and value is not False and value != []:  # 0 is a value
                sent[bound.html_name] = value
    return sent


def staff_rows():
    found = AuditLog.objects.filter(event_type__startswith="STAFF_").order_by("pk")
    return [(row.event_type, row.entity_type, row.entity_id, row.data) for row in found]


def save(browser, row, **changes):
    response = browser.post(change_page(row), form_of(browser, row) | changes)
    assert response.status_code == 302, response.context["errors"]


class TestChanges:
    def test_of_a_customer_are_recorded_without_personal_data(self, browser, shop, superuser):
        save(browser, shop.customer, last_name="Secretname", is_staff="on")

        shop.customer.refresh_from_db()
        assert (shop.customer.last_name, shop.customer.is_staff) == ("Secretname", True)
        assert staff_rows() == [
            (
                "STAFF_CHANGED",
                "customer",
                shop.customer.pk,
                {
                    "changed": ["last_name", "is_staff"],
                    "before": {"is_staff": "False"},
                    "after": {"is_staff": "True"},
                },
            )
        ]
        assert AuditLog.objects.get(event_type="STAFF_CHANGED").user_id == superuser.pk

    def test_of_rights_say_what_they_were_and_are(self, browser, shop):
        manager, support = (Group.objects.get(name=name) for name in ("Manager", "Support"))
        shop.customer.groups.set([support])

        save(browser, shop.customer, is_staff="on", groups=[support.pk, manager.pk])
        permission = Permission.objects.get(codename="approve_refund")
        save(browser, support, permissions=[permission.pk])

        of_customer, of_group = (data for _, _, _, data in staff_rows())
        assert of_customer["before"] == {"is_staff": "False", "groups": "['Support']"}
        assert of_customer["after"] == {"is_staff": "True", "groups": "['Manager', 'Support']"}
        assert "refund_order" in of_group["before"]["permissions"]
        assert of_group["after"] == {"permissions": "['approve_refund']"}

    @pytest.mark.parametrize("page", AUDITED, ids=lambda page: page.model.__name__)
    def test_of_every_field_but_a_persons_keep_what_it_was(self, page, rf, superuser):
        request = rf.get("/")
        request.user = superuser
        on_form = set(page.get_form(request, change=True).base_fields)

        assert on_form - PERSONAL <= set(page.audited_values)

    def test_of_a_customer_count_the_version_up(self, browser, shop):
        save(browser, shop.customer, last_name="Chan")

        shop.customer.refresh_from_db()
        assert shop.customer.version == 2

    def test_that_change_nothing_touch_nothing(self, browser, shop):
        save(browser, shop.customer)

        shop.customer.refresh_from_db()
        assert shop.customer.version == 1

    def test_of_a_price_on_the_products_page_are_recorded(self, browser, shop):
        save(browser, shop.product, **{"prices-0-amount": "12.50"})

        assert Price.objects.get().amount == Decimal("12.50")
        assert (
            "STAFF_CHANGED",
            "price",
            shop.price.pk,
            {"changed": ["amount"], "before": {"amount": "10.00"}, "after": {"amount": "12.50"}},
        ) in staff_rows()

    def test_additions_and_deletions_are_recorded(self, browser, db):
        browser.post(reverse("admin:inventory_category_add"), {"slug": "fruit", "name": "Fruit"})
        category = Category.objects.get()
        browser.post(
            reverse("admin:inventory_category_delete", args=[category.pk]), {"post": "yes"}
        )

        values = {"values": {"slug": "fruit", "name": "Fruit", "parent": "None"}}
        assert not Category.objects.exists()
        assert staff_rows() == [
            ("STAFF_ADDED", "category", category.pk, values),
            ("STAFF_DELETED", "category", category.pk, values),
        ]

    def test_of_a_category_with_others_below_it_keep_to_the_deepest_level(self, browser, db):
        shelves = {}
        for slug, parent in [("a", None), ("b", "a"), ("c", "b"), ("x", None), ("y", "x")]:
            shelves[slug] = factories.CategoryFactory(slug=slug, parent=shelves.get(parent))
        factories.CategoryFactory(slug="z", parent=shelves["y"])
        moved = shelves["x"]

        answer = browser.post(
            change_page(moved), form_of(browser, moved) | {"parent": shelves["c"].pk}
        )
        assert answer.status_code == 200
        assert answer.context["adminform"].form.errors == {"parent": ["At most 5 levels."]}

        save(browser, moved, parent=shelves["b"].pk)
        assert Category.objects.get(slug="z").path == ["a", "b", "x", "y", "z"]

    def test_vanish_when_they_cannot_be_recorded(self, browser, shop, monkeypatch):
        def refuse(*_args, **_kwargs):
            raise RuntimeError("no audit, no change")

        monkeypatch.setattr(audit, "record", refuse)

        with pytest.raises(RuntimeError):
            save(browser, shop.customer, last_name="Chan")

        shop.customer.refresh_from_db()
        assert shop.customer.last_name == "Lee 1"

    def test_leave_nothing_in_djangos_own_log(self, browser, shop):
        save(browser, shop.customer, last_name="Chan")

        assert not admin.models.LogEntry.objects.exists()

    def test_do_not_write_back_what_the_page_did_not_change(self, rf, superuser, shop):
        page = admin.site.get_model_admin(Coupon)
        as_opened = Coupon.objects.get()
        Coupon.objects.update(times_used=4)
        as_opened.is_active = False

        page.save_model(
            rf.post("/"), as_opened, SimpleNamespace(changed_data=["is_active"]), change=True
        )

        assert Coupon.objects.values_list("times_used", "is_active").get() == (4, False)

    def test_a_coupons_limit_does_not_fall_below_its_uses(self, browser, shop):
        response = browser.post(
            change_page(shop.coupon), form_of(browser, shop.coupon) | {"max_uses": "2"}
        )

        assert response.status_code == 200
        assert "It has been used 3 times." in response.content.decode()

    def test_an_illegal_coupon_is_refused_by_the_form(self, browser, shop):
        response = browser.post(
            change_page(shop.coupon), form_of(browser, shop.coupon) | {"value": "101"}
        )

        assert response.status_code == 200
        assert Coupon.objects.get().value == 5


class TestTerms:
    NO_SCOPES = {"scopes-TOTAL_FORMS": "0", "scopes-INITIAL_FORMS": "0"}

    def add(self, browser, page, **fields):
        return browser.post(reverse(f"admin:{page}_add"), fields)

    def test_a_promotion_without_a_code_has_none_and_applies_by_itself(self, browser, db):
        answer = self.add(
            browser,
            "orders_coupon",
            **self.NO_SCOPES,
            code="",
            name="Autumn",
            kind="percent",
            value="5",
            minimum_subtotal="0",
            is_active="on",
        )

        assert answer.status_code == 302
        made = Coupon.objects.get()
        assert (made.code, str(made)) == (None, "Autumn")

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"name": "", "kind": "percent", "value": "5"}, "Give it a code, or a name"),
            ({"kind": "percent", "value": "101"}, "A percentage is above 0 and at most 100"),
            ({"kind": "fixed", "value": "5"}, "an amount is above 0 and has a currency"),
            ({"kind": "buy_x_get_y", "value": "100"}, "Buy how many, get how many"),
            ({"kind": "percent", "value": "5", "get_quantity": "1"}, "Buy how many, get how many"),
            ({"kind": "percent", "value": "5", "tier": "Gold!"}, "Lower-case letters, digits"),
        ],
    )
    def test_an_illegal_promotion_is_told_why(self, browser, db, fields, message):
        whole = {"name": "Autumn", "minimum_subtotal": "0", **self.NO_SCOPES, **fields}

        answer = self.add(browser, "orders_coupon", **whole)

        assert answer.status_code == 200
        assert message in answer.content.decode()
        assert not Coupon.objects.exists()

    @pytest.mark.parametrize(
        ("fields", "is_added"),
        [
            ({"kind": "fixed", "value": "5.50", "currency": "JPY"}, False),
            ({"kind": "fixed", "value": "5.00", "currency": "JPY"}, True),
            ({"kind": "fixed", "value": "5.50", "currency": "USD"}, True),
            ({"kind": "percent", "value": "5.50", "currency": "JPY"}, True),
            (
                {"kind": "percent", "value": "5", "currency": "JPY", "minimum_subtotal": "1.5"},
                False,
            ),
            ({"kind": "fixed", "value": "5", "currency": "KWD"}, False),
        ],
    )
    def test_no_amount_is_finer_than_its_currency(self, browser, db, fields, is_added):
        whole = {"name": "Autumn", "minimum_subtotal": "0", **self.NO_SCOPES, **fields}

        answer = self.add(browser, "orders_coupon", **whole)

        assert Coupon.objects.exists() is is_added
        assert answer.status_code == (302 if is_added else 200)
        assert ("Not payable" in answer.content.decode()) is not is_added

    def test_nor_a_price_a_break_or_a_rate(self, browser, shop):
        method = ShippingRate.objects.get().method
        save(browser, method, currency="JPY", amount="500")
        fine = {"currency": "JPY", "amount": "1.50", "product": shop.product.pk}

        answers = [
            self.add(browser, "inventory_price", **fine),
            self.add(browser, "inventory_pricebreak", **fine, min_quantity="2"),
            browser.post(
                change_page(ShippingRate.objects.get()),
                form_of(browser, ShippingRate.objects.get()) | {"amount": "1.50"},
            ),
            browser.post(change_page(method), form_of(browser, method) | {"amount": "1.50"}),
        ]

        for answer in answers:
            assert answer.status_code == 200
            assert "finer than the smallest unit of JPY" in answer.content.decode()

    def test_what_a_promotion_covers_is_recorded_row_by_row(self, browser, shop):
        category = shop.product.category

        save(
            browser,
            shop.coupon,
            **{"scopes-TOTAL_FORMS": "2", "scopes-1-category": str(category.pk)},
        )

        added = shop.coupon.scopes.get(category=category)
        assert (
            "STAFF_ADDED",
            "coupon_scope",
            added.pk,
            {
                "values": {
                    "coupon": f"{shop.coupon.pk}",
                    "product": "None",
                    "category": f"{category.pk}",
                }
            },
        ) in staff_rows()

    def test_a_category_that_a_promotion_covers_is_not_deleted(self, browser, shop):
        category = Category.objects.create(slug="fruit", name="Fruit")
        shop.coupon.scopes.create(category=category)

        browser.post(
            reverse("admin:inventory_category_delete", args=[category.pk]), {"post": "yes"}
        )

        assert Category.objects.filter(pk=category.pk).exists()

    def test_a_price_break_that_is_the_price_itself_is_told_why(self, browser, shop):
        answer = self.add(
            browser,
            "inventory_pricebreak",
            product=shop.product.pk,
            currency="USD",
            min_quantity="1",
            amount="5",
        )

        assert answer.status_code == 200
        assert "that is the price itself" in answer.content.decode()

    @pytest.mark.parametrize(
        ("weights", "is_added"),
        [(("0", ""), False), (("500", "600"), False), (("1001", ""), True), (("0", "499"), True)],
    )
    def test_a_rate_for_weights_that_have_one_is_told_why(self, browser, shop, weights, is_added):
        rate = ShippingRate.objects.get()
        ShippingRate.objects.update(min_weight_grams=500, max_weight_grams=1000)

        answer = self.add(
            browser,
            "orders_shippingrate",
            method=rate.method_id,
            zone=rate.zone_id,
            amount="5",
            **dict(zip(("min_weight_grams", "max_weight_grams"), weights, strict=True)),
        )

        assert answer.status_code == (302 if is_added else 200)
        told = "Another rate of this method and zone has such weights." in answer.content.decode()
        assert told is not is_added
        assert ShippingRate.objects.count() == 1 + is_added

    def test_a_zone_is_written_as_addresses_are_compared(self, browser, db):
        self.add(
            browser,
            "orders_shippingzone",
            name="Islands",
            countries="gb",
            regions="scotland",
            postal_prefixes="kw 15, HS",
        )

        zone = ShippingZone.objects.get()
        assert (zone.countries, zone.regions) == (["GB"], ["SCOTLAND"])
        assert zone.postal_prefixes == ["KW15", "HS"]


class TestRights:
    def test_a_clerk_corrects_a_customer_but_gives_no_rights(self, clerk, shop):
        save(clerk, shop.customer, last_name="Chan", is_staff="on", is_superuser="on")

        shop.customer.refresh_from_db()
        assert shop.customer.last_name == "Chan"
        assert (shop.customer.is_staff, shop.customer.is_superuser) == (False, False)

    def test_a_clerk_does_not_change_staff(self, clerk, superuser):
        response = clerk.post(change_page(superuser), {"last_name": "Pwned"})

        assert response.status_code == 403

    def test_a_clerk_does_not_change_groups(self, clerk):
        assert clerk.get(reverse("admin:auth_group_add")).status_code == 403

    def test_nobody_changes_an_address_for_its_owner(self, browser, shop):
        save(browser, shop.customer, last_name="Chan", email="evil@example.com")

        assert Customer.objects.get(pk=shop.customer.pk).email == "ann1@example.com"


class TestRetryNow:
    @pytest.fixture
    def dead(self):
        delivery = rows.make_everything(1).delivery
        Delivery.objects.update(status="dead", attempts=12, last_error="RuntimeError")
        return delivery

    def post(self, browser, delivery):
        return browser.post(
            reverse("admin:audit_delivery_changelist"),
            {"action": "retry_now", "_selected_action": [delivery.pk]},
        )

    def test_makes_a_dead_delivery_due_and_is_recorded(
        self, browser, dead, superuser, django_capture_on_commit_callbacks
    ):
        nudges = []
        outbox.set_nudge(lambda: nudges.append(1))
        try:
            with django_capture_on_commit_callbacks() as callbacks:
                response = self.post(browser, dead)
        finally:
            outbox.set_nudge(None)

        assert response.status_code == 302
        dead.refresh_from_db()
        assert (dead.status, dead.attempts) == ("pending", 0)
        assert len(callbacks) == 1
        row = AuditLog.objects.get(event_type="DELIVERIES_RETRIED")
        assert row.user_id == superuser.pk
        assert row.data == {"before": {str(dead.pk): "dead"}, "retried": 1}

    def test_is_for_what_was_ticked_never_for_all_of_a_list(self, browser, dead):
        ticked = {"action": "retry_now", "_selected_action": [dead.pk], "select_across": "1"}
        url = reverse("admin:audit_delivery_changelist")

        page = browser.post(url, ticked, follow=True)

        assert "Tick the rows one by one." in page.content.decode()
        dead.refresh_from_db()
        assert dead.status == "dead"
        assert not AuditLog.objects.filter(event_type="DELIVERIES_RETRIED").exists()

    def test_needs_its_permission(self, client, dead):
        viewer = rows.make_customer(98, email="viewer@example.com", is_staff=True)
        viewer.user_permissions.set(Permission.objects.filter(codename="view_delivery"))
        client.force_login(viewer)

        page = client.get(reverse("admin:audit_delivery_changelist"))
        self.post(client, dead)

        assert page.status_code == 200
        assert "retry_now" not in page.content.decode()
        dead.refresh_from_db()
        assert dead.status == "dead"
