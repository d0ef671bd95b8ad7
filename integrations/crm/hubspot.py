"""HubSpot by its documented API: contacts and deals (v3), and what ties them together (v4).

A customer's contact and an order's deal are found by a unique property that holds our number, so
nothing of HubSpot's has to be kept here, and whatever is repeated meets what it has made. A contact
that the e-mail address was entered for before gets our number. Written against
https://developers.hubspot.com/docs/api-reference; docs/crm.md tells the scopes.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any, Final

from audit.outbox import DeliveryFailedError, RejectedError
from integrations.crm import fields, hubspot_errors, records
from integrations.crm.fields import Kind
from integrations.rest import CALL_SECONDS, RestClient

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from config.kernel.clock import Deadline
    from integrations.crm.fields import Field
    from integrations.crm.records import Contact, Occasion, OrderRecord
    from integrations.rest import Answer

NAME: Final = "HubSpot"
CONTACTS: Final = "/crm/v3/objects/contacts"
DEALS: Final = "/crm/v3/objects/deals"
LEAST_SECONDS: Final = 0.5
NOT_FOUND: Final = 404
CONFLICT: Final = 409
EXISTING_ID: Final = re.compile(r"Existing ID: ?(\d+)")
PROPERTIES: Final = {
    fields.CUSTOMER: ("contacts", "contactinformation"),
    fields.ORDER: ("deals", "dealinformation"),
}
TYPES: Final = {
    Kind.TEXT: ("string", "text"),
    Kind.NUMBER: ("number", "number"),
    Kind.SWITCH: ("bool", "booleancheckbox"),
    Kind.INSTANT: ("datetime", "date"),
}
SWITCH_OPTIONS: Final = [
    {"label": "Yes", "value": "true", "displayOrder": 0, "hidden": False},
    {"label": "No", "value": "false", "displayOrder": 1, "hidden": False},
]


class HubSpot:
    """One account. A record a call, or up to a hundred where it is a matter of many."""

    batch = 100

    def __init__(
        self,
        *,
        base_url: str,
        token: str,
        changes: Mapping[str, str | None],
        deadline: Deadline,
    ) -> None:
        self._deadline = deadline
        self._naming = fields.naming("hubspot", changes)
        self._customer_key = self._naming["customer.number"]
        self._order_key = self._naming["order.number"]
        self._client = _client(base_url, token, tuple(sorted(self._naming.items())))

    # --- contacts ---------------------------------------------------------------------------
    def keep_contacts(self, contacts: Sequence[Contact], occasion: Occasion) -> None:
        if len(contacts) > 1:
            self._upsert("contacts", [(each.number, each.fields) for each in contacts], occasion)
        elif contacts[0].is_erased:
            self._forget(contacts[0].number, occasion)
        else:
            self._keep_contact(contacts[0], occasion)

    def _keep_contact(
        self, contact: Contact, occasion: Occasion, *, freed: frozenset[str] = frozenset()
    ) -> str:
        """Have a customer's contact as it is; returns its id.

        Args:
            freed: contacts that the address was taken from already.
        """
        body = {"properties": self._properties(contact.fields)}
        where = f"{CONTACTS}/{contact.number}"
        by = {"idProperty": self._customer_key}
        answer = self._call("PATCH", where, occasion, body, query=by, accepted=(404, 409))
        if answer.status == CONFLICT:
            return self._free_address(contact, _existing_id(answer), occasion, freed=freed)
        if answer.status == NOT_FOUND:
            answer = self._call("POST", CONTACTS, occasion, body, accepted=(409,))
        if answer.status == CONFLICT:
            return self._take_over(contact, _existing_id(answer), occasion, freed=freed)
        return _id_of(answer)

    def _take_over(
        self, contact: Contact, other_id: str, occasion: Occasion, *, freed: frozenset[str]
    ) -> str:
        """Make the contact that has the address already the customer's; returns its id.

        One who has not shown that the address is theirs gets the contact as it stands, and may not
        change it.
        """
        number = self._number_of(other_id, occasion)
        if number not in ("", contact.number):
            return self._free_address(contact, other_id, occasion, freed=freed)
        if contact.fields["customer.email_verified"] or number:
            body = {"properties": self._properties(contact.fields)}
            self._call("PATCH", f"{CONTACTS}/{other_id}", occasion, body)
        return other_id

    def _free_address(
        self, contact: Contact, other_id: str, occasion: Occasion, *, freed: frozenset[str]
    ) -> str:
        """Take the address from a customer who has another one by now: accounts share none.

        Raises:
            RejectedError: the contact that has it is no customer's of ours, or does not let go of
                it: whether the two are one person can only a person say.
        """
        number = self._number_of(other_id, occasion)
        owner = records.find_contact(int(number)) if number.isdecimal() else None
        if owner is None or other_id in freed:
            raise RejectedError(
                f"{NAME}'s contact {other_id} has the e-mail address that this customer has now:"
                " merge it with the customer's contact there, or take the address from it; then"
                " retry"
            )
        body = {"properties": {self._naming["customer.email"]: ""}}
        self._call("PATCH", f"{CONTACTS}/{other_id}", occasion, body)
        kept = self._keep_contact(contact, occasion, freed=freed | {other_id})
        self.keep_contacts([owner], occasion)
        return kept

    def _find_guest(self, contact: Contact, occasion: Occasion) -> str | None:
        """A guest's contact, made if the address has none; None if it is a customer's.

        Anybody can order under any address: what they say of its owner changes nothing.
        """
        body = {"properties": {**self._properties(contact.fields), fields.GUEST.hubspot: "true"}}
        answer = self._call("POST", CONTACTS, occasion, body, accepted=(409,))
        if answer.status != CONFLICT:
            return _id_of(answer)
        other_id = _existing_id(answer)
        return None if self._number_of(other_id, occasion) else other_id

    def _number_of(self, contact_id: str, occasion: Occasion) -> str:
        """The customer number that a contact has; empty if none."""
        return self._number_and_mark(contact_id, occasion)[0]

    def _number_and_mark(self, contact_id: str, occasion: Occasion) -> tuple[str, bool]:
        """The customer number of a contact, empty if none; whether it was made for a guest."""
        query = {"properties": f"{self._customer_key},{fields.GUEST.hubspot}"}
        answer = self._call("GET", f"{CONTACTS}/{contact_id}", occasion, query=query)
        number = _property(answer.body, self._customer_key)
        return number, _property(answer.body, fields.GUEST.hubspot) == "true"

    def _forget(self, number: str, occasion: Occasion) -> None:
        """Have HubSpot forget a customer for good; one it does not know is forgotten already."""
        by = {"idProperty": self._customer_key}
        path = f"{CONTACTS}/{number}"
        answer = self._call("GET", path, occasion, query=by, accepted=(NOT_FOUND,))
        if answer.status != NOT_FOUND:
            self._delete_for_good(_id_of(answer), occasion)

    def _delete_for_good(self, contact_id: str, occasion: Occasion) -> None:
        """Have a contact deleted with all that HubSpot knows of it."""
        body = {"objectId": contact_id}
        self._call("POST", f"{CONTACTS}/gdpr-delete", occasion, body, accepted=(NOT_FOUND,))

    # --- orders -----------------------------------------------------------------------------
    def keep_orders(self, orders: Sequence[OrderRecord], occasion: Occasion) -> None:
        if len(orders) > 1:
            self._keep_many_orders(orders, occasion)
        else:
            self._keep_order(orders[0], occasion)

    def _keep_order(self, order: OrderRecord, occasion: Occasion) -> None:
        # First what is sold: a buyer whom HubSpot refuses leaves the sums right.
        [deal_id] = self._upsert("deals", [(order.number, order.fields)], occasion)
        contact_id = self._keep_buyer(order.buyer, occasion)
        if contact_id is not None:
            path = f"/crm/v4/objects/deals/{deal_id}/associations/default/contacts/{contact_id}"
            self._call("PUT", path, occasion)
        elif order.is_erased:
            self._forget_guest_of(deal_id, occasion)

    def _keep_buyer(self, buyer: Contact | None, occasion: Occasion) -> str | None:
        if buyer is None:
            return None
        if buyer.is_erased:
            self._forget(buyer.number, occasion)
            return None
        if buyer.number:
            return self._keep_contact(buyer, occasion)
        return self._find_guest(buyer, occasion)

    def _forget_guest_of(self, deal_id: str, occasion: Occasion) -> None:
        """Have a guest's contact deleted for good, with the last of their orders that had it.

        One that was there before is not the shop's to delete, whoever has ordered under its
        address: it is no longer tied to the order.
        """
        for contact_id in self._tied_to("deals", deal_id, "contacts", occasion):
            number, is_ours = self._number_and_mark(contact_id, occasion)
            if number:
                continue  # a customer's: whoever has an account is forgotten with that
            if is_ours and self._tied_to("contacts", contact_id, "deals", occasion) == [deal_id]:
                self._delete_for_good(contact_id, occasion)
            else:
                path = f"/crm/v4/objects/deals/{deal_id}/associations/contacts/{contact_id}"
                self._call("DELETE", path, occasion)

    def _tied_to(self, kind: str, record_id: str, other: str, occasion: Occasion) -> list[str]:
        path = f"/crm/v4/objects/{kind}/{record_id}/associations/{other}"
        answer = self._call("GET", path, occasion, query={"limit": "500"})
        return [str(each["toObjectId"]) for each in _results(answer)]

    def _keep_many_orders(self, orders: Sequence[OrderRecord], occasion: Occasion) -> None:
        """Orders, and which customers they are of; those of guests are for `_keep_order`."""
        self._upsert("deals", [(order.number, order.fields) for order in orders], occasion)
        deal_ids = self._ids("deals", self._order_key, [each.number for each in orders], occasion)
        buyers = {
            order.number: order.buyer.number
            for order in orders
            if order.buyer is not None and order.buyer.number and not order.buyer.is_erased
        }
        if not buyers:
            return
        numbers = sorted(set(buyers.values()))
        contact_ids = self._ids("contacts", self._customer_key, numbers, occasion)
        if not buyers.keys() <= deal_ids.keys() or len(contact_ids) < len(numbers):
            raise RejectedError(f"{NAME} has not all of these orders' buyers")
        ties = [
            {"from": {"id": deal_ids[order]}, "to": {"id": contact_ids[customer]}}
            for order, customer in buyers.items()
        ]
        path = "/crm/v4/associations/deals/contacts/batch/associate/default"
        self._call("POST", path, occasion, {"inputs": ties})

    # --- batches ----------------------------------------------------------------------------
    def _upsert(
        self, kind: str, wanted: Sequence[tuple[str, Mapping[str, Any]]], occasion: Occasion
    ) -> list[str]:
        """Create or change each, by its number; returns HubSpot's ids, in any order."""
        key = self._order_key if kind == "deals" else self._customer_key
        inputs = [
            {"id": number, "idProperty": key, "properties": self._properties(values)}
            for number, values in wanted
        ]
        answer = self._call(
            "POST", f"/crm/v3/objects/{kind}/batch/upsert", occasion, {"inputs": inputs}
        )
        found = _results(answer)
        if len(found) != len(wanted):  # 207: some were refused, and it is said of which
            raise RejectedError(
                f"{NAME} took {len(found)} of {len(wanted)} {kind}{self._why(answer)}"
            )
        return [str(each["id"]) for each in found]

    def _ids(
        self, kind: str, key: str, numbers: Sequence[str], occasion: Occasion
    ) -> dict[str, str]:
        """HubSpot's ids by our numbers, of those that are there."""
        body = {
            "idProperty": key,
            "properties": [key],
            "inputs": [{"id": number} for number in numbers],
        }
        answer = self._call("POST", f"/crm/v3/objects/{kind}/batch/read", occasion, body)
        return {_property(each, key): str(each["id"]) for each in _results(answer)}

    # --- properties -------------------------------------------------------------------------
    def prepare(self) -> list[str]:
        """Make the properties that are missing; those of our numbers must be unique.

        Raises:
            RejectedError: a property that is there is not unique, and it cannot become so.
        """
        made = []
        for prefix, (kind, group) in PROPERTIES.items():
            path = f"/crm/v3/properties/{kind}"
            known = {
                each.get("name"): each
                for each in _results(self._client.call("GET", path, needs_answer=True))
            }
            for each, theirs in self._named_fields(prefix):
                is_unique = each.name in ("customer.number", "order.number")
                if theirs not in known:
                    body = _definition(each, theirs, group=group, is_unique=is_unique)
                    self._client.call("POST", path, body=body, accepted=(CONFLICT,))
                    made.append(f"{kind}.{theirs}")
                elif is_unique and not known[theirs].get("hasUniqueValue"):
                    raise RejectedError(
                        f"{NAME}'s property {theirs} of {kind} does not hold unique values: name"
                        f" another one for {each.name} in CRM_FIELDS"
                    )
        return made

    def _named_fields(self, prefix: str) -> Iterable[tuple[Field, str]]:
        for name, theirs in self._naming.items():
            if name.startswith(prefix):
                yield fields.BY_NAME[name], theirs
        if prefix == fields.CUSTOMER:
            yield fields.GUEST, fields.GUEST.hubspot

    def _properties(self, values: Mapping[str, Any]) -> dict[str, str]:
        return {
            self._naming[name]: _text(value)
            for name, value in values.items()
            if name in self._naming
        }

    def _why(self, answer: Answer) -> str:
        why = hubspot_errors.reason(answer.body, naming=self._naming)
        return f": {why}" if why else ""

    def _call(
        self,
        method: str,
        path: str,
        occasion: Occasion,
        body: Any = None,
        *,
        query: Mapping[str, str] | None = None,
        accepted: Sequence[int] = (),
    ) -> Answer:
        seconds = min(self._deadline.remaining(), CALL_SECONDS)
        if seconds < LEAST_SECONDS:
            raise DeliveryFailedError(f"{NAME} takes too long: the time was over before {method}")
        return self._client.call(
            method,
            path,
            body=body,
            query=query,
            idempotency_key=str(occasion.key),
            accepted=accepted,
            seconds=seconds,
        )


@functools.lru_cache
def _client(base_url: str, token: str, naming: tuple[tuple[str, str], ...]) -> RestClient:
    """The same one for the same settings: it keeps connections."""
    return RestClient(
        name=NAME,
        base_url=base_url,
        headers={"Authorization": f"Bearer {token}"},
        reason=functools.partial(hubspot_errors.reason, naming=dict(naming)),
    )


def _definition(each: Field, theirs: str, *, group: str, is_unique: bool) -> dict[str, Any]:
    """What makes a property, for staff of the shop to read and not to change."""
    kind, field_type = TYPES[each.kind]
    definition: dict[str, Any] = {
        "name": theirs,
        "label": f"{each.label} (shop)",
        "type": kind,
        "fieldType": field_type,
        "groupName": group,
        "hasUniqueValue": is_unique,
    }
    if each.kind is Kind.SWITCH:
        definition["options"] = SWITCH_OPTIONS
    return definition


def _text(value: Any) -> str:
    """A value as HubSpot takes it; empty clears the property."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _results(answer: Answer) -> list[dict[str, Any]]:
    """Those of an answer that lists.

    Raises:
        DeliveryFailedError: it lists nothing.
    """
    found = answer.body.get("results") if isinstance(answer.body, dict) else None
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise DeliveryFailedError(f"{NAME} answered {answer.status} and no results")
    return found


def _id_of(answer: Answer) -> str:
    found = answer.body.get("id") if isinstance(answer.body, dict) else None
    if not isinstance(found, str) or not found:
        raise DeliveryFailedError(f"{NAME} answered {answer.status} and no id")
    return found


def _property(record: Any, name: str) -> str:
    values = record.get("properties") if isinstance(record, dict) else None
    if not isinstance(values, dict):
        raise DeliveryFailedError(f"{NAME} answered a record without properties")
    return str(values.get(name) or "")


def _existing_id(answer: Answer) -> str:
    """The contact that has the address.

    Raises:
        RejectedError: a conflict about something else.
    """
    message = answer.body.get("message") if isinstance(answer.body, dict) else None
    found = EXISTING_ID.search(message) if isinstance(message, str) else None
    if found is None:
        raise RejectedError(f"{NAME} answered {CONFLICT} and did not say which contact it meant")
    return found.group(1)
