"""Buys shipping labels: each once, whatever dies in the middle, and what it cost is kept.

One transaction notes that a label is wanted, then the provider is asked, one transaction notes what
came of it. Where that is not known, whoever goes on looks before anything is bought.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.db.models.functions import Now

from audit import services as audit
from audit.outbox import DeliveryFailedError, RejectedError
from config.kernel import money, sql
from config.kernel.db import short_transaction
from config.kernel.errors import (
    InvalidTransitionError,
    NotFoundError,
    RequestKeyReusedError,
    ValidationFailedError,
)
from integrations.fulfilment import label_providers
from integrations.fulfilment.errors import LabelBusyError, LabelRefusedError, LabelsOffError
from integrations.fulfilment.label_providers import Asked
from integrations.fulfilment.models import ShippingLabel
from integrations.fulfilment.order_feed import ADDRESS_FIELDS
from integrations.rest import CALL_SECONDS
from orders import selectors
from orders.services import shipping
from orders.services.shipping import Parcel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from audit.models import OutboxMessage
    from config.kernel.clock import Deadline
    from integrations.fulfilment.label_providers import Bought, LabelProvider
    from orders.models import OrderItem, Shipment
    from orders.selectors import LockedOrder

LEASE: Final = timedelta(seconds=30)
"""Longer than a press may take; whoever died gives the label back after this."""
LEFT_ALONE: Final = timedelta(minutes=1)  # until then somebody may still be at it
LOOKED_UP_AT_ONCE: Final = 20
HEAVIEST_GRAMS: Final = 70_000  # what the common carriers take as a parcel
LONGEST_MM: Final = 3_000

Status = ShippingLabel.Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """The parcel, as staff describes it.

    `units`: how many of which SKU. `service`: a carrier's name for it; empty for the cheapest.
    `size_mm`: length, width and height, or nothing.
    """

    units: Mapping[str, int]
    weight_grams: int
    service: str = ""
    size_mm: tuple[int, ...] = ()


def buy_label(
    *,
    order_id: int,
    wish: Wish,
    request_key: str,
    deadline: Deadline,
    user_id: int | None = None,
) -> ShippingLabel:
    """Buy a label for a parcel of a paid order. Opens its own transactions.

    Args:
        request_key: the same key again is the same label, bought once.
        deadline: for the calls to the provider.

    Returns:
        The label: bought, or asked for where the provider's word is missing.

    Raises:
        LabelsOffError: nobody sells labels to this shop.
        InvalidTransitionError: the order may not be sent, or goes abroad.
        ValidationFailedError: units that are not left, or have a label already; a parcel that is
            none.
        LabelRefusedError: the provider refuses it; nothing was bought.
        LabelBusyError: it is being bought at this moment.
        RequestKeyReusedError: the key stands for another label.
        CommitOutcomeUnknownError: the COMMIT was lost; repeat it with the same key.
    """
    provider = label_providers.configured()
    if provider is None:
        raise LabelsOffError
    _check(wish)
    with short_transaction():
        locked = selectors.lock_order(order_id=order_id)
        known = ShippingLabel.objects.filter(request_key=request_key).first()
        label = known or _ask(locked, wish, provider, request_key=request_key, user_id=user_id)
    if known is not None and not _is_same(known, order_id, wish):
        raise RequestKeyReusedError
    if label.status == Status.FAILED:
        raise LabelRefusedError(label.last_error)
    if label.status != Status.ASKED:
        return label
    return _settle(label, deadline, is_new=known is None)


def ask_again(*, label_id: int, deadline: Deadline) -> ShippingLabel:
    """Find out what came of a label; if nothing did, buy it. Opens its own transactions.

    Raises:
        NotFoundError: there is no such label.
        InvalidTransitionError: its end is known.
        LabelRefusedError, LabelBusyError: as `buy_label`.
    """
    label = _get(label_id)
    if label.status != Status.ASKED:
        raise InvalidTransitionError("What came of it is known already.")
    return _settle(label, deadline, is_new=False)


def discard(*, label_id: int) -> ShippingLabel:
    """It will not be used: its units can have another one. The carrier is told nothing.

    Opens its own transaction; repeating changes nothing.

    Raises:
        NotFoundError: there is no such label.
        InvalidTransitionError: a parcel has left with it, or it was refused.
    """
    order_id = _get(label_id).order_id
    with short_transaction():
        locked = selectors.lock_order(order_id=order_id)  # as whoever sends with it does
        label = ShippingLabel.objects.get(pk=label_id)
        if label.status == Status.DISCARDED:
            return label
        has_left = locked.order.shipments.filter(request_key=_key_of_parcel(label)).exists()
        if has_left or label.status not in ShippingLabel.ALIVE:
            raise InvalidTransitionError("A parcel has left with it, or it was never bought.")
        label.status = Status.DISCARDED
        label.save(update_fields=["status"])
        _record("LABEL_DISCARDED", label)
        return label


def send_with(*, label_id: int, user_id: int | None = None) -> Shipment:
    """The parcel leaves with its label. Repeating it is harmless.

    Raises:
        NotFoundError: there is no such label.
        InvalidTransitionError: it was not bought, or the order may not be sent.
        ValidationFailedError: its units are not all left any more.
        CommitOutcomeUnknownError: the COMMIT was lost; repeating is harmless.
    """
    label = _get(label_id)
    if label.status != Status.BOUGHT:
        raise InvalidTransitionError("Only what was bought can be used.")
    shipment = shipping.ship_order(
        order_id=label.order_id,
        parcel=Parcel(
            carrier=label.carrier,
            tracking_number=label.tracking_number,
            tracking_url=label.tracking_url,
            units=label.units,
            request_key=_key_of_parcel(label),
        ),
        user_id=user_id,
    )
    # One that was discarded at this very moment stays so: its parcel is on record all the same.
    unused = ShippingLabel.objects.filter(pk=label.pk, shipment=None, status=Status.BOUGHT)
    unused.update(shipment=shipment)
    return shipment


def look_up_open(*, deadline: Deadline) -> int:
    """See what became of labels that nobody has found out about; buys nothing.

    Opens its own transactions; any number may run at once.

    Returns:
        How many turned out to be bought.
    """
    found = 0
    waiting = ShippingLabel.objects.filter(
        status=Status.ASKED, created_at__lt=Now() - LEFT_ALONE
    ).exclude(provider_id="")
    for label in waiting.order_by("leased_until", "pk")[:LOOKED_UP_AT_ONCE]:
        if deadline.remaining() <= CALL_SECONDS:
            break
        if _lease(label):
            found += _look_up(label, deadline)
    return found


def forget_address(message: OutboxMessage) -> str | None:
    """The buyer of an order was erased: where its labels show the address is forgotten.

    A subscriber; any repetition is harmless.
    """
    linked = ShippingLabel.objects.filter(order_id=message.aggregate_id).exclude(label_url="")
    return None if linked.update(label_url="", tracking_url="") else "it has no label"


def _key_of_parcel(label: ShippingLabel) -> str:
    return f"label-{label.uuid}"


# --- asking -----------------------------------------------------------------------------------


def _check(wish: Wish) -> None:
    problems = {}
    if not 1 <= wish.weight_grams <= HEAVIEST_GRAMS:
        problems["weight_grams"] = [f"Between 1 and {HEAVIEST_GRAMS} grams."]
    if wish.size_mm and not (
        len(wish.size_mm) == 3 and all(1 <= mm <= LONGEST_MM for mm in wish.size_mm)  # noqa: PLR2004 - length, width, height
    ):
        problems["size_mm"] = [f"Length, width and height, each up to {LONGEST_MM} mm; or none."]
    if problems:
        raise ValidationFailedError(details=problems)


def _ask(
    locked: LockedOrder,
    wish: Wish,
    provider: ShippingLabel.Provider,
    *,
    request_key: str,
    user_id: int | None,
) -> ShippingLabel:
    """Note that a label is wanted, before anybody is asked for it. Requires the locks."""
    order = locked.order
    shipping.check_shippable(locked)
    if order.shipping_address.get("country") != settings.SHOP_COUNTRY:
        raise InvalidTransitionError(
            "A parcel abroad needs customs papers: buy its label from the carrier, and note it by"
            " “Ship…”."
        )
    _check_units(selectors.list_items(order_id=order.pk), wish, order_id=order.pk)
    sizes = dict(zip(("length_mm", "width_mm", "height_mm"), wish.size_mm, strict=False))
    label = ShippingLabel.objects.create(
        order=order,
        request_key=request_key,
        provider=provider,
        units=dict(wish.units),
        wanted_service=wish.service,
        weight_grams=wish.weight_grams,
        created_by_id=user_id,
        **sizes,
    )
    _record("LABEL_ASKED", label)
    return label


def _check_units(items: list[OrderItem], wish: Wish, *, order_id: int) -> None:
    """Units without a label: what is left to ship less what the labels at hand are for."""
    left = shipping.left_to_ship(items)
    labelled: Counter[str] = Counter()
    alive = ShippingLabel.objects.filter(
        order_id=order_id, status__in=ShippingLabel.ALIVE, shipment=None
    )
    for units in alive.values_list("units", flat=True):
        labelled.update(units)
    free = {item.product_sku: left[item.pk] - labelled[item.product_sku] for item in items}
    problems = {}
    for sku, quantity in wish.units.items():
        most = max(0, free.get(sku, 0))
        if not 1 <= quantity <= most:
            problems[sku] = [
                f"{most} units are left that have no label: send or discard the others first."
            ]
    if problems or not wish.units:
        raise ValidationFailedError(details={"units": problems or ["The parcel is empty."]})


def _is_same(label: ShippingLabel, order_id: int, wish: Wish) -> bool:
    sizes = [mm for mm in (label.length_mm, label.width_mm, label.height_mm) if mm is not None]
    kept = (label.order_id, label.units, label.weight_grams, label.wanted_service, sizes)
    return kept == (order_id, {**wish.units}, wish.weight_grams, wish.service, [*wish.size_mm])


# --- finding out ------------------------------------------------------------------------------


def _settle(label: ShippingLabel, deadline: Deadline, *, is_new: bool) -> ShippingLabel:
    """Ask the provider, one at a time; no transaction is open meanwhile."""
    if not _lease(label):
        raise LabelBusyError
    provider = label_providers.provider(label.provider)
    try:
        bought = _buy(provider, label, deadline, is_new=is_new)
    except RejectedError as exc:
        return _judge_refusal(provider, label, deadline, problem=str(exc))
    except DeliveryFailedError as exc:
        return _note_unknown(label, str(exc))
    return _keep(label, bought)


def _buy(
    provider: LabelProvider, label: ShippingLabel, deadline: Deadline, *, is_new: bool
) -> Bought:
    asked = _asked(label)
    if not label.provider_id:
        _remember(label, provider.prepare(asked, deadline))
    found = None if is_new else provider.find(label.provider_id, deadline)
    return found or provider.buy(label.provider_id, asked, deadline)


def _look_up(label: ShippingLabel, deadline: Deadline) -> bool:
    try:
        bought = label_providers.provider(label.provider).find(label.provider_id, deadline)
    except DeliveryFailedError as exc:
        _note_unknown(label, str(exc))
        return False
    if bought is None:
        _note_unknown(label, label.last_error or "Nothing was bought yet.")
        return False
    _keep(label, bought)
    return True


def _judge_refusal(
    provider: LabelProvider, label: ShippingLabel, deadline: Deadline, *, problem: str
) -> ShippingLabel:
    """A refusal may be that of a second purchase: what there is decides."""
    try:
        found = provider.find(label.provider_id, deadline) if label.provider_id else None
    except RejectedError:
        found = None
    except DeliveryFailedError:
        return _note_unknown(label, problem)
    if found is not None:
        return _keep(label, found)
    with short_transaction():
        fresh = _locked(label)
        if fresh.status == Status.ASKED:
            fresh.status = Status.FAILED
            fresh.last_error = problem[:500]
            fresh.leased_until = None
            fresh.save(update_fields=["status", "last_error", "leased_until"])
            _record("LABEL_REFUSED", fresh, problem=fresh.last_error)
    raise LabelRefusedError(f"{problem}. Nothing was bought.")


def _lease(label: ShippingLabel) -> bool:
    """Take the label for a while; whether nobody else has it."""
    leased = sql.execute(
        """
        UPDATE shipping_labels SET leased_until = statement_timestamp() + %(lease)s
        WHERE id = %(id)s AND status = 'asked'
          AND (leased_until IS NULL OR leased_until < statement_timestamp())
        """,
        id=label.pk,
        lease=LEASE,
    )
    if leased:
        label.refresh_from_db()
    return bool(leased)


def _remember(label: ShippingLabel, provider_id: str) -> None:
    """Before anything is bought under it; the first one stays."""
    ShippingLabel.objects.filter(pk=label.pk, provider_id="").update(provider_id=provider_id)
    label.refresh_from_db()


def _note_unknown(label: ShippingLabel, problem: str) -> ShippingLabel:
    ShippingLabel.objects.filter(pk=label.pk, status=Status.ASKED).update(
        last_error=problem[:500], leased_until=None
    )
    return _get(label.pk)


def _keep(label: ShippingLabel, bought: Bought) -> ShippingLabel:
    with short_transaction():
        fresh = _locked(label)
        if fresh.status != Status.ASKED:
            return fresh
        is_erased = fresh.order.erased_at is not None
        ShippingLabel.objects.filter(pk=fresh.pk).update(
            status=Status.BOUGHT,
            carrier=bought.carrier,
            service=bought.service,
            tracking_number="".join(bought.tracking_number.split()),
            tracking_url="" if is_erased else bought.tracking_url,
            amount=bought.amount,
            currency=bought.currency,
            label_url="" if is_erased else bought.label_url,
            bought_at=Now(),
            last_error="",
            leased_until=None,
        )
        fresh.refresh_from_db()
        _record(
            "LABEL_BOUGHT",
            fresh,
            carrier=fresh.carrier,
            service=fresh.service,
            amount=money.format_amount(bought.amount, bought.currency),
            currency=fresh.currency,
        )
        return fresh


def _asked(label: ShippingLabel) -> Asked:
    """What the provider is told; the address is looked up, and kept nowhere else."""
    address = label.order.shipping_address
    sizes = (label.length_mm, label.width_mm, label.height_mm)
    return Asked(
        key=str(label.uuid),
        order_number=label.order.order_number,
        address={name: address.get(name) or "" for name in ADDRESS_FIELDS},
        units=label.units,
        service=label.wanted_service,
        weight_grams=label.weight_grams,
        size_mm=[mm for mm in sizes if mm is not None],
    )


def _get(label_id: int) -> ShippingLabel:
    found = ShippingLabel.objects.select_related("order").filter(pk=label_id).first()
    if found is None:
        raise NotFoundError
    return found


def _locked(label: ShippingLabel) -> ShippingLabel:
    return (
        ShippingLabel.objects.select_for_update(of=("self",))
        .select_related("order")
        .get(pk=label.pk)
    )


def _record(event_type: str, label: ShippingLabel, **more: str) -> None:
    audit.record(
        event_type,
        entity_type="order",
        entity_id=label.order_id,
        data={"label": label.pk, "provider": label.provider, "units": label.units, **more},
    )
