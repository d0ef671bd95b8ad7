"""Gives back what came in for no order of ours, once a person says so.

A stranger is an intent at the provider that carries our mark and that no payment here has. One
that was paid may be the very order that was lost with the database: no machine decides about it
(docs/adr/0022). It is a case for a person, and this is what that person's button does.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

import structlog

from audit import services as audit
from config.kernel import money
from config.kernel.db import short_transaction
from config.kernel.errors import InvalidTransitionError, NotFoundError
from config.kernel.models import new_uuid
from payments import alone, gateway
from payments.cases import close_case, open_case
from payments.gateway import DISPUTE_LOST, MARK, REFUND_DEAD, Intent, Refused, Unknown
from payments.models import Payment, ReconciliationCase
from payments.selectors import payments_awaiting_intent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from config.kernel.clock import Deadline
    from payments.alone import Limits
    from payments.gateway import ProviderRefund, RefundAnswer

log = structlog.get_logger(__name__)


class _Gone(NamedTuple):
    """What is no longer here of a charge, in minor units, and how many refunds it has, dead or not.

    `back`: what refunds have given back; `under_way`: what others of them will; `taken`: what
    banks have for good, by disputes that were lost.
    """

    back: int
    under_way: int
    taken: int
    refunds: int

    def is_all_of(self, intent: Intent) -> bool:
        """Nothing of it is left here."""
        return self.back + self.taken >= intent.amount_received_minor

    def will_be_all_of(self, intent: Intent) -> bool:
        """Nothing of it is left here once all that is under way has arrived."""
        return self.back + self.under_way + self.taken >= intent.amount_received_minor


def give_back(*, case_id: int, deadline: Deadline, limits: Limits | None = None) -> bool:
    """Give back all that came in for a charge without an order, and close its case.

    What a bank has taken by a dispute that was lost is not here any more either. Opens its own
    transactions; never call it inside one. Repeating it is safe, whoever died in between: the key
    is the intent's own, and the provider gives back no more than came in.

    Args:
        limits: what the person who says so may give back alone; None: see `alone.check`.

    Returns:
        Whether all of it is gone. If not, it is on its way or the provider does not say: try again.

    Raises:
        NotFoundError: there is no such case.
        SecondPersonNeededError: it is more than `limits` allow; nothing was given back.
        InvalidTransitionError: it is closed or about something else, a payment of ours has the
            charge or may still take it up, nothing came in, or the provider refuses.
    """
    case = ReconciliationCase.objects.filter(pk=case_id).first()
    if case is None:
        raise NotFoundError
    intent = _paid_stranger(case, deadline)
    if intent is None:
        return False
    gone = _gone(intent, deadline)
    if not isinstance(gone, _Gone):
        return _refused(gone)
    if not gone.will_be_all_of(intent):
        left = intent.amount_received_minor - gone.back - gone.under_way - gone.taken
        alone.check(
            amount=money.from_minor(left, intent.currency),
            currency=intent.currency,
            before=Decimal(0),
            limits=limits,
        )
        _note("CHARGE_GIVE_BACK_REQUESTED", case, intent)
        answer = _refund(intent, n=gone.refunds, deadline=deadline)
        if isinstance(answer, Refused):
            return _refused(answer)
        gone = _gone(intent, deadline)
        if not isinstance(gone, _Gone):
            return _refused(gone)
    if not gone.is_all_of(intent):
        return False
    taken = {"taken_by_banks_minor": gone.taken} if gone.taken else {}
    with short_transaction():
        close_case(case, event_type="CHARGE_GIVEN_BACK", data={**_about(intent), **taken})
    return True


def look_again(*, intent_id: str, deadline: Deadline) -> Refused | Unknown | None:
    """Put a stranger before a person, unless all that came in is back, on its way or a bank's.

    For what tells of its refunds: one may fail weeks after the case was closed. Opens its own
    transaction; never call it inside one. Repeating it is harmless.

    Returns:
        None when it is done; else what the provider answered instead.
    """
    intent = gateway.retrieve_intent(intent_id=intent_id, deadline=deadline)
    if not isinstance(intent, Intent):
        return intent
    if intent.metadata.get("app") != MARK or intent.status != "succeeded":
        return None
    gone = _gone(intent, deadline)
    if not isinstance(gone, _Gone):
        return gone
    if not gone.will_be_all_of(intent):
        open_case(
            classification=ReconciliationCase.Classification.CHARGE_WITHOUT_ORDER,
            subject=intent_id,
            payment=None,
            problem="paid at the provider, not all of it is back, and no payment here has it",
        )
    return None


def _paid_stranger(case: ReconciliationCase, deadline: Deadline) -> Intent | None:
    """The fresh account of what the case is about; None: the provider does not say.

    Raises:
        InvalidTransitionError: it is no paid stranger.
    """
    if case.resolved_at is not None:
        raise InvalidTransitionError("This case is closed.")
    if case.classification != ReconciliationCase.Classification.CHARGE_WITHOUT_ORDER:
        raise InvalidTransitionError("This case is not about a charge without an order.")
    if Payment.objects.filter(payment_intent_id=case.subject).exists():
        raise InvalidTransitionError("A payment of ours has this charge: settle its order.")
    intent = gateway.retrieve_intent(intent_id=case.subject, deadline=deadline)
    if isinstance(intent, Unknown):
        return None
    if isinstance(intent, Refused):
        raise InvalidTransitionError(f"The provider refuses: {intent.code}.")
    if intent.metadata.get("app") != MARK:
        raise InvalidTransitionError("This charge does not carry our mark.")
    if intent.status != "succeeded":
        raise InvalidTransitionError(f"Nothing came in: the charge is {intent.status}.")
    if payments_awaiting_intent([intent.metadata.get("payment", "")]):
        raise InvalidTransitionError("A payment of ours may still take this charge up: try later.")
    return intent


def _refund(intent: Intent, *, n: int, deadline: Deadline) -> RefundAnswer:
    """All that is left of it. `n`: how many refunds of it the provider lists, dead ones included.

    The same key as long as nothing came of it. What is stored under it, a 5xx or a refusal, would
    be replayed for a day: once more then, under a key of its own. That cannot give back twice,
    since without an amount the provider gives back what is left and refuses where nothing is.
    """
    key = f"rs-{intent.id}-{n}"
    params = {"payment_intent": intent.id, "metadata": {"given_back_by": MARK}}
    answer = gateway.create_refund(params=params, idempotency_key=key, deadline=deadline)
    if isinstance(answer, (Refused, Unknown)) and answer.replayed:
        answer = gateway.create_refund(
            params=params, idempotency_key=f"{key}-{new_uuid()}", deadline=deadline
        )
    return answer


def _gone(intent: Intent, deadline: Deadline) -> _Gone | Refused | Unknown:
    """By all of its refunds, whoever made them, and all of its disputes."""
    refunds = gateway.list_refunds(intent_id=intent.id, deadline=deadline)
    if not isinstance(refunds, list):
        return refunds
    disputes = gateway.list_disputes_of(intent_id=intent.id, deadline=deadline)
    if not isinstance(disputes, list):
        return disputes
    back = _sum(told for told in refunds if told.status == "succeeded")
    return _Gone(
        back=back,
        under_way=_sum(told for told in refunds if told.status not in REFUND_DEAD) - back,
        taken=sum(told.amount_minor for told in disputes if told.status == DISPUTE_LOST),
        refunds=len(refunds),
    )


def _sum(refunds: Iterable[ProviderRefund]) -> int:
    return sum(told.amount_minor for told in refunds)


def _refused(answer: Refused | Unknown) -> bool:
    """False where the provider does not say.

    Raises:
        InvalidTransitionError: it says no.
    """
    if isinstance(answer, Refused):
        raise InvalidTransitionError(f"The provider refuses: {answer.code}.")
    return False


def _note(event_type: str, case: ReconciliationCase, intent: Intent) -> None:
    """Durable before any money moves."""
    log.warning("charge_is_given_back", case=case.pk, intent=intent.id)
    with short_transaction():
        audit.record(event_type, data={"case": case.pk, **_about(intent)})


def _about(intent: Intent) -> dict[str, str | int]:
    return {
        "payment_intent_id": intent.id,
        "received_minor": intent.amount_received_minor,
        "currency": intent.currency,
    }
