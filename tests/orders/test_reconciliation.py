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
from orders.models import CheckedInvariant, Order
from orders.services import events
from payments import gateway
from payments import services as payments_service
from payments.cases import open_case
from payments.models import LedgerEntry, Payment, ReconciliationCase, Refund
from tests.orders.mismatches import charge_outside, forget, intent_form, tamper
from tests.sandbox.conftest import wait_until

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


class TestACaseThatIsOlderThanTheNightLooks:
    """The provider's lists begin after everything that is there."""

    @pytest.fixture
    def later(self, monkeypatch):
        def later():
            monkeypatch.setattr(tasks, "RECONCILED", -timedelta(minutes=5))

        return later

    def windows(self, provider, path):
        asked = [request["params"] for request in provider.journal(path=path)]
        return [each["created"]["gte"] for each in asked if "created" in each]

    def test_is_closed_once_the_money_is_back(self, orders, payments, stripe, later):
        second = charge_outside(stripe, payments["paid"])
        tasks.reconcile_payments()
        later()

        tasks.reconcile_payments()
        assert open_cases() == {second["id"]: "charge_without_order"}
        stripe("/v1/refunds", payment_intent=second["id"])
        tasks.reconcile_payments()

        assert open_cases() == {}

    def test_is_closed_once_the_bank_has_it(self, orders, payments, stripe, provider, later):
        second = charge_outside(stripe, payments["paid"])
        tasks.reconcile_payments()
        later()

        dispute = provider.dispute(second["id"])
        tasks.reconcile_payments()
        assert open_cases() == {second["id"]: "charge_without_order"}
        provider.decide_dispute(dispute["id"], "lose")
        tasks.reconcile_payments()

        assert open_cases() == {}

    def test_is_still_a_violation(self, orders, payments, stripe, later):
        """Or the alert would end by itself after some days."""
        charge_outside(stripe, payments["paid"])
        tasks.reconcile_payments()
        later()

        tasks.compare_books()

        violated = CheckedInvariant.objects.filter(violations__gt=0)
        assert set(violated.values_list("name", flat=True)) >= {"intents_belong_to_payments"}

    def test_makes_the_night_look_no_further_back(self, orders, stripe, provider):
        charge_outside(stripe)
        tasks.reconcile_payments()
        ReconciliationCase.objects.update(first_seen_at=timezone.now() - timedelta(days=90))
        provider.clear_journal()

        tasks.reconcile_payments()

        oldest = (timezone.now() - tasks.RECONCILED - timedelta(minutes=2)).timestamp()
        paths = ("payment_intents", "refunds", "disputes", "balance_transactions")
        for begins in (self.windows(provider, f"/v1/{path}") for path in paths):
            assert begins
            assert all(int(begin) >= oldest for begin in begins)

    def test_of_a_payment_is_closed_once_it_stands_at_the_provider(
        self, orders, payments, provider, later
    ):
        waiting = payments["waiting"]
        tamper(waiting, status="succeeded", amount_received=waiting.amount)
        tasks.reconcile_payments()
        assert open_cases() == {waiting.payment_intent_id: "order_without_charge"}
        later()

        tasks.reconcile_payments()
        assert open_cases() == {waiting.payment_intent_id: "order_without_charge"}
        tamper(waiting, status="requires_action", amount_received=0)
        tasks.reconcile_payments()

        assert open_cases() == {}

    def test_of_a_payment_is_repaired_where_that_is_safe(self, orders, payments, provider, later):
        waiting = payments["waiting"]
        tamper(waiting, status="quarantined", last_error="odd")
        provider.fail("wrong_amount", path=RETRIEVE, method="GET", times=None)
        tasks.reconcile_payments()
        assert open_cases() == {waiting.payment_intent_id: "unknown"}
        provider.clear_faults()
        provider.act(waiting.payment_intent_id, "succeed")
        later()

        tasks.reconcile_payments()

        waiting.refresh_from_db()
        assert waiting.status == "succeeded"
        assert open_cases() == {}

    def test_of_a_fee_is_closed_once_it_is_booked_as_it_is(self, orders, payments, later):
        legs = list(LedgerEntry.objects.filter(payment=payments["paid"], kind="fee"))
        for leg in legs:
            tamper(leg, amount=leg.amount * 2)
        tasks.reconcile_payments()
        assert open_cases() == {legs[0].balance_transaction_id: "amount_differs"}
        later()

        tasks.reconcile_payments()
        assert open_cases() == {legs[0].balance_transaction_id: "amount_differs"}
        for leg in legs:
            tamper(leg, amount=leg.amount)
        tasks.reconcile_payments()

        assert open_cases() == {}

    def test_of_a_payment_with_refund_and_dispute_is_judged_by_all_its_movements(
        self, orders, payments, refund, stripe, provider, later, monkeypatch
    ):
        """All in order but for the case, which a night that looked at too little would keep."""
        monkeypatch.setattr(reconciliation, "CLOCKS_DIFFER", timedelta(minutes=-1))
        paid = payments["paid"]
        stripe("/v1/refunds", payment_intent=paid.payment_intent_id, amount=5)
        provider.decide_dispute(provider.dispute(paid.payment_intent_id)["id"], "lose")
        provider.decide_refund(refund.stripe_refund_id, "fail")
        tasks.reconcile_payments()
        for payment in (paid, payments["cancelled"]):
            open_case(
                classification=ReconciliationCase.Classification.AMOUNT_DIFFERS,
                subject=payment.payment_intent_id,
                payment=payment,
                problem="odd",
            )
        later()

        tasks.reconcile_payments()

        assert open_cases() == {}

    def test_is_not_judged_by_anything_twice(self, orders, payments, stripe, monkeypatch):
        """The charge is too old for the lists, a refund of it is not."""
        monkeypatch.setattr(reconciliation, "CLOCKS_DIFFER", timedelta(minutes=-1))
        paid = payments["paid"]
        open_case(
            classification=ReconciliationCase.Classification.AMOUNT_DIFFERS,
            subject=paid.payment_intent_id,
            payment=paid,
            problem="odd",
        )
        since = timezone.now().replace(microsecond=0) + timedelta(seconds=1)
        wait_until(lambda: timezone.now() >= since, seconds=5)  # the provider counts in seconds
        stripe("/v1/refunds", payment_intent=paid.payment_intent_id, amount=5)

        found = reconciliation.reconcile(since=since, repair=True, on_progress=lambda *_: None)

        assert (found.counts(), found.resolved) == ({"matched": 1}, 1)
        assert open_cases() == {}

    def test_of_a_payment_is_judged_by_what_is_booked_for_it_too(
        self, orders, payments, later, monkeypatch
    ):
        """A movement of an attempt to pay that is not the intent's latest."""
        payment = payments["paid"]
        open_case(
            classification=ReconciliationCase.Classification.AMOUNT_DIFFERS,
            subject=payment.payment_intent_id,
            payment=payment,
            problem="odd",
        )
        monkeypatch.setattr(gateway, "list_balance_transactions_of", lambda **_: iter(()))
        later()

        tasks.reconcile_payments()

        assert open_cases() == {}

    def test_of_a_refund_that_never_came_to_the_provider_is_closed_with_it(
        self, orders, payments, later, monkeypatch
    ):
        """It bears our own name of the refund. Meanwhile others have their turn."""
        refund = Refund.objects.create(payment=payments["paid"], currency="USD", amount=1)
        for subject, name in (
            (str(refund.uuid), "paid"),
            (payments["cancelled"].payment_intent_id, "cancelled"),
        ):
            open_case(
                classification=ReconciliationCase.Classification.AMOUNT_DIFFERS,
                subject=subject,
                payment=payments[name],
                problem="odd",
            )
        monkeypatch.setattr(reconciliation.comparison, "LOOKED_UP", 1)
        later()

        tasks.reconcile_payments()
        assert len(open_cases()) == 2
        tasks.reconcile_payments()
        assert open_cases() == {str(refund.uuid): "amount_differs"}
        tamper(refund, status="failed")
        tasks.reconcile_payments()

        assert open_cases() == {}

    def test_of_a_refund_that_no_payment_has_is_closed_when_that_has_failed(
        self, orders, stripe, provider, later
    ):
        lost = stripe(
            "/v1/payment_intents",
            **intent_form(confirm="true", return_url="https://shop.example"),
        )
        given = stripe(
            "/v1/refunds", payment_intent=lost["id"], amount=5, **{"metadata[app]": "orderkeep"}
        )
        tasks.reconcile_payments()
        assert open_cases()[given["id"]] == "amount_differs"
        later()

        tasks.reconcile_payments()
        assert open_cases()[given["id"]] == "amount_differs"
        provider.decide_refund(given["id"], "fail")
        tasks.reconcile_payments()

        assert open_cases() == {lost["id"]: "charge_without_order"}

    def test_of_what_the_provider_does_not_know_lasts(self, orders, later):
        """Perhaps we ask with another account's key."""
        open_case(
            classification=ReconciliationCase.Classification.CHARGE_WITHOUT_ORDER,
            subject="pi_unheard_of",
            payment=None,
            problem="odd",
        )
        later()

        tasks.reconcile_payments()

        assert open_cases() == {"pi_unheard_of": "charge_without_order"}

    def test_has_its_turn_however_many_there_are(
        self, orders, payments, stripe, later, monkeypatch
    ):
        strangers = [charge_outside(stripe)["id"] for _ in range(4)]
        tasks.reconcile_payments()
        for intent_id in strangers:
            stripe("/v1/refunds", payment_intent=intent_id)
        open_case(
            classification=ReconciliationCase.Classification.CHARGE_WITHOUT_ORDER,
            subject="pi_unheard_of",
            payment=None,
            problem="odd",
        )
        ReconciliationCase.objects.filter(subject="pi_unheard_of").update(
            last_seen_at=timezone.now() - timedelta(days=9)
        )
        monkeypatch.setattr(reconciliation.comparison, "LOOKED_UP", 2)
        later()

        left = []
        for _ in range(3):
            tasks.reconcile_payments()
            left.append(len(open_cases()))

        assert left == [4, 2, 1]
        assert open_cases() == {"pi_unheard_of": "charge_without_order"}


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
