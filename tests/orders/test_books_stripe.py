"""I15-I17: our payments and refunds against the provider's own lists, both ways."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from audit.models import AuditLog
from orders.books import comparison
from orders.books.balances import NOT_BOOKED_YET, UNDER_WAY
from orders.books.comparison import IN_DOUBT, ORPHANS
from orders.books.findings import Compared
from orders.services import recovery
from payments import bookkeeping
from payments.errors import ProviderUnavailableError
from payments.models import LedgerEntry, Refund
from tests import factories
from tests.orders.mismatches import charge_outside, forget, intent_form, tamper
from tests.shop import order_of

pytestmark = pytest.mark.django_db

CONFIRM = "/v1/payment_intents/*/confirm"
RETRIEVE = "/v1/payment_intents/*"


def read(since=None):
    with connection.cursor() as cursor:
        return comparison.read_ours(cursor, since=since)


def judge(ours, *, booked_until=None) -> Compared:
    return comparison.compare(
        ours, booked_until=booked_until, on_progress=lambda _what, _done, _total: None
    )


def violated(since=None) -> dict[str, list[str]]:
    """Strictly: what the provider took in between is booked first, and nothing may lag."""
    bookkeeping.book_balance_transactions()
    found = judge(read(since), booked_until=timezone.now() + timedelta(minutes=1)).findings
    return {finding.name: finding.examples for finding in found if finding.violations}


class TestWhatAgrees:
    def test_violates_nothing(self, orders):
        compared = judge(read())

        assert [finding.name for finding in compared.findings if finding.violations] == []
        assert {finding.id for finding in compared.findings} == {"I15", "I16", "I17"}
        assert compared.notes == {}

    def test_an_empty_shop_is_not_compared(self, provider, db):
        provider.fail("drop", method="*", times=None)

        assert violated() == {}

    def test_other_business_of_the_account_is_nobodys_concern(self, orders, stripe):
        form = intent_form(confirm="true", return_url="https://shop.example")
        del form["metadata[app]"], form["metadata[payment]"], form["metadata[order_number]"]
        intent = stripe("/v1/payment_intents", **form)
        stripe("/v1/refunds", payment_intent=intent["id"])

        assert violated() == {}


class TestAnIntentWithoutAPayment:
    def test_is_only_noted_while_no_money_can_move(self, orders, stripe):
        stripe("/v1/payment_intents", **intent_form())

        compared = judge(read())

        assert [finding for finding in compared.findings if finding.violations] == []
        assert compared.notes == {ORPHANS: 1}

    def test_that_took_money_is_found(self, orders, stripe):
        intent = charge_outside(stripe)

        assert violated() == {
            "intents_belong_to_payments": [f"NONE {intent['id']}"],
            "provider_totals_are_the_ledgers": ["USD"],
        }

    def test_of_a_payment_that_has_another_is_found(self, orders, payments, stripe):
        intent = charge_outside(stripe, payments["declined"])

        assert violated() == {
            "intents_belong_to_payments": [f"{orders['declined'].order_number} {intent['id']}"],
            "provider_totals_are_the_ledgers": ["USD"],
        }


class TestAPaymentThatDiffers:
    def test_in_its_amount(self, orders, payments):
        tamper(payments["waiting"], amount=1)

        assert violated().keys() == {"intents_belong_to_payments"}

    def test_in_its_currency(self, orders, payments):
        tamper(payments["waiting"], currency="EUR")

        assert violated().keys() == {"intents_belong_to_payments"}

    def test_in_its_identity(self, orders, payments):
        tamper(payments["waiting"], uuid=uuid.uuid4())

        assert violated().keys() == {"intents_belong_to_payments"}

    def test_is_left_to_staff_once_quarantined(self, orders, payments):
        tamper(payments["waiting"], status="quarantined", amount=1)

        assert violated() == {}


class TestMoneyThatIsNotInOurBooks:
    def test_because_the_payment_ended_otherwise(self, orders, payments):
        paid = payments["paid"]
        forget(LedgerEntry.objects.filter(payment=paid))
        tamper(paid, status="cancelled", amount_received=0)

        number = orders["paid"].order_number
        assert violated() == {
            "money_at_the_provider_is_booked": [f"{number} {paid.payment_intent_id}"],
            "provider_totals_are_the_ledgers": ["USD"],
            "provider_balance_is_the_ledgers": [f"{number} {paid.payment_intent_id}"],
        }

    def test_because_the_ledger_lost_it(self, orders, payments):
        paid = payments["paid"]
        forget(LedgerEntry.objects.filter(payment=paid))

        assert violated() == {
            "provider_totals_are_the_ledgers": ["USD"],
            "provider_balance_is_the_ledgers": [
                f"{orders['paid'].order_number} {paid.payment_intent_id}"
            ],
        }

    def test_is_no_violation_if_it_was_given_back(self, orders, payments, stripe):
        paid = payments["paid"]
        forget(LedgerEntry.objects.filter(payment=paid))
        tamper(paid, status="cancelled", amount_received=0)
        stripe(
            "/v1/refunds",
            payment_intent=paid.payment_intent_id,
            **{"metadata[app]": "orderkeep", "metadata[refund]": str(uuid.uuid4())},
        )

        assert violated() == {}

    def test_is_no_violation_while_it_is_on_its_way_back(self, orders, shopper, stripe):
        product = factories.ProductFactory(on_hand=5)
        answer = shopper.order((product.sku, 1), payment_method_id="pm_card_pendingRefund")
        slow = order_of(answer).payments.get()
        forget(LedgerEntry.objects.filter(payment=slow))
        tamper(slow, status="cancelled", amount_received=0)
        stripe("/v1/refunds", payment_intent=slow.payment_intent_id)

        assert "provider_totals_are_the_ledgers" not in violated()


class TestAPaymentTheProviderDenies:
    def test_because_it_never_succeeded(self, orders, payments):
        waiting = payments["waiting"]
        tamper(waiting, status="succeeded", amount_received=waiting.amount)

        number = orders["waiting"].order_number
        assert violated() == {
            "payments_stand_at_the_provider": [f"{number} {waiting.payment_intent_id}"]
        }

    def test_because_it_may_still_be_paid(self, orders, payments):
        tamper(payments["waiting"], status="cancelled")

        assert violated().keys() == {"payments_stand_at_the_provider"}

    def test_because_there_is_no_such_intent(self, orders, payments):
        tamper(payments["declined"], payment_intent_id="pi_unheard_of")

        compared = judge(read())

        found = {finding.name: finding.examples for finding in compared.findings}
        assert found["payments_stand_at_the_provider"] == [
            f"{orders['declined'].order_number} pi_unheard_of"
        ]
        assert compared.notes == {ORPHANS: 1}


class TestRefunds:
    def test_given_by_somebody_else_are_found(self, orders, payments, stripe):
        paid, number = payments["paid"], orders["paid"].order_number
        given = stripe("/v1/refunds", payment_intent=paid.payment_intent_id, amount=5)

        assert violated() == {
            "refunds_at_the_provider_are_booked": [f"{number} {given['id']}"],
            "provider_totals_are_the_ledgers": ["USD"],
            "provider_balance_is_the_ledgers": [f"{number} {paid.payment_intent_id}"],
        }

    def test_given_twice_are_found(self, orders, payments, refund, stripe):
        tamper(refund, payment=payments["paid"], amount=1)
        for _ in range(2):
            stripe(
                "/v1/refunds",
                payment_intent=payments["paid"].payment_intent_id,
                amount=100,
                **{"metadata[app]": "orderkeep", "metadata[refund]": str(refund.uuid)},
            )

        assert "refunds_at_the_provider_are_booked" in violated()

    def test_of_another_amount_are_found(self, orders, refund):
        tamper(refund, amount=1)

        assert violated().keys() == {"refunds_at_the_provider_are_booked"}

    def test_that_failed_here_only_are_found(self, orders, refund):
        tamper(refund, status="failed")

        assert violated().keys() == {"refunds_at_the_provider_are_booked"}

    def test_that_succeeded_here_only_are_found(self, orders, payments):
        ghost = Refund.objects.create(payment=payments["paid"], currency="USD", amount=1)
        tamper(ghost, status="succeeded", stripe_refund_id="re_unheard_of")

        assert violated() == {
            "refunds_stand_at_the_provider": [f"{orders['paid'].order_number} re_unheard_of"]
        }

    def test_that_are_not_done_here_yet_are_in_doubt(self, orders, refund):
        forget(LedgerEntry.objects.filter(refund=refund))
        tamper(refund, status="pending")

        assert violated() == {}


class TestAnOrderChargedTwice:
    def test_is_found(self, orders, payments, stripe):
        charge_outside(stripe, payments["paid"])

        assert violated()["orders_are_charged_once"] == [orders["paid"].order_number]

    def test_is_found_no_more_once_one_is_given_back(self, orders, payments, stripe):
        intent = charge_outside(stripe, payments["paid"])
        stripe("/v1/refunds", payment_intent=intent["id"])

        assert "orders_are_charged_once" not in violated()


class TestWhileOrdersGoOn:
    def test_what_the_provider_decided_meanwhile_is_in_doubt(self, orders, payments, provider):
        provider.act(payments["waiting"].payment_intent_id, "succeed")

        compared = judge(read())

        assert [finding for finding in compared.findings if finding.violations] == []
        assert compared.notes == {IN_DOUBT: 1, NOT_BOOKED_YET: 1, UNDER_WAY: 1}

    def test_an_order_in_doubt_is_no_violation(self, orders, shopper, provider):
        product = factories.ProductFactory()
        provider.fail("answer_lost", path=CONFIRM)
        provider.fail("drop", path=RETRIEVE, method="GET")
        assert shopper.order((product.sku, 1)).status_code == 202

        assert violated() == {}
        recovery.sweep(ignore_backoff=True)
        assert violated() == {}

    def test_what_is_ordered_after_the_snapshot_is_looked_up(self, orders, shopper):
        ours = read()
        product = factories.ProductFactory()
        late = order_of(shopper.order((product.sku, 1)))
        shopper.post(f"/orders/{late.order_number}/cancel")
        shopper.post(f"/orders/{orders['paid'].order_number}/cancel")

        compared = judge(ours)

        assert [finding for finding in compared.findings if finding.violations] == []


class TestSince:
    def test_leaves_older_payments_alone(self, orders, payments):
        forget(LedgerEntry.objects.filter(payment=payments["paid"]))

        assert violated(since=timezone.now()) == {}

    def test_older_payments_in_the_same_second_are_no_strangers(self, orders, shopper):
        between = timezone.now()
        product = factories.ProductFactory()
        late = order_of(shopper.order((product.sku, 1)))
        shopper.post(f"/orders/{orders['paid'].order_number}/cancel")

        assert [p.order_number for p in read(between).payments] == [late.order_number]
        assert violated(since=between) == {}


class TestAProviderThatIsAway:
    @pytest.mark.parametrize("kind", ["drop", "error_before", "malformed", "rate_limit"])
    @pytest.mark.parametrize("path", ["/v1/payment_intents", "/v1/refunds"])
    def test_is_said_instead_of_guessed(self, orders, provider, kind, path):
        provider.fail(kind, path=path, method="GET", times=None)

        with pytest.raises(ProviderUnavailableError):
            violated()

    def test_between_two_questions(self, orders, payments, provider):
        tamper(payments["declined"], payment_intent_id="pi_unheard_of")
        provider.fail("drop", path=RETRIEVE, method="GET", times=None)

        with pytest.raises(ProviderUnavailableError):
            violated()


def test_comparing_writes_nothing(orders):
    before = AuditLog.objects.count()

    violated()

    assert AuditLog.objects.count() == before
