"""What a CRM is told about customers and orders, by our names, and what it calls them.

Knows neither Django nor settings: these are read while it is imported.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

ADAPTERS: Final = ("generic", "hubspot")
CUSTOMER: Final = "customer."
ORDER: Final = "order."
THEIR_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,99}")


class Kind(Enum):
    """What stands in a field: decides the type of the property that is made for it."""

    TEXT = "text"
    NUMBER = "number"
    SWITCH = "switch"
    INSTANT = "instant"


@dataclass(frozen=True, slots=True)
class Field:
    """One thing that can be told.

    `hubspot`: the property of HubSpot's that it goes into, unless `CRM_FIELDS` says otherwise.
    `is_key`: the record is found again by it, so it cannot be left out.
    """

    name: str
    kind: Kind
    hubspot: str
    label: str
    is_key: bool = False

    def generic(self) -> str:
        """What a plain receiver calls it."""
        return self.name.partition(".")[2]


FIELDS: Final = (
    Field("customer.number", Kind.TEXT, "orderkeep_customer", "Customer number", is_key=True),
    Field("customer.email", Kind.TEXT, "email", "E-mail", is_key=True),
    Field(
        "customer.email_verified",
        Kind.SWITCH,
        "orderkeep_email_verified",
        "E-mail verified in the shop",
    ),
    Field("customer.first_name", Kind.TEXT, "firstname", "First name"),
    Field("customer.last_name", Kind.TEXT, "lastname", "Last name"),
    Field("customer.phone", Kind.TEXT, "phone", "Phone"),
    Field(
        "customer.marketing_consent",
        Kind.SWITCH,
        "orderkeep_marketing_consent",
        "Agrees to be written to",
    ),
    Field("customer.tier", Kind.TEXT, "orderkeep_tier", "Tier"),
    Field("customer.signed_up_at", Kind.INSTANT, "orderkeep_signed_up_at", "Signed up"),
    Field("order.number", Kind.TEXT, "orderkeep_order", "Order number", is_key=True),
    Field("order.title", Kind.TEXT, "dealname", "Title"),
    Field("order.stage", Kind.TEXT, "dealstage", "Stage"),
    Field("order.pipeline", Kind.TEXT, "pipeline", "Pipeline"),
    Field("order.status", Kind.TEXT, "orderkeep_status", "Order status"),
    Field("order.payment_status", Kind.TEXT, "orderkeep_payment_status", "Payment status"),
    Field("order.currency", Kind.TEXT, "orderkeep_currency", "Currency"),
    Field("order.total_amount", Kind.NUMBER, "amount", "Total"),
    Field("order.refunded_amount", Kind.NUMBER, "orderkeep_refunded_amount", "Refunded"),
    Field("order.item_count", Kind.NUMBER, "orderkeep_item_count", "Units"),
    Field("order.placed_at", Kind.INSTANT, "closedate", "Placed"),
    Field("order.shipped_at", Kind.INSTANT, "orderkeep_shipped_at", "Shipped"),
    Field("order.delivered_at", Kind.INSTANT, "orderkeep_delivered_at", "Delivered"),
)
GUEST: Final = Field("customer.guest", Kind.SWITCH, "orderkeep_guest", "Made for a guest's order")
"""HubSpot's alone: marks the contacts that are ours to delete once a guest is erased."""
BY_NAME: Final = {field.name: field for field in FIELDS}
STAGES: Final = {
    "confirmed": "closedwon",
    "processing": "closedwon",
    "shipped": "closedwon",
    "delivered": "closedwon",
    "cancelled": "closedlost",
    "refunded": "closedlost",
}
"""By an order's status: the stages of the pipeline that every HubSpot account begins with."""
OF_PIPELINES: Final = ("order.stage", "order.pipeline")
"""A plain receiver has none; it is told these only if they are named."""


def naming(adapter: str, changes: Mapping[str, str | None]) -> dict[str, str]:
    """What the CRM calls each field that it is told, by our names.

    Args:
        changes: `CRM_FIELDS`: another name, or None to leave a field out.
    """
    usual: dict[str, str | None] = {
        field.name: field.hubspot if adapter == "hubspot" else _generic_name(field)
        for field in FIELDS
    }
    return {name: theirs for name, theirs in {**usual, **changes}.items() if theirs is not None}


def problem_with(adapter: str, changes: Mapping[str, str | None]) -> str:
    """Why `CRM_FIELDS` cannot be used, in one line; empty if it can."""
    for name, theirs in changes.items():
        if name not in BY_NAME:
            return f"{name!r} is none of {', '.join(BY_NAME)}"
        if theirs is None and BY_NAME[name].is_key:
            return f"{name} cannot be left out: the record is found again by it"
        if theirs is not None and THEIR_NAME.fullmatch(theirs) is None:
            return f"{name}: {theirs!r} is no name of a field: letters, digits, _ . and - alone"
    used = {("customer", GUEST.hubspot): GUEST.name} if adapter == "hubspot" else {}
    for name, theirs in naming(adapter, changes).items():
        place = (name.partition(".")[0], theirs)
        if place in used:
            return f"{used[place]} and {name} would both go into {theirs!r}"
        used[place] = name
    return ""


def _generic_name(field: Field) -> str | None:
    return None if field.name in OF_PIPELINES else field.generic()
