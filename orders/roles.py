"""What each role may see and do in the admin: the groups of staff, in one table.

A role holds what its work needs and no more. None of them holds a permission to change orders,
payments or stock by a form: those move by services alone, each behind a permission of its own
(`Meta.permissions` of the models). Who is staff, and which roles they have, only superusers say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django.apps import apps
from django.contrib.auth.management import create_permissions
from django.contrib.auth.models import Group, Permission

if TYPE_CHECKING:
    from collections.abc import Iterable

SUPPORT: Final = "Support"
WAREHOUSE: Final = "Warehouse"
FINANCE: Final = "Finance"
CATALOGUE: Final = "Catalogue"
MANAGER: Final = "Manager"


def _view(app: str, *models: str) -> frozenset[str]:
    return frozenset(f"{app}.view_{model}" for model in models)


def _edit(app: str, *models: str) -> frozenset[str]:
    return frozenset(
        f"{app}.{verb}_{model}" for model in models for verb in ("view", "add", "change", "delete")
    )


_ORDERS: Final = _view(
    "orders",
    *("order", "orderitem", "ordertransition", "ordernote"),
    *("shipment", "shipmentitem", "return", "returnitem", "returnreceipt"),
)
_PARCELS: Final = _view("integrations", "trackingevent", "shippinglabel")
_MONEY: Final = _view("payments", "payment", "refund", "dispute") | _view(
    "orders", "refundline", "refundproposal", "invoice"
)
_CUSTOMERS: Final = _view(
    "customers", "customer", "customernote", "customermetrics", "address", "emailsuppression"
) | _view("account", "emailaddress")
_SHELVES: Final = _view("inventory", "category", "product", "productimage", "warehouse") | _view(
    "inventory", "stocklevel", "stockdocument", "stockmovement", "reservation"
)
_PRICES: Final = _view("inventory", "price", "pricebreak", "scheduledprice") | _view(
    "orders", "coupon", "couponscope", "shippingmethod", "shippingrate", "shippingzone"
)
_FACTS: Final = _view("audit", "outboxmessage", "delivery", "receiver")

_SUPPORT: Final = (
    _ORDERS
    | _PARCELS
    | _MONEY
    | _CUSTOMERS
    | _SHELVES
    | _PRICES
    | _FACTS
    | _view("orders", "cart", "letter", "paymentlink", "couponredemption", "stockalert")
    | _view("integrations", "supportticket", "marketingcontact")
    | _view("integrations", "webhookendpoint", "webhookattempt")
    | {
        "orders.settle_order",
        "orders.cancel_order",
        "orders.refund_order",
        "orders.note_order",
        "orders.resend_letter",
        "orders.place_order",
        "orders.decide_return",
        "customers.change_customer",
        "customers.note_customer",
        "customers.lift_suppression",
        "audit.retry_delivery",
    }
)
_WAREHOUSE: Final = (
    _ORDERS
    | _PARCELS
    | _SHELVES
    | {
        "orders.ship_order",
        "integrations.buy_label",
        "orders.deliver_order",
        "orders.receive_return",
        "orders.note_order",
        "inventory.receive_stock",
        "inventory.adjust_stock",
        "inventory.count_stock",
        "inventory.transfer_stock",
        "inventory.export_stock",
        "inventory.set_low_stock_threshold",
    }
)
_FINANCE: Final = (
    _ORDERS
    | _MONEY
    | _view("payments", "ledgerentry", "reconciliationcase", "providerevent")
    | _view("orders", "invoiceseries", "taxrate", "taxdestination", "couponredemption")
    | _view("orders", "checkedinvariant")
    | {
        "orders.settle_order",
        "orders.refund_order",
        "orders.approve_refund",
        "orders.note_order",
        "payments.end_quarantine",
        "payments.give_back",
        "payments.retry_event",
        "payments.export_ledger",
        "orders.export_orders",
    }
)
_CATALOGUE: Final = (
    _SHELVES
    | _edit("inventory", "category", "price", "pricebreak", "productimage", "scheduledprice")
    | _view("orders", "coupon", "couponredemption")
    | _edit("orders", "couponscope")
    | {
        "inventory.add_product",
        "inventory.change_product",
        "orders.add_coupon",
        "orders.change_coupon",
        "orders.export_coupons",
        "orders.import_coupons",
        "inventory.export_products",
        "inventory.export_stock",
        "inventory.import_products",
    }
)
_MANAGER: Final = (
    _SUPPORT
    | _WAREHOUSE
    | _FINANCE
    | _CATALOGUE
    | _edit("orders", "shippingrate", "shippingzone", "taxrate", "taxdestination")
    | _view("audit", "auditlog", "auditseal", "auditverification")
    | _view("auth", "group")
    | _view("mfa", "authenticator")
    | _view("orders", "idempotencykey", "backgroundjob")
    | _view("integrations", "webhookendpoint", "webhookattempt", "webhookreplay")
    | {
        "integrations.add_webhookendpoint",
        "integrations.change_webhookendpoint",
        "integrations.manage_webhooks",
        "audit.export_log",
        "audit.seal_log",
        "audit.verify_log",
        "audit.pause_receiver",
        "inventory.add_warehouse",
        "inventory.change_warehouse",
        "orders.add_shippingmethod",
        "orders.change_shippingmethod",
        "customers.suspend_customer",
        "customers.change_tier",
        "customers.export_customer",
        "customers.export_customers",
        "customers.erase_customer",
    }
)

ROLES: Final = {
    SUPPORT: _SUPPORT,
    WAREHOUSE: _WAREHOUSE,
    FINANCE: _FINANCE,
    CATALOGUE: _CATALOGUE,
    MANAGER: _MANAGER,
}
"""Names of permissions (`app.codename`) by the name of the group that has them."""


def make_roles() -> None:
    """Give each role's group exactly the permissions of the table; other groups stay as they are.

    Joins a transaction if there is one. Repeating it changes nothing. A migration calls it each
    time the table has changed.

    Raises:
        LookupError: the table names a permission that does not exist.
    """
    # Django makes permissions after the last migration: on a fresh database there are none yet.
    for app in apps.get_app_configs():
        create_permissions(app, verbosity=0)
    by_name = {
        f"{app}.{codename}": pk
        for pk, app, codename in Permission.objects.values_list(
            "pk", "content_type__app_label", "codename"
        )
    }
    for role, names in ROLES.items():
        group, _ = Group.objects.get_or_create(name=role)
        group.permissions.set(by_name[name] for name in _checked(names, by_name))


def _checked(names: Iterable[str], known: Iterable[str]) -> list[str]:
    if missing := set(names) - set(known):
        raise LookupError(f"no such permissions: {', '.join(sorted(missing))}")
    return sorted(names)
