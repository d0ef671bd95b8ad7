"""What stands beside every page of the admin: its pages, grouped by what people come for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from django.apps import apps
from django.urls import reverse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.contrib.admin import AdminSite
    from django.http import HttpRequest


class Entry(NamedTuple):
    """A line of the navigation: a list of rows, or a page of its own.

    `model` is `app.model` of the list whose readers see the line; `page` the name of another page
    of the admin, for which the same right is asked, and that of `right` if there is one. `query`
    opens the list filtered.
    """

    title: str
    icon: str
    model: str
    query: str = ""
    page: str = ""
    right: str = ""


FIRST: Final = (
    ("Today", "monitoring", "index"),
    ("Not moving", "traffic_jam", "stuck"),
    ("My jobs", "cloud_download", "jobs"),
)
"""Open to all staff; each shows to everybody what they may read."""

NAVIGATION: Final[Sequence[tuple[str, Sequence[Entry]]]] = (
    (
        "Orders",
        (
            Entry("Orders", "shopping_bag", "orders.order"),
            Entry("Returns", "assignment_return", "orders.return"),
            Entry("Shipments", "local_shipping", "orders.shipment"),
            Entry("Labels", "new_label", "integrations.shippinglabel"),
            Entry("Tracking", "conveyor_belt", "integrations.trackingevent"),
            Entry("Invoices", "receipt_long", "orders.invoice"),
            Entry("Phone orders", "phone_in_talk", "orders.paymentlink"),
            Entry("Letters", "mail", "orders.letter"),
            Entry("How letters look", "preview", "orders.letter", page="letter_preview"),
            Entry("Carts", "shopping_cart", "orders.cart"),
            Entry("Waited for", "notifications", "orders.stockalert"),
        ),
    ),
    (
        "Customers",
        (
            Entry("Customers", "group", "customers.customer"),
            Entry("Spending", "bar_chart", "customers.customermetrics"),
            Entry("Addresses", "home_pin", "customers.address"),
            Entry("E-mail addresses", "alternate_email", "account.emailaddress"),
            Entry("Suppressed addresses", "unsubscribe", "customers.emailsuppression"),
        ),
    ),
    (
        "Stock",
        (
            Entry("Stock", "inventory_2", "inventory.stocklevel"),
            Entry("Low stock", "production_quantity_limits", "inventory.stocklevel", query="low=1"),
            Entry(
                "Stock by file",
                "upload_file",
                "inventory.stocklevel",
                page="inventory_stocklevel_file",
                right="inventory.receive_stock",
            ),
            Entry("Movements", "swap_vert", "inventory.stockmovement"),
            Entry("Stock documents", "description", "inventory.stockdocument"),
            Entry("Promised", "lock_clock", "inventory.reservation"),
            Entry("Warehouses", "warehouse", "inventory.warehouse"),
        ),
    ),
    (
        "Catalogue",
        (
            Entry("Products", "sell", "inventory.product"),
            Entry("Categories", "category", "inventory.category"),
            Entry("Prices", "payments", "inventory.price"),
            Entry("Scheduled prices", "schedule", "inventory.scheduledprice"),
            Entry("Price breaks", "stacked_line_chart", "inventory.pricebreak"),
            Entry("Pictures", "image", "inventory.productimage"),
            Entry("Coupons and promotions", "percent", "orders.coupon"),
            Entry("Coupon uses", "redeem", "orders.couponredemption"),
        ),
    ),
    (
        "Money",
        (
            Entry("Payments", "credit_card", "payments.payment"),
            Entry("Refunds", "undo", "payments.refund"),
            Entry(
                "Second signature",
                "approval_delegation",
                "orders.refundproposal",
                query="status__exact=waiting",
            ),
            Entry("Disputes", "gavel", "payments.dispute"),
            Entry("Differences", "difference", "payments.reconciliationcase"),
            Entry("Ledger", "account_balance", "payments.ledgerentry"),
            Entry("Revenue by day", "finance", "payments.ledgerentry", page="report_revenue"),
            Entry("Sales tax", "calculate", "payments.ledgerentry", page="report_tax"),
        ),
    ),
    (
        "Shop",
        (
            Entry("Shipping methods", "deployed_code", "orders.shippingmethod"),
            Entry("Shipping zones", "public", "orders.shippingzone"),
            Entry("Shipping rates", "scale", "orders.shippingrate"),
            Entry("Tax rates", "request_quote", "orders.taxrate"),
            Entry("Tax destinations", "flag", "orders.taxdestination"),
        ),
    ),
    (
        "Who was told",
        (
            Entry("Support tickets", "support_agent", "integrations.supportticket"),
            Entry("Marketing contacts", "contact_mail", "integrations.marketingcontact"),
            Entry("Webhooks", "webhook", "integrations.webhookendpoint"),
            Entry("Webhook log", "list_alt", "integrations.webhookattempt"),
            Entry("Webhook replays", "replay", "integrations.webhookreplay"),
        ),
    ),
    (
        "Behind the scenes",
        (
            Entry("Audit log", "policy", "audit.auditlog"),
            Entry(
                "Audit export",
                "folder_zip",
                "audit.auditlog",
                page="report_audit",
                right="audit.export_log",
            ),
            Entry("Seals", "approval", "audit.auditseal"),
            Entry("Verifications", "verified_user", "audit.auditverification"),
            Entry("Deliveries", "outbox", "audit.delivery"),
            Entry("Receivers", "hub", "audit.receiver"),
            Entry("Facts", "campaign", "audit.outboxmessage"),
            Entry("Provider events", "webhook", "payments.providerevent"),
            Entry("Books", "fact_check", "orders.checkedinvariant"),
            Entry("Exports and imports", "cloud_sync", "orders.backgroundjob"),
            Entry("Order states", "timeline", "orders.ordertransition"),
            Entry("Idempotency keys", "key", "orders.idempotencykey"),
            Entry("Invoice numbers", "tag", "orders.invoiceseries"),
        ),
    ),
    (
        "Rights",
        (
            Entry("Staff", "badge", "customers.customer", query="is_staff__exact=1"),
            Entry("Roles", "shield_person", "auth.group"),
            Entry("Second factors", "phonelink_lock", "mfa.authenticator"),
        ),
    ),
)
FILTERED: Final = {entry.query for _, entries in NAVIGATION for entry in entries if entry.query}
"""The list as a whole is not where one is then."""
WITHOUT_AN_ENTRY: Final = frozenset(
    {
        # Parts of something else: they are read on its page.
        "customers.customernote",
        "orders.ordernote",
        "orders.couponscope",
        "orders.orderitem",
        "orders.refundline",
        "orders.returnitem",
        "orders.returnreceipt",
        "orders.shipmentitem",
    }
)


class Line(NamedTuple):
    """An entry as unfold draws it for one request."""

    title: str
    icon: str
    link: str
    active: bool
    has_permission: bool = True


class Group(NamedTuple):
    """Entries under a title, likewise."""

    title: str
    items: list[Line]


def for_request(site: AdminSite, request: HttpRequest) -> list[Group]:
    """The groups with the lines whose lists this member of staff may read."""
    groups = [Group("", [_page(*page, request) for page in FIRST])]
    for title, entries in NAVIGATION:
        lines = [_line(entry, request) for entry in entries if _may_read(site, entry, request)]
        if lines:
            groups.append(Group(title, lines))
    return groups


def _page(title: str, icon: str, name: str, request: HttpRequest) -> Line:
    link = reverse(f"admin:{name}")
    return Line(title, icon, link, active=request.path == link)


def _may_read(site: AdminSite, entry: Entry, request: HttpRequest) -> bool:
    page = site.get_model_admin(apps.get_model(entry.model))
    may_look = page.has_view_permission(request)
    return may_look and (not entry.right or request.user.has_perm(entry.right))


def _pages() -> set[str]:
    """Pages of their own below a list: the list is not where one is there."""
    entries = (entry for _, entries in NAVIGATION for entry in entries)
    return {reverse(f"admin:{entry.page}") for entry in entries if entry.page}


def _line(entry: Entry, request: HttpRequest) -> Line:
    name = entry.page or f"{entry.model.replace('.', '_')}_changelist"
    path = reverse(f"admin:{name}")
    is_here = request.path.startswith(path)
    if not entry.page:
        is_here = is_here and request.path not in _pages()
    if entry.query or request.GET.urlencode() in FILTERED:
        is_here = is_here and request.GET.urlencode() == entry.query
    link = f"{path}?{entry.query}" if entry.query else path
    return Line(entry.title, entry.icon, link, active=is_here)
