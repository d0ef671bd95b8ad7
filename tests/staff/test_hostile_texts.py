"""Row 44 as a browser sees it: whatever others wrote is text on each page of the admin.

Each text of each row holds markup. A page under which it would run opens a dialog; one under which
it would only be markup has an element of the class `planted`.
"""

from __future__ import annotations

from urllib.parse import urlencode

import pgtrigger
import pytest
from django.contrib import admin
from django.contrib.auth.models import Group
from django.db import DatabaseError, models, transaction
from django.urls import URLResolver, reverse
from playwright.sync_api import expect

from audit.models import Delivery
from customers.models import Customer, SavedView
from orders.models import BackgroundJob, Coupon, Order
from orders.roles import ROLES
from orders.transfer.exports import EXPORTS
from orders.transfer.imports import IMPORTS
from tests.browser import IN_A_BROWSER

pytestmark = IN_A_BROWSER

CLOSED = "\"'></option></textarea></title></script>"
PAYLOADS = (  # the longest that a field holds
    f"javascript:alert(1)//{CLOSED}<img class=planted src=x onerror=alert(1)>{{{{7*7}}}}",
    "\"'><img class=planted src=x onerror=alert(1)>",
    "\"'><i class=planted>",
)
# What only our code writes, and looks up.
LOOKED_UP = {
    *("orders.Letter.fact", "orders.OrderTransition.to_status", "orders.BackgroundJob.subject"),
    "inventory.Category.slug",
}
OF_A_MODEL = ("changelist", "change", "add", "delete", "do", "history")
# Answers that are no pages, pages in front of the door, and pages without a word of others.
OTHER_ROUTES = {
    *("jsi18n", "autocomplete", "view_on_site", "search", "logout", "login"),
    *("login_code", "login_set_up", "view_save", "view_delete", "password_change_done"),
    *("job_state", "job_confirm", "job_cancel", "job_download", "inventory_stocklevel_sheet"),
    "letter_frame",  # runs no script: tests/integrations/test_letter_preview.py
}


def payload_for(length):
    return next(text for text in PAYLOADS if length is None or len(text) <= length)


def in_each_text(value):
    """JSON with every text of it exchanged."""
    if isinstance(value, dict):
        return {name: in_each_text(inner) for name, inner in value.items()} | {
            PAYLOADS[0]: PAYLOADS[0]
        }
    if isinstance(value, list):
        return [in_each_text(inner) for inner in value]
    return PAYLOADS[0] if isinstance(value, str) else value


def plant(row):
    """Write it wherever the table has no rule against it; returns the names of those fields."""
    planted = set()
    for field in row._meta.concrete_fields:
        if f"{row._meta.label}.{field.name}" in LOOKED_UP:
            continue
        if isinstance(field, models.JSONField):
            value = in_each_text(getattr(row, field.attname))
        elif isinstance(field, models.CharField | models.TextField) and not field.choices:
            if field.max_length and field.max_length < len(PAYLOADS[-1]):
                continue
            value = payload_for(field.max_length)
            if isinstance(field, models.URLField):  # whoever writes it asks for a web page
                value = f"https://{value}"[: field.max_length]
        else:
            continue
        try:
            with transaction.atomic(), pgtrigger.ignore():  # history, too: it was so from the first
                type(row)._base_manager.filter(pk=row.pk).update(**{field.name: value})
        except DatabaseError:
            continue
        planted.add(f"{row._meta.label}.{field.name}")
    return planted


@pytest.fixture
def planted(everything):
    """The fields that took it."""
    roles = Group.objects.filter(name__in=ROLES)  # which outlive the test
    return {
        name
        for model in admin.site._registry
        for row in model._base_manager.all()
        if not (model is Group and row in roles)
        for name in plant(row)
    }


@pytest.fixture
def look(planted, page):
    """Opens a page, sees that its scripts have begun, and looks for what the texts became.

    Returns how often they are shown.
    """

    def at(address):
        answer = page.goto(address, wait_until="domcontentloaded")
        found = page.evaluate(
            """() => new Promise((done) => setTimeout(() => done({
                planted: document.querySelectorAll(".planted, a[href^='javascript:']").length,
                hasBegun: !document.documentElement.hasAttribute("x-cloak"),
                shown: document.body.textContent.split(/alert\\(1|class=planted/).length - 1,
            })))"""
        )
        assert (answer.status, found["planted"], found["hasBegun"]) == (200, 0, True), address
        return found["shown"]

    return at


def rows_to_open():
    """A row of each model, and the model's pages."""
    for model, pages in sorted(admin.site._registry.items(), key=lambda item: item[0]._meta.label):
        yield pages, model._base_manager.order_by("-pk" if model is Group else "pk").first()


def address(row, page, *args):
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_{page}", args=args)


def pages_of_no_row():
    """By the name of their route."""
    job, coupon = BackgroundJob.objects.get(), Coupon.objects.get()
    for name in ("index", "stuck", "jobs", "sessions", "password_change", "recovery_codes"):
        yield name, reverse(f"admin:{name}")
    for name in ("report_revenue", "report_tax", "report_audit"):
        yield name, reverse(f"admin:{name}")
    yield "inventory_stocklevel_file", reverse("admin:inventory_stocklevel_file")
    about = urlencode({"order": Order.objects.latest("pk").order_number})
    yield "letter_preview", f"{reverse('admin:letter_preview')}?{about}"
    yield "orders_coupon_effect", reverse("admin:orders_coupon_effect", args=[coupon.pk])
    yield "job", reverse("admin:job", args=[job.pk])
    for subject in EXPORTS:
        yield "export", reverse("admin:export", args=[subject])
    for subject in IMPORTS:
        yield "import", reverse("admin:import", args=[subject])
    for app in {model._meta.app_label for model in admin.site._registry}:
        yield "app_list", reverse("admin:app_list", args=[app])


def test_every_text_of_customers_holds_it(planted):
    assert planted >= {
        *("customers.Customer.first_name", "customers.Customer.last_name"),
        *("customers.Customer.email", "customers.Address.line1", "customers.CustomerNote.text"),
        *("orders.Order.notes", "orders.Order.shipping_address", "orders.Order.guest_email"),
        *("orders.OrderItem.product_name", "orders.Return.reason", "orders.OrderNote.text"),
        *("orders.Letter.subject", "orders.Letter.body_text", "orders.Letter.body_html"),
        *("orders.Cart.coupon_code", "orders.PaymentLink.last_name", "orders.Invoice.buyer"),
        *("orders.BackgroundJob.error", "audit.AuditLog.user_agent", "audit.AuditLog.data"),
        *("audit.Delivery.last_error", "inventory.StockMovement.reason", "payments.Dispute.reason"),
    }


def test_every_page_is_opened_below(planted):
    def named(patterns):
        for pattern in patterns:
            if isinstance(pattern, URLResolver):
                yield from named(pattern.url_patterns)
            elif pattern.name:
                yield pattern.name

    of_models = {
        f"{model._meta.app_label}_{model._meta.model_name}_{page}"
        for model in admin.site._registry
        for page in OF_A_MODEL
    }

    others = set(named(admin.site.urls[0])) - of_models - OTHER_ROUTES

    assert others == {name for name, _ in pages_of_no_row()}


def test_in_lists(look):
    assert sum(look(address(row, "changelist")) for _, row in rows_to_open()) > 50


def test_on_pages_of_rows(look):
    assert sum(look(address(row, "change", row.pk)) for _, row in rows_to_open()) > 100


def test_on_forms(look, rf):
    request = rf.get("/")
    request.user = Customer.objects.get(is_superuser=True)
    shown = 0
    for pages, row in rows_to_open():
        if pages.has_add_permission(request):
            shown += look(address(row, "add"))
        if pages.has_delete_permission(request, row):
            shown += look(address(row, "delete", row.pk))
        for action in getattr(pages, "staff_actions", ()):
            shown += look(address(row, "do", row.pk, action.name))
    assert shown > 50


def test_on_pages_of_no_row(look, page):
    boss = Customer.objects.get(is_superuser=True)
    with pgtrigger.ignore():  # as it shows what went wrong
        BackgroundJob.objects.update(owner=boss, status="failed")
    Delivery.objects.update(status="dead")

    shown = {name: look(target) for name, target in pages_of_no_row()}

    assert {name for name, times in shown.items() if times} >= {"stuck", "jobs", "job"}


def test_in_what_is_found_and_kept(look, page):
    boss = Customer.objects.get(is_superuser=True)
    SavedView.objects.create(
        owner=boss, page="orders.order", name=payload_for(60), query=f"status__exact={PAYLOADS[0]}"
    )
    assert look("/admin/orders/order/") > 0

    page.wait_for_load_state()
    page.keyboard.press("Control+k")
    expect(page.locator("#search-input-command")).to_be_focused()
    page.keyboard.type("alert(1)")

    expect(page.locator("#command-results-list")).to_contain_text("alert(1)")
    assert page.locator(".planted").count() == 0
