"""Who sells labels: a small interface, and two that have it. Nothing here touches the database.

`generic` is `{FULFILMENT_BASE_URL}/labels`, which docs/fulfilment.md describes. `easypost` is
EasyPost's documented API; no real account was contacted.
"""

from __future__ import annotations

import base64
import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from django.conf import settings

from audit.outbox import DeliveryFailedError, ReceiverAwayError, RejectedError
from config.kernel import money
from integrations import envelopes
from integrations.fulfilment.models import ShippingLabel
from integrations.refusals import code_of_error
from integrations.rest import CALL_SECONDS, RestClient

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from decimal import Decimal

    from config.kernel.clock import Deadline
    from integrations.rest import Answer

GRAMS_AN_OUNCE: Final = 28.349523125
MM_AN_INCH: Final = 25.4
LEAST_SECONDS: Final = 1.0  # no call begins with less
LONGEST_URL: Final = 500
NOT_FOUND: Final = 404
SHOWN_SERVICES: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The parcel that a label is wanted for; `key` is the same whenever it is asked for.

    `service`: a carrier's name for it; empty for the cheapest. Sizes: all three or none.
    """

    key: str
    order_number: str
    address: Mapping[str, Any]
    units: Mapping[str, int]
    service: str
    weight_grams: int
    size_mm: Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bought:
    """A label; `amount` is what it costs, in major units of `currency`."""

    carrier: str
    service: str
    tracking_number: str
    tracking_url: str
    amount: Decimal
    currency: str
    label_url: str


class LabelProvider(Protocol):
    """Sells labels. Each call ends by the deadline, and is made outside any transaction.

    All of them raise `ReceiverAwayError` (nothing is known), `RejectedError` (refused) or
    `DeliveryFailedError` (the answer is none), with texts that quote no address.
    """

    def prepare(self, asked: Asked, deadline: Deadline) -> str:
        """The provider's id for this parcel, under which it can be looked up. Buys nothing."""

    def find(self, provider_id: str, deadline: Deadline) -> Bought | None:
        """The label that was bought under this id; None if none was."""

    def buy(self, provider_id: str, asked: Asked, deadline: Deadline) -> Bought:
        """Buy it. Repeating it under the same id buys no second one."""


def configured() -> ShippingLabel.Provider | None:
    """Who sells labels to this shop; None: nobody."""
    if settings.EASYPOST_API_KEY:
        return ShippingLabel.Provider.EASYPOST
    return ShippingLabel.Provider.GENERIC if settings.FULFILMENT_BASE_URL else None


def provider(name: str) -> LabelProvider:
    """By its name, as the environment says now."""
    if name == ShippingLabel.Provider.EASYPOST:
        return EasyPost(_easypost(settings.EASYPOST_BASE_URL, settings.EASYPOST_API_KEY))
    client = envelopes.receiver(
        name="The warehouse",
        base_url=settings.FULFILMENT_BASE_URL,
        token=settings.FULFILMENT_TOKEN,
    )
    return Generic(client)


# --- our own dialect --------------------------------------------------------------------------


class Generic:
    """`POST /labels` with an idempotency key, and `GET /labels/{id}` with our own id."""

    def __init__(self, client: RestClient) -> None:
        self._client = client

    def prepare(self, asked: Asked, deadline: Deadline) -> str:  # noqa: ARG002 - our own id will do
        return asked.key

    def find(self, provider_id: str, deadline: Deadline) -> Bought | None:
        answer = self._client.call(
            "GET", f"/labels/{provider_id}", accepted=(NOT_FOUND,), seconds=_seconds(deadline)
        )
        return None if answer.status == NOT_FOUND else _read_generic(answer)

    def buy(self, provider_id: str, asked: Asked, deadline: Deadline) -> Bought:
        answer = self._client.call(
            "POST",
            "/labels",
            body={
                "id": provider_id,
                "order_number": asked.order_number,
                "service": asked.service,
                "weight_grams": asked.weight_grams,
                "size_mm": list(asked.size_mm) or None,
                "address": dict(asked.address),
                "items": [{"sku": sku, "quantity": n} for sku, n in asked.units.items()],
            },
            idempotency_key=provider_id,
            needs_answer=True,
            seconds=_seconds(deadline),
        )
        return _read_generic(answer)


def _read_generic(answer: Answer) -> Bought:
    body = answer.body if isinstance(answer.body, dict) else {}
    return _bought(
        carrier=body.get("carrier"),
        service=body.get("service"),
        tracking_number=body.get("tracking_number"),
        tracking_url=body.get("tracking_url"),
        amount=body.get("amount"),
        currency=body.get("currency"),
        label_url=body.get("label_url"),
    )


# --- EasyPost ---------------------------------------------------------------------------------


class EasyPost:
    """A shipment is created, which costs nothing; then the rate that was chosen is bought.

    EasyPost sells no second label for a shipment: a purchase whose end is not known is looked up
    by the shipment's id, and may be repeated.
    """

    def __init__(self, client: RestClient) -> None:
        self._client = client

    def prepare(self, asked: Asked, deadline: Deadline) -> str:
        parcel: dict[str, float] = {"weight": _rounded_up(asked.weight_grams / GRAMS_AN_OUNCE)}
        if asked.size_mm:
            sizes = [_rounded_up(mm / MM_AN_INCH) for mm in asked.size_mm]
            parcel |= dict(zip(("length", "width", "height"), sizes, strict=True))
        answer = self._client.call(
            "POST",
            "/shipments",
            body={
                "shipment": {
                    "to_address": _easypost_address(asked.address),
                    "from_address": {"id": settings.EASYPOST_FROM_ADDRESS},
                    "parcel": parcel,
                    "reference": asked.key,
                    "options": {"print_custom_1": asked.order_number},
                }
            },
            needs_answer=True,
            seconds=_seconds(deadline),
        )
        return _word(_dict(answer.body).get("id"), longest=100)

    def find(self, provider_id: str, deadline: Deadline) -> Bought | None:
        return _label_of(self._get(provider_id, deadline))

    def buy(self, provider_id: str, asked: Asked, deadline: Deadline) -> Bought:
        rate = _lowest(self._get(provider_id, deadline).get("rates"), asked.service)
        answer = self._client.call(
            "POST",
            f"/shipments/{provider_id}/buy",
            body={"rate": {"id": rate["id"]}},
            needs_answer=True,
            seconds=_seconds(deadline),
        )
        bought = _label_of(_dict(answer.body))
        if bought is None:
            raise DeliveryFailedError("EasyPost answered the purchase without a label")
        return bought

    def _get(self, provider_id: str, deadline: Deadline) -> dict[str, Any]:
        answer = self._client.call(
            "GET", f"/shipments/{provider_id}", needs_answer=True, seconds=_seconds(deadline)
        )
        return _dict(answer.body)


def _label_of(shipment: Mapping[str, Any]) -> Bought | None:
    """What was bought for a shipment; None: nothing yet."""
    if not shipment.get("postage_label"):
        return None
    rate, tracker = _dict(shipment.get("selected_rate")), shipment.get("tracker")
    return _bought(
        carrier=rate.get("carrier"),
        service=rate.get("service"),
        tracking_number=shipment.get("tracking_code"),
        tracking_url=tracker.get("public_url") if isinstance(tracker, dict) else None,
        amount=rate.get("rate"),
        currency=rate.get("currency"),
        label_url=_dict(shipment["postage_label"]).get("label_url"),
    )


def _lowest(rates: Any, service: str) -> dict[str, Any]:
    """The cheapest rate of a service, by its name or `carrier service`.

    Raises:
        RejectedError: there is none; says which there are.
    """
    offered = [rate for rate in rates if _is_rate(rate)] if isinstance(rates, list) else []
    if not offered:
        raise RejectedError("EasyPost offers no rate for this parcel: look at weight and address")
    wanted = service.casefold()
    names = {f"{rate['carrier']} {rate['service']}": rate for rate in offered}
    fitting = [
        rate
        for rate in offered
        if not wanted
        or wanted in {rate["service"].casefold(), f"{rate['carrier']} {rate['service']}".casefold()}
    ]
    if not fitting:
        there = ", ".join(sorted(names)[:SHOWN_SERVICES])
        raise RejectedError(f"EasyPost has no service of that name; there are: {there}")
    # The id decides between equals, so that whoever repeats it chooses the same one.
    return min(
        fitting, key=lambda rate: (money.parse_amount(rate["rate"], rate["currency"]), rate["id"])
    )


def _is_rate(rate: Any) -> bool:
    if not isinstance(rate, dict):
        return False
    words = [rate.get(name) for name in ("id", "carrier", "service", "rate", "currency")]
    if not all(isinstance(word, str) and word for word in words):
        return False
    try:
        money.parse_amount(rate["rate"], rate["currency"])
    except (money.InvalidAmountError, money.UnsupportedCurrencyError):
        return False
    return True


def _easypost_address(address: Mapping[str, Any]) -> dict[str, str]:
    names = {
        "name": "name",
        "street1": "line1",
        "street2": "line2",
        "city": "city",
        "state": "state",
        "zip": "postal_code",
        "country": "country",
        "phone": "phone",
    }
    return {theirs: str(address[ours]) for theirs, ours in names.items() if address.get(ours)}


def _rounded_up(value: float) -> float:
    """To a tenth: a parcel that is a little heavier than was said is charged for afterwards."""
    return math.ceil(value * 10) / 10


# --- reading ----------------------------------------------------------------------------------


def _bought(*, amount: Any, currency: Any, **words: Any) -> Bought:
    try:
        code = _word(currency, longest=3)
        cost = money.parse_amount(_word(amount, longest=20), code)
    except (money.InvalidAmountError, money.UnsupportedCurrencyError) as exc:
        raise DeliveryFailedError("the label's price is no amount") from exc
    return Bought(
        carrier=_word(words["carrier"], longest=50),
        service=_word(words["service"] or "", longest=50, required=False),
        tracking_number=_word(words["tracking_number"], longest=100),
        tracking_url=_address(words["tracking_url"], required=False),
        amount=cost,
        currency=code,
        label_url=_address(words["label_url"]),
    )


def _word(value: Any, *, longest: int, required: bool = True) -> str:
    fits = isinstance(value, str) and len(value) <= longest and value.isprintable()
    if not fits or (required and not value.strip()):
        raise DeliveryFailedError("the answer is no label")
    return str(value).strip()


def _address(value: Any, *, required: bool = True) -> str:
    if value is None and not required:
        return ""
    url = _word(value, longest=LONGEST_URL, required=required)
    if url and not url.startswith(("https://", "http://")):
        raise DeliveryFailedError("the label's address is no web page")
    return url


def _dict(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DeliveryFailedError("the answer is no label")
    return value


def _seconds(deadline: Deadline) -> float:
    left = deadline.remaining()
    if left < LEAST_SECONDS:
        raise ReceiverAwayError("no time was left for another call")
    return min(CALL_SECONDS, left)


# --- clients ----------------------------------------------------------------------------------


@functools.cache
def _easypost(base_url: str, api_key: str) -> RestClient:
    credentials = base64.b64encode(f"{api_key}:".encode()).decode()
    return RestClient(
        name="EasyPost",
        base_url=base_url,
        headers={"Authorization": f"Basic {credentials}"},
        reason=code_of_error,
    )
