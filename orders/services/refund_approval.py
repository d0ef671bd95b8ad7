"""The staff's way to give money back: alone up to a limit, above it by the word of two people.

Every way in which staff gives money back in the admin leads through here: refunds, cancelling a
paid order, refunding a return, ending a quarantine, giving back a charge that no order has. What
one person may give back of an order alone is `settings.REFUND_LIMITS`; their earlier refunds of it
count, so that many small ones are a large one. What is above it is written down as a proposal, and
nothing moves. Another person approves it: then the very service that one person would have used
does it. Superusers are people as well.

Who may use which of these is for the caller to check. That the two are different people is checked
here, and by a constraint.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.db.models.functions import Now

from audit import services as audit
from config.kernel import money
from config.kernel.db import CommitOutcomeUnknownError, short_transaction
from config.kernel.errors import InvalidTransitionError, NotFoundError
from customers.models import Customer
from orders import selectors
from orders.errors import ProposalWaitingError, RefundRequestReusedError, SamePersonError
from orders.models import Order, RefundProposal, Return
from orders.services import cancellation, quarantine, refunds, returns
from orders.services.refunds import RefundPreview, RefundWish
from payments import strangers
from payments.errors import SecondPersonNeededError
from payments.models import ReconciliationCase, Refund

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from config.kernel.clock import Deadline
    from orders.selectors import LockedOrder
    from payments.alone import Limits

Kind = RefundProposal.Kind
Status = RefundProposal.Status

OUTSIDE_THE_BOOKS: Final = (Kind.QUARANTINE, Kind.CHARGE)
"""Money that was never booked in: no refund of ours gives it back, the provider is told to."""
OF_AN_ORDER: Final = (Kind.REST, Kind.AMOUNT, Kind.UNITS, Kind.CANCELLATION)
"""An order may end with these."""
EVENTS: Final = {
    Status.WAITING: "REFUND_PROPOSED",
    Status.APPROVED: "REFUND_PROPOSAL_APPROVED",
    Status.REFUSED: "REFUND_PROPOSAL_REFUSED",
    Status.WITHDRAWN: "REFUND_PROPOSAL_WITHDRAWN",
}


class Outcome(StrEnum):
    """What became of a wish to give money back."""

    DONE = "done"
    ON_ITS_WAY = "on its way"  # decided. The sweeper sees to refunds; for others, press again
    PROPOSED = "proposed"  # nothing has moved: a second person has to approve it


# --- one person -------------------------------------------------------------------------------
#
# All of these open their own transactions and are never called inside one. They raise what the
# service behind them raises, and ProposalWaitingError where another proposal about the same order
# or charge waits. Proposing the same again while it waits is the same proposal.


def refund(*, order_id: int, wish: RefundWish, user_id: int, deadline: Deadline) -> Outcome:
    """Give back what is wished of an order (`refunds.decide_refund`), or propose it.

    The same request key is the same refund or proposal, also after that was decided.

    Args:
        wish: who wishes it, and up to what amount alone, is set here.

    Raises:
        RefundChangedError: it would not be what the wish's `seen` says.
        RefundRequestReusedError: the key stands for something else.
        InvalidTransitionError: not possible now, or the proposal with this key was turned down.
    """
    kind = Kind.UNITS if wish.units else Kind.REST if wish.amount is None else Kind.AMOUNT
    proposal = RefundProposal(
        kind=kind,
        order_id=order_id,
        units=dict(wish.units or {}),
        reason=wish.reason[:200],
        request_key=wish.request_key,
        proposed_by_id=user_id,
    )
    earlier = _proposed_before(proposal, amount=wish.amount)
    if earlier is not None:
        return _outcome_of(earlier, deadline)
    try:
        decided = refunds.decide_refund(
            order_id=order_id,
            wish=RefundWish(
                reason=wish.reason,
                amount=wish.amount,
                units=wish.units,
                request_key=wish.request_key,
                requested_by_id=user_id,
                limits=settings.REFUND_LIMITS,
                seen=wish.seen,
            ),
        )
    except SecondPersonNeededError as exc:
        return _propose(proposal, exc, seen=wish.seen)
    return _finish(decided, deadline)


def cancel(*, order_id: int, reason: str, user_id: int, deadline: Deadline) -> Outcome:
    """Cancel an order (`cancellation.cancel_order`), or propose it."""
    try:
        is_done = cancellation.cancel_order(
            order_id=order_id,
            reason=reason,
            deadline=deadline,
            requested_by_id=user_id,
            limits=settings.REFUND_LIMITS,
        )
    except SecondPersonNeededError as exc:
        proposal = RefundProposal(
            kind=Kind.CANCELLATION,
            order_id=order_id,
            reason=reason[:200],
            proposed_by_id=user_id,
        )
        return _propose(proposal, exc)
    return Outcome.DONE if is_done else Outcome.ON_ITS_WAY


def refund_return(*, return_id: int, user_id: int, deadline: Deadline) -> Outcome:
    """Give back the money for what arrived (`returns.refund_return`), or propose it."""
    try:
        is_done = returns.refund_return(
            return_id=return_id, deadline=deadline, user_id=user_id, limits=settings.REFUND_LIMITS
        )
    except SecondPersonNeededError as exc:
        proposal = RefundProposal(
            kind=Kind.RETURN,
            order_id=Return.objects.values_list("order_id", flat=True).get(pk=return_id),
            returned_id=return_id,
            reason="returned",
            proposed_by_id=user_id,
        )
        return _propose(proposal, exc)
    return Outcome.DONE if is_done else Outcome.ON_ITS_WAY


def end_quarantined(*, order_id: int, user_id: int, deadline: Deadline) -> Outcome:
    """End a payment in quarantine (`quarantine.end_quarantined`), or propose it.

    Once approved, whoever may press the button carries it on should the provider not answer.
    """
    proposal = RefundProposal(
        kind=Kind.QUARANTINE, order_id=order_id, proposed_by_id=user_id, reason="quarantine"
    )
    return _give_back_outside(proposal, deadline)


def give_back_charge(*, case_id: int, user_id: int, deadline: Deadline) -> Outcome:
    """Give back a charge that no order has (`strangers.give_back`), or propose it; likewise."""
    proposal = RefundProposal(
        kind=Kind.CHARGE, case_id=case_id, proposed_by_id=user_id, reason="no order has it"
    )
    return _give_back_outside(proposal, deadline)


# --- the second one ---------------------------------------------------------------------------


def approve(*, proposal_id: int, user_id: int, deadline: Deadline) -> Outcome:
    """Agree to a colleague's proposal: exactly that is done, by the usual service.

    Decision and refund are one transaction, in which the order is looked at afresh. Opens its own
    transactions; never call it inside one. Repeating it is harmless.

    Returns:
        DONE, or ON_ITS_WAY.

    Raises:
        NotFoundError: there is no such proposal.
        SamePersonError: their own.
        RefundChangedError: another amount would go back now, or the order would end with it and
            would not have, or the other way round. It still waits then.
        InvalidTransitionError: it is decided already, who proposed it is no staff any more, or the
            order has changed so that it is not possible any more. It still waits then.
        CommitOutcomeUnknownError: the COMMIT was lost; press again.
    """
    with short_transaction():
        proposal, locked = _lock(proposal_id)
        if not _was_decided_by(proposal, user_id, as_=Status.APPROVED):
            _check_second_person(proposal, user_id)
            proposal.refund = _decide(proposal, locked) if locked is not None else None
            _close(proposal, to=Status.APPROVED, decided_by_id=user_id)
    return _outcome_of(proposal, deadline)


def refuse(*, proposal_id: int, user_id: int, reason: str) -> None:
    """Turn a colleague's proposal down. Opens its own transaction; repeating it is harmless.

    Args:
        reason: for the proposer; at most 200 characters are kept.

    Raises:
        NotFoundError, SamePersonError, InvalidTransitionError: as `approve`.
    """
    with short_transaction():
        proposal, _ = _lock(proposal_id)
        if not _was_decided_by(proposal, user_id, as_=Status.REFUSED):
            _check_open(proposal)
            if proposal.proposed_by_id == user_id:
                raise SamePersonError
            proposal.refusal = reason[:200]
            _close(proposal, to=Status.REFUSED, decided_by_id=user_id)


def withdraw(*, proposal_id: int, user_id: int) -> None:
    """Take one's own proposal back. Opens its own transaction; repeating it is harmless.

    Raises:
        NotFoundError: there is no such proposal.
        InvalidTransitionError: it is somebody else's, or decided already.
    """
    with short_transaction():
        proposal, _ = _lock(proposal_id)
        if proposal.proposed_by_id != user_id:
            raise InvalidTransitionError("Somebody else proposed this: refuse it instead.")
        if proposal.status != Status.WITHDRAWN:
            _check_open(proposal)
            _close(proposal, to=Status.WITHDRAWN, decided_by_id=None)


# --- proposing --------------------------------------------------------------------------------


def _proposed_before(wanted: RefundProposal, *, amount: Decimal | None) -> RefundProposal | None:
    if wanted.request_key is None:
        return None
    found = RefundProposal.objects.filter(request_key=wanted.request_key).first()
    if found is None:
        return None
    # All that was left of an unshipped order was its cancellation.
    kinds = {wanted.kind, Kind.CANCELLATION} if wanted.kind == Kind.REST else {wanted.kind}
    is_same = found.order_id == wanted.order_id and found.units == wanted.units
    if not is_same or found.kind not in kinds or amount not in {None, found.amount}:
        raise RefundRequestReusedError
    return found


def _propose(
    wanted: RefundProposal,
    needed: SecondPersonNeededError,
    *,
    seen: RefundPreview | None = None,
) -> Outcome:
    """Write it down, unless it is the one that waits already."""
    wanted.amount, wanted.currency = needed.amount, needed.currency
    with short_transaction():
        if wanted.case_id is not None:
            ReconciliationCase.objects.select_for_update().get(pk=wanted.case_id)
        elif wanted.order_id is not None:
            locked = selectors.lock_order(order_id=wanted.order_id)
            if wanted.kind in OF_AN_ORDER:
                wanted.ends_order = refunds.ends_order(locked, wanted.amount)
                now = RefundPreview(amount=wanted.amount, is_cancellation=wanted.ends_order)
                refunds.check_seen(seen, now, currency=wanted.currency)
            if wanted.kind == Kind.REST and _can_be_cancelled(locked.order):
                wanted.kind = Kind.CANCELLATION  # which it is (rule 8); shipped, it is not
        waiting = _about_the_same(wanted).filter(status=Status.WAITING).first()
        if waiting is None:
            wanted.save(force_insert=True)
            _record(wanted)
        elif not _is_same(waiting, wanted):
            raise ProposalWaitingError
    return Outcome.PROPOSED


def _about_the_same(wanted: RefundProposal) -> QuerySet[RefundProposal]:
    """All proposals about this order, or this charge."""
    if wanted.case_id is not None:
        return RefundProposal.objects.filter(case_id=wanted.case_id)
    return RefundProposal.objects.filter(order_id=wanted.order_id or 0)


def _is_same(one: RefundProposal, other: RefundProposal) -> bool:
    names = ("kind", "currency", "amount", "ends_order", "units", "returned_id", "proposed_by_id")
    return all(getattr(one, name) == getattr(other, name) for name in names)


# --- deciding ---------------------------------------------------------------------------------


def _lock(proposal_id: int) -> tuple[RefundProposal, LockedOrder | None]:
    """Lock key → order → payment → proposal; None for a charge that no order has."""
    found = RefundProposal.objects.filter(pk=proposal_id).first()
    if found is None:
        raise NotFoundError
    locked = None if found.order_id is None else selectors.lock_order(order_id=found.order_id)
    return RefundProposal.objects.select_for_update().get(pk=proposal_id), locked


def _check_open(proposal: RefundProposal) -> None:
    if proposal.status != Status.WAITING:
        raise InvalidTransitionError(f"This proposal is {proposal.status} already.")


def _check_second_person(proposal: RefundProposal, user_id: int) -> None:
    _check_open(proposal)
    if proposal.proposed_by_id == user_id:
        raise SamePersonError
    proposer = Customer.objects.filter(pk=proposal.proposed_by_id, is_staff=True, is_active=True)
    if not proposer.exists():
        raise InvalidTransitionError("Who proposed this is no active member of staff any more.")


def _was_decided_by(proposal: RefundProposal, user_id: int, *, as_: Status) -> bool:
    return proposal.status == as_ and proposal.decided_by_id == user_id


def _decide(proposal: RefundProposal, locked: LockedOrder) -> Refund | None:
    """Decide the refund, by the same rules as one person's; requires the locks."""
    if proposal.kind in OUTSIDE_THE_BOOKS:
        return None
    if proposal.returned_id is not None:
        return _decide_return(proposal, proposal.returned_id)
    if proposal.kind == Kind.CANCELLATION and not (
        _can_be_cancelled(locked.order) or locked.order.status == Order.Status.CANCELLED
    ):
        raise InvalidTransitionError(
            "This order cannot be cancelled any more: refuse this, and propose a refund."
        )
    wish = RefundWish(
        reason=proposal.reason,
        amount=proposal.amount if proposal.kind == Kind.AMOUNT else None,
        units=proposal.units or None,
        request_key=proposal.request_key or f"refund-proposal-{proposal.pk}",
        requested_by_id=proposal.proposed_by_id,
        seen=RefundPreview(
            amount=proposal.amount,
            # One that has ended meanwhile, as was wished, keeps no money either.
            is_cancellation=proposal.ends_order and locked.order.status != Order.Status.CANCELLED,
        ),
    )
    return refunds.decide_locked(locked, wish)


def _decide_return(proposal: RefundProposal, return_id: int) -> Refund:
    locked, wish = returns.lock_return(return_id=return_id)
    if wish.refund is not None and wish.refund.status != Refund.Status.FAILED:
        raise InvalidTransitionError("The money for this return is back, or on its way.")
    refund = returns.decide_locked(locked, wish, user_id=proposal.proposed_by_id, limits=None)
    refunds.check_seen(
        RefundPreview(amount=proposal.amount, is_cancellation=proposal.ends_order),
        RefundPreview(amount=refund.amount, is_cancellation=False),
        currency=refund.currency,
    )
    return refund


def _can_be_cancelled(order: Order) -> bool:
    return order.status in Order.PAID_UNSHIPPED and order.shipped_at is None


def _close(proposal: RefundProposal, *, to: Status, decided_by_id: int | None) -> None:
    proposal.status, proposal.decided_by_id = to, decided_by_id
    proposal.decided_at = Now()
    proposal.save(update_fields=["status", "decided_by", "decided_at", "refusal", "refund"])
    _record(proposal)


def _record(proposal: RefundProposal) -> None:
    data = {
        "proposal": proposal.pk,
        "kind": proposal.kind,
        "amount": money.format_amount(proposal.amount, proposal.currency),
        "currency": proposal.currency,
        "ends_order": proposal.ends_order,
        "proposed_by": proposal.proposed_by_id,
        "status": proposal.status,
    }
    is_about_order = proposal.order_id is not None
    audit.record(
        EVENTS[Status(proposal.status)],
        entity_type="order" if is_about_order else "reconciliation_case",
        entity_id=proposal.order_id if is_about_order else proposal.case_id,
        data=data,
    )


# --- carrying out -----------------------------------------------------------------------------


def _outcome_of(proposal: RefundProposal, deadline: Deadline) -> Outcome:
    """Where a proposal stands; an approved one is carried on.

    Raises:
        InvalidTransitionError: it was turned down, or the provider refuses.
    """
    if proposal.status == Status.WAITING:
        return Outcome.PROPOSED
    if proposal.status != Status.APPROVED:
        raise InvalidTransitionError(f"This was {proposal.status}: begin anew.")
    if proposal.refund is not None:
        return _finish(proposal.refund, deadline)
    return _carry_out(proposal, deadline, limits={proposal.currency: proposal.amount})


def _give_back_outside(proposal: RefundProposal, deadline: Deadline) -> Outcome:
    approved = _about_the_same(proposal).filter(kind=proposal.kind, status=Status.APPROVED)
    limits = dict(settings.REFUND_LIMITS)
    for agreed in approved.order_by("-pk")[:1]:
        alone = limits.get(agreed.currency, Decimal(0))
        limits[agreed.currency] = max(agreed.amount, alone)
    try:
        return _carry_out(proposal, deadline, limits=limits)
    except SecondPersonNeededError as exc:
        return _propose(proposal, exc)


def _carry_out(proposal: RefundProposal, deadline: Deadline, *, limits: Limits) -> Outcome:
    """Have the provider give back what our books never had."""
    if proposal.order_id is not None:
        is_done = quarantine.end_quarantined(
            order_id=proposal.order_id, deadline=deadline, limits=limits
        )
    else:
        is_done = strangers.give_back(
            case_id=proposal.case_id or 0, deadline=deadline, limits=limits
        )
    return Outcome.DONE if is_done else Outcome.ON_ITS_WAY


def _finish(decided: Refund, deadline: Deadline) -> Outcome:
    try:
        is_done = refunds.finish_refund(refund_id=decided.pk, deadline=deadline)
    except CommitOutcomeUnknownError:
        is_done = False  # the sweeper's
    return Outcome.DONE if is_done else Outcome.ON_ITS_WAY
