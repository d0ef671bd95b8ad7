"""`refund_order`: gives money back, all of it or a part."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from django.core.management.base import CommandError

from config.kernel import money
from config.kernel.clock import Deadline
from config.kernel.commands import NOT_DONE, ServiceCommand, bad_argument
from config.kernel.db import CommitOutcomeUnknownError
from config.kernel.errors import DomainError
from orders.models import Order
from orders.services.refunds import RefundWish, decide_refund, finish_refund
from orders.units import parse_units
from payments.models import Refund
from payments.services import not_given_back

if TYPE_CHECKING:
    from argparse import ArgumentParser

CALL_SECONDS: Final = 30.0


class Command(ServiceCommand):
    help = (
        "Give back what an order paid: all that is left, an --amount, or --line by line. The whole "
        "refund of an order that has not been shipped cancels it. Give a --key where the command "
        "might be repeated: the same key is the same refund. Without one, a refund of the same "
        "amount that is still on its way is finished instead of adding another. Exit code: 0 the "
        "money is back or with the bank, 1 it is not yet (the sweeper goes on)."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("order_number", help="as customers read it in their letters")
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--amount", help="in the order's currency, such as 12.50")
        what.add_argument(
            "--line",
            action="append",
            default=[],
            metavar="SKU=QUANTITY",
            help="so many units of a line; may be repeated",
        )
        parser.add_argument("--reason", default="refunded by staff", help="kept on the refund")
        parser.add_argument("--key", help="up to 255 characters; the same key is the same refund")

    def handle(self, *_: Any, **options: Any) -> None:
        order = Order.objects.filter(order_number=options["order_number"].upper()).first()
        if order is None:
            raise CommandError(f"there is no order {options['order_number']}")
        wish = _wish(order, options)
        try:
            refund = _under_way(order, wish) or decide_refund(order_id=order.pk, wish=wish)
            finish_refund(refund_id=refund.pk, deadline=Deadline(CALL_SECONDS))
        except DomainError as exc:
            told = json.dumps(exc.details) if exc.details else ""
            raise CommandError(f"{exc.message} {told}".rstrip()) from exc
        except CommitOutcomeUnknownError as exc:
            problem = "the database went away; repeat it with the same --key"
            raise CommandError(problem, returncode=NOT_DONE) from exc
        refund.refresh_from_db()
        self.tell(options, order, refund)

    def tell(self, options: dict[str, Any], order: Order, refund: Refund) -> None:
        """One line, or JSON."""
        order.refresh_from_db()
        found = {
            "order_number": order.order_number,
            "refund": str(refund.uuid),
            "amount": money.format_amount(refund.amount, refund.currency),
            "currency": refund.currency,
            "status": refund.status,
            "order_status": order.status,
            "last_error": refund.last_error,
        }
        line = (
            f"{found['order_number']}: {found['amount']} {found['currency']} {found['status']},"
            f" the order is {found['order_status']}"
        )
        self.answer(
            options,
            found,
            f"{line}: {refund.last_error}" if refund.last_error else line,
            all_is_well=refund.status in {Refund.Status.SUCCEEDED, Refund.Status.PENDING},
        )


def _wish(order: Order, options: dict[str, Any]) -> RefundWish:
    try:
        amount = options["amount"] and money.parse_amount(options["amount"], order.currency)
    except money.InvalidAmountError as exc:
        raise bad_argument(f"--amount: {exc}") from exc
    key = options["key"]
    if key is not None and not 1 <= len(key) <= 255:  # noqa: PLR2004 - the column's length
        raise bad_argument("--key: 1 to 255 characters")
    return RefundWish(
        reason=options["reason"],
        amount=amount,
        units=_units(options["line"]) or None,
        request_key=key,
    )


def _units(lines: list[str]) -> dict[str, int]:
    try:
        return parse_units(lines)
    except ValueError as exc:
        raise bad_argument(f"--line: {exc}") from exc


def _under_way(order: Order, wish: RefundWish) -> Refund | None:
    """A refund of the same amount that is not done: an interrupted run is taken up again."""
    if wish.request_key is not None or wish.units:
        return None
    open_ones = Refund.objects.filter(
        payment__order=order, status__in=[Refund.Status.DUE, Refund.Status.PENDING]
    ).select_related("payment")
    if wish.amount is not None:
        return open_ones.filter(amount=wish.amount).order_by("id").first()
    last = open_ones.order_by("id").last()
    return last if last is not None and not not_given_back(last.payment) else None
