"""Takes money and gives it back: opens payments, drives them at the provider, writes refunds.

Calls to the provider happen outside every transaction; what they said is written by the caller's
settlement. Rules are numbered as in docs/placement.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import structlog
from django.db.models import DateTimeField, ExpressionWrapper, F, Sum
from django.db.models.functions import Now

from audit import services as audit
from config.kernel import money, sql
from config.kernel.db import short_transaction
from config.kernel.models import new_uuid
from payments import gateway, ledger
from payments.errors import RefundExceedsPaymentError
from payments.gateway import Failure, Intent, ProviderRefund, Refused, Unknown
from payments.models import Dispute, Payment, Refund

if TYPE_CHECKING:
    import uuid
    from datetime import datetime

    from config.kernel.clock import Deadline
    from payments.gateway import IntentAnswer

log = structlog.get_logger(__name__)

FIRST_SWEEP_AFTER = timedelta(seconds=20)  # the request that made it works on it until then
SWEEP_IN_DOUBT_AFTER = timedelta(seconds=2)
DISPUTED = "charge_disputed"  # the provider's code for what a bank has taken already
REFUSED = "refused: "  # how the last error of what the provider will not do begins
KEYS_SURELY_REMEMBERED = timedelta(hours=23)  # the provider forgets idempotency keys after 24
GIVEN_BACK = """
    SELECT coalesce(sum(amount), 0) AS amount FROM refunds
    WHERE payment_id = %(payment_id)s AND status <> 'failed'
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Superseded:
    """Somebody else has moved this payment on meanwhile: read where it stands and begin again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotCreated:
    """The provider refused, or failed for good, to make the intent: nothing was charged."""

    failure: Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """The freshest account of the intent; `failure`: why an attempt to pay it had failed."""

    intent: Intent
    failure: Failure | None = None


ChargeOutcome = Told | NotCreated | Superseded | Unknown


def open_payment(
    *,
    order_id: int,
    order_public_id: uuid.UUID,
    order_number: str,
    amount: Decimal,
    currency: str,
    payment_method_id: str,
    return_url: str,
    stripe_customer_id: str | None,
    at: datetime,
) -> Payment:
    """Write down what is to be charged, with the very parameters that will be sent.

    Requires an open transaction (T1). Nothing is sent yet.

    Args:
        amount: major units of `currency`, above zero.
        return_url: where the provider sends the customer back after a redirect.
        stripe_customer_id: passed on if known; made when a card is saved, never for an order.
        at: the database's time.
    """
    payment_uuid = new_uuid()
    create_params: dict[str, Any] = {
        "amount": money.to_minor(amount, currency),
        "currency": currency.lower(),
        "payment_method": payment_method_id,
        "automatic_payment_methods": {"enabled": True},
        "metadata": {
            "app": gateway.MARK,
            "payment": str(payment_uuid),
            "order_id": str(order_public_id),
            "order_number": order_number,
        },
    }
    if stripe_customer_id:
        create_params["customer"] = stripe_customer_id
    payment = Payment(
        uuid=payment_uuid,
        order_id=order_id,
        amount=amount,
        currency=currency,
        payment_method_id=payment_method_id,
        create_params=create_params,
        confirm_params={"return_url": return_url},
        next_attempt_at=at + FIRST_SWEEP_AFTER,
    )
    sql.insert(payment)
    return payment


def charge(*, payment: Payment, hold_is_over: bool, deadline: Deadline) -> ChargeOutcome:
    """Bring the payment as far as the provider lets it: C1, T1b, C2 and, after a failure, C3.

    Opens its own transaction (T1b) and must not be called inside one. Safe to repeat: the create
    and confirm keys are the payment's own, and a payment with an intent is asked about first.

    Args:
        hold_is_over: the order's hold has ended: an unconfirmed intent is cancelled instead.

    Raises:
        CommitOutcomeUnknownError: T1b's COMMIT was lost; read the payment again.
    """
    if payment.payment_intent_id is None:
        created = gateway.create_intent(
            params=payment.create_params, idempotency_key=f"pi-{payment.uuid}", deadline=deadline
        )
        if isinstance(created, Refused):
            return NotCreated(failure=_failure_of(created))
        if isinstance(created, Unknown):
            # A stored 5xx would be replayed for a day: nobody can make this intent any more, and
            # one that was made all the same was never confirmed.
            gone = Failure(code=Payment.PROVIDER_REFUSED)
            return NotCreated(failure=gone) if created.replayed else created
        if created.amount_minor != payment.create_params["amount"]:
            return Unknown(reason="the intent's amount is not the payment's")
        if not _store_intent(payment, created.id):
            return Superseded()
        return confirm(payment=payment, deadline=deadline)
    answer = gateway.retrieve_intent(intent_id=payment.payment_intent_id, deadline=deadline)
    if isinstance(answer, Intent) and answer.status == "requires_confirmation":
        if hold_is_over:
            return _as_outcome(cancel(payment=payment, deadline=deadline))
        return confirm(payment=payment, deadline=deadline)
    return close_failed_attempt(payment=payment, answer=answer, deadline=deadline)


def confirm(*, payment: Payment, deadline: Deadline) -> Told | Unknown:
    """C2 and, after a failure, C3, for an intent that was just seen to wait for it."""
    answer = _confirm(payment, deadline)
    return close_failed_attempt(payment=payment, answer=answer, deadline=deadline)


def close_failed_attempt(
    *, payment: Payment, answer: IntentAnswer, deadline: Deadline
) -> Told | Unknown:
    """C3: an intent whose attempt failed could still be paid with another card: cancel it first.

    Only `succeeded` and `canceled` are outcomes (rule 2). Any other answer passes through.
    """
    if isinstance(answer, Intent) and answer.status == "requires_payment_method":
        cancelled = cancel(payment=payment, deadline=deadline)
        if isinstance(cancelled, Intent):
            return Told(intent=cancelled, failure=answer.failure or cancelled.failure)
        return _as_outcome(cancelled)
    return _as_outcome(answer)


def cancel(*, payment: Payment, deadline: Deadline) -> IntentAnswer:
    """Cancel the intent at the provider, each time under a fresh key (rule 6).

    Returns:
        The intent as it stands now: the provider decides the race against a payment.
    """
    return gateway.cancel_intent(
        intent_id=_intent_id(payment), idempotency_key=f"cx-{new_uuid()}", deadline=deadline
    )


def retrieve(*, payment: Payment, deadline: Deadline) -> IntentAnswer:
    """Ask the provider how the payment's intent stands."""
    return gateway.retrieve_intent(intent_id=_intent_id(payment), deadline=deadline)


def is_about(payment: Payment, intent: Intent) -> bool:
    """Whether the intent is the payment's, in identity, amount and currency.

    An intent that says it succeeded must also have received the whole amount.
    """
    amount_minor = payment.create_params["amount"]
    return (
        intent.id == payment.payment_intent_id
        and intent.metadata.get("payment") == str(payment.uuid)
        and intent.currency == payment.currency
        and intent.amount_minor == amount_minor
        and (intent.status != "succeeded" or intent.amount_received_minor == amount_minor)
    )


def record_success(payment: Payment) -> None:
    """The money is here: the payment succeeds, the ledger says so. Requires the row's lock."""
    payment.status = Payment.Status.SUCCEEDED
    payment.amount_received = payment.amount
    payment.in_doubt_since = None
    payment.last_error = ""
    sql.later(
        """
        UPDATE payments SET status = 'succeeded', amount_received = amount,
            in_doubt_since = NULL, last_error = ''
        WHERE id = %(id)s
        """,
        id=payment.pk,
    )
    ledger.record_capture(payment)


def record_end_unpaid(payment: Payment, *, failure: Failure | None) -> None:
    """No money will come any more: failed where an attempt failed, else cancelled.

    Requires the row's lock, and an intent that is canceled or was never stored.
    """
    payment.status = Payment.Status.FAILED if failure else Payment.Status.CANCELLED
    payment.failure_code = failure.code if failure else ""
    payment.decline_code = failure.decline_code if failure else ""
    payment.in_doubt_since = None
    payment.save(update_fields=["status", "failure_code", "decline_code", "in_doubt_since"])


def record_progress(payment: Payment, intent: Intent) -> None:
    """Show what the intent waits for. Decoration: no rule reads it. Requires the row's lock."""
    shown = {
        "requires_action": Payment.Status.REQUIRES_ACTION,
        "processing": Payment.Status.PROCESSING,
    }.get(intent.status)
    if shown and payment.status in Payment.OPEN and payment.status != shown:
        payment.status = shown
        sql.later(
            "UPDATE payments SET status = %(status)s WHERE id = %(id)s",
            status=shown.value,
            id=payment.pk,
        )


def record_quarantine(payment: Payment, *, problem: str) -> None:
    """The provider's intent is not what we asked for: nobody moves until staff has looked."""
    payment.status = Payment.Status.QUARANTINED
    payment.last_error = problem
    payment.save(update_fields=["status", "last_error"])


def record_quarantine_over(payment: Payment) -> None:
    """It was never paid, and never can be: back to how it had ended. Requires the row's lock."""
    ended = Payment.Status.FAILED if payment.failure_code else Payment.Status.CANCELLED
    payment.status = ended
    payment.last_error = ""
    payment.save(update_fields=["status", "last_error"])


def record_doubt(payment: Payment, *, reason: str) -> None:
    """The customer hears 202: from now on the sweeper may finish what the request could not."""
    sql.later(
        """
        UPDATE payments
        SET in_doubt_since = coalesce(in_doubt_since, now()), last_error = %(reason)s,
            next_attempt_at = now() + %(pause)s
        WHERE id = %(id)s AND status = ANY(%(open)s)
        """,
        id=payment.pk,
        reason=reason[:500],
        pause=SWEEP_IN_DOUBT_AFTER,
        open=list(Payment.OPEN),
    )


def request_refund(
    payment: Payment,
    *,
    amount: Decimal,
    reason: str,
    requested_by_id: int | None = None,
    request_key: str | None = None,
) -> Refund:
    """Decide a refund: the row is written here, the money is sent after the COMMIT.

    Requires an open transaction and the payment's row lock (rule 7).

    Args:
        request_key: the same one twice for a payment is refused by a constraint.

    Raises:
        RefundExceedsPaymentError: more than is left; a trigger on the table says the same.
    """
    if amount > not_given_back(payment):
        raise RefundExceedsPaymentError
    return _write_refund(
        payment,
        amount=amount,
        reason=reason,
        requested_by_id=requested_by_id,
        request_key=request_key,
    )


def _write_refund(
    payment: Payment,
    *,
    amount: Decimal,
    reason: str,
    requested_by_id: int | None,
    request_key: str | None,
) -> Refund:
    refund = Refund.objects.create(
        payment=payment,
        amount=amount,
        currency=payment.currency,
        reason=reason,
        requested_by_id=requested_by_id,
        request_key=request_key,
        next_attempt_at=Now() + FIRST_SWEEP_AFTER,
    )
    audit.record(
        "REFUND_REQUESTED",
        entity_type="order",
        entity_id=payment.order_id,
        data={
            "refund": str(refund.uuid),
            "amount": money.format_amount(amount, payment.currency),
            "currency": payment.currency,
        },
    )
    return refund


def request_refund_of_rest(
    payment: Payment,
    *,
    reason: str,
    requested_by_id: int | None = None,
    request_key: str | None = None,
) -> Refund | None:
    """Decide a refund of all that came in and is neither back nor on its way; None if none is.

    Requires an open transaction and the payment's row lock.
    """
    rest = not_given_back(payment)
    if not rest:
        return None
    return _write_refund(
        payment,
        amount=rest,
        reason=reason,
        requested_by_id=requested_by_id,
        request_key=request_key,
    )


def not_given_back(payment: Payment) -> Decimal:
    """What came in and is neither back nor on its way, in major units."""
    (given,) = sql.fetch(GIVEN_BACK, payment_id=payment.pk)
    left: Decimal = payment.amount_received - given.amount
    return left


def is_disputed(payment: Payment) -> bool:
    """Whether the customer's bank has taken the money, for now or for good."""
    return payment.disputes.exclude(status__in=Dispute.HARMLESS).exists()


def lost_to_banks(payment: Payment) -> Decimal:
    """What customers' banks have taken of it for good, in major units."""
    lost = payment.disputes.filter(status=Dispute.Status.LOST).aggregate(sum=Sum("amount"))
    return lost["sum"] or Decimal(0)


def record_refund_given_up(refund: Refund, *, why: str) -> None:
    """It was refused, and is not at the provider: nothing will come of it. Requires its lock."""
    refund.status = Refund.Status.FAILED
    refund.last_error = why
    refund.save(update_fields=["status", "last_error"])


def refunded_minor(payment: Payment) -> int:
    """What is back, in the provider's minor units."""
    return money.to_minor(payment.amount_refunded, payment.currency)


def send_refund(*, refund: Refund, deadline: Deadline) -> ProviderRefund | Refused | Unknown:
    """Give the money back, or find out that it was given back before (rule 7).

    The key `rf-<uuid>-<n>` is repeated as long as the provider may not have seen it; n goes up
    only after a replayed 5xx or refusal of that very n, when its list shows no such refund.
    Past 23 hours the list comes first, always. Must not be called inside a transaction.
    """
    if refund.status == Refund.Status.PENDING:
        return _find_at_provider(refund, deadline) or Unknown(reason="not in the provider's list")
    was_sent_before = _note_sending(refund)
    if was_sent_before and _is_older_than_keys(refund):
        found = _find_at_provider(refund, deadline)
        if found is not None:
            return found
    answer = gateway.create_refund(
        params={
            "payment_intent": _intent_id(refund.payment),
            "amount": money.to_minor(refund.amount, refund.currency),
            "metadata": {"app": gateway.MARK, "refund": str(refund.uuid)},
        },
        idempotency_key=f"rf-{refund.uuid}-{refund.attempt}",
        deadline=deadline,
    )
    if isinstance(answer, ProviderRefund):
        if not _is_ours(refund, answer):
            log.error("refund_is_another_one", refund=str(refund.uuid))
            return Unknown(reason="the provider's refund is not the one we asked for")
        return answer
    if isinstance(answer, Refused) or answer.replayed:
        found = _find_at_provider(refund, deadline)
        if found is not None:
            return found
        if answer.replayed:
            # What is stored, a 5xx or a refusal, would be replayed for ever.
            Refund.objects.filter(pk=refund.pk, attempt=refund.attempt).update(
                attempt=F("attempt") + 1
            )
    return answer


def list_refunds(
    *, payment: Payment, deadline: Deadline
) -> list[ProviderRefund] | Refused | Unknown:
    """All refunds of the payment that the provider knows, whoever made them."""
    return gateway.list_refunds(intent_id=_intent_id(payment), deadline=deadline)


def match_refund(payment: Payment, told: ProviderRefund) -> Refund | None:
    """The row a refund at the provider belongs to, locked; None: it was made there by hand.

    Its id decides, then our own id in its metadata. One made by hand stands in for a row of the
    same amount that the provider refuses to carry out: the money is back, and must not go twice.
    Requires the payment's row lock.
    """
    rows = list(payment.refunds.select_for_update().order_by("id"))
    ours = next((row for row in rows if row.stripe_refund_id == told.id), None)
    if ours is not None:
        return ours
    open_rows = [row for row in rows if row.stripe_refund_id is None]
    named = told.metadata.get("refund")
    if named is not None:
        return next((row for row in open_rows if str(row.uuid) == named), None)
    return next(
        (row for row in open_rows if row.last_error.startswith(REFUSED) and _is_ours(row, told)),
        None,
    )


def record_refund(payment: Payment, refund: Refund, told: ProviderRefund) -> bool:
    """Write what the provider says of a refund. Requires the locks of payment and refund.

    Returns:
        Whether this changed anything.
    """
    status = {
        "succeeded": Refund.Status.SUCCEEDED,
        "failed": Refund.Status.FAILED,
        "canceled": Refund.Status.FAILED,
    }.get(told.status, Refund.Status.PENDING)
    was_back = refund.status == Refund.Status.SUCCEEDED
    if refund.status in (status, Refund.Status.FAILED):
        return False
    if was_back and status == Refund.Status.PENDING:
        return False  # an older account of it
    refund.status = status
    refund.stripe_refund_id = told.id
    refund.last_error = ""
    refund.save(update_fields=["status", "stripe_refund_id", "last_error"])
    if status == Refund.Status.SUCCEEDED:
        payment.amount_refunded += refund.amount
        payment.save(update_fields=["amount_refunded"])
        ledger.record_refund(payment, refund)
    elif was_back:  # days later the customer's bank has sent it back
        payment.amount_refunded -= refund.amount
        payment.save(update_fields=["amount_refunded"])
        ledger.record_refund_reversal(payment, refund)
    return True


def _store_intent(payment: Payment, intent_id: str) -> bool:
    """T1b: the intent's id becomes durable before any money can move (rule 3)."""
    with short_transaction():
        stored = sql.execute(
            """
            UPDATE payments SET payment_intent_id = %(intent_id)s
            WHERE id = %(id)s AND status = 'created' AND payment_intent_id IS NULL
            """,
            id=payment.pk,
            intent_id=intent_id,
        )
    if stored:
        payment.payment_intent_id = intent_id
    return bool(stored)


def _confirm(payment: Payment, deadline: Deadline) -> IntentAnswer:
    """C2. A first, direct answer is believed; anything else tells nothing: GET decides (rule 4)."""
    answer = gateway.confirm_intent(
        intent_id=_intent_id(payment),
        params=payment.confirm_params,
        idempotency_key=f"cf-{payment.uuid}-{payment.confirm_attempt}",
        deadline=deadline,
    )
    if isinstance(answer, Intent) and not answer.replayed:
        return answer
    seen = gateway.retrieve_intent(intent_id=_intent_id(payment), deadline=deadline)
    if not (isinstance(seen, Intent) and seen.status == "requires_confirmation"):
        return seen
    if isinstance(answer, Unknown):
        if answer.replayed:
            # A stored 5xx would be replayed for ever: the next try needs the next number.
            Payment.objects.filter(pk=payment.pk, confirm_attempt=payment.confirm_attempt).update(
                confirm_attempt=F("confirm_attempt") + 1
            )
        return answer
    if isinstance(answer, Refused):
        # Refused for good while nothing has happened to the intent: end it, then say why.
        ended = cancel(payment=payment, deadline=deadline)
        return replace(ended, failure=_failure_of(answer)) if isinstance(ended, Intent) else ended
    return seen


def _failure_of(refused: Refused) -> Failure:
    """A payment method that may not pay is the customer's failure; any other refusal is ours."""
    if refused.customer_is_gone:
        return Failure(code=Payment.CUSTOMER_GONE)
    return Failure(code=refused.code[:60] if refused.blames_method else Payment.PROVIDER_REFUSED)


def _as_outcome(answer: IntentAnswer) -> Told | Unknown:
    if isinstance(answer, Intent):
        return Told(intent=answer, failure=answer.failure)
    if isinstance(answer, Refused):
        return Unknown(reason=f"{REFUSED}{answer.code}")
    return answer


def _note_sending(refund: Refund) -> bool:
    """Note when the refund is first sent. Returns whether it was sent before."""
    noted = Refund.objects.filter(pk=refund.pk, first_sent_at=None).update(first_sent_at=Now())
    return not noted


def _is_older_than_keys(refund: Refund) -> bool:
    return (
        Refund.objects.filter(pk=refund.pk)
        .annotate(
            forgotten_at=ExpressionWrapper(
                F("first_sent_at") + KEYS_SURELY_REMEMBERED, output_field=DateTimeField()
            )
        )
        .filter(forgotten_at__lt=Now())
        .exists()
    )


def _find_at_provider(refund: Refund, deadline: Deadline) -> ProviderRefund | Unknown | None:
    """This refund in the provider's list; Unknown where the list could not be read."""
    listed = gateway.list_refunds(intent_id=_intent_id(refund.payment), deadline=deadline)
    if isinstance(listed, Refused):
        return Unknown(reason=f"refund list refused: {listed.code}")
    if isinstance(listed, Unknown):
        return listed
    wanted = str(refund.uuid)
    return next(
        (
            found
            for found in listed
            if found.id == refund.stripe_refund_id or found.metadata.get("refund") == wanted
        ),
        None,
    )


def _is_ours(refund: Refund, told: ProviderRefund) -> bool:
    return (
        told.payment_intent_id == refund.payment.payment_intent_id
        and told.currency == refund.currency
        and told.amount_minor == money.to_minor(refund.amount, refund.currency)
    )


def _intent_id(payment: Payment) -> str:
    if payment.payment_intent_id is None:
        raise ValueError(f"payment {payment.pk} has no intent yet")
    return payment.payment_intent_id
