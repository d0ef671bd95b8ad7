"""`recover_orders`: nothing stays in doubt that could be settled now."""

from __future__ import annotations

import json
from datetime import timedelta

import pgtrigger
import pytest
from django.core.management import call_command
from django.utils import timezone

from orders.management.commands import recover_orders
from orders.models import IdempotencyKey, Order
from payments.models import Payment, Refund
from tests import factories
from tests.shop import order_of

pytestmark = pytest.mark.django_db

CREATE = "/v1/payment_intents"
CONFIRM = "/v1/payment_intents/*/confirm"
RETRIEVE = "/v1/payment_intents/*"
REFUND = "/v1/refunds"


@pytest.fixture
def product(shop):
    return factories.ProductFactory(on_hand=50)


@pytest.fixture
def in_doubt(shopper, product, provider):
    """Charged, but the answer was lost, and so was the answer to the question."""
    provider.fail("answer_lost", path=CONFIRM)
    provider.fail("drop", path=RETRIEVE, method="GET")
    answer = shopper.order((product.sku, 1))
    assert answer.status_code == 202
    return order_of(answer)


@pytest.fixture
def impatient(monkeypatch):
    """These tests know that waiting will not help."""
    monkeypatch.setattr(recover_orders, "PATIENCE_SECONDS", 1.0)
    monkeypatch.setattr(recover_orders, "PAUSE_SECONDS", 0.1)


def run(capsys, *args):
    code = 0
    try:
        call_command("recover_orders", *args)
    except SystemExit as exc:
        code = exc.code
    return code, capsys.readouterr().out


def run_json(capsys):
    code, printed = run(capsys, "--json")
    return code, json.loads(printed)


class TestRecoverOrders:
    def test_settles_what_is_in_doubt_whenever_its_next_try_would_be(self, in_doubt, capsys):
        Payment.objects.update(next_attempt_at=timezone.now() + timedelta(hours=1))

        code, result = run_json(capsys)

        in_doubt.refresh_from_db()
        assert in_doubt.status == "confirmed"
        assert code == 0
        assert result == {
            "orders_settled": 1,
            "refunds_done": 0,
            "events_done": 0,
            "keys_answered": 0,
            "problems": 0,
            "waiting": [],
            "left": [],
        }

    def test_says_so_in_one_line(self, in_doubt, capsys):
        code, printed = run(capsys)

        assert code == 0
        assert printed.strip() == (
            "orders settled 1, refunds done 0, events done 0, keys answered 0, problems 0, waiting"
            " 0, left in doubt 0."
        )

    def test_has_nothing_to_do_in_a_quiet_shop(self, shop, capsys):
        assert run(capsys)[0] == 0

    def test_finishes_refunds(self, shopper, product, provider, capsys):
        order = order_of(shopper.order((product.sku, 1)))
        provider.fail("drop", path=REFUND, method="POST")
        assert shopper.post(f"/orders/{order.order_number}/cancel").status_code == 202
        assert Refund.objects.get().status == "due"

        code, result = run_json(capsys)

        assert (code, result["refunds_done"]) == (0, 1)
        assert Refund.objects.get().status == "succeeded"

    def test_answers_keys_left_open(self, shopper, product, capsys):
        shopper.order((product.sku, 1))
        with pgtrigger.ignore():
            IdempotencyKey.objects.update(response_status=None, response_body="", answered_at=None)

        code, result = run_json(capsys)

        assert (code, result["keys_answered"]) == (0, 1)
        assert IdempotencyKey.objects.get().response_status == 201

    def test_waits_for_a_request_that_is_still_at_work(
        self, in_doubt, capsys, monkeypatch, impatient
    ):
        lease_ends = timezone.now() + timedelta(hours=1)
        IdempotencyKey.objects.update(lease_until=lease_ends)
        Payment.objects.update(in_doubt_since=None)
        rests = []

        def rest(_seconds):
            rests.append(_seconds)
            IdempotencyKey.objects.update(lease_until=timezone.now() - timedelta(seconds=1))

        monkeypatch.setattr(recover_orders.time, "sleep", rest)

        assert run_json(capsys)[0] == 0
        in_doubt.refresh_from_db()
        assert in_doubt.status == "confirmed"
        assert rests == [0.1]


class TestWhatWaits:
    def test_for_its_customer_is_listed_and_no_failure(self, shopper, product, capsys):
        answer = shopper.order((product.sku, 1), payment_method_id="pm_card_threeDSecure2Required")
        order = order_of(answer)

        code, result = run_json(capsys)

        assert (code, result["left"]) == (0, [])
        assert result["waiting"] == [
            {
                "order_number": order.order_number,
                "reason": "the customer has to act until "
                f"{order.hold_expires_at:%Y-%m-%d %H:%M:%S} UTC",
            }
        ]

    def test_for_a_bank_is_listed_and_no_failure(self, shopper, product, capsys):
        order = order_of(
            shopper.order((product.sku, 1), payment_method_id="pm_usBankAccount_success")
        )

        code, printed = run(capsys)

        assert code == 0
        assert order.order_number in printed
        assert "the bank takes its time" in printed
        assert "waiting 1, left in doubt 0." in printed

    def test_past_its_hold_is_ended_instead(self, shopper, product, capsys):
        order = order_of(
            shopper.order((product.sku, 1), payment_method_id="pm_card_threeDSecure2Required")
        )
        Order.objects.update(hold_expires_at=timezone.now() - timedelta(minutes=1))

        code, result = run_json(capsys)

        order.refresh_from_db()
        assert (code, result["orders_settled"], order.status) == (0, 1, "cancelled")


class TestWhatIsLeft:
    def test_is_listed_with_the_reason(self, in_doubt, provider, capsys, impatient):
        provider.fail("drop", method="*", times=None)

        code, result = run_json(capsys)

        assert code == 1
        assert [left["order_number"] for left in result["left"]] == [in_doubt.order_number]
        assert "the provider has not said yet: APIConnectionError" in result["left"][0]["reason"]

    def test_is_listed_for_people_too(self, in_doubt, provider, capsys, impatient):
        provider.fail("drop", method="*", times=None)

        code, printed = run(capsys)

        assert code == 1
        assert in_doubt.order_number in printed
        assert "left in doubt 1." in printed

    def test_in_quarantine_is_not_waited_for(self, in_doubt, capsys, monkeypatch):
        Payment.objects.update(status="quarantined", last_error="another amount")
        monkeypatch.setattr(recover_orders.time, "sleep", pytest.fail)

        code, result = run_json(capsys)

        assert code == 1
        assert result["left"] == [
            {"order_number": in_doubt.order_number, "reason": "quarantined: another amount"}
        ]

    def test_a_refund_that_cannot_be_sent(self, shopper, product, provider, capsys, impatient):
        order = order_of(shopper.order((product.sku, 1)))
        provider.fail("drop", path=REFUND, method="*", times=None)
        shopper.post(f"/orders/{order.order_number}/cancel")

        code, result = run_json(capsys)

        assert code == 1
        assert result["left"][0]["order_number"] == order.order_number
        assert result["left"][0]["reason"].startswith("its refund is not sent: APIConnectionError")
