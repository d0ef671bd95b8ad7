"""What shuts people out, as far as a machine can tell: axe-core's rules for WCAG 2.1, A and AA."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth.models import Group

from audit.models import Delivery
from customers.models import Customer
from inventory.models import StockLevel
from orders.models import BackgroundJob, RefundProposal
from tests import factories
from tests.browser import IN_A_BROWSER
from tests.staff.steps import search, type_password

pytestmark = IN_A_BROWSER

RULES = {
    "runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]},
    "resultTypes": ["violations"],
}


def violations(page):
    """One line for each element, with what is the matter with it."""
    return [
        f"{page.url}: {rule['id']}: {node['html']} {[one['message'] for one in node['any']]}"
        for rule in Axe().run(page, options=RULES).response["violations"]
        for node in rule["nodes"]
    ]


@pytest.fixture
def pages(everything):
    """Addresses of pages with something of everything on them."""
    Delivery.objects.update(status="dead", attempts=12, last_error="SMTP is away")
    StockLevel.objects.update(low_stock_threshold=100)
    level, proposal = StockLevel.objects.get(), RefundProposal.objects.get()
    role = Group.objects.order_by("pk").first()
    return {
        "dashboard": "/admin/",
        "stuck": "/admin/stuck/",
        "orders": "/admin/orders/order/?status__exact=confirmed",
        "order": f"/admin/orders/order/{everything.order.pk}/change/",
        "refund": f"/admin/orders/order/{everything.order.pk}/do/refund/",
        "approval": f"/admin/orders/refundproposal/{proposal.pk}/do/approve/",
        "phone order": "/admin/orders/paymentlink/add/",
        "product": f"/admin/inventory/product/{everything.product.pk}/change/",
        "new product": "/admin/inventory/product/add/",
        "stock": f"/admin/inventory/stocklevel/{level.pk}/change/",
        "stock by file": "/admin/inventory/stocklevel/file/",
        "import": "/admin/import/products/",
        "jobs": "/admin/jobs/",
        "how letters look": "/admin/letters/preview/?language=ar",
        "customer": f"/admin/customers/customer/{everything.customer.pk}/change/",
        "role": f"/admin/auth/group/{role.pk}/change/",
        "sessions": "/admin/sessions/",
        "recovery codes": "/admin/recovery-codes/",
        "revenue": "/admin/reports/revenue/",
        "tax": "/admin/reports/tax/",
        "audit export": "/admin/reports/audit/",
    }


@pytest.fixture
def found_on(pages, desk):
    def found_on(*names, **options):
        page = desk(**options)
        BackgroundJob.objects.update(owner=Customer.objects.get(is_superuser=True))
        found = []
        for name in names:
            page.goto(pages[name])
            found += violations(page)
        return found

    return found_on


def test_what_staff_look_at(found_on):
    names = ("dashboard", "stuck", "orders", "order", "jobs", "sessions", "stock")
    assert found_on(*names, "revenue", "tax", "audit export") == []


def test_what_staff_fill_in(found_on):
    names = ("refund", "approval", "phone order", "recovery codes", "product", "new product")
    assert found_on(*names, "stock by file", "import", "customer", "role") == []


def test_in_the_dark(found_on):
    assert found_on("dashboard", "order", "product", color_scheme="dark") == []


def test_at_the_door(page):
    page.context.clear_cookies()
    factories.CustomerFactory(email="new@example.com", is_staff=True)

    page.goto("/admin/")
    found = violations(page)
    type_password(page, "new@example.com")
    found += violations(page)

    assert found == []


def test_in_the_box_that_searches(page, everything):
    page.goto("/admin/")
    search(page, everything.order.order_number)
    found = violations(page)

    assert found == []
