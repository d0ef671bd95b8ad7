"""`reconcile_payments`: what differs is sorted, what is safe is done, the rest is queued."""

from __future__ import annotations

import json
import uuid
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from audit.models import AuditLog
from config.kernel.clock import Deadline
from orders import tasks
from orders.books import reconciliation
from orders.books.reconciliation import Reconciliation
from orders.models import Order
from orders.services import events
from payments import services as payments_service
from payments.models import LedgerEntry, Payment, ReconciliationCase, Refund
from tests.orders.mismatches import charge_outside, forget, intent_form, tamper

pytestmark = pytest.mark.django_db(transaction=True)

RETRIEVE = "/v1/payment_intents/*"


def reconcile(*, repair: bool = False) -> Reconciliation:
    return reconciliation.reconcile(repair=repair, on_progress=lambda *_: None)


def kinds(found: Reconciliation) -> dict[str, str]:
    return {each.subject: str(each.classification) for each in found.discrepancies}


def open_cases() -> dict[str, str]:
    cases = ReconciliationCase.objects.filter(resolved_at=None)
    return dict(cases.values_list("subject", "classification"))


def everything() -> dict[str, list[Any]]:
    return {
        model.__name__: list(model.objects.order_by("pk").values())
        for model in (Payment, Refund, LedgerEntry, ReconciliationCase, AuditLog)
    }


class TestWhatAgrees:
    def test_matches(self, orders):
        found = reconcile()

        assert found.counts() == {"matched": 4}
        assert found.payments == 4

    def test_is_left_alone(self, orders):
        before = everything()

        reconcile(repair=True)

        assert everything() == before

    def test_an_empty_shop_has_nothing_to_compare(self, provider):
        provider.reset()
        assert reconcile(repair=True) == Reconciliation(payments=0, discrepancies=[])


class TestWithoutRepair:
    def test_nothing_is_changed(self, orders, payments, stripe, provider):
        provider.act(payments["waiting"].payment_intent_id, "succeed")
        orphan = stripe("/v1/payment_intents", **intent_form())
        stripe("/v1/refunds", payment_intent=payments["paid"].payment_intent_id, amount=5)
        before = everything()

        found = reconcile()

        assert len(found.discrepancies) == 3
        assert everything() == before
        assert provider.intent(orphan["id"])["status"] == "requires_confirmation"


class TestDoubt:
    def test_is_settled(self, orders, payments, provider):
        intent_id = payments["waiting"].payment_intent_id
        provider.act(intent_id, "succeed")
        assert kinds(reconcile()) == {intent_id: "unknown"}

        found = reconcile(repair=True)

        assert (found.counts(), found.repaired, found.queued) == ({"matched": 4}, 1, 0)
        orders["waiting"].refresh_from_db()
        assert orders["waiting"].status == "confirmed"

    def test_that_the_provider_does_not_end_lies_before_a_person(self, orders, payments, provider):
        intent_id = payments["waiting"].payment_intent_id
        tamper(payments["waiting"], status="quarantined", last_error="odd")
        provider.fail("wrong_amount", path=RETRIEVE, method="GET", times=None)

        reconcile(repair=True)

        assert open_cases()[intent_id] == "unknown"


class TestAChargeWithoutAnOrder:
    def test_is_refunded_where_the_order_is_ours_and_dead(
        self, orders, payments, provider, monkeypatch
    ):
        """Cancelled here; the provider contradicts itself and says it was paid."""
        declined = payments["declined"]
        paid = payments["paid"]
        forget(LedgerEntry.objects.filter(payment=paid))
        tamper(paid, status="cancelled", amount_received=0)
        tamper(orders["paid"], status="cancelled", payment_status="cancelled")
        assert kinds(reconcile()) == {paid.payment_intent_id: "charge_without_order"}

        found = reconcile(repair=True)

        paid.refresh_from_db()
        assert (paid.status, paid.amount_received) == ("succeeded", paid.amount)
        assert Refund.objects.get(payment=paid).amount == paid.amount
        assert paid.payment_intent_id not in kinds(found)
        assert declined.payment_intent_id not in kinds(found)

    def test_lies_before_a_person_where_no_payment_has_it(self, orders, payments, stripe):
        second = charge_outside(stripe, payments["paid"])

        found = reconcile(repair=True)

        assert kinds(found) == {second["id"]: "charge_without_order"}
        assert open_cases() == {second["id"]: "charge_without_order"}
        assert found.queued == 1
        assert AuditLog.objects.filter(event_type="RECONCILIATION_CASE_OPENED").count() == 1

    def test_is_queued_once_and_resolved_when_the_money_is_back(self, orders, payments, stripe):
        second = charge_outside(stripe, payments["paid"])
        reconcile(repair=True)
        assert reconcile(repair=True).queued == 0

        stripe("/v1/refunds", payment_intent=second["id"])
        found = reconcile(repair=True)

        assert (found.counts(), found.resolved) == ({"matched": 4}, 1)
        assert open_cases() == {}
        assert AuditLog.objects.filter(event_type="RECONCILIATION_CASE_RESOLVED").count() == 1


class TestAnIntentWithoutAPayment:
    def test_is_cancelled_while_no_money_can_move(self, orders, stripe, provider):
        orphan = stripe("/v1/payment_intents", **intent_form())
        assert kinds(reconcile()) == {orphan["id"]: "unknown"}

        found = reconcile(repair=True)

        assert found.counts() == {"matched": 4}
        assert provider.intent(orphan["id"])["status"] == "canceled"
        kept = AuditLog.objects.get(event_type="ORPHAN_INTENT_CANCELLED")
        assert kept.data == {"payment_intent_id": orphan["id"]}

    def test_is_let_be_while_its_payment_may_still_take_it_up(
        self, orders, payments, stripe, provider
    ):
        """A request stands between C1 and T1b."""
        waiting = payments["waiting"]
        tamper(waiting, payment_intent_id=None, status="created")
        made = stripe("/v1/payment_intents", **intent_form(waiting))

        found = reconcile(repair=True)

        assert made["id"] not in kinds(found)
        assert provider.intent(made["id"])["status"] == "requires_confirmation"

    def test_of_a_dead_payment_is_cancelled(self, orders, payments, stripe, provider):
        made = stripe("/v1/payment_intents", **intent_form(payments["declined"]))

        reconcile(repair=True)

        assert provider.intent(made["id"])["status"] == "canceled"


class TestAnOrderWithoutACharge:
    def test_lies_before_a_person(self, orders, payments):
        waiting = payments["waiting"]
        tamper(waiting, status="succeeded", amount_received=waiting.amount)

        found = reconcile(repair=True)

        assert kinds(found) == {waiting.payment_intent_id: "order_without_charge"}
        assert open_cases() == {waiting.payment_intent_id: "order_without_charge"}
        waiting.refresh_from_db()
        assert waiting.status == "succeeded"

    def test_also_where_the_provider_does_not_know_the_intent(self, orders, payments):
        tamper(payments["paid"], payment_intent_id="pi_unheard_of")

        found = reconcile(repair=True)

        assert kinds(found)["pi_unheard_of"] == "order_without_charge"


class TestAnIntentThatMayStillBePaid:
    def test_for_a_dead_order_is_cancelled(self, orders, payments, provider):
        waiting = payments["waiting"]
        tamper(waiting, status="cancelled")
        tamper(orders["waiting"], status="cancelled", payment_status="cancelled")
        assert kinds(reconcile()) == {waiting.payment_intent_id: "charge_without_order"}

        found = reconcile(repair=True)

        assert found.counts() == {"matched": 4}
        assert provider.intent(waiting.payment_intent_id)["status"] == "canceled"


class TestAnAmountThatDiffers:
    def test_of_an_intent_is_quarantined_and_queued(self, orders, payments):
        waiting = payments["waiting"]
        tamper(
            waiting, create_params={**waiting.create_params, "amount": 1}, amount=Decimal("0.01")
        )

        found = reconcile(repair=True)

        waiting.refresh_from_db()
        assert waiting.status == "quarantined"
        assert kinds(found) == {waiting.payment_intent_id: "unknown"}
        assert open_cases() == {waiting.payment_intent_id: "unknown"}

    def test_by_a_refund_made_by_hand_is_adopted(self, orders, payments, stripe):
        paid = payments["paid"]
        given = stripe("/v1/refunds", payment_intent=paid.payment_intent_id, amount=5)
        assert kinds(reconcile()) == {given["id"]: "amount_differs"}

        found = reconcile(repair=True)

        assert found.counts() == {"matched": 4}
        paid.refresh_from_db()
        assert paid.amount_refunded == Decimal("0.05")
        # Nobody calls it strange the next time, either.
        assert reconcile().counts() == {"matched": 4}

    def test_by_a_refund_that_failed_later_is_taken_back(self, orders, refund, provider):
        provider.decide_refund(refund.stripe_refund_id, "fail")

        found = reconcile(repair=True)

        refund.refresh_from_db()
        assert refund.status == "failed"
        assert found.counts() == {"matched": 4}

    def test_by_a_refund_that_the_provider_does_not_know_lies_before_a_person(
        self, orders, payments
    ):
        ghost = Refund.objects.create(payment=payments["paid"], currency="USD", amount=1)
        tamper(ghost, status="succeeded", stripe_refund_id="re_unheard_of")

        reconcile(repair=True)

        assert open_cases()["re_unheard_of"] == "amount_differs"

    def test_by_a_fee_that_is_not_booked_is_booked(self, orders, payments):
        paid = payments["paid"]
        forget(LedgerEntry.objects.filter(payment=paid, kind="fee"))

        found = reconcile(repair=True)

        assert found.counts() == {"matched": 4}
        assert LedgerEntry.objects.filter(payment=paid, kind="fee").count() == 2

    def test_by_a_fee_booked_wrongly_lies_before_a_person(self, orders, payments):
        legs = LedgerEntry.objects.filter(payment=payments["paid"], kind="fee")
        for leg in legs:
            tamper(leg, amount=leg.amount * 2)

        reconcile(repair=True)

        assert open_cases() == {legs[0].balance_transaction_id: "amount_differs"}

    def test_by_a_fee_that_the_provider_never_took_lies_before_a_person(self, orders, payments):
        transaction = uuid.uuid4()
        legs = LedgerEntry.objects.filter(payment=payments["paid"], kind="fee")
        LedgerEntry.objects.bulk_create(
            LedgerEntry(
                transaction=transaction,
                kind=leg.kind,
                account=leg.account,
                currency=leg.currency,
                amount=leg.amount,
                payment=leg.payment,
                balance_transaction_id="txn_invented",
            )
            for leg in legs
        )

        found = reconcile(repair=True)

        assert kinds(found) == {"txn_invented": "amount_differs"}


class TestAProviderThatHasForgottenEverything:
    def test_moves_no_order_and_asks_a_person_about_each(self, orders, payments, refund, provider):
        fees = set(
            LedgerEntry.objects.filter(kind="fee").values_list("balance_transaction_id", flat=True)
        )
        statuses = Order.objects.order_by("pk").values_list("status", "payment_status")
        before = list(statuses)
        provider.reset()

        found = reconcile(repair=True)

        assert found.matched == 0
        intents = {name: payment.payment_intent_id for name, payment in payments.items()}
        assert kinds(found) == {
            intents["paid"]: "order_without_charge",
            intents["cancelled"]: "order_without_charge",
            intents["waiting"]: "unknown",
            intents["declined"]: "unknown",
            refund.stripe_refund_id: "amount_differs",
            **dict.fromkeys(fees, "amount_differs"),
        }
        assert open_cases() == kinds(found)
        assert list(statuses.all()) == before


class TestADispute:
    def test_nobody_told_of_is_followed_and_booked(self, orders, payments, provider, monkeypatch):
        # As if a while had passed: of what is new, the webhook may still be on its way.
        monkeypatch.setattr(reconciliation, "CLOCKS_DIFFER", timedelta(minutes=-1))
        paid = payments["paid"]
        dispute = provider.dispute(paid.payment_intent_id)

        found = reconcile(repair=True)

        assert (found.counts(), found.repaired) == ({"matched": 4}, 1)
        assert paid.disputes.get().stripe_dispute_id == dispute["id"]
        orders["paid"].refresh_from_db()
        assert orders["paid"].payment_status == "disputed"
        assert LedgerEntry.objects.filter(payment=paid, kind="dispute").count() == 2

    def test_of_this_moment_is_given_time(self, orders, payments, provider):
        provider.dispute(payments["paid"].payment_intent_id)
        assert reconcile().counts() == {"matched": 4}


class TestAnOrderOnItsWay:
    def test_is_nobodys_case(self, orders, payments, provider, stripe, monkeypatch):
        """It is paid between the two looks, and its request has not settled it yet."""
        stripe("/v1/payment_intents", **intent_form())  # gives reason for a second look
        compare = reconciliation.comparison.compare
        looks = []

        def paid_in_between(*args, **options):
            looks.append(1)
            if len(looks) == 2:
                provider.act(payments["waiting"].payment_intent_id, "succeed")
            return compare(*args, **options)

        monkeypatch.setattr(reconciliation.comparison, "compare", paid_in_between)

        found = reconcile(repair=True)

        assert (len(looks), found.discrepancies, open_cases()) == (2, [], {})


class TestWhatIsOlderThanTheNightLooks:
    def test_is_looked_at_while_a_case_is_open(self, orders, payments, stripe):
        second = charge_outside(stripe, payments["paid"])
        reconcile(repair=True)
        ReconciliationCase.objects.update(first_seen_at=timezone.now() - timedelta(days=9))

        since = reconciliation.since_for_the_night(days=3)

        assert timezone.now() - since > timedelta(days=11)
        stripe("/v1/refunds", payment_intent=second["id"])
        tasks.reconcile_payments()
        assert open_cases() == {}

    def test_is_told_of_by_its_events(self, orders, payments, provider):
        """A dispute of a payment made long ago."""
        paid = payments["paid"]
        tamper(paid, created_at=timezone.now() - timedelta(days=60))
        dispute = provider.dispute(paid.payment_intent_id)

        tasks.reconcile_payments()
        events.process_due(deadline=Deadline(30))

        assert paid.disputes.get().stripe_dispute_id == dispute["id"]

    def test_is_asked_about_even_if_we_have_no_payment_of_these_days(
        self, orders, payments, stripe
    ):
        """A database that was restored from an old backup."""
        Payment.objects.all().update(created_at=timezone.now() - timedelta(days=60))
        second = charge_outside(stripe, payments["paid"])

        tasks.reconcile_payments()

        assert open_cases() == {second["id"]: "charge_without_order"}


class TestTrouble:
    def test_with_one_repair_does_not_stop_the_others(
        self, orders, payments, stripe, provider, monkeypatch
    ):
        orphan = stripe("/v1/payment_intents", **intent_form())
        provider.act(payments["waiting"].payment_intent_id, "succeed")

        def stumble(**_):
            raise LookupError("odd")

        monkeypatch.setattr(payments_service, "retrieve", stumble)
        found = reconcile(repair=True)

        assert provider.intent(orphan["id"])["status"] == "canceled"
        assert kinds(found) == {payments["waiting"].payment_intent_id: "unknown"}

    def test_at_the_provider_changes_nothing(self, orders, provider):
        provider.fail("drop", path="/v1/refunds", method="GET", times=None)
        before = everything()

        with pytest.raises(CommandError, match="could not be read") as error:
            call_command("reconcile_payments", "--repair")

        assert error.value.returncode == 2
        assert everything() == before


class TestTheCommand:
    def run(self, capsys, *arguments: str) -> tuple[int, str]:
        code: Any = 0
        try:
            call_command("reconcile_payments", *arguments)
        except SystemExit as exc:
            code = exc.code
        return code, capsys.readouterr().out

    def test_says_in_one_line_that_all_is_well(self, orders, capsys):
        code, printed = self.run(capsys)

        assert code == 0
        assert printed.strip() == (
            "4 payments compared: matched 4; 0 repaired, 0 cases opened, 0 resolved."
        )

    def test_lists_what_differs_and_what_could_be_done(self, orders, stripe, capsys):
        orphan = stripe("/v1/payment_intents", **intent_form())

        code, printed = self.run(capsys)

        assert code == 1
        assert orphan["id"] in printed
        assert "cancel the intent" in printed

    def test_says_the_same_as_json(self, orders, payments, stripe, capsys):
        second = charge_outside(stripe, payments["paid"])

        code, printed = self.run(capsys, "--repair", "--json")

        told = json.loads(printed)
        assert code == 1
        assert told["matched"] == 4
        assert told["charge_without_order"] == told["queued"] == 1
        assert told["discrepancies"][0] == {
            "classification": "charge_without_order",
            "subject": second["id"],
            "order_number": orders["paid"].order_number,
            "problem": "succeeded at the provider, and no payment here has this intent",
            "remedy": None,
        }

    def test_looks_back_as_far_as_it_is_told(self, orders, stripe, capsys):
        code, printed = self.run(capsys, "--since", "2999-01-01")

        assert (code, printed.split(":")[0]) == (0, "0 payments compared")

    def test_runs_each_night(self, orders, stripe, provider):
        orphan = stripe("/v1/payment_intents", **intent_form())

        tasks.reconcile_payments()

        assert provider.intent(orphan["id"])["status"] == "canceled"
