"""Drives the local payment server from tests: faults, the shopper's actions, the journal."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import urllib3

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
READER = {"Authorization": "Bearer sk_test_reader"}


class PaymentServer:
    """The test endpoints of `sandbox.payments` at this address."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self._http = urllib3.PoolManager(timeout=5, retries=False)
        self._has_faults = False

    def fail(self, kind: str, *, path: str = "*", times: int | None = 1, **more: Any) -> None:
        """The next `times` matching requests go wrong in this way."""
        self._has_faults = True
        self._post("/_test/faults", {"kind": kind, "path": path, "times": times, **more})

    def clear_faults(self) -> None:
        """Have everything go right again, if this one made anything go wrong."""
        if self._has_faults:
            self._ask("DELETE", "/_test/faults")
            self._has_faults = False

    def act(self, intent_id: str, outcome: str) -> None:
        """The shopper completes or fails 3-D Secure, a redirect or a bank debit."""
        self._post(f"/_test/payment_intents/{intent_id}/action", {"outcome": outcome})

    def intent(self, intent_id: str) -> dict[str, Any]:
        return self._get(f"/v1/payment_intents/{intent_id}")

    def intents_of(self, order_id: str, *, newer_than: str = "") -> list[dict[str, Any]]:
        """The intents with this order's id in their metadata, the newest first.

        Args:
            newer_than: the id of an intent that is older; looks at a hundred at most.
        """
        params = {"limit": "100"}
        if newer_than:
            params["ending_before"] = newer_than
        found = self._get("/v1/payment_intents", params)["data"]
        return [intent for intent in found if intent["metadata"].get("order_id") == order_id]

    def refunds_of(self, intent_id: str) -> list[dict[str, Any]]:
        return self._get("/v1/refunds", {"payment_intent": intent_id, "limit": "100"})["data"]

    def reset(self) -> None:
        """Forget every payment."""
        self._ask("POST", "/_test/reset")

    def balance(self) -> dict[str, int]:
        """What lies in the account, in minor units by currency."""
        return {one["currency"]: one["amount"] for one in self._get("/v1/balance")["available"]}

    def transactions(self) -> list[dict[str, Any]]:
        """Every movement of money, its source in full, the newest first."""
        query = {"limit": "100", "expand[]": "data.source"}
        return self._get("/v1/balance_transactions", query)["data"]

    def dispute(self, intent_id: str, **more: Any) -> dict[str, Any]:
        """The customer's bank takes the money back."""
        return self._post("/_test/disputes", {"payment_intent": intent_id, **more})

    def decide_dispute(self, dispute_id: str, outcome: str) -> dict[str, Any]:
        return self._post(f"/_test/disputes/{dispute_id}/action", {"outcome": outcome})

    def decide_refund(self, refund_id: str, outcome: str) -> None:
        self._post(f"/_test/refunds/{refund_id}/action", {"outcome": outcome})

    def charge(self, charge_id: str) -> dict[str, Any]:
        return self._get(f"/v1/charges/{charge_id}")

    def charge_anew(self, params: dict[str, Any]) -> dict[str, Any]:
        """Make and confirm another intent with a payment's parameters, behind the shop's back."""
        form = {
            "amount": params["amount"],
            "currency": params["currency"],
            "payment_method": params["payment_method"],
            "confirm": "true",
            "return_url": "https://example.com/",
            **{f"metadata[{name}]": value for name, value in params["metadata"].items()},
        }
        return self._post_form("/v1/payment_intents", form)

    def refund(self, intent_id: str, **params: Any) -> dict[str, Any]:
        """Give money back at the provider's own site, behind the shop's back."""
        return self._post_form("/v1/refunds", {"payment_intent": intent_id, **params})

    def clear_journal(self) -> None:
        self._ask("DELETE", "/_test/journal")

    def journal(self, *, path: str) -> list[dict[str, Any]]:
        """What was asked on this path since the journal was cleared."""
        found = self._get("/_test/journal", {"path": path})
        return found["requests"]

    def _get(self, path: str, params: dict[str, str] | None = None) -> Any:
        return self._ask("GET", path, fields=params, headers=READER)

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        return self._ask("POST", path, json=body)

    def _post_form(self, path: str, form: dict[str, Any]) -> Any:
        return self._ask("POST", path, body=urlencode(form), headers={**READER, **FORM})

    def _ask(self, method: str, path: str, **more: Any) -> Any:
        answer = self._http.request(method, f"{self.base_url}{path}", **more)
        assert answer.status < 300, answer.data
        return json.loads(answer.data) if answer.data else None
