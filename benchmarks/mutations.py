"""What `bin/bench mutants` breaks: a rule of the money, stock or outbox paths in each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

EVERYWHERE: Final = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """What is broken, and how: in `file`, each old text (there once) becomes its new one.

    `near`: the use case or race where the hunt begins; it goes on everywhere.
    """

    rule: str
    file: str
    edits: tuple[tuple[str, str], ...]
    near: str = "placing"


# Must survive: else whatever kills the mutants might kill anybody.
CONTROL: Final = Mutant(rule="nothing is broken", file="manage.py", edits=(), near=EVERYWHERE)
MUTANTS: Final = (
    # --- stock ----------------------------------------------------------------------------------
    Mutant(
        rule="stock is reserved whether or not it is there",
        near="R2",
        file="inventory/services.py",
        edits=(
            (" AND level.on_hand - level.allocated >= wanted.quantity", ""),
            ("level.on_hand - level.allocated AS available", "level.on_hand AS available"),
        ),
    ),
    Mutant(
        rule="a confirmed order's stock stays held",
        file="orders/services/settlement.py",
        edits=(("    stock.commit_reservation(order_id=locked.order.pk)\n", ""),),
    ),
    Mutant(
        rule="a paid order that is cancelled keeps its stock",
        near="cancelling",
        file="orders/services/settlement.py",
        edits=(
            (
                (
                    "        note=note,\n    )\n    release_coupon(locked.order)\n"
                    "    stock.release(order_id=locked.order.pk)\n    announce(locked.order)\n"
                    "    return refund\n"
                ),
                (
                    "        note=note,\n    )\n    release_coupon(locked.order)\n"
                    "    announce(locked.order)\n    return refund\n"
                ),
            ),
        ),
    ),
    Mutant(
        rule="stock is released before the intent is cancelled",
        near="sweeping an expired",
        file="orders/services/recovery.py",
        edits=(
            (
                (
                    "        if locked.payment.payment_intent_id is None and (locked.hold_is_over or "
                    "abandoned):\n"
                ),
                (
                    "        if locked.hold_is_over or abandoned:\n"
                    "            locked.payment.payment_intent_id = None\n"
                ),
            ),
        ),
    ),
    # --- locks, guards, keys --------------------------------------------------------------------
    Mutant(
        rule="nobody locks key, order and payment",
        near="R3",
        file="orders/selectors.py",
        edits=(
            (
                "WHERE id = (SELECT idempotency_key_id FROM orders WHERE id = %(order_id)s) FOR UPDATE",
                "WHERE id = (SELECT idempotency_key_id FROM orders WHERE id = %(order_id)s)",
            ),
            (
                "SELECT FROM orders WHERE id = %(order_id)s FOR UPDATE",
                "SELECT FROM orders WHERE id = %(order_id)s",
            ),
            ("DESC LIMIT 1 FOR UPDATE OF payments", "DESC LIMIT 1"),
        ),
    ),
    Mutant(
        rule="T1b stores the intent's id on any payment",
        near="cancelling in doubt",
        file="payments/services.py",
        edits=(
            (
                "WHERE id = %(id)s AND status = 'created' AND payment_intent_id IS NULL",
                "WHERE id = %(id)s",
            ),
        ),
    ),
    Mutant(
        rule="each create has a key of its own",
        near="placing",
        file="payments/services.py",
        edits=(('idempotency_key=f"pi-{payment.uuid}"', 'idempotency_key=f"pi-{new_uuid()}"'),),
    ),
    Mutant(
        rule="each try of a refund has a key of its own",
        near="refunding a part",
        file="payments/services.py",
        edits=(
            (
                'idempotency_key=f"rf-{refund.uuid}-{refund.attempt}"',
                'idempotency_key=f"rf-{new_uuid()}"',
            ),
        ),
    ),
    Mutant(
        rule="cancel carries a lasting key",
        near="confirming",
        file="payments/services.py",
        edits=(('idempotency_key=f"cx-{new_uuid()}"', 'idempotency_key=f"cx-{payment.uuid}"'),),
    ),
    Mutant(
        rule="the confirm's number never goes up",
        near="sweeping what was",
        file="payments/services.py",
        edits=(
            ('confirm_attempt=F("confirm_attempt") + 1', 'confirm_attempt=F("confirm_attempt")'),
        ),
    ),
    Mutant(
        rule="the refund's number never goes up",
        near="refunding",
        file="payments/services.py",
        edits=(
            (
                'attempt=F("attempt") + 1\n            )\n    return answer',
                'attempt=F("attempt")\n            )\n    return answer',
            ),
        ),
    ),
    Mutant(
        rule="a coupon is used without looking how often it was",
        near="R11",
        file="orders/services/placement.py",
        edits=((" AND (max_uses IS NULL OR times_used < max_uses)", ""),),
    ),
    Mutant(
        rule="a promotion's limit for each customer is forgotten",
        near="R15",
        file="orders/services/placement.py",
        edits=(("own.uses < promotion.max_uses_per_customer", "own.uses >= 0"),),
    ),
    Mutant(
        rule="a promotion that nobody asked for refuses the order once used up",
        near="R15",
        file="orders/services/placement.py",
        edits=(("        if promotion.code:\n", "        if promotion:\n"),),
    ),
    Mutant(
        rule="the use that was one too many for this customer stays taken",
        near="R15",
        file="orders/services/placement.py",
        edits=(("    if not is_left:\n", "    if False:\n"),),
    ),
    # --- what is known --------------------------------------------------------------------------
    Mutant(
        rule="a create without an answer is taken for refused",
        file="payments/services.py",
        edits=(
            (
                "return NotCreated(failure=gone) if created.replayed else created",
                "return NotCreated(failure=gone)",
            ),
        ),
    ),
    Mutant(
        rule="a failed attempt settles before its intent is cancelled",
        near="confirming",
        file="orders/services/settlement.py",
        edits=(
            (
                'elif intent.status == "canceled" and order.status == Order.Status.PENDING:',
                'elif intent.status in {"canceled", "requires_action"} and order.status == "pending":',
            ),
        ),
    ),
    Mutant(
        rule="a lost COMMIT is taken for done",
        file="config/kernel/db.py",
        edits=(
            (
                (
                    "        if at_commit:\n            connection.close()\n"
                    "            raise CommitOutcomeUnknownError from exc\n"
                ),
                "        if at_commit:\n            connection.close()\n            return\n",
            ),
        ),
    ),
    Mutant(
        rule="a lost COMMIT of T1 is told as 503",
        file="orders/services/placement.py",
        edits=(
            (
                "        except CommitOutcomeUnknownError:\n            may_exist = True\n",
                (
                    "        except CommitOutcomeUnknownError as exc:\n"
                    "            raise ServiceUnavailableError from exc\n"
                ),
            ),
        ),
    ),
    Mutant(
        rule="whoever makes an order final leaves its key open",
        file="orders/services/settlement.py",
        edits=(
            (
                (
                    "    if locked.order.status == Order.Status.PENDING or key is None "
                    "or key.response_status:\n        return\n"
                ),
                "    return\n",
            ),
        ),
    ),
    Mutant(
        rule="a takeover charges anew instead of asking",
        near="R8",
        file="payments/services.py",
        edits=(
            (
                "    if payment.payment_intent_id is None:\n        created",
                "    if payment.status == Payment.Status.CREATED:\n        created",
            ),
            ('idempotency_key=f"pi-{payment.uuid}"', 'idempotency_key=f"pi-{new_uuid()}"'),
            ("AND status = 'created' AND payment_intent_id IS NULL", "AND status = 'created'"),
        ),
    ),
    # --- money ----------------------------------------------------------------------------------
    Mutant(
        rule="a capture is not in the ledger",
        file="payments/services.py",
        edits=(("    ledger.record_capture(payment)\n", ""),),
    ),
    Mutant(
        rule="a refund is not in the ledger",
        near="refunding",
        file="payments/services.py",
        edits=(("        ledger.record_refund(payment, refund)\n", ""),),
    ),
    Mutant(
        rule="cancelling a paid order decides no refund",
        near="cancelling",
        file="orders/services/settlement.py",
        edits=(
            (
                (
                    "    refund = payments.request_refund_of_rest(\n"
                    "        locked.payment, reason=note, requested_by_id=requested_by_id, "
                    "request_key=request_key\n    )\n"
                ),
                "    refund = None\n",
            ),
        ),
    ),
    Mutant(
        rule="refunds decided are not swept",
        near="sweeping a refund",
        file="orders/selectors.py",
        edits=(
            (
                "CLAIM_ROWS.format(table=\"refunds\", open=\"'due', 'pending'\")",
                'CLAIM_ROWS.format(table="refunds", open="\'pending\'")',
            ),
        ),
    ),
    Mutant(
        rule="an expired hold is not swept",
        near="sweeping an expired",
        file="orders/services/recovery.py",
        edits=(("give_up=locked.hold_is_over or abandoned", "give_up=False"),),
    ),
    # --- what is told ---------------------------------------------------------------------------
    Mutant(
        rule="a confirmation is not told to the world",
        file="orders/services/settlement.py",
        edits=(
            (
                "    stock.commit_reservation(order_id=locked.order.pk)\n    announce(locked.order)\n",
                "    stock.commit_reservation(order_id=locked.order.pk)\n",
            ),
        ),
    ),
    Mutant(
        rule="a confirmation is told after the COMMIT",
        near="placing",
        file="orders/services/settlement.py",
        edits=(
            (
                "    stock.commit_reservation(order_id=locked.order.pk)\n    announce(locked.order)\n",
                (
                    "    stock.commit_reservation(order_id=locked.order.pk)\n"
                    "    from django.db import transaction\n"
                    "    transaction.on_commit(lambda: announce(locked.order))\n"
                ),
            ),
        ),
    ),
    Mutant(
        rule="a letter is marked as sent before it is",
        near="relaying",
        file="audit/outbox/pump.py",
        edits=(
            (
                "        note = _tell(unit)\n",
                (
                    '        early = {one.id: "" for one in unit.leased}\n'
                    "        deliveries.mark_delivered(early, subscribers=[])\n"
                    "        note = _tell(unit)\n"
                ),
            ),
        ),
    ),
    Mutant(
        rule="a move is not audited",
        file="orders/services/settlement.py",
        edits=(
            (
                "    audit.record(\n        event_type,\n",
                "    dict(event_type=event_type) or audit.record(\n        event_type,\n",
            ),
        ),
    ),
    Mutant(
        rule="a webhook that comes twice is not recognised",
        near="R4",
        file="payments/events.py",
        edits=(("        ignore_conflicts=True,\n", ""),),
    ),
    Mutant(
        rule="the promotion of a dead order stays used",
        file="orders/services/settlement.py",
        edits=(("    sql.later(RELEASE_COUPON, order_id=order.pk)\n", "    pass\n"),),
    ),
)
