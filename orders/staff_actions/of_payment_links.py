"""The buttons of a phone order's payment link."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from audit.staff_actions import Done, Said, StaffAction
from orders.services import payment_links

if TYPE_CHECKING:
    from orders.models import PaymentLink


class LinkAction(StaffAction):
    """What is done to the link of a phone order."""

    permission = "orders.place_order"

    def is_offered(self, row: PaymentLink) -> bool:
        return payment_links.why_over(row) is None

    def state(self, row: PaymentLink) -> dict[str, Any]:
        return {"over": payment_links.why_over(row)}


class SendLink(LinkAction):
    name = "send"
    label = "Send it by e-mail"
    icon = "send"
    description = "Sends the link to the customer, once more if it was sent before."

    def run(self, row: PaymentLink, said: Said) -> Done:
        payment_links.send_link(link_id=row.pk, request_key=said.request_key)
        return Done(text="It is sent within seconds.")


class WithdrawLink(LinkAction):
    name = "withdraw"
    label = "Withdraw…"
    icon = "link_off"
    description = "Nobody can use the link any more."
    is_dangerous = True

    def run(self, row: PaymentLink, said: Said) -> Done:  # noqa: ARG002 - nothing is asked for
        payment_links.withdraw_link(link_id=row.pk)
        return Done(text="Withdrawn.")


LINK_ACTIONS = (SendLink(), WithdrawLink())
