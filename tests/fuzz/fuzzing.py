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
from orders.api import examples
from tests import factories
from tests.shop import Shopper

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

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
        "body.payment_method_id": {"dictionary": "cards", "probability": 0.9},
    },
}
UNREACHABLE = {
    "GET /metrics": "for 127.0.0.1 alone, and the address of a WSGI client is none",
    "POST /api/v1/webhooks/stripe": "wants a signature over the body: tests/api/test_webhooks.py",
}
"""Operations that cannot succeed here, and why; their answers are judged all the same."""


@dataclass
class Report:
    """What came of it: statuses by operation, and failures in words."""

    statuses: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    failures: list[str] = field(default_factory=list)

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
    """A shop in which the document's own examples hold, and who asks there."""

    shopper: Shopper
    order: dict[str, Any]
    doomed_order: dict[str, Any]
    """The one to be cancelled: of a cancelled order nothing else succeeds."""


def furnish(identity: str) -> Furnished:
    """A shop with what the examples speak of; needs a database, a cache and the payment server."""
    factories.open_shop()
    for sku, on_hand in zip(SKUS, (1_000_000, 1, 0), strict=True):
        factories.ProductFactory(sku=sku, name=sku.title(), on_hand=on_hand)
    if identity == "anonymous":
        shopper = Shopper()
    else:
        staff = identity == "staff"
        customer: Any = factories.CustomerFactory(is_staff=staff, is_superuser=staff)
        shopper = Shopper(customer)
    orders = [shopper.order(("DEMO-PLENTY", 2)).json() for _ in range(2)]
    return Furnished(shopper, *orders)


def document_of(shop: Furnished) -> dict[str, Any]:
    """The document, its examples exchanged for what there is in this shop."""
    document: dict[str, Any] = json.loads(_with_examples_of(shop.order, docs._document()))
    for path, described in docs._document()["paths"].items():
        if path.endswith("/cancel"):
            document["paths"][path] = json.loads(_with_examples_of(shop.doomed_order, described))
    return document


def _with_examples_of(order: Mapping[str, Any], described: Any) -> str:
    text = json.dumps(described)
    for example, value in (
        (examples.ORDER_NUMBER, order["order_number"]),
        (examples.GUEST_TOKEN, order.get("guest_token", examples.GUEST_TOKEN)),
        (examples.ORDER["total_amount"], order["total_amount"]),
    ):
        text = text.replace(example, value)
    return text


def run(shop: Furnished, *, settings: dict[str, Any], tell: Callable[[Report], None]) -> Report:
    """Send what schemathesis thinks of; `settings` are added to those above."""
    config = SchemathesisConfig.from_dict({**SETTINGS, **settings})
    schema = schemathesis.openapi.from_dict(document_of(shop), config=config)
    schema.app = served
    if shop.shopper.headers:
        schema.config.update(headers=shop.shopper.headers)
    report = Report()
    for event in from_schema(schema).execute():
        _note(event, report)
        tell(report)
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
        report.failures.append(f"{event.label}: {event.value!r}")
    if isinstance(event, events.ScenarioFinished):
        _note_answers(event.recorder, report)


def _note_answers(recorder: Any, report: Report) -> None:
    labels = {case_id: node.value.operation.label for case_id, node in recorder.cases.items()}
    for case_id, interaction in recorder.interactions.items():
        if interaction.response is not None:
            report.statuses[labels[case_id]][interaction.response.status_code] += 1
    for case_id, checks in recorder.checks.items():
        for failed in (check.failure_info for check in checks if check.failure_info):
            said = f"{failed.failure.title}: {failed.failure.message}"
            report.failures.append(f"{labels[case_id]}: {said}\n{failed.code_sample}")
