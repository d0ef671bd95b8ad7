"""The buttons of refunds that wait for a second person, and of strangers' charges."""

from __future__ import annotations

from typing import Any

from django import forms

from audit.staff_actions import Done, Said, StaffAction, StaffForm
from config.kernel import money
from orders.models import RefundProposal
from orders.services import refund_approval
from orders.services.refund_approval import Outcome
from orders.staff_actions.outcomes import told_of
from payments.models import ReconciliationCase


class TurnDownForm(StaffForm):
    reason = forms.CharField(max_length=200, label="Why not: for whoever proposed it")


class ProposalAction(StaffAction):
    """What is decided about a colleague's proposal, or taken back of one's own."""

    def is_offered(self, row: RefundProposal) -> bool:
        return row.status == RefundProposal.Status.WAITING

    def state(self, row: RefundProposal) -> dict[str, Any]:
        return {
            "status": row.status,
            "amount": money.format_amount(row.amount, row.currency),
            "currency": row.currency,
            "ends_order": row.ends_order,
        }


class ApproveRefund(ProposalAction):
    name = "approve"
    label = "Approve and give back"
    permission = "orders.approve_refund"
    icon = "done_all"
    description = (
        "Gives back exactly this amount. A colleague proposed it; your word is the second."
    )
    is_dangerous = True
    template = "staff/approval.html"

    def run(self, row: RefundProposal, said: Said) -> Done:
        outcome = refund_approval.approve(
            proposal_id=row.pk, user_id=said.user_id, deadline=said.deadline
        )
        if outcome == Outcome.DONE:
            return Done(text="Approved: the money is back, or with the bank.")
        return Done(text="Approved: the money is on its way.", is_open=True)


class RefuseRefund(ProposalAction):
    name = "refuse"
    label = "Refuse…"
    permission = "orders.approve_refund"
    icon = "block"
    description = "Nothing is given back."
    form = TurnDownForm

    def run(self, row: RefundProposal, said: Said) -> Done:
        refund_approval.refuse(
            proposal_id=row.pk, user_id=said.user_id, reason=said.values["reason"]
        )
        return Done(text="Refused.")


class WithdrawRefund(ProposalAction):
    name = "withdraw"
    label = "Withdraw"
    permission = "orders.refund_order"
    icon = "undo"
    description = "For whoever proposed it: nothing is given back."

    def run(self, row: RefundProposal, said: Said) -> Done:
        refund_approval.withdraw(proposal_id=row.pk, user_id=said.user_id)
        return Done(text="Withdrawn.")


PROPOSAL_ACTIONS = (ApproveRefund(), RefuseRefund(), WithdrawRefund())


class GiveBackCharge(StaffAction):
    name = "give_back"
    label = "Give this money back…"
    permission = "payments.give_back"
    icon = "undo"
    description = "A paid charge that no order of ours has goes back; then the case is closed."
    is_dangerous = True

    def is_offered(self, row: ReconciliationCase) -> bool:
        kinds = ReconciliationCase.Classification
        return row.resolved_at is None and row.classification == kinds.CHARGE_WITHOUT_ORDER

    def state(self, row: ReconciliationCase) -> dict[str, Any]:
        return {"subject": row.subject, "is_resolved": row.resolved_at is not None}

    def run(self, row: ReconciliationCase, said: Said) -> Done:
        outcome = refund_approval.give_back_charge(
            case_id=row.pk, user_id=said.user_id, deadline=said.deadline
        )
        return told_of(
            outcome,
            done="Given back.",
            open_still="Not back yet: on its way, or not known; try again.",
        )


CASE_ACTIONS = (GiveBackCharge(),)
