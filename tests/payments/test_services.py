"""Refunds: never above what was received, never twice, whatever the provider leaves unsaid."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from threading import Barrier, Event

import pytest
import requests
from django.db import DatabaseError, connection, transaction
from django.db.models import Sum
from django.utils import timezone

from audit.models import AuditLog, OutboxMessage
from config.kernel.clock import Deadline
from config.kernel.db import RAISE_EXCEPTION, short_transaction, sqlstate
from orders.models import Order
from orders.services.refunds import finish_refund
from payments import services as payments
from payments.errors import RefundExceedsPaymentError
from payments.gateway import ProviderRefund, Refused, Unknown
from payments.models import LedgerEntry, Payment, Refund
from tests import factories
from tests.shop import Shopper, order_of

REFUNDS = "/v1/refunds"


def buy(shopper) -> Payment:
    """An order for 19.99 + 4.99 shipping + 1.77 tax, paid: 26.75."""
    product = factories.ProductFactory(price="19.99")
    answer = shopper.order((product.sku, 1))
    assert answer.status_code == 201, answer.content
    payment = order_of(answer).payments.get()
    assert payment.amount_received == Decimal("26.75")
    return payment


@pytest.fixture
def payment(shopper):
    return buy(shopper)


@pytest.fixture
def refund(payment):
    """A decided refund of 10.00 that was never sent."""
    return payments.request_refund(payment, amount=Decimal("10.00"), reason="damaged")


@pytest.fixture
def asked(provider):
    """What the provider was asked about refunds, in order: (method, idempotency key)."""
    requests.delete(f"{provider.base_url}/_test/journal", timeout=5).raise_for_status()

    def read():
        found = provider._get("/_test/journal", {"path": REFUNDS, "limit": "1000"})["requests"]
        return [(entry["method"], entry["idempotency_key"]) for entry in found]

    return read


def send(refund):
    """As a fresh worker would: from the row as it stands."""
    fresh = Refund.objects.select_related("payment").get(pk=refund.pk)
    return payments.send_refund(refund=fresh, deadline=Deadline(12))


def post(refund, n):
    return ("POST", f"rf-{refund.uuid}-{n}")


LIST = ("GET", None)


class TestRequestRefund:
    def test_may_give_back_everything_in_parts(self, payment):
        parts = [Decimal("10.00"), Decimal("16.74"), Decimal("0.01")]

        for part in parts:
            payments.request_refund(payment, amount=part, reason="damaged")

        refunds = payment.refunds.order_by("id")
        assert [refund.amount for refund in refunds] == parts
        assert {(r.status, r.currency, r.reason) for r in refunds} == {("due", "USD", "damaged")}

    @pytest.mark.parametrize("amount", ["26.76", "9999999.99"])
    def test_refuses_more_than_was_received(self, payment, amount):
        with pytest.raises(RefundExceedsPaymentError):
            payments.request_refund(payment, amount=Decimal(amount), reason="greed")

        assert not Refund.objects.exists()

    def test_counts_what_is_still_on_its_way(self, payment):
        payments.request_refund(payment, amount=Decimal("26.74"), reason="damaged")

        with pytest.raises(RefundExceedsPaymentError):
            payments.request_refund(payment, amount=Decimal("0.02"), reason="damaged")

        assert Refund.objects.count() == 1

    def test_does_not_count_what_failed(self, payment):
        failed = payments.request_refund(payment, amount=Decimal("26.75"), reason="damaged")
        Refund.objects.filter(pk=failed.pk).update(status=Refund.Status.FAILED)

        payments.request_refund(payment, amount=Decimal("26.75"), reason="again")

        assert payment.refunds.filter(status="due").count() == 1

    def test_of_nothing_received_is_refused(self, shopper):
        product = factories.ProductFactory()
        answer = shopper.order((product.sku, 1), payment_method_id="pm_card_visa_chargeDeclined")
        unpaid = order_of(answer).payments.get()

        with pytest.raises(RefundExceedsPaymentError):
            payments.request_refund(unpaid, amount=Decimal("0.01"), reason="")

    @pytest.mark.parametrize(("amount", "currency"), [("26.76", "USD"), ("0.01", "EUR")])
    def test_and_the_table_itself_refuses(self, payment, amount, currency):
        with pytest.raises(DatabaseError) as caught, transaction.atomic():
            Refund.objects.create(payment=payment, amount=Decimal(amount), currency=currency)

        assert sqlstate(caught.value) == RAISE_EXCEPTION
        assert not Refund.objects.exists()


class TestTheKeyOfARefund:
    def test_is_its_own_and_starts_with_one(self, refund, asked):
        answer = send(refund)

        assert isinstance(answer, ProviderRefund)
        assert (answer.status, answer.amount_minor) == ("succeeded", 1000)
        assert answer.metadata["refund"] == str(refund.uuid)
        assert asked() == [post(refund, 1)]
        refund.refresh_from_db()
        assert refund.first_sent_at is not None

    @pytest.mark.parametrize("fault", ["drop", "answer_lost", "unavailable", "conflict"])
    def test_is_the_same_where_nothing_is_known(self, provider, refund, asked, fault):
        provider.fail(fault, path=REFUNDS)

        first, second = send(refund), send(refund)

        assert isinstance(first, Unknown)
        assert isinstance(second, ProviderRefund)
        assert asked() == [post(refund, 1), post(refund, 1)]
        assert len(provider.refunds_of(refund.payment.payment_intent_id)) == 1

    def test_is_the_same_where_the_answer_is_about_something_else(self, provider, refund, asked):
        provider.fail("wrong_amount", path=REFUNDS)

        first, second = send(refund), send(refund)

        assert first == Unknown(reason="the provider's refund is not the one we asked for")
        assert isinstance(second, ProviderRefund)
        assert asked() == [post(refund, 1), post(refund, 1)]

    def test_goes_up_only_after_a_replayed_500_and_a_list_without_it(self, provider, refund, asked):
        provider.fail("error_before", path=REFUNDS)

        answers = [send(refund) for _ in range(3)]

        assert answers[0] == Unknown(reason="APIError 500")
        assert answers[1] == Unknown(reason="APIError 500", replayed=True)
        assert isinstance(answers[2], ProviderRefund)
        assert asked() == [post(refund, 1), post(refund, 1), LIST, post(refund, 2)]
        assert len(provider.refunds_of(refund.payment.payment_intent_id)) == 1

    def test_stays_where_the_list_shows_that_it_was_done(self, provider, refund, asked):
        provider.fail("error_after", path=REFUNDS)

        first, second = send(refund), send(refund)

        assert isinstance(first, Unknown)
        assert isinstance(second, ProviderRefund)
        assert asked() == [post(refund, 1), post(refund, 1), LIST]
        refund.refresh_from_db()
        assert refund.attempt == 1
        assert len(provider.refunds_of(refund.payment.payment_intent_id)) == 1

    @pytest.mark.parametrize("fault", ["drop", "unavailable", "malformed"])
    def test_stays_where_the_list_cannot_be_read(self, provider, refund, asked, fault):
        provider.fail("error_after", path=REFUNDS)
        provider.fail(fault, path=REFUNDS, method="GET")
        send(refund)

        assert isinstance(send(refund), Unknown)

        refund.refresh_from_db()
        assert refund.attempt == 1
        assert isinstance(send(refund), ProviderRefund)
        assert len(provider.refunds_of(refund.payment.payment_intent_id)) == 1

    def test_goes_up_by_one_whoever_else_saw_the_same(self, provider, refund):
        provider.fail("error_before", path=REFUNDS)
        send(refund)
        early, late = (Refund.objects.select_related("payment").get() for _ in range(2))

        for worker in (early, late):
            payments.send_refund(refund=worker, deadline=Deadline(12))

        refund.refresh_from_db()
        assert refund.attempt == 2


class TestARefundOlderThanTheProvidersMemory:
    @pytest.fixture
    def forgotten(self, refund):
        """First sent 23 hours and a minute ago, with an answer that never came."""

        def forget():
            long_ago = timezone.now() - timedelta(hours=23, minutes=1)
            Refund.objects.update(first_sent_at=long_ago)
            return refund

        return forget

    def test_is_looked_for_before_it_is_sent(self, forgotten, asked, provider):
        answer = send(refund := forgotten())

        assert isinstance(answer, ProviderRefund)
        assert asked() == [LIST, post(refund, 1)]

    def test_is_not_sent_again_when_it_is_found(self, forgotten, refund, asked, provider):
        provider.fail("answer_lost", path=REFUNDS)
        send(refund)

        answer = send(forgotten())

        assert isinstance(answer, ProviderRefund)
        assert asked() == [post(refund, 1), LIST]
        assert len(provider.refunds_of(refund.payment.payment_intent_id)) == 1

    @pytest.mark.parametrize("fault", ["drop", "unavailable", "malformed"])
    def test_is_not_sent_while_the_list_cannot_be_read(self, forgotten, asked, provider, fault):
        provider.fail(fault, path=REFUNDS, method="GET")

        assert isinstance(send(forgotten()), Unknown)

        assert asked() == [LIST]

    def test_is_not_looked_for_a_minute_earlier(self, refund, asked):
        Refund.objects.update(first_sent_at=timezone.now() - timedelta(hours=22, minutes=59))

        send(refund)

        assert asked() == [post(refund, 1)]


class TestARefusedRefund:
    def test_is_looked_for_and_told(self, provider, payment, asked):
        """Somebody gave the money back in the provider's own dashboard."""
        ours = payments.request_refund(payment, amount=Decimal("26.75"), reason="cancelled")
        requests.post(
            f"{provider.base_url}{REFUNDS}",
            data={"payment_intent": payment.payment_intent_id},
            headers={"Authorization": "Bearer sk_test_dashboard"},
            timeout=5,
        ).raise_for_status()

        answer = send(ours)

        assert isinstance(answer, Refused)
        assert answer.code == "charge_already_refunded"
        assert asked()[-2:] == [post(ours, 1), LIST]
        # The money is back: theirs stands in for ours, which must not be sent once more.
        assert finish_refund(refund_id=ours.pk, deadline=Deadline(12)) is True
        ours.refresh_from_db()
        assert ours.status == "succeeded"
        assert Refund.objects.count() == 1


def finish(refund) -> bool:
    return finish_refund(refund_id=refund.pk, deadline=Deadline(12))


def books_of(refund):
    """The refund's legs by account."""
    entries = LedgerEntry.objects.filter(refund=refund)
    return dict(entries.values_list("account", "amount"))


class TestFinishRefund:
    def test_brings_a_part_back_into_order_books_and_log(self, refund):
        assert finish(refund) is True

        refund.refresh_from_db()
        payment, order = refund.payment, Order.objects.get()
        assert refund.status == "succeeded"
        assert refund.stripe_refund_id.startswith("re_")
        assert (payment.amount_received, payment.amount_refunded) == (
            Decimal("26.75"),
            Decimal("10.00"),
        )
        assert books_of(refund) == {
            "stripe_balance": Decimal("-10.00"),
            "customer_receipts": Decimal("10.00"),
        }
        assert (order.status, order.payment_status) == ("confirmed", "partially_refunded")
        logged = AuditLog.objects.get(event_type="REFUND_SUCCEEDED")
        assert (logged.entity_id, logged.data["amount"]) == (order.pk, "10.00")
        fact = OutboxMessage.objects.get(fact="order.refunded")
        assert fact.dedupe_key == f"refund.{refund.uuid}"

    def test_of_the_rest_makes_it_refunded(self, payment, refund):
        rest = payments.request_refund(payment, amount=Decimal("16.75"), reason="the rest")

        assert [finish(refund), finish(rest)] == [True, True]

        payment.refresh_from_db()
        assert payment.amount_refunded == payment.amount_received
        assert Order.objects.get().payment_status == "refunded"
        left = LedgerEntry.objects.filter(account="stripe_balance").aggregate(left=Sum("amount"))
        assert left["left"] == 0

    def test_repeated_changes_nothing(self, provider, refund, asked):
        finish(refund)
        before = list(LedgerEntry.objects.values()), list(Payment.objects.values())

        assert finish(refund) is True

        assert (list(LedgerEntry.objects.values()), list(Payment.objects.values())) == before
        assert asked() == [post(refund, 1)]
        assert AuditLog.objects.filter(event_type="REFUND_SUCCEEDED").count() == 1

    @pytest.mark.parametrize("fault", ["drop", "answer_lost", "error_before", "error_after"])
    def test_without_an_answer_is_tried_again_later(self, provider, refund, fault):
        provider.fail(fault, path=REFUNDS)

        assert finish(refund) is False

        refund.refresh_from_db()
        assert refund.status == "due"
        assert refund.last_error.startswith("API")
        assert refund.next_attempt_at > timezone.now()
        assert refund.payment.amount_refunded == 0
        assert books_of(refund) == {}
        later = [finish(refund) for _ in range(2)]
        assert later[-1] is True
        assert len(provider.refunds_of(refund.payment.payment_intent_id)) == 1
        assert books_of(refund)["stripe_balance"] == Decimal("-10.00")

    def test_that_is_pending_is_asked_about_not_sent_again(self, provider, refund, asked):
        provider.fail("altered", path=REFUNDS, fields={"status": "pending"})

        first = finish(refund)
        refund.refresh_from_db()
        status_between = refund.status
        second = finish(refund)

        assert (first, status_between, second) == (False, "pending", True)
        assert asked() == [post(refund, 1), LIST]
        refund.refresh_from_db()
        assert refund.payment.amount_refunded == Decimal("10.00")

    @pytest.mark.parametrize("status", ["failed", "canceled"])
    def test_that_failed_for_good_leaves_the_money_to_be_given_back_again(
        self, provider, payment, refund, status
    ):
        provider.fail("altered", path=REFUNDS, fields={"status": status})

        assert finish(refund) is False

        refund.refresh_from_db()
        payment.refresh_from_db()
        assert refund.status == "failed"
        assert payment.amount_refunded == 0
        assert not LedgerEntry.objects.filter(kind="refund").exists()
        assert Order.objects.get().payment_status == "succeeded"
        assert AuditLog.objects.filter(event_type="REFUND_FAILED").count() == 1
        assert not OutboxMessage.objects.filter(fact="order.refunded").exists()
        assert finish(refund) is False  # it stays failed
        payments.request_refund(payment, amount=Decimal("26.75"), reason="again")


def at_once(*calls):
    """Run all calls at the same moment, each on a connection of its own; their results in order."""
    barrier = Barrier(len(calls))

    def run(call):
        try:
            barrier.wait(timeout=30)
            return call()
        finally:
            connection.close()

    with ThreadPoolExecutor(max_workers=len(calls)) as pool:
        return [future.result(timeout=60) for future in [pool.submit(run, c) for c in calls]]


def until(condition) -> None:
    give_up_at = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < give_up_at, "it never happened"
        time.sleep(0.01)


def somebody_waits_for_a_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")  # else one look lasts a transaction
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return cursor.fetchone()[0] > 0


@pytest.mark.concurrency
@pytest.mark.django_db(transaction=True)
class TestAtTheSameTime:
    @pytest.fixture
    def payment(self, transactional_db):
        factories.open_shop()
        return buy(Shopper(factories.CustomerFactory()))

    def test_ten_requests_for_everything_give_it_back_once(self, payment):
        def ask():
            try:
                with short_transaction():
                    locked = Payment.objects.select_for_update().get(pk=payment.pk)
                    payments.request_refund(locked, amount=Decimal("26.75"), reason="mine")
            except RefundExceedsPaymentError:
                return "refused"
            return "given"

        answers = at_once(*[ask] * 10)

        assert sorted(answers) == ["given"] + ["refused"] * 9
        assert Refund.objects.get().amount == Decimal("26.75")

    def test_the_table_waits_and_refuses_even_those_who_forget_the_lock(self, payment):
        first_is_written = Event()

        def write_first():
            with transaction.atomic():
                Refund.objects.create(payment=payment, amount=Decimal("26.75"), currency="USD")
                first_is_written.set()
                until(somebody_waits_for_a_lock)
            return "given"

        def write_second():
            first_is_written.wait(timeout=10)
            try:
                Refund.objects.create(payment=payment, amount=Decimal("0.01"), currency="USD")
            except DatabaseError as exc:
                return sqlstate(exc)
            return "given"

        answers = at_once(write_first, write_second)

        assert answers == ["given", RAISE_EXCEPTION]
        assert Refund.objects.get().amount == Decimal("26.75")

    def test_four_workers_on_one_refund_give_it_back_once(self, payment, provider):
        with transaction.atomic():
            refund = payments.request_refund(payment, amount=Decimal("10.00"), reason="damaged")

        at_once(*[lambda: finish(refund)] * 4)

        assert finish(refund) is True
        assert len(provider.refunds_of(payment.payment_intent_id)) == 1
        assert LedgerEntry.objects.filter(refund=refund).count() == 2
        payment.refresh_from_db()
        assert payment.amount_refunded == Decimal("10.00")
        assert OutboxMessage.objects.filter(fact="order.refunded").count() == 1
