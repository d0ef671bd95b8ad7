"""Runs schemathesis over our OpenAPI document, as one identity, in a shop where it can succeed.

`tests/fuzz/test_schemathesis.py` does so in passing, `bin/bench fuzz` at length.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema

from config import docs
from config.wsgi import application
from customers.api import examples as customer_examples
from integrations.marketing import unsubscribe
from integrations.marketing.api import examples as marketing_examples
from orders.api import examples
from orders.models import Order
from orders.services.invoicing import issue_invoice
from orders.services.returns import request_return
from orders.services.shipping import Parcel, ship_order
from tests import factories
from tests.shop import Shopper, payment_link

if TYPE_CHECKING:
    from collections.abc import Mapping

ORDER = "/api/v1/orders/{order_number}"
CART = "/api/v1/carts/{cart_id}"
ADDRESS = "/api/v1/me/addresses/{address_id}"
OF_A_CART = (
    *(f"GET {CART}", f"DELETE {CART}", f"PUT {CART}/items/{{sku}}", f"PUT {CART}/coupon"),
    "POST /api/v1/orders",
)
OF_RETURNS = (
    *(f"GET {ORDER}/returns", f"POST {ORDER}/returns"),
    f"GET {ORDER}/returns/{{return_id}}",
)
OF_AN_ADDRESS = (f"GET {ADDRESS}", f"PATCH {ADDRESS}", f"DELETE {ADDRESS}")

IDENTITIES = ("anonymous", "customer", "staff")
SKUS = ["DEMO-PLENTY", "DEMO-LAST-ONE", "DEMO-SOLD-OUT"]
CARDS = ["pm_card_visa", "pm_card_visa_chargeDeclined", "pm_card_authenticationRequired"]

# Every other check of schemathesis is on.
CHECKS = {
    # A body as the document has it may still be refused: a product that is sold out (409), a
    # card that is declined (402), a total that has moved (409), a country nobody ships to (400).
    "positive_data_acceptance": {"enabled": False},
    # Its second request breaks on a WSGI application ("unexpected keyword argument
    # 'max_redirects'"); tests/security/test_authorisation.py asks every route without a token.
    "ignored_auth": {"enabled": False},
    # 402: a card that is no card. 413: refused before it is read.
    "negative_data_rejection": {
        "expected-statuses": ["400", "401", "402", "403", "404", "405", "409", "413", "415", "422"]
    },
}
SETTINGS: dict[str, Any] = {
    "base-url": "http://127.0.0.1",
    "workers": 1,
    "continue-on-failure": True,
    "checks": CHECKS,
    "dictionaries": {"skus": {"values": SKUS}, "cards": {"values": CARDS}},
    "parameters": {
        "body.items[*].sku": {"dictionary": "skus", "probability": 0.9},
        "path.sku": {"dictionary": "skus", "probability": 0.9},
        "body.payment_method_id": {"dictionary": "cards", "probability": 0.9},
    },
}
UNREACHABLE = {
    "GET /metrics": "for 127.0.0.1 alone, and the address of a WSGI client is none",
    "POST /api/v1/webhooks/stripe": "wants a signature over the body: tests/api/test_webhooks.py",
    "POST /api/v1/webhooks/marketing": "likewise: tests/integrations/test_unsubscribe.py",
    "GET /api/v1/support/context": "wants a token: tests/integrations/test_support_context.py",
    "POST /api/v1/webhooks/tracking/generic": "likewise: tests/integrations/test_tracking.py",
    "POST /api/v1/webhooks/tracking/easypost": "likewise",
    "POST /api/v1/feeds/stock": "wants a warehouse's token: tests/integrations/test_stock_feed.py",
    "POST /api/v1/webhooks/email/{provider}": "wants a secret: tests/integrations/test_bounces.py",
}
"""Operations that cannot succeed here, and why; their answers are judged all the same."""


@dataclass(frozen=True)
class Failure:
    """An answer that the document does not promise; `said` ends with the request as a command."""

    operation: str
    said: str


@dataclass
class Report:
    """What came of it, by operation."""

    statuses: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    failures: list[Failure] = field(default_factory=list)

    @property
    def cases(self) -> int:
        return sum(counter.total() for counter in self.statuses.values())

    def without_success(self) -> list[str]:
        """The operations that never answered 2xx."""
        return sorted(
            operation
            for operation, seen in self.statuses.items()
            if not any(200 <= status < 300 for status in seen)
        )


@dataclass(frozen=True)
class Furnished:
    """A shop in which the document's own examples hold, and who asks there.

    `examples` are what stands in the document, and what there is in its place; `of_operation`
    the same for one operation alone: some end what the others need.
    """

    shopper: Shopper
    examples: dict[str, str]
    of_operation: dict[str, dict[str, str]]
    headers_of_operation: dict[str, dict[str, str]]


def furnish(identity: str) -> Furnished:
    """What the examples speak of; needs an open shop, a cache and the payment server."""
    for sku, on_hand in zip(SKUS, (1_000_000, 1, 0), strict=True):
        factories.ProductFactory(sku=sku, name=sku.title(), on_hand=on_hand)
    factories.CouponFactory(code="WELCOME10")
    shopper, guest = _somebody(identity), Shopper()
    bought, sent = shopper.order((SKUS[0], 2)).json(), _sent(shopper)
    return Furnished(
        shopper=shopper,
        examples=_order(bought) | _document(bought) | _payment_link() | _unsubscribe_link(),
        of_operation={
            f"POST {ORDER}/cancel": _order(shopper.order((SKUS[0], 2)).json()),
            f"POST {ORDER}/claim": _order(guest.order((SKUS[0], 2)).json()),
            **dict.fromkeys(OF_RETURNS, sent),
            # A customer has one cart, and the first use of a guest's makes it that one.
            **{operation: _cart(guest) for operation in OF_A_CART},
            **{operation: _address(shopper) for operation in OF_AN_ADDRESS},
            "POST /api/v1/me/payment-methods": {examples.CARD["id"]: CARDS[0]},
            "DELETE /api/v1/me/payment-methods/{payment_method_id}": _card(shopper),
        },
        headers_of_operation={
            "DELETE /api/v1/me": _somebody(identity).headers,  # the others still need theirs
        },
    )


def _somebody(identity: str) -> Shopper:
    if identity == "anonymous":
        return Shopper()
    staff = identity == "staff"
    customer: Any = factories.CustomerFactory(is_staff=staff, is_superuser=staff)
    return Shopper(customer)


def _order(placed: Mapping[str, Any]) -> dict[str, str]:
    return {
        examples.ORDER_NUMBER: placed["order_number"],
        examples.GUEST_TOKEN: placed.get("guest_token", examples.GUEST_TOKEN),
        examples.ORDER["total_amount"]: placed["total_amount"],
    }


def _document(placed: Mapping[str, Any]) -> dict[str, str]:
    order = Order.objects.get(order_number=placed["order_number"])
    return {examples.CREDIT_NOTE_NUMBER: issue_invoice(order_id=order.pk).document_number}


def _sent(shopper: Shopper) -> dict[str, str]:
    """An order on its way, one unit of which shall come back."""
    placed = shopper.order((SKUS[0], 9)).json()
    order = Order.objects.get(order_number=placed["order_number"])
    ship_order(order_id=order.pk, parcel=Parcel(carrier="UPS", tracking_number="1Z999"))
    wish = request_return(order_id=order.pk, units={SKUS[0]: 1}, reason="broken")
    return {**_order(placed), examples.RETURN_ID: str(wish.public_id)}


def _unsubscribe_link() -> dict[str, str]:
    customer = factories.CustomerFactory(marketing_consent=True)
    link = unsubscribe.link_for(customer_id=customer.pk)
    return {marketing_examples.UNSUBSCRIBE_TOKEN: link.rpartition("/")[2]}


def _cart(guest: Shopper) -> dict[str, str]:
    line = {"sku": SKUS[0], "quantity": 2}
    return {examples.CART_ID: guest.post("/carts", {"items": [line]}).json()["id"]}


def _payment_link() -> dict[str, str]:
    return {examples.PAYMENT_LINK_ID: str(payment_link((SKUS[0], 2)).public_id)}


def _address(shopper: Shopper) -> dict[str, str]:
    if shopper.customer is None:
        return {}
    kept = shopper.post("/me/addresses", customer_examples.ADDRESS).json()
    return {customer_examples.ADDRESS_ID: kept["id"]}


def _card(shopper: Shopper) -> dict[str, str]:
    if shopper.customer is None:
        return {}
    kept = shopper.post("/me/payment-methods", {"payment_method_id": CARDS[0]}).json()
    return {examples.CARD["id"]: kept["id"]}


def document_of(shop: Furnished) -> dict[str, Any]:
    """The document, its examples exchanged for what there is in this shop."""
    document: dict[str, Any] = _exchanged(docs._document(), shop.examples)
    for path, methods in docs._document()["paths"].items():
        for method, described in methods.items():
            own = shop.of_operation.get(f"{method.upper()} {path}", {})
            document["paths"][path][method] = _exchanged(described, shop.examples | own)
    return document


def _exchanged(described: Any, values: Mapping[str, str]) -> Any:
    text = json.dumps(described)
    for example, value in values.items():
        text = text.replace(example, value)
    return json.loads(text)


def run(shop: Furnished, *, settings: dict[str, Any]) -> Report:
    """Send what schemathesis thinks of; `settings` are added to those above."""
    of_operation = [
        {"include-name": operation, "headers": headers}
        for operation, headers in shop.headers_of_operation.items()
        if headers
    ]
    config = SchemathesisConfig.from_dict({**SETTINGS, **settings, "operations": of_operation})
    schema = schemathesis.openapi.from_dict(document_of(shop), config=config)
    schema.app = served
    if shop.shopper.headers:
        schema.config.update(headers=shop.shopper.headers)
    report = Report()
    for event in from_schema(schema).execute():
        _note(event, report)
    return report


def served(environ: Any, start_response: Any) -> list[bytes]:
    """The application; each request is over, its connections given back, when it is answered."""
    body = application(environ, start_response)
    try:
        return [b"".join(body)]
    finally:
        body.close()


def _note(event: Any, report: Report) -> None:
    if isinstance(event, events.FatalError):
        raise event.exception
    if isinstance(event, events.NonFatalError):
        report.failures.append(Failure(event.label, repr(event.value)))
    if isinstance(event, events.ScenarioFinished):
        _note_answers(event.recorder, report)


def _note_answers(recorder: Any, report: Report) -> None:
    labels = {case_id: node.value.operation.label for case_id, node in recorder.cases.items()}
    for case_id, interaction in recorder.interactions.items():
        if interaction.response is not None:
            report.statuses[labels[case_id]][interaction.response.status_code] += 1
    for case_id, checks in recorder.checks.items():
        for failed in (check.failure_info for check in checks if check.failure_info):
            said = f"{failed.failure.title}: {failed.failure.message}\n{failed.code_sample}"
            report.failures.append(Failure(labels[case_id], said))
