"""EasyPost's shipments as its documentation tells them: created for nothing, bought once."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.integrations.receiver import DROP

if TYPE_CHECKING:
    from tests.integrations.receiver import Got

RATES = (
    ("USPS", "Priority", "8.10"),
    ("USPS", "GroundAdvantage", "5.49"),
    ("UPS", "Ground", "9.00"),
)


@dataclass
class EasyPostServer:
    """Answers a receiver's requests.

    `lose` names calls whose answer is lost once: `create`, `buy`. `refuse` answers purchases;
    `rates` takes the place of what is offered.
    """

    shipments: dict[str, dict[str, Any]] = field(default_factory=dict)
    purchases: list[str] = field(default_factory=list)
    lose: set[str] = field(default_factory=set)
    rates: Any = RATES
    refuse: tuple[int, dict[str, Any]] | None = None
    _ids: Any = field(default_factory=lambda: itertools.count(1))

    def __call__(self, request: Got) -> Any:
        _, _, *path = request.path.split("/")
        if request.method == "POST" and not path:
            return self._lost("create", (201, self._create(request.body["shipment"])))
        shipment = self.shipments.get(path[0] if path else "")
        if shipment is None:
            return 404, {"error": {"code": "NOT_FOUND", "message": "no such shipment"}}
        if request.method == "GET":
            return 200, shipment
        if self.refuse is not None:
            return self.refuse
        return self._lost("buy", self._buy(shipment, request.body["rate"]["id"]))

    def _create(self, wanted: dict[str, Any]) -> dict[str, Any]:
        number = next(self._ids)
        rates: Any = [
            {
                "id": f"rate_{number}_{n}",
                "object": "Rate",
                "carrier": carrier,
                "service": service,
                "rate": rate,
                "currency": "USD",
            }
            for n, (carrier, service, rate) in enumerate(RATES)
        ]
        if self.rates is not RATES:
            rates = self.rates
        made = {
            "id": f"shp_{number}",
            "object": "Shipment",
            "reference": wanted["reference"],
            "rates": rates,
            "selected_rate": None,
            "postage_label": None,
            "tracking_code": None,
            "tracker": None,
        }
        self.shipments[made["id"]] = made
        return made

    def _buy(self, shipment: dict[str, Any], rate_id: str) -> tuple[int, dict[str, Any]]:
        if shipment["postage_label"]:
            return 422, {
                "error": {
                    "code": "SHIPMENT.POSTAGE.EXISTS",
                    "message": "Postage already exists for this shipment.",
                    "errors": [],
                }
            }
        self.purchases.append(shipment["id"])
        code = f"94001000000{len(self.purchases):011}"
        shipment |= {
            "selected_rate": next(rate for rate in shipment["rates"] if rate["id"] == rate_id),
            "postage_label": {"label_url": f"https://labels.test/{shipment['id']}.png"},
            "tracking_code": code,
            "tracker": {"id": "trk_1", "public_url": "https://track.test/abc"},
        }
        return 200, shipment

    def _lost(self, call: str, answer: Any) -> Any:
        if call in self.lose:
            self.lose.discard(call)
            return DROP
        return answer
