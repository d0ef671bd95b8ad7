"""Gives the CRM everything anew: for a new one, or one that was restored or lost something."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.db.models import Max, Q
from django.utils import timezone

from audit.outbox import DeliveryFailedError, ReceiverAwayError
from config.kernel.clock import Deadline
from config.kernel.models import new_uuid
from integrations.crm import adapter, deliver, records
from integrations.crm.records import Contact, Occasion, OrderRecord
from orders.models import Order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from django.db.models import QuerySet

    from integrations.crm.adapter import Crm

    Keep = Callable[..., str | None]
    Show = Callable[[str, int, int | None], None]

CUSTOMERS: Final = "customers"
ORDERS: Final = "orders"
IDS_AT_ONCE: Final = 500
TRIES: Final = 5
LONGEST_PAUSE_SECONDS: Final = 30.0
BATCH_SECONDS: Final = 40.0
"""For all calls of one batch; nobody waits for it but the re-sync itself."""
MOST_SHOWN: Final = 1_000
"""So many refusals are told; a mistake in the configuration may have everything refused."""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """How far a re-sync has come: all customers up to a number, or those and orders likewise."""

    step: str
    number: int

    def __str__(self) -> str:
        return f"{self.step}:{self.number}"


BEGINNING: Final = Place(CUSTOMERS, 0)


@dataclass(slots=True, kw_only=True)
class Resync:
    """What came of it. `problem`: why it ended before the last, with all up to `done` dealt with.

    `refused`: which records and why, the first thousand of `failed`.
    """

    done: Place
    customers: int = 0
    orders: int = 0
    failed: int = 0
    refused: list[str] = field(default_factory=list)
    problem: str = ""

    def refuse(self, problem: str) -> None:
        """Note that a record was, or could not be told."""
        self.failed += 1
        if len(self.refused) < MOST_SHOWN:
            self.refused.append(problem)


def resync(
    *,
    since: datetime | None = None,
    after: Place = BEGINNING,
    progress: Show = lambda _step, _done, _last: None,
    pause: Callable[[float], None] = time.sleep,
) -> Resync:
    """Tell of customers, then of orders, oldest first, as they are now.

    No faster than `CRM_PER_SECOND`, in batches where the CRM takes them: a batch counts as one.
    Runs beside the deliveries, and may be repeated at any time. One record that is refused holds up
    no other. A CRM that is away is asked a few times more; then it ends, to be gone on with by
    `after`. Opens no transaction and must not be called inside one.

    Args:
        since: those alone that have changed since then.
        after: go on behind this place.
        progress: told the step, the last number done and the highest there is.
        pause: waits so many seconds.
    """
    outcome = Resync(done=after)
    run = _Run(outcome=outcome, pause=pause)
    try:
        if after.step == CUSTOMERS:
            for place, last, ids in _in_turn(CUSTOMERS, _customers(since), after.number):
                outcome.customers += run.customers(ids)
                outcome.done = place
                progress(CUSTOMERS, place.number, last)
            outcome.done = Place(ORDERS, 0)
        for place, last, ids in _in_turn(ORDERS, _orders(since), outcome.done.number):
            outcome.orders += run.orders(ids)
            outcome.done = place
            progress(ORDERS, place.number, last)
    except ReceiverAwayError as exc:
        outcome.problem = str(exc)
    except KeyboardInterrupt:  # whoever has seen enough is told where to go on
        outcome.problem = "interrupted"
    return outcome


def _customers(since: datetime | None) -> QuerySet[Any]:
    customers = deliver.worth_a_contact()
    return customers if since is None else customers.filter(updated_at__gte=since)


def _orders(since: datetime | None) -> QuerySet[Any]:
    """Paid ones. A second refund of a part changes the payment alone."""
    orders = Order.objects.filter(payments__status="succeeded")  # of which an order has one at most
    if since is None:
        return orders
    return orders.filter(Q(updated_at__gte=since) | Q(payments__updated_at__gte=since))


def _in_turn(
    step: str, rows: QuerySet[Any], after: int
) -> Iterator[tuple[Place, int, Sequence[int]]]:
    """A batch at a time, and the place that is reached once it is done."""
    last = rows.aggregate(last=Max("pk"))["last"] or 0
    size = _crm().batch
    while ids := [
        *rows.filter(pk__gt=after).order_by("pk").values_list("pk", flat=True)[:IDS_AT_ONCE]
    ]:
        for begin in range(0, len(ids), size):
            batch = ids[begin : begin + size]
            yield Place(step, batch[-1]), last, batch
        after = ids[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """One batch after the other, at the pace that is set."""

    outcome: Resync
    pause: Callable[[float], None]

    def customers(self, ids: Sequence[int]) -> int:
        together = [each for each in records.find_contacts(ids) if not each.is_erased]
        told = self._together(
            together, lambda crm: crm.keep_contacts, lambda: records.find_contacts(ids)
        )
        done = {each.customer_id for each in together if each in told}
        return len(done) + self._one_by_one(ids, done, "customer", deliver.keep_customer)

    def orders(self, ids: Sequence[int]) -> int:
        together = [each for each in records.find_orders(ids) if _is_plain(each)]
        told = self._together(
            together, lambda crm: crm.keep_orders, lambda: records.find_orders(ids)
        )
        done = {each.order_id for each in together if each in told}
        return len(done) + self._one_by_one(ids, done, "order", deliver.keep_order)

    def _together(
        self,
        wanted: Sequence[Any],
        keep: Callable[[Crm], Callable[[Sequence[Any], Occasion], None]],
        find: Callable[[], Sequence[Any]],
    ) -> Sequence[Any]:
        """Tell a batch; returns those that were told and have not changed meanwhile.

        What the CRM does not take together is told one by one: it is then seen which it was.
        """
        if len(wanted) < 2:  # noqa: PLR2004 - one is no batch
            return []
        try:
            self._patiently(
                lambda: keep(_crm(seconds=BATCH_SECONDS))(wanted, _occasion("batch.synced"))
            )
        except ReceiverAwayError:
            raise
        except DeliveryFailedError:
            return []
        present = find()
        return [each for each in wanted if each in present]

    def _one_by_one(self, ids: Sequence[int], done: set[Any], what: str, keep: Keep) -> int:
        told = 0
        for record_id in ids:
            if record_id in done:
                continue
            occasion = _occasion(f"{what}.synced")
            try:
                note = self._patiently(
                    lambda record_id=record_id, occasion=occasion: keep(  # type: ignore[misc]
                        record_id, occasion, deadline=Deadline(deliver.HAND_OVER_SECONDS)
                    )
                )
            except ReceiverAwayError:
                raise
            except DeliveryFailedError as exc:
                self.outcome.refuse(str(exc))
            else:
                told += note is None
        return told

    def _patiently(self, tell: Callable[[], Any]) -> Any:
        """Tell, at the pace that is set; a CRM that is away is given time to come back."""
        for number in range(1, TRIES):
            began = time.monotonic()
            try:
                return tell()
            except ReceiverAwayError as exc:
                self.pause(min(exc.retry_after or 2.0**number, LONGEST_PAUSE_SECONDS))
            finally:
                self.pause(max(0.0, began + 1 / settings.CRM_PER_SECOND - time.monotonic()))
        return tell()


def _is_plain(order: OrderRecord) -> bool:
    """Whether it can be told with others: nobody is to be forgotten, and no guest to be found."""
    buyer: Contact | None = order.buyer
    return not order.is_erased and (
        buyer is None or (buyer.customer_id is not None and not buyer.is_erased)
    )


def _occasion(fact: str) -> Occasion:
    return Occasion(key=new_uuid(), fact=fact, occurred_at=timezone.now())


def _crm(*, seconds: float = deliver.HAND_OVER_SECONDS) -> Crm:
    return adapter.chosen(deadline=Deadline(seconds))
