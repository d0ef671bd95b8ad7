"""Any CRM, or a program before it, that takes plain JSON: `POST {CRM_BASE_URL}/events`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from integrations import envelopes
from integrations.crm import fields

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from config.kernel.clock import Deadline
    from integrations.crm.records import Contact, Occasion, OrderRecord


class GenericCrm:
    """It is told what happened, and how the record stands now."""

    batch = 1

    def __init__(
        self,
        *,
        base_url: str,
        token: str,
        changes: Mapping[str, str | None],
        deadline: Deadline,  # noqa: ARG002 - one call ends in time by itself
    ) -> None:
        self._client = envelopes.receiver(name="CRM", base_url=base_url, token=token)
        self._naming = fields.naming("generic", changes)

    def keep_contacts(self, contacts: Sequence[Contact], occasion: Occasion) -> None:
        for contact in contacts:
            self._post(occasion, self._of_contact(contact))

    def keep_orders(self, orders: Sequence[OrderRecord], occasion: Occasion) -> None:
        for order in orders:
            content = {
                **occasion.details,
                "order_number": order.number,
                "order": self._named(order.fields),
                "refunds": list(order.refunds),
            }
            if order.buyer is not None:
                content |= self._of_contact(order.buyer)
            elif order.is_erased:
                content["contact"] = None
            self._post(occasion, content)

    def prepare(self) -> list[str]:
        return []

    def _of_contact(self, contact: Contact) -> dict[str, Any]:
        return {
            "customer_number": contact.number or None,
            "contact": None if contact.is_erased else self._named(contact.fields),
        }

    def _named(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return {self._naming[name]: value for name, value in values.items() if name in self._naming}

    def _post(self, occasion: Occasion, content: Mapping[str, Any]) -> None:
        envelopes.post(
            self._client,
            key=occasion.key,
            kind=occasion.fact,
            occurred_at=occasion.occurred_at,
            content=content,
        )
