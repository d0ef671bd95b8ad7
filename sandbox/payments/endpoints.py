"""Which function answers which address, and what it accepts."""

from collections.abc import Callable
from dataclasses import dataclass

from sandbox.payments import (
    balance,
    charges,
    customers,
    disputes,
    events,
    intents,
    methods,
    parameters,
    refunds,
)
from sandbox.payments.calls import Call
from sandbox.payments.documents import Document
from sandbox.payments.readers import Schema


@dataclass(frozen=True)
class Endpoint:
    """One call of the API."""

    run: Callable[[Call], Document]
    accepts: Schema
    requires: tuple[str, ...] = ()
    check: Callable[[Call], None] | None = None  # which parameters go together

    @property
    def answers_list(self) -> bool:
        """Whether the answer is a page of a list."""
        return "starting_after" in self.accepts


_ONLY_EXPAND = parameters.EXPAND
# `*` stands for the id inside the path.
ENDPOINTS: dict[tuple[str, str], Endpoint] = {
    ("POST", "/v1/payment_intents"): Endpoint(
        intents.create,
        parameters.INTENT_CREATE,
        requires=("amount", "currency"),
        check=intents.check_create,
    ),
    ("GET", "/v1/payment_intents"): Endpoint(intents.list_all, parameters.INTENT_LIST),
    ("GET", "/v1/payment_intents/*"): Endpoint(intents.retrieve, parameters.INTENT_RETRIEVE),
    ("POST", "/v1/payment_intents/*"): Endpoint(intents.update, parameters.INTENT_UPDATE),
    ("POST", "/v1/payment_intents/*/confirm"): Endpoint(intents.confirm, parameters.INTENT_CONFIRM),
    ("POST", "/v1/payment_intents/*/cancel"): Endpoint(intents.cancel, parameters.INTENT_CANCEL),
    ("POST", "/v1/payment_intents/*/capture"): Endpoint(intents.capture, parameters.INTENT_CAPTURE),
    ("GET", "/v1/charges"): Endpoint(charges.list_all, parameters.CHARGE_LIST),
    ("GET", "/v1/charges/*"): Endpoint(charges.retrieve, _ONLY_EXPAND),
    ("POST", "/v1/refunds"): Endpoint(refunds.create, parameters.REFUND_CREATE),
    ("GET", "/v1/refunds"): Endpoint(refunds.list_all, parameters.REFUND_LIST),
    ("GET", "/v1/refunds/*"): Endpoint(refunds.retrieve, _ONLY_EXPAND),
    ("POST", "/v1/refunds/*"): Endpoint(refunds.update, parameters.REFUND_UPDATE),
    ("GET", "/v1/balance"): Endpoint(balance.show, _ONLY_EXPAND),
    ("GET", "/v1/balance_transactions"): Endpoint(
        balance.list_all, parameters.BALANCE_TRANSACTION_LIST
    ),
    ("GET", "/v1/balance_transactions/*"): Endpoint(balance.retrieve, _ONLY_EXPAND),
    ("GET", "/v1/disputes"): Endpoint(disputes.list_all, parameters.DISPUTE_LIST),
    ("GET", "/v1/disputes/*"): Endpoint(disputes.retrieve, _ONLY_EXPAND),
    ("POST", "/v1/disputes/*"): Endpoint(disputes.update, parameters.DISPUTE_UPDATE),
    ("POST", "/v1/disputes/*/close"): Endpoint(disputes.close, _ONLY_EXPAND),
    ("POST", "/v1/customers"): Endpoint(customers.create, parameters.CUSTOMER_CREATE),
    ("GET", "/v1/customers"): Endpoint(customers.list_all, parameters.CUSTOMER_LIST),
    ("GET", "/v1/customers/*"): Endpoint(customers.retrieve, _ONLY_EXPAND),
    ("POST", "/v1/customers/*"): Endpoint(customers.update, parameters.CUSTOMER_UPDATE),
    ("DELETE", "/v1/customers/*"): Endpoint(methods.delete_customer, parameters.CUSTOMER_DELETE),
    ("GET", "/v1/customers/*/payment_methods"): Endpoint(
        methods.list_of_customer, parameters.CUSTOMER_METHOD_LIST
    ),
    ("GET", "/v1/payment_methods/*"): Endpoint(methods.retrieve, _ONLY_EXPAND),
    ("POST", "/v1/payment_methods/*/attach"): Endpoint(
        methods.attach, parameters.METHOD_ATTACH, check=methods.check_attach
    ),
    ("POST", "/v1/payment_methods/*/detach"): Endpoint(methods.detach, _ONLY_EXPAND),
    ("GET", "/v1/events"): Endpoint(events.list_all, parameters.EVENT_LIST),
    ("GET", "/v1/events/*"): Endpoint(events.retrieve, _ONLY_EXPAND),
}


def find_endpoint(*, method: str, path: str) -> tuple[Endpoint, str] | None:
    """The endpoint of an address and the id inside it (empty if it has none)."""
    exact = ENDPOINTS.get((method, path))
    if exact is not None:
        return exact, ""
    match path.split("/", 4):
        case ["", "v1", collection, object_id, *action] if object_id:
            endpoint = ENDPOINTS.get((method, "/".join(["/v1", collection, "*", *action])))
            return None if endpoint is None else (endpoint, object_id)
        case _:
            return None
