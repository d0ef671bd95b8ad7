"""Money back by staff: alone up to a limit, above it by two people, however it is cut."""

from __future__ import annotations

from decimal import Decimal

import pytest
from django.core.management import call_command
from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from audit.models import AuditLog
from config.kernel.clock import Deadline
from config.kernel.errors import InvalidTransitionError
from orders.errors import (
    ProposalWaitingError,
    RefundChangedError,
    RefundRequestReusedError,
    SamePersonError,
)
from orders.models import RefundProposal
from orders.selectors import given_back_alone
from orders.services import privacy, refund_approval, returns
from orders.services.cancellation import cancel_order
from orders.services.refund_approval import Outcome
from orders.services.refunds import RefundPreview, RefundWish
from orders.services.shipping import Parcel, ship_order
from payments.errors import RefundExceedsPaymentError
from payments.models import ReconciliationCase, Refund
from tests import factories
from tests.orders.mismatches import tamper
from tests.shop import order_of

pytestmark = pytest.mark.django_db

LIMIT = Decimal("20.00")
ABOVE = Decimal("20.01")


@pytest.fixture(autouse=True)
def _limits(settings):
    settings.REFUND_LIMITS = {"USD": LIMIT}


@pytest.fixture
def clerk(db):
    return factories.CustomerFactory(email="clerk@example.com", is_staff=True)


@pytest.fixture
def colleague(db):
    return factories.CustomerFactory(email="colleague@example.com", is_staff=True)


@pytest.fixture
def product(shop):
    return factories.ProductFactory(on_hand=50, price=Decimal("10.00"))


@pytest.fixture
def paid(shopper, product):
    """Five at 10.00, with tax and shipping: 59.87."""
    return order_of(shopper.order((product.sku, 5)))


def refund(order, who, **wish):
    return refund_approval.refund(
        order_id=order.pk,
        wish=RefundWish(**{"reason": "broken", **wish}),
        user_id=who.pk,
        deadline=Deadline(10),
    )


def cancel(order, who):
    return refund_approval.cancel(
        order_id=order.pk, reason="sold out", user_id=who.pk, deadline=Deadline(10)
    )


def approve(who, proposal=None):
    found = proposal or RefundProposal.objects.get(status="waiting")
    return refund_approval.approve(proposal_id=found.pk, user_id=who.pk, deadline=Deadline(10))


def proposed(order, who, **wish):
    assert refund(order, who, **wish) == Outcome.PROPOSED
    return RefundProposal.objects.latest("pk")


def told():
    found = AuditLog.objects.filter(event_type__startswith="REFUND_PROPOS").order_by("pk")
    return [(row.event_type, row.entity_type, row.data["status"]) for row in found]


class TestAlone:
    def test_up_to_the_limit_it_is_given_back_at_once(self, paid, clerk, provider):
        assert refund(paid, clerk, amount=LIMIT) == Outcome.DONE

        assert Refund.objects.get().requested_by_id == clerk.pk
        assert not RefundProposal.objects.exists()

    def test_above_it_nothing_moves(self, paid, clerk, provider):
        assert refund(paid, clerk, amount=ABOVE) == Outcome.PROPOSED

        proposal = RefundProposal.objects.get()
        assert (proposal.kind, proposal.amount, proposal.currency) == ("amount", ABOVE, "USD")
        assert (proposal.status, proposal.proposed_by_id) == ("waiting", clerk.pk)
        assert not Refund.objects.exists()
        assert provider.refunds_of(paid.payments.get().payment_intent_id) == []
        assert told() == [("REFUND_PROPOSED", "order", "waiting")]

    def test_many_small_ones_are_a_large_one(self, paid, clerk, provider):
        assert refund(paid, clerk, amount=Decimal("15.00")) == Outcome.DONE

        assert refund(paid, clerk, amount=Decimal("5.01")) == Outcome.PROPOSED
        assert RefundProposal.objects.get().amount == Decimal("5.01")
        assert refund(paid, clerk, amount=Decimal("5.00")) == Outcome.DONE

    def test_what_another_gave_back_is_theirs(self, paid, clerk, colleague, provider):
        assert refund(paid, clerk, amount=LIMIT) == Outcome.DONE

        assert refund(paid, colleague, amount=LIMIT) == Outcome.DONE

    def test_what_two_agreed_to_does_not_count_against_one(self, paid, clerk, colleague, provider):
        proposed(paid, clerk, amount=Decimal("25.00"))
        assert approve(colleague) == Outcome.DONE

        assert given_back_alone(order_id=paid.pk, person_id=clerk.pk) == 0
        assert refund(paid, clerk, amount=LIMIT) == Outcome.DONE

    def test_what_failed_does_not_count(self, paid, clerk, provider):
        refund(paid, clerk, amount=LIMIT)
        Refund.objects.update(status="failed")

        assert refund(paid, clerk, amount=Decimal("1.00")) == Outcome.DONE

    def test_with_a_limit_of_nothing_everything_takes_two(self, paid, clerk, settings):
        settings.REFUND_LIMITS = {"USD": Decimal(0)}

        assert refund(paid, clerk, amount=Decimal("0.01")) == Outcome.PROPOSED

    def test_in_a_currency_without_a_limit_everything_takes_two(self, paid, clerk, settings):
        settings.REFUND_LIMITS = {"EUR": Decimal(1_000)}

        assert refund(paid, clerk, amount=Decimal("0.01")) == Outcome.PROPOSED

    def test_a_superuser_is_one_person(self, paid, provider):
        boss = factories.CustomerFactory(is_staff=True, is_superuser=True)

        assert refund(paid, boss) == Outcome.PROPOSED
        with pytest.raises(SamePersonError):
            approve(boss)
        assert not Refund.objects.exists()

    def test_what_is_not_possible_is_not_proposed_either(self, paid, clerk):
        with pytest.raises(RefundExceedsPaymentError):
            refund(paid, clerk, amount=paid.total_amount + 1)

        assert not RefundProposal.objects.exists()


class TestProposingAgain:
    def test_the_same_page_sent_twice_is_one_proposal(self, paid, clerk):
        for _ in range(2):
            assert refund(paid, clerk, amount=ABOVE, request_key="page") == Outcome.PROPOSED

        assert RefundProposal.objects.count() == 1
        assert len(told()) == 1

    def test_the_same_page_sent_after_the_approval_is_the_same_refund(
        self, paid, clerk, colleague, provider
    ):
        refund(paid, clerk, amount=ABOVE, request_key="page")
        approve(colleague)

        assert refund(paid, clerk, amount=ABOVE, request_key="page") == Outcome.DONE
        assert Refund.objects.count() == 1

    def test_the_same_page_sent_after_a_refusal_says_so(self, paid, clerk, colleague):
        proposal = proposed(paid, clerk, amount=ABOVE, request_key="page")
        refund_approval.refuse(proposal_id=proposal.pk, user_id=colleague.pk, reason="no")

        with pytest.raises(InvalidTransitionError, match="refused"):
            refund(paid, clerk, amount=ABOVE, request_key="page")

    def test_a_raised_limit_does_not_let_the_page_pay_beside_its_proposal(
        self, paid, clerk, colleague, settings, provider
    ):
        refund(paid, clerk, amount=ABOVE, request_key="page")
        settings.REFUND_LIMITS = {"USD": Decimal(1_000)}

        assert refund(paid, clerk, amount=ABOVE, request_key="page") == Outcome.PROPOSED
        assert approve(colleague) == Outcome.DONE
        assert Refund.objects.count() == 1

    def test_another_wish_under_the_same_key_is_refused(self, paid, clerk):
        refund(paid, clerk, amount=ABOVE, request_key="page")

        with pytest.raises(RefundRequestReusedError):
            refund(paid, clerk, amount=ABOVE + 1, request_key="page")

    def test_two_tabs_make_one_proposal(self, paid, clerk):
        for key in ("one", "two"):
            assert refund(paid, clerk, amount=ABOVE, request_key=key) == Outcome.PROPOSED

        assert RefundProposal.objects.count() == 1

    def test_another_one_waits_until_the_first_is_decided(self, paid, clerk, colleague):
        proposed(paid, clerk, amount=ABOVE)

        with pytest.raises(ProposalWaitingError):
            refund(paid, clerk, amount=ABOVE + 1)
        with pytest.raises(ProposalWaitingError):
            refund(paid, colleague, amount=ABOVE)
        assert RefundProposal.objects.count() == 1


class TestApproving:
    def test_gives_back_exactly_that_once(self, paid, clerk, colleague, provider):
        proposal = proposed(paid, clerk, amount=ABOVE)

        for _ in range(2):
            assert approve(colleague, proposal) == Outcome.DONE

        proposal.refresh_from_db()
        assert (proposal.status, proposal.decided_by_id) == ("approved", colleague.pk)
        assert proposal.refund == Refund.objects.get()
        assert (proposal.refund.amount, proposal.refund.requested_by_id) == (ABOVE, clerk.pk)
        assert len(provider.refunds_of(paid.payments.get().payment_intent_id)) == 1
        assert told()[-1] == ("REFUND_PROPOSAL_APPROVED", "order", "approved")

    def test_of_units_gives_back_those_lines(self, paid, product, clerk, colleague, provider):
        proposed(paid, clerk, units={product.sku: 3})

        approve(colleague)

        line = Refund.objects.get().lines.get()
        assert (line.order_item.product_sku, line.quantity) == (product.sku, 3)

    def test_of_all_that_is_left_cancels_what_was_not_shipped(
        self, paid, clerk, colleague, product, provider
    ):
        proposal = proposed(paid, clerk)
        assert proposal.kind == "cancellation"

        approve(colleague)

        paid.refresh_from_db()
        assert (paid.status, paid.payment_status) == ("cancelled", "refunded")
        assert product.stock_levels.get().allocated == 0

    def test_whose_money_is_on_its_way_says_so(self, paid, clerk, colleague, provider):
        proposal = proposed(paid, clerk, amount=ABOVE)
        provider.fail("unavailable", path="/v1/refunds", times=None)

        assert approve(colleague) == Outcome.ON_ITS_WAY

        provider.clear_faults()
        assert approve(colleague, proposal) == Outcome.DONE
        assert Refund.objects.count() == 1

    def test_takes_somebody_else_in_whatever_session(self, paid, clerk):
        proposal = proposed(paid, clerk, amount=ABOVE)

        with pytest.raises(SamePersonError):
            approve(clerk)
        with pytest.raises(SamePersonError):
            refund_approval.refuse(proposal_id=proposal.pk, user_id=clerk.pk, reason="")
        with pytest.raises(IntegrityError, match="takes_a_second_person"), transaction.atomic():
            RefundProposal.objects.update(status="approved", decided_by=clerk, decided_at=Now())

    @pytest.mark.parametrize("gone", [{"is_staff": False}, {"status": "suspended"}])
    def test_is_refused_once_the_proposer_is_gone(self, paid, clerk, colleague, gone):
        proposed(paid, clerk, amount=ABOVE)
        type(clerk).objects.filter(pk=clerk.pk).update(**gone)

        with pytest.raises(InvalidTransitionError, match="no active member"):
            approve(colleague)
        assert not Refund.objects.exists()

    def test_what_a_third_one_has_decided_is_refused(self, paid, clerk, colleague, provider):
        proposal = proposed(paid, clerk, amount=ABOVE)
        approve(colleague)
        third = factories.CustomerFactory(is_staff=True)

        with pytest.raises(InvalidTransitionError, match="approved already"):
            approve(third, proposal)
        with pytest.raises(InvalidTransitionError, match="approved already"):
            refund_approval.refuse(proposal_id=proposal.pk, user_id=third.pk, reason="")


class TestAnOrderThatHasChanged:
    def test_with_less_left_than_was_proposed(self, paid, clerk, colleague, provider):
        proposal = proposed(paid, clerk)
        refund(paid, colleague, amount=Decimal("1.00"))

        with pytest.raises(InvalidTransitionError, match="order has changed"):
            approve(colleague)

        proposal.refresh_from_db()
        assert proposal.status == "waiting"
        assert Refund.objects.count() == 1
        paid.refresh_from_db()
        assert paid.status == "confirmed"

    def test_with_nothing_left(self, paid, clerk, colleague, provider):
        proposed(paid, clerk, amount=ABOVE)
        cancel_order(order_id=paid.pk, reason="", deadline=Deadline(10))

        with pytest.raises(InvalidTransitionError, match="nothing left"):
            approve(colleague)

    def test_that_was_shipped_and_was_to_be_cancelled(self, paid, clerk, colleague, provider):
        assert cancel(paid, clerk) == Outcome.PROPOSED
        ship_order(order_id=paid.pk, parcel=Parcel(carrier="UPS"))

        with pytest.raises(InvalidTransitionError, match="cannot be cancelled any more"):
            approve(colleague)
        assert not Refund.objects.exists()

    def test_frees_the_way_for_another_once_it_is_refused(self, paid, clerk, colleague, provider):
        proposal = proposed(paid, clerk)
        refund(paid, colleague, amount=Decimal("1.00"))
        refund_approval.refuse(proposal_id=proposal.pk, user_id=colleague.pk, reason="anew")

        proposed(paid, clerk)
        assert approve(colleague) == Outcome.DONE


class TestWhatWasSeen:
    """An amount, and whether the order ends with it: that is done, or nothing."""

    def test_a_proposal_that_ends_the_order_does_not_pay_for_goods_that_left(
        self, paid, clerk, colleague, provider
    ):
        proposal = proposed(paid, clerk, amount=paid.total_amount)
        assert (proposal.kind, proposal.ends_order) == ("amount", True)
        ship_order(order_id=paid.pk, parcel=Parcel(carrier="UPS"))

        with pytest.raises(RefundChangedError, match="would not be cancelled"):
            approve(colleague)

        proposal.refresh_from_db()
        assert proposal.status == "waiting"
        assert not Refund.objects.exists()

    def test_a_proposal_that_does_not_end_it_never_does(self, paid, clerk, colleague, provider):
        proposal = proposed(paid, clerk, amount=paid.total_amount - LIMIT)
        assert not proposal.ends_order
        assert refund(paid, colleague, amount=LIMIT) == Outcome.DONE

        with pytest.raises(RefundChangedError, match="would be cancelled"):
            approve(colleague)

        paid.refresh_from_db()
        assert paid.status == "confirmed"
        assert Refund.objects.count() == 1

    def test_what_has_ended_meanwhile_as_was_wished_keeps_no_money(
        self, paid, clerk, colleague, provider
    ):
        proposal = proposed(paid, clerk)
        cancel_order(order_id=paid.pk, reason="", deadline=Deadline(10))
        Refund.objects.update(status="failed")

        approve(colleague)

        proposal.refresh_from_db()
        assert (proposal.status, proposal.ends_order) == ("approved", True)
        assert proposal.refund.amount == paid.total_amount

    @pytest.mark.parametrize("is_shipped", [True, False])
    def test_one_person_gets_what_they_have_seen(
        self, shopper, product, clerk, provider, is_shipped
    ):
        small = order_of(shopper.order((product.sku, 1)))
        seen = RefundPreview(amount=small.total_amount, is_cancellation=True)
        if is_shipped:
            ship_order(order_id=small.pk, parcel=Parcel(carrier="UPS"))

        if is_shipped:
            with pytest.raises(RefundChangedError):
                refund(small, clerk, seen=seen)
        else:
            assert refund(small, clerk, seen=seen) == Outcome.DONE

        small.refresh_from_db()
        assert small.status == ("shipped" if is_shipped else "cancelled")
        assert Refund.objects.count() == (0 if is_shipped else 1)

    def test_nobody_proposes_what_they_have_not_seen(self, paid, clerk):
        ship_order(order_id=paid.pk, parcel=Parcel(carrier="UPS"))
        seen = RefundPreview(amount=paid.total_amount, is_cancellation=True)

        with pytest.raises(RefundChangedError):
            refund(paid, clerk, seen=seen)

        assert not RefundProposal.objects.exists()

    def test_all_that_is_left_is_another_wish_than_the_amount_under_the_same_key(self, paid, clerk):
        proposed(paid, clerk, amount=ABOVE, request_key="page")

        with pytest.raises(RefundRequestReusedError):
            refund(paid, clerk, request_key="page")

    def test_money_that_is_not_an_orders_ends_none(self, paid, clerk):
        with pytest.raises(IntegrityError, match="ends_an_order_by_its_money"):
            RefundProposal.objects.create(
                order=paid,
                kind="quarantine",
                amount=1,
                currency="USD",
                proposed_by=clerk,
                ends_order=True,
            )


class TestNotApproving:
    def test_refusing_moves_nothing_and_keeps_the_words(self, paid, clerk, colleague, provider):
        proposal = proposed(paid, clerk, amount=ABOVE)

        for _ in range(2):
            refund_approval.refuse(proposal_id=proposal.pk, user_id=colleague.pk, reason="no")

        proposal.refresh_from_db()
        assert (proposal.status, proposal.refusal) == ("refused", "no")
        assert not Refund.objects.exists()
        assert told()[1:] == [("REFUND_PROPOSAL_REFUSED", "order", "refused")]
        with pytest.raises(InvalidTransitionError):
            approve(colleague, proposal)

    def test_the_proposer_may_withdraw(self, paid, clerk, colleague):
        proposal = proposed(paid, clerk, amount=ABOVE)
        with pytest.raises(InvalidTransitionError, match="Somebody else"):
            refund_approval.withdraw(proposal_id=proposal.pk, user_id=colleague.pk)

        for _ in range(2):
            refund_approval.withdraw(proposal_id=proposal.pk, user_id=clerk.pk)

        proposal.refresh_from_db()
        assert (proposal.status, proposal.decided_by_id) == ("withdrawn", None)
        with pytest.raises(InvalidTransitionError):
            approve(colleague, proposal)


class TestEveryOtherWay:
    def test_cancelling(self, paid, clerk, colleague, provider):
        for _ in range(2):
            assert cancel(paid, clerk) == Outcome.PROPOSED
        paid.refresh_from_db()
        assert paid.status == "confirmed"

        assert approve(colleague) == Outcome.DONE

        paid.refresh_from_db()
        assert (paid.status, paid.cancellation_reason) == ("cancelled", "sold out")
        assert cancel(paid, clerk) == Outcome.DONE  # it is

    def test_cancelling_a_small_order_takes_one(self, shopper, product, clerk, provider):
        small = order_of(shopper.order((product.sku, 1)))

        assert cancel(small, clerk) == Outcome.DONE
        assert not RefundProposal.objects.exists()

    def test_cancelling_counts_what_was_given_back_before(self, shopper, product, clerk, provider):
        order = order_of(shopper.order((product.sku, 2)))
        refund(order, clerk, amount=Decimal("10.00"))

        assert cancel(order, clerk) == Outcome.PROPOSED

    def test_a_customers_own_cancellation_knows_no_limit(self, paid, shopper, provider):
        answer = shopper.post(f"/orders/{paid.order_number}/cancel")

        assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")

    def test_a_return(self, paid, product, clerk, colleague, provider):
        ship_order(order_id=paid.pk, parcel=Parcel(carrier="UPS"))
        wish = returns.request_return(order_id=paid.pk, units={product.sku: 4}, reason="x")
        returns.accept_return(return_id=wish.pk)
        returns.receive_return(return_id=wish.pk)

        def give_back(who):
            return refund_approval.refund_return(
                return_id=wish.pk, user_id=who.pk, deadline=Deadline(10)
            )

        assert give_back(clerk) == Outcome.PROPOSED
        wish.refresh_from_db()
        assert (wish.status, wish.refund) == ("received", None)
        assert approve(colleague) == Outcome.DONE
        wish.refresh_from_db()
        assert wish.status == "refunded"
        assert wish.refund == RefundProposal.objects.get().refund
        assert give_back(clerk) == Outcome.DONE
        assert Refund.objects.count() == 1

    def test_a_return_that_was_refunded_meanwhile(self, paid, product, clerk, colleague, provider):
        ship_order(order_id=paid.pk, parcel=Parcel(carrier="UPS"))
        wish = returns.request_return(order_id=paid.pk, units={product.sku: 1}, reason="x")
        returns.accept_return(return_id=wish.pk)
        returns.receive_return(return_id=wish.pk)
        refund(paid, clerk, amount=LIMIT)
        refund_approval.refund_return(return_id=wish.pk, user_id=clerk.pk, deadline=Deadline(10))
        returns.refund_return(return_id=wish.pk, user_id=colleague.pk, deadline=Deadline(10))

        with pytest.raises(InvalidTransitionError, match="is back"):
            approve(colleague)

    def test_a_quarantine(self, shopper, product, clerk, colleague, provider):
        order = order_of(
            shopper.order((product.sku, 5), payment_method_id="pm_card_threeDSecure2Required")
        )
        payment = order.payments.get()
        provider.act(payment.payment_intent_id, "succeed")
        tamper(payment, status="quarantined", create_params={**payment.create_params, "amount": 1})

        def end():
            return refund_approval.end_quarantined(
                order_id=order.pk, user_id=clerk.pk, deadline=Deadline(10)
            )

        assert end() == Outcome.PROPOSED
        assert provider.refunds_of(payment.payment_intent_id) == []
        provider.fail("unavailable", path="/v1/refunds", times=None)
        assert approve(colleague) == Outcome.ON_ITS_WAY
        provider.clear_faults()

        assert end() == Outcome.DONE  # the approval stands

        order.refresh_from_db()
        assert order.status == "cancelled"
        assert len(provider.refunds_of(payment.payment_intent_id)) == 1

    def test_a_charge_that_no_order_has(self, paid, clerk, colleague, provider):
        charge = provider.charge_anew(paid.payments.get().create_params)
        case = ReconciliationCase.objects.create(
            classification="charge_without_order", subject=charge["id"], problem="paid"
        )

        assert (
            refund_approval.give_back_charge(
                case_id=case.pk, user_id=clerk.pk, deadline=Deadline(10)
            )
            == Outcome.PROPOSED
        )
        assert provider.refunds_of(charge["id"]) == []
        proposal = RefundProposal.objects.get()
        assert (proposal.order, proposal.case, proposal.amount) == (None, case, paid.total_amount)
        assert told() == [("REFUND_PROPOSED", "reconciliation_case", "waiting")]

        assert approve(colleague) == Outcome.DONE

        case.refresh_from_db()
        assert case.resolved_at is not None
        assert len(provider.refunds_of(charge["id"])) == 1

    def test_a_command_of_ops_knows_no_limit_and_is_audited(self, paid, provider):
        call_command("refund_order", paid.order_number)

        assert Refund.objects.get().amount == paid.total_amount
        assert AuditLog.objects.filter(event_type="REFUND_REQUESTED").count() == 1


class TestThePerson:
    def test_an_export_tells_and_an_erasure_blanks_the_words(
        self, paid, clerk, colleague, shopper, provider
    ):
        proposal = proposed(paid, clerk, reason="Ada is angry")
        approve(colleague)

        told = privacy.export_customer(customer_id=shopper.customer.pk, now=paid.created_at)
        [shown] = told["orders"][0]["refund_proposals"]
        assert (shown["reason"], shown["status"]) == ("Ada is angry", "approved")

        privacy.erase_customer(customer_id=shopper.customer.pk, now=paid.created_at)
        privacy.erase_orders_of(customer_id=shopper.customer.pk)

        proposal.refresh_from_db()
        assert proposal.reason == ""


def test_a_proposal_cannot_be_rewritten_or_removed(paid, clerk):
    proposal = proposed(paid, clerk, amount=ABOVE)

    for change in (
        lambda: RefundProposal.objects.update(amount=1),
        lambda: RefundProposal.objects.update(ends_order=True),
        lambda: RefundProposal.objects.update(proposed_by=paid.customer),
        proposal.delete,
    ):
        with pytest.raises(Exception, match=r"[Cc]annot"), transaction.atomic():
            change()
