"""Every page of the admin: it opens, it stays cheap, it shows no secret and edits no history."""

from __future__ import annotations

import re

import pytest
from django.apps import apps
from django.contrib import admin
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from audit.models import OutboxMessage
from config.kernel import admin as kernel_admin
from tests.admin import rows

pytestmark = pytest.mark.django_db

OURS = ("customers", "inventory", "payments", "orders", "audit", "integrations")
MODELS = sorted(admin.site._registry, key=lambda model: model._meta.label)
all_models = pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.label)

# The whole of what staff can set by hand; money, stock and states of orders are not in it.
EDITABLE = {
    "auth.Group": {"name", "permissions"},
    "customers.Customer": {
        "first_name",
        "last_name",
        "phone",
        "date_of_birth",
        "language",
        "marketing_consent",
        "is_staff",
        "is_superuser",
        "groups",
    },
    "integrations.WebhookEndpoint": {"url", "description", "events"},
    "inventory.Category": {"slug", "name", "parent"},
    "inventory.Price": {"product", "currency", "amount"},
    "inventory.PriceBreak": {"product", "currency", "tier", "min_quantity", "amount"},
    "inventory.Product": {
        "name",
        "description",
        "category",
        "image_url",
        "image_alt",
        "attributes",
        "tax_class",
        "weight_grams",
        "is_active",
    },
    "inventory.ProductImage": {"product", "position", "url", "alt"},
    "inventory.Warehouse": {
        "name",
        "country",
        "time_zone",
        "cutoff_time",
        "holidays",
        "priority",
        "is_active",
    },
    "orders.Coupon": {
        "name",
        "kind",
        "value",
        "currency",
        "buy_quantity",
        "get_quantity",
        "tier",
        "minimum_subtotal",
        "starts_at",
        "ends_at",
        "max_uses",
        "max_uses_per_customer",
        "is_active",
    },
    "orders.CouponScope": {"coupon", "product", "category"},
    "orders.ShippingMethod": {
        "name",
        "currency",
        "amount",
        "free_from",
        "countries",
        "tax_class",
        "min_business_days",
        "max_business_days",
        "is_active",
    },
    "orders.ShippingRate": {
        *("method", "zone", "min_weight_grams", "max_weight_grams"),
        *("amount", "free_from"),
    },
    "orders.ShippingZone": {"name", "countries", "regions", "postal_prefixes"},
    "orders.TaxDestination": {"country", "prices_include_tax"},
    "orders.TaxRate": {"country", "region", "tax_class", "rate"},
}
ADDABLE = EDITABLE.keys() - {"customers.Customer"} | {"orders.PaymentLink"}
DELETABLE = {
    *("auth.Group", "inventory.Category", "inventory.Price", "inventory.PriceBreak"),
    "inventory.ProductImage",
    *("orders.CouponScope", "orders.ShippingRate", "orders.ShippingZone"),
    *("orders.TaxDestination", "orders.TaxRate"),
}


# A cart's lines stand on its page, an endpoint's secrets on its, saved views above lists, files on
# their job's; a session's key opens the account.
WITHOUT_A_PAGE = {
    *("orders.CartItem", "orders.BackgroundJobChunk"),
    *("customers.Session", "customers.SavedView"),
    "integrations.WebhookSecret",
}


def url(model, page, *args):
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=args)


def test_every_model_of_ours_has_a_page():
    missing = {
        model._meta.label
        for app in OURS
        for model in apps.get_app_config(app).get_models()
        if model not in admin.site._registry
    }

    assert missing == WITHOUT_A_PAGE


def test_lists_ask_as_many_queries_for_20_rows_as_for_one(browser):
    def count_queries(model):
        with CaptureQueriesContext(connection) as queries:
            assert browser.get(url(model, "changelist")).status_code == 200
        return len(queries)

    rows.make_everything(1)
    browser.get(reverse("admin:index"))  # content types are looked up once a process
    for_one = {model._meta.label: count_queries(model) for model in MODELS}
    for n in range(2, 21):
        rows.make_everything(n)
    for_twenty = {model._meta.label: count_queries(model) for model in MODELS}

    few = {model._meta.label for model in MODELS if model.objects.count() < 20}
    assert few == {"orders.InvoiceSeries"}  # one for each kind of document, ever
    assert for_twenty == for_one


@all_models
class TestPage:
    def test_searches(self, model, browser):
        rows.make_everything(1)

        response = browser.get(url(model, "changelist"), {"q": "APPLE-1 7 x@y.z '"})

        assert response.status_code == 200

    def test_shows_a_row_without_its_secrets_and_without_inline_script(self, model, browser):
        rows.make_everything(1)
        row = model.objects.order_by("pk").first()

        page = browser.get(url(model, "change", row.pk))

        assert page.status_code == 200
        text = page.content.decode()
        assert rows.SECRET not in text
        assert not re.search(r"<script(?![^>]*\ssrc=)[^>]*>", text)
        assert not re.search(r"\s(style|onclick|onload|onchange|onsubmit)=", text)
        assert "<style" not in text

    def test_edits_adds_and_deletes_only_what_is_listed_here(self, model, browser, rf, superuser):
        rows.make_everything(1)
        label = model._meta.label
        row = model.objects.order_by("pk").first()
        page = admin.site._registry[model]
        request = rf.get("/")
        request.user = superuser
        before = model.objects.filter(pk=row.pk).values().get()

        may_change = page.has_change_permission(request, row)
        form = page.get_form(request, row, change=True) if may_change else None
        changed = browser.post(url(model, "change", row.pk), {"status": "delivered"})
        added = browser.get(url(model, "add"))
        deleted = browser.get(url(model, "delete", row.pk))

        assert set(form.base_fields if form else ()) == EDITABLE.get(label, set())
        # An incomplete form of what may be changed is shown again.
        assert changed.status_code == (200 if label in EDITABLE else 403)
        assert added.status_code == (200 if label in ADDABLE else 403)
        assert deleted.status_code == (200 if label in DELETABLE else 403)
        assert model.objects.filter(pk=row.pk).values().get() == before

    def test_is_closed_to_customers(self, model, client):
        client.force_login(rows.make_customer(1))

        assert client.get(url(model, "changelist")).status_code == 302

    def test_tells_a_rows_history_from_the_audit_log(self, model, browser):
        rows.make_everything(1)
        row = model.objects.order_by("pk").first()

        page = browser.get(url(model, "history", row.pk), follow=True)

        assert page.status_code == 200
        assert page.request["PATH_INFO"] == reverse("admin:audit_auditlog_changelist")


def test_an_orders_page_has_buttons_and_nothing_to_type_into(browser):
    order = rows.make_everything(1).order

    text = browser.get(reverse("admin:orders_order_change", args=[order.pk])).content.decode()

    names = set(re.findall(r'<(?:input|select|textarea)[^>]* name="([^"]+)"', text))
    # What remains are the box on every page that searches, and the keys of buttons.
    assert names == {"csrfmiddlewaretoken", "s", "request_key"}


def test_a_long_list_is_counted_to_a_limit(browser, monkeypatch):
    monkeypatch.setattr(kernel_admin, "MOST_COUNTED", 3)
    for n in range(5):
        OutboxMessage.objects.create(
            fact="x", aggregate_type="x", aggregate_id=n, dedupe_key=f"x.{n}", payload={}
        )

    page = browser.get(reverse("admin:audit_outboxmessage_changelist"))

    assert page.context["cl"].result_count == 3
