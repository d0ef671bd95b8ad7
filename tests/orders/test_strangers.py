"""Charges that no order of ours has: given back when somebody says so, and once, whoever dies."""

from __future__ import annotations

import threading

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from audit.models import AuditLog
from config.kernel.clock import Deadline
from config.kernel.errors import InvalidTransitionError, NotFoundError
from orders import books, tasks
from orders.books import reconciliation
from orders.services import events
from payments import gateway, strangers
from payments.models import ProviderEvent, ReconciliationCase, Refund
from payments.strangers import give_back, look_again
from tests.orders.mismatches import charge_outside, intent_form, tamper
from tests.webhooks import SECRET, event, send

pytestmark = pytest.mark.django_db(transaction=True)

REFUNDS = "/v1/refunds"


@pytest.fixture
def stranger(orders, payments, stripe):
    return charge_outside(stripe, payments["paid"])


@pytest.fixture
def case(stranger):
    reconcile()
    return ReconciliationCase.objects.get(resolved_at=None)


def reconcile(**options):
    return reconciliation.reconcile(repair=True, on_progress=lambda *_: None, **options)


def give(case):
    return give_back(case_id=case.pk, deadline=Deadline(20))


def is_closed(case):
    case.refresh_from_db()
    return case.resolved_at is not None


def audited():
    rows = AuditLog.objects.filter(event_type__startswith="CHARGE_").order_by("pk")
    return list(rows.values_list("event_type", flat=True))


def given(provider, stranger):
    return sum(
        refund["amount"]
        for refund in provider.refunds_of(stranger["id"])
        if refund["status"] not in gateway.REFUND_DEAD
    )


class TestGivingBack:
    def test_closes_the_case_and_leaves_all_in_order(self, case, stranger, orders, provider):
        assert give(case)

        assert given(provider, stranger) == stranger["amount"]
        assert is_closed(case)
        assert audited() == ["CHARGE_GIVE_BACK_REQUESTED", "CHARGE_GIVEN_BACK"]
        assert reconcile().counts() == {"matched": 4}
        assert not ReconciliationCase.objects.filter(resolved_at=None).exists()

    def test_touches_nothing_of_the_order_it_names(self, case, orders, payments, provider):
        give(case)

        orders["paid"].refresh_from_db()
        assert (orders["paid"].status, orders["paid"].payment_status) == ("confirmed", "succeeded")
        assert provider.refunds_of(payments["paid"].payment_intent_id) == []
        assert not Refund.objects.filter(payment=payments["paid"]).exists()

    def test_of_what_somebody_gave_back_in_part_gives_the_rest(
        self, case, stranger, stripe, provider
    ):
        stripe(REFUNDS, payment_intent=stranger["id"], amount=5)

        assert give(case)

        amounts = [refund["amount"] for refund in provider.refunds_of(stranger["id"])]
        assert sorted(amounts) == [5, stranger["amount"] - 5]

    def test_of_what_is_back_already_only_closes_the_case(self, case, stranger, stripe, provider):
        stripe(REFUNDS, payment_intent=stranger["id"])
        provider.clear_journal()

        assert give(case)

        assert is_closed(case)
        assert [asked["method"] for asked in provider.journal(path=REFUNDS)] == ["GET"]
        assert audited() == ["CHARGE_GIVEN_BACK"]


class TestRepeating:
    @pytest.mark.parametrize("kind", ["drop", "answer_lost", "unavailable", "error_after"])
    def test_gives_back_once_whatever_became_of_the_first(self, case, stranger, provider, kind):
        provider.fail(kind, path=REFUNDS)
        first = give(case)

        assert first or give(case)

        assert len(provider.refunds_of(stranger["id"])) == 1
        assert is_closed(case)

    def test_uses_one_key_until_something_came_of_it(self, case, stranger, provider):
        provider.clear_journal()
        provider.fail("drop", path=REFUNDS, times=2)
        while not give(case):
            pass

        keys = {
            asked["idempotency_key"]
            for asked in provider.journal(path=REFUNDS)
            if asked["method"] == "POST"
        }
        assert keys == {f"rs-{stranger['id']}-0"}

    def test_gets_past_an_error_that_is_stored_under_its_key(self, case, stranger, provider):
        provider.fail("error_before", path=REFUNDS)
        assert not give(case)

        assert give(case)

        assert len(provider.refunds_of(stranger["id"])) == 1

    def test_after_dying_before_the_case_was_closed_closes_it(
        self, case, stranger, provider, monkeypatch
    ):
        def dies(*_, **__):
            raise KeyboardInterrupt

        with monkeypatch.context() as killed:
            killed.setattr(strangers, "close_case", dies)
            with pytest.raises(KeyboardInterrupt):
                give(case)
        assert not is_closed(case)

        assert give(case)

        assert len(provider.refunds_of(stranger["id"])) == 1
        assert is_closed(case)

    def test_after_dying_nobody_needs_to_press_again(self, case, stranger, monkeypatch):
        monkeypatch.setattr(strangers, "close_case", lambda *_, **__: None)
        give(case)

        reconcile()

        assert is_closed(case)

    def test_by_many_at_once_gives_back_once(self, case, stranger, provider):
        start, outcomes = threading.Barrier(4), []

        def press():
            try:
                start.wait(10)
                outcomes.append(give(case))
            except InvalidTransitionError as exc:
                outcomes.append(exc.message)
            finally:
                connection.close()

        threads = [threading.Thread(target=press) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)

        assert len(outcomes) == 4
        assert True in outcomes or give(case)
        assert given(provider, stranger) == stranger["amount"]
        assert len(provider.refunds_of(stranger["id"])) == 1
        assert is_closed(case)
        assert audited().count("CHARGE_GIVEN_BACK") == 1

    def test_is_possible_after_the_refund_has_failed(self, case, stranger, provider):
        give(case)
        [refund] = provider.refunds_of(stranger["id"])
        provider.decide_refund(refund["id"], "fail")
        reconcile()
        again = ReconciliationCase.objects.get(resolved_at=None)

        assert give(again)

        assert len(provider.refunds_of(stranger["id"])) == 2
        assert given(provider, stranger) == stranger["amount"]


class TestWhatIsOnItsWay:
    def test_is_not_called_back_before_it_is(self, orders, stripe, provider):
        """A bank takes days."""
        debit = stripe(
            "/v1/payment_intents",
            **intent_form(
                payment_method="pm_usBankAccount_success",
                confirm="true",
                return_url="https://shop.example",
            ),
        )
        provider.act(debit["id"], "succeed")
        reconcile()
        case = ReconciliationCase.objects.get(resolved_at=None)

        assert not give(case)
        assert not give(case)

        [refund] = provider.refunds_of(debit["id"])
        assert refund["status"] == "pending"
        assert not is_closed(case)
        provider.decide_refund(refund["id"], "succeed")
        assert give(case)
        assert len(provider.refunds_of(debit["id"])) == 1


class TestWhatABankHasTaken:
    """The customer disputes the charge, and wins: nothing of it is left to give back."""

    def lose(self, provider, stranger, **more):
        dispute = provider.dispute(stranger["id"], **more)
        provider.decide_dispute(dispute["id"], "lose")

    def violated(self):
        found = books.check(with_provider=True).findings
        return {each.name for each in found if each.violations and each.id.startswith("I1")}

    def test_is_nobodys_case_any_more(self, case, stranger, provider):
        self.lose(provider, stranger)

        assert reconcile().counts() == {"matched": 4}

        assert is_closed(case)

    def test_violates_nothing_any_more(self, stranger, provider):
        assert self.violated() == {
            "intents_belong_to_payments",
            "provider_totals_are_the_ledgers",
            "orders_are_charged_once",
        }

        self.lose(provider, stranger)

        assert self.violated() == set()

    def test_closes_the_case_for_whoever_presses(self, case, stranger, provider):
        self.lose(provider, stranger)

        assert give(case)

        assert is_closed(case)
        assert provider.refunds_of(stranger["id"]) == []
        assert audited() == ["CHARGE_GIVEN_BACK"]
        told = AuditLog.objects.get(event_type="CHARGE_GIVEN_BACK").data
        assert told["taken_by_banks_minor"] == stranger["amount"]

    def test_together_with_what_was_given_back_is_all_of_it(self, case, stranger, stripe, provider):
        stripe(REFUNDS, payment_intent=stranger["id"], amount=5)
        self.lose(provider, stranger)
        look_again(intent_id=stranger["id"], deadline=Deadline(20))

        assert reconcile().counts() == {"matched": 4}

        assert is_closed(case)

    def test_needs_no_new_case_when_a_refund_is_told_of(self, stranger, stripe, provider):
        stripe(REFUNDS, payment_intent=stranger["id"], amount=5)
        self.lose(provider, stranger)

        assert look_again(intent_id=stranger["id"], deadline=Deadline(20)) is None

        assert not ReconciliationCase.objects.exists()

    def test_in_part_leaves_the_case_open(self, case, stranger, provider):
        self.lose(provider, stranger, amount=stranger["amount"] - 1)

        reconcile()

        assert not is_closed(case)
        assert self.violated() >= {"intents_belong_to_payments", "orders_are_charged_once"}

    def test_and_may_give_again_leaves_the_case_open(self, case, stranger, provider):
        dispute = provider.dispute(stranger["id"])

        reconcile()
        assert not is_closed(case)
        provider.decide_dispute(dispute["id"], "win")
        reconcile()

        assert not is_closed(case)
        assert give(case)
        assert given(provider, stranger) == stranger["amount"]

    def test_is_not_known_while_the_provider_does_not_say(self, case, stranger, provider):
        self.lose(provider, stranger)
        provider.fail("drop", path="/v1/disputes", method="GET", times=None)

        assert not give(case)

        assert not is_closed(case)
        assert provider.refunds_of(stranger["id"]) == []


class TestWhatIsNotGivenBack:
    def refused(self, case, problem):
        with pytest.raises(InvalidTransitionError, match=problem):
            give(case)
        assert "CHARGE_GIVE_BACK_REQUESTED" not in audited()

    def test_a_charge_that_a_payment_has(self, case, stranger, payments, provider):
        tamper(payments["declined"], payment_intent_id=stranger["id"])
        self.refused(case, "settle its order")
        assert provider.refunds_of(stranger["id"]) == []

    def test_a_charge_that_a_payment_may_still_take_up(self, case, stranger, payments, provider):
        """Restored to an instant between T1 and T1b: the sweeper, or a retry, makes it whole."""
        tamper(payments["paid"], status="created", amount_received=0, payment_intent_id=None)
        self.refused(case, "may still take this charge up")
        assert provider.refunds_of(stranger["id"]) == []

    def test_a_charge_without_our_mark(self, case, stranger, stripe, provider):
        theirs = stripe(
            "/v1/payment_intents",
            **intent_form(confirm="true", return_url="https://x.example")
            | {"metadata[app]": "blog"},
        )
        ReconciliationCase.objects.filter(pk=case.pk).update(subject=theirs["id"])
        self.refused(case, "does not carry our mark")
        assert provider.refunds_of(theirs["id"]) == []

    def test_a_charge_that_was_never_paid(self, case, stripe):
        unpaid = stripe("/v1/payment_intents", **intent_form())
        ReconciliationCase.objects.filter(pk=case.pk).update(subject=unpaid["id"])
        self.refused(case, "Nothing came in: the charge is requires_confirmation")

    def test_a_charge_that_the_provider_does_not_know(self, case):
        ReconciliationCase.objects.filter(pk=case.pk).update(subject="pi_unheard_of")
        self.refused(case, "resource_missing")

    def test_a_charge_whose_money_the_bank_has_taken(self, case, stranger, provider):
        provider.dispute(stranger["id"])
        with pytest.raises(InvalidTransitionError, match="The provider refuses"):
            give(case)
        assert provider.refunds_of(stranger["id"]) == []
        assert not is_closed(case)

    def test_anything_in_a_case_of_another_kind_or_a_closed_one(self, case, stranger, provider):
        ReconciliationCase.objects.filter(pk=case.pk).update(classification="amount_differs")
        self.refused(case, "not about a charge without an order")
        give_up = ReconciliationCase.objects.filter(pk=case.pk)
        give_up.update(classification="charge_without_order", resolved_at="2026-01-01T00:00Z")
        self.refused(case, "closed")
        assert provider.refunds_of(stranger["id"]) == []

    def test_anything_where_there_is_no_case(self, orders):
        with pytest.raises(NotFoundError):
            give_back(case_id=0, deadline=Deadline(5))

    @pytest.mark.parametrize("path", ["/v1/payment_intents/*", REFUNDS])
    def test_anything_while_the_provider_does_not_say(self, case, stranger, provider, path):
        provider.fail("drop", path=path, method="GET", times=None)
        assert not give(case)
        provider.clear_faults()
        gateway.breaker.cache_clear()
        assert provider.refunds_of(stranger["id"]) == []


class TestReconcilePaymentsRefundStrangers:
    def test_gives_back_only_what_lay_before_a_person_already(self, stranger, provider, capsys):
        with pytest.raises(SystemExit):
            call_command("reconcile_payments", "--repair", "--refund-strangers")
        assert provider.refunds_of(stranger["id"]) == []
        assert ReconciliationCase.objects.get(resolved_at=None).subject == stranger["id"]
        capsys.readouterr()

        call_command("reconcile_payments", "--repair", "--refund-strangers")

        assert given(provider, stranger) == stranger["amount"]
        assert "1 charges given back." in capsys.readouterr().out
        assert not ReconciliationCase.objects.filter(resolved_at=None).exists()

    def test_tells_whose_it_may_be(self, case, orders):
        assert f"names the order {orders['paid'].order_number}" in case.problem

    def test_one_that_is_refused_does_not_stop_the_others(
        self, case, stranger, payments, stripe, provider
    ):
        other = charge_outside(stripe, payments["cancelled"])
        reconcile()
        provider.dispute(stranger["id"])

        found = reconcile(refund_strangers=True)

        assert found.given_back == 1
        assert provider.refunds_of(stranger["id"]) == []
        assert given(provider, other) == other["amount"]
        assert [each.subject for each in found.discrepancies] == [stranger["id"]]

    def test_needs_repair(self, case, stranger, provider):
        with pytest.raises(CommandError, match="needs --repair"):
            call_command("reconcile_payments", "--refund-strangers")
        assert provider.refunds_of(stranger["id"]) == []

    def test_is_never_done_by_a_machine(self, case, stranger, provider):
        """A restored backup: every order since is a stranger, and the nights go by."""
        for _ in range(3):
            tasks.reconcile_payments()
            tasks.backfill_events()
            tasks.process_events()

        assert provider.refunds_of(stranger["id"]) == []
        assert not is_closed(case)


class TestWhatItsWebhooksTell:
    @pytest.fixture(autouse=True)
    def _secrets(self, settings):
        settings.STRIPE_WEBHOOK_SECRETS = [SECRET]

    def hear(self, kind, about):
        told = event(kind, about)
        send(told)
        events.process_due(deadline=Deadline(60), ignore_backoff=True)
        return ProviderEvent.objects.get(stripe_event_id=told["id"])

    def test_of_money_that_went_back_needs_nobody(self, case, stranger, provider):
        give(case)
        [refund] = provider.refunds_of(stranger["id"])
        charge = provider.charge(refund["charge"])

        assert self.hear("refund.created", refund).status == "ignored"
        assert self.hear("charge.refunded", charge).status == "processed"

        assert not ReconciliationCase.objects.filter(resolved_at=None).exists()

    def test_of_a_part_that_went_back_lies_before_a_person(self, stranger, stripe, provider):
        part = stripe(REFUNDS, payment_intent=stranger["id"], amount=5)

        self.hear("charge.refunded", provider.charge(part["charge"]))

        assert ReconciliationCase.objects.get().subject == stranger["id"]

    def test_of_a_refund_that_failed_opens_the_case_again(self, case, stranger, provider):
        give(case)
        [refund] = provider.refunds_of(stranger["id"])
        provider.decide_refund(refund["id"], "fail")

        kept = self.hear("refund.failed", provider.refunds_of(stranger["id"])[0])

        assert kept.status == "processed"
        again = ReconciliationCase.objects.get(resolved_at=None)
        assert (again.subject, again.classification) == (stranger["id"], "charge_without_order")
        assert give(again)

    def test_of_somebody_elses_refund_is_nothing_to_us(self, orders, stripe, provider):
        theirs = stripe(
            "/v1/payment_intents",
            **intent_form(confirm="true", return_url="https://x.example")
            | {"metadata[app]": "blog"},
        )
        refund = stripe(REFUNDS, payment_intent=theirs["id"])
        provider.decide_refund(refund["id"], "fail")

        self.hear("refund.failed", {**refund, "status": "failed"})

        assert not ReconciliationCase.objects.exists()

    def test_is_asked_for_again_where_the_provider_is_away(self, stranger, stripe, provider):
        part = stripe(REFUNDS, payment_intent=stranger["id"], amount=5)
        charge = provider.charge(part["charge"])
        provider.fail("drop", path=REFUNDS, method="GET")

        assert self.hear("charge.refunded", charge).status == "received"
