"""Drives the local payment server from tests: faults, the shopper's actions, the journal."""

from __future__ import annotations

from typing import Any

import requests


class PaymentServer:
    """The test endpoints of `sandbox.payments` at this address."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self._http = requests.Session()
        self._http.trust_env = False

    def fail(self, kind: str, *, path: str = "*", times: int | None = 1, **more: Any) -> None:
        """The next `times` matching requests go wrong in this way."""
        self._post("/_test/faults", {"kind": kind, "path": path, "times": times, **more})

    def clear_faults(self) -> None:
        self._http.delete(f"{self.base_url}/_test/faults", timeout=5).raise_for_status()

    def act(self, intent_id: str, outcome: str) -> None:
        """The shopper completes or fails 3-D Secure, a redirect or a bank debit."""
        self._post(f"/_test/payment_intents/{intent_id}/action", {"outcome": outcome})

    def intent(self, intent_id: str) -> dict[str, Any]:
        return self._get(f"/v1/payment_intents/{intent_id}")

    def intents_of(self, order_id: str, *, newest: int = 100) -> list[dict[str, Any]]:
        """Every intent with this order's id in its metadata, among so many of the newest."""
        found = self._get("/v1/payment_intents", {"limit": str(newest)})["data"]
        return [intent for intent in found if intent["metadata"].get("order_id") == order_id]

    def refunds_of(self, intent_id: str) -> list[dict[str, Any]]:
        return self._get("/v1/refunds", {"payment_intent": intent_id, "limit": "100"})["data"]

    def reset(self) -> None:
        """Forget every payment."""
        self._http.post(f"{self.base_url}/_test/reset", timeout=5).raise_for_status()

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
        answer = self._http.post(
            f"{self.base_url}/v1/payment_intents",
            data=form,
            headers={"Authorization": "Bearer sk_test_reader"},
            timeout=5,
        )
        answer.raise_for_status()
        return answer.json()

    def refund(self, intent_id: str, **params: Any) -> dict[str, Any]:
        """Give money back at the provider's own site, behind the shop's back."""
        answer = self._http.post(
            f"{self.base_url}/v1/refunds",
            data={"payment_intent": intent_id, **params},
            headers={"Authorization": "Bearer sk_test_reader"},
            timeout=5,
        )
        answer.raise_for_status()
        return answer.json()

    def clear_journal(self) -> None:
        self._http.delete(f"{self.base_url}/_test/journal", timeout=5).raise_for_status()

    def journal(self, *, path: str) -> list[dict[str, Any]]:
        """What was asked on this path since the journal was cleared."""
        found = self._get("/_test/journal", {"path": path})
        return found["requests"]

    def _get(self, path: str, params: dict[str, str] | None = None) -> Any:
        answer = self._http.get(
            f"{self.base_url}{path}",
            params=params,
            headers={"Authorization": "Bearer sk_test_reader"},
            timeout=5,
        )
        answer.raise_for_status()
        return answer.json()

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        answer = self._http.post(f"{self.base_url}{path}", json=body, timeout=5)
        assert answer.ok, answer.text
        return answer.json()
