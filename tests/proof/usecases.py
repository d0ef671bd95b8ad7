"""What is put under the knife: each use case brings an order to its beginning, then does its work.

A use case is tried with every story that it can meet. Those that have nothing to do in it (a
refund of what was never paid) are not among its stories; docs/correctness.md lists them.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from django.utils import timezone

from audit import outbox
from config.kernel.clock import Deadline
from config.kernel.db import CommitOutcomeUnknownError
from orders.models import Order, Return
from orders.services import recovery
from orders.services.refunds import RefundWish, decide_refund, finish_refund
from orders.services.returns import accept_return, receive_return, refund_return, request_return
from orders.services.shipping import (
    Parcel,
    begin_processing,
    note_arrival,
    note_transit,
    ship_order,
)
from tests import webhooks
from tests.proof import stories
from tests.proof.actors import DiedError
from tests.proof.edges import Edge, Kind, watched
from tests.proof.stories import Story, gone_wrong
from tests.proof.world import CLAIM, HOLD, LEASE, TICK, hear_webhook, require

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.proof.world import Scene


@dataclass(frozen=True, slots=True, kw_only=True)
class UseCase:
    """`prepare` runs undisturbed, `act` under the knife, `again` is a client that does not give up.

    `ends`: what the order must come to if the client does not give up; None: what the provider's
    word makes of it. `is_news_from_the_provider`: nobody here can know but by its events.
    """

    name: str
    stories: Sequence[Story]
    prepare: Callable[[Scene], None]
    act: Callable[[Scene], None]
    again: Callable[[Scene], None]
    ends: Callable[[Scene], str | None] = lambda scene: scene.story.ends
    is_news_from_the_provider: bool = False
    is_placing: bool = False


# --- placing ----------------------------------------------------------------------------------


def _nothing(_scene: Scene) -> None:
    """It begins with nothing."""


def _arm(scene: Scene) -> None:
    scene.story.arm(scene.world.provider)


def _place(scene: Scene) -> None:
    scene.place()


def _place_again(scene: Scene) -> None:
    """Until there is an order; then its shopper does what the story tells."""
    scene.place_until_answered()
    scene.shopper_acts()
    if scene.story.then:
        _somebody_tells(scene)


def _somebody_tells(scene: Scene) -> None:
    """That the shopper is done: the client, the provider, or nobody, and the sweeper finds it."""
    teller = scene.number % 3
    if teller == 0:
        scene.post("confirm")
    elif teller == 1:
        for intent in scene.intents():
            hear_webhook(webhooks.event(EVENT_OF[intent["status"]], intent))


NEVER_MADE: Final = {
    "500, applied and replayed": "cancelled",
    "500, not applied and replayed": "cancelled",
}
PLACING = UseCase(
    name="placing",
    stories=[
        *stories.PLAIN,
        *gone_wrong(stories.PAID, stories.CREATE, ends=NEVER_MADE),
        *gone_wrong(stories.PAID, stories.CREATE, wrong=stories.MORE_WRONG),
        *gone_wrong(stories.PAID, stories.CONFIRM),
        *gone_wrong(stories.PAID, stories.CONFIRM, wrong=stories.MORE_WRONG),
        *gone_wrong(stories.DECLINED, stories.CANCEL),
    ],
    prepare=_arm,
    act=_place,
    again=_place_again,
    is_placing=True,
)


def _fill_cart(scene: Scene) -> None:
    """The same goods, in a cart."""
    items = [{"sku": scene.sku, "quantity": 1 if scene.sku != scene.world.sku else 2}]
    cart = scene.shopper.post("/carts", {"items": items}).json()
    scene.changes = {**scene.changes, "items": None, "cart_id": cart["id"]}
    _arm(scene)


PLACING_CART = UseCase(
    name="placing what is in a cart",
    stories=[stories.PAID, stories.DECLINED, stories.SECURE_DONE],
    prepare=_fill_cart,
    act=_place,
    again=_place_again,
    is_placing=True,
)


# --- confirming -------------------------------------------------------------------------------


def _placed_and_done(scene: Scene) -> None:
    """The order waits; its shopper or bank has acted, and nobody here knows."""
    scene.place()
    scene.shopper_acts()
    _arm(scene)


def _confirm(scene: Scene) -> None:
    scene.post("confirm")


ASKED_ABOUT: Final = (  # whoever asks, the client by /confirm or a webhook
    stories.PAID,
    stories.DECLINED,
    stories.SECURE_DONE,
    stories.SECURE_FAILED,
    stories.SECURE_ABANDONED,
    stories.DEBIT_PAID,
    stories.DEBIT_FAILED,
    stories.PAYPAL,
    *gone_wrong(stories.SECURE_DONE, stories.RETRIEVE),
    *gone_wrong(stories.SECURE_FAILED, stories.CANCEL),
)
CONFIRMING = UseCase(
    name="confirming",
    stories=ASKED_ABOUT,
    prepare=_placed_and_done,
    act=_confirm,
    again=_confirm,
)


# --- cancelling -------------------------------------------------------------------------------


def _placed(scene: Scene) -> None:
    scene.place()
    _arm(scene)


def _cancel(scene: Scene) -> None:
    scene.post("cancel")


def _cancelled_unless_a_bank_works_on_it(scene: Scene) -> str | None:
    return None if scene.story.pays_with == stories.DEBIT else "cancelled"


CANCELLING = UseCase(
    name="cancelling",
    stories=[
        stories.PAID,
        stories.DECLINED,
        stories.SECURE_ABANDONED,
        stories.DEBIT_PAID,
        stories.DEBIT_FAILED,
        *gone_wrong(stories.SECURE_ABANDONED, stories.CANCEL),
        *gone_wrong(stories.PAID, stories.REFUND),
    ],
    prepare=_placed,
    act=_cancel,
    again=_cancel,
    ends=_cancelled_unless_a_bank_works_on_it,
)


def _in_doubt(scene: Scene) -> None:
    """The client heard 202 and the order has no intent, or one that is not confirmed."""
    _arm(scene)
    scene.place()


CANCELLING_IN_DOUBT = UseCase(
    name="cancelling in doubt",
    stories=[
        *gone_wrong(stories.PAID, stories.CREATE),
        *gone_wrong(stories.PAID, stories.CONFIRM),
    ],
    prepare=_in_doubt,
    act=_cancel,
    again=_cancel,
    ends=lambda scene: None if scene.story.quarantines else "cancelled",
)


# --- refunding --------------------------------------------------------------------------------


def _paid(scene: Scene) -> None:
    """Paid by whatever means."""
    scene.place()
    scene.shopper_acts()
    scene.settle()
    require("it was paid", holds=scene.order.status == "confirmed", story=scene.story.name)
    _arm(scene)


def _refund(scene: Scene, *, whole: bool) -> None:
    order = scene.order
    amount = None if whole else order.total_amount / 2
    if amount is not None:
        amount = amount.quantize(order.total_amount)
    wish = RefundWish(reason="broken", amount=amount, request_key="desk")
    try:
        refund = decide_refund(order_id=order.pk, wish=wish)
        finish_refund(refund_id=refund.pk, deadline=Deadline(10))
    except CommitOutcomeUnknownError:
        return  # the member of staff is told to look, or to press again


REFUNDABLE: Final = [
    stories.PAID,
    stories.SECURE_DONE,
    stories.PAYPAL,
    stories.DEBIT_PAID,  # its refund takes days
    Story(
        name="refund takes days and fails", pays_with="pm_card_pendingRefund", refund_ends="fail"
    ),
    *gone_wrong(stories.PAID, stories.REFUND),
]


REFUNDING = UseCase(
    name="refunding",
    stories=REFUNDABLE,
    prepare=_paid,
    act=lambda scene: _refund(scene, whole=True),
    again=lambda scene: _refund(scene, whole=True),
    ends=lambda _scene: "cancelled",
)
REFUNDING_A_PART = UseCase(
    name="refunding a part",
    stories=REFUNDABLE,
    prepare=_paid,
    act=lambda scene: _refund(scene, whole=False),
    again=lambda scene: _refund(scene, whole=False),
    ends=lambda _scene: "confirmed",
)


# --- sending, and taking back -----------------------------------------------------------------


def _send(scene: Scene) -> None:
    """Taken up, then one unit by itself, then the rest."""
    order_id, sku = scene.order.pk, scene.sku
    try:
        if scene.order.status == Order.Status.CONFIRMED:
            begin_processing(order_id=order_id)
        for parcel in (
            Parcel(carrier="UPS", units={sku: 1}, request_key="first"),
            Parcel(carrier="UPS", request_key="rest"),
        ):
            ship_order(order_id=order_id, parcel=parcel)
    except CommitOutcomeUnknownError:
        return  # whoever packs is told to look, or to press again


def _sent_and_unwanted(scene: Scene) -> None:
    """The buyer wants to send one unit back."""
    _paid(scene)
    _send(scene)
    request_return(order_id=scene.order.pk, units={scene.sku: 1}, reason="broken")


def _take_back(scene: Scene) -> None:
    """What is still to be done, as whoever unpacks it sees it."""
    wish = scene.order.returns.get()
    try:
        if wish.status == Return.Status.REQUESTED:
            accept_return(return_id=wish.pk)
        wish.refresh_from_db()
        if wish.status == Return.Status.ACCEPTED:
            receive_return(return_id=wish.pk)
        refund_return(return_id=wish.pk, deadline=Deadline(10))
    except CommitOutcomeUnknownError:
        return


def _sent(scene: Scene) -> None:
    _paid(scene)
    _send(scene)


def _arrive(scene: Scene) -> None:
    """Each parcel, as its carrier tells: whatever is news by then."""
    try:
        for parcel in scene.order.shipments.order_by("pk"):
            note_transit(shipment_id=parcel.pk)
            note_arrival(shipment_id=parcel.pk, at=timezone.now())
    except CommitOutcomeUnknownError:
        return  # the event is worked off again


ARRIVING = UseCase(
    name="arriving",
    stories=[stories.PAID],
    prepare=_sent,
    act=_arrive,
    again=_arrive,
    ends=lambda _scene: "delivered",
)
SENDING = UseCase(
    name="sending in parcels",
    stories=[stories.PAID],
    prepare=_paid,
    act=_send,
    again=_send,
    ends=lambda _scene: "shipped",
)
TAKING_BACK = UseCase(
    name="taking back",
    stories=[stories.PAID, *gone_wrong(stories.PAID, stories.REFUND)],
    prepare=_sent_and_unwanted,
    act=_take_back,
    again=_take_back,
    ends=lambda _scene: "shipped",
)


# --- webhooks ---------------------------------------------------------------------------------

MAY_BE_STRUCK: Final = (200, 500, 503)  # then the provider sends it again
EVENT_OF: Final = {
    "succeeded": "payment_intent.succeeded",
    "requires_payment_method": "payment_intent.payment_failed",
    "processing": "payment_intent.processing",
    "canceled": "payment_intent.canceled",
    "requires_action": "payment_intent.requires_action",
}


def _hear(scene: Scene) -> None:
    """One event about the intent as it stood; sent again, it is the same one."""
    if scene.told is None:
        (intent,) = scene.intents()
        scene.told = webhooks.event(EVENT_OF[intent["status"]], intent)
    hear_webhook(scene.told, taken=MAY_BE_STRUCK)


HEARING = UseCase(
    name="webhook of an intent",
    stories=ASKED_ABOUT,
    prepare=_placed_and_done,
    act=_hear,
    again=_hear,
)


def _refunded_by_hand(scene: Scene) -> None:
    """Somebody gave it back at the provider's own site."""
    scene.place()
    (intent,) = scene.intents()
    scene.world.provider.refund(intent["id"])
    _arm(scene)


def _hear_of_refund(scene: Scene) -> None:
    if scene.told is None:
        (intent,) = scene.intents()
        charge = scene.world.provider.charge(intent["latest_charge"])
        scene.told = webhooks.event("charge.refunded", charge)
    hear_webhook(scene.told, taken=MAY_BE_STRUCK)


HEARING_OF_REFUND = UseCase(
    name="webhook of a refund",
    stories=[
        stories.PAID,
        *gone_wrong(stories.PAID, ("list", "GET", "/v1/refunds")),
    ],
    prepare=_refunded_by_hand,
    act=_hear_of_refund,
    again=_hear_of_refund,
    ends=lambda _scene: "cancelled",
    is_news_from_the_provider=True,
)


def _disputed(scene: Scene) -> None:
    """The customer's bank has taken the money back; it may have decided since."""
    scene.place()
    (intent,) = scene.intents()
    dispute = scene.world.provider.dispute(intent["id"])
    if scene.story.bank_decides:
        dispute = scene.world.provider.decide_dispute(dispute["id"], scene.story.bank_decides)
    scene.told = webhooks.event("charge.dispute.updated", dispute)
    _arm(scene)


HEARING_OF_DISPUTE = UseCase(
    name="webhook of a dispute",
    stories=[
        Story(name="dispute opened"),
        Story(name="dispute won", bank_decides="win"),
        Story(name="dispute lost", bank_decides="lose"),
        *gone_wrong(Story(name="dispute opened"), ("dispute", "GET", "/v1/disputes/*")),
    ],
    prepare=_disputed,
    act=lambda scene: hear_webhook(scene.told or {}, taken=MAY_BE_STRUCK),
    again=lambda scene: hear_webhook(scene.told or {}, taken=MAY_BE_STRUCK),
    is_news_from_the_provider=True,
)


# --- sweeping ---------------------------------------------------------------------------------


def _sweep(_scene: Scene) -> None:
    recovery.sweep()


def _request_died(scene: Scene, *, after_commit: int) -> None:
    """The request died after its n-th COMMIT and what it then asked the provider.

    A bank may have decided since.

    Placing is where processes are killed in earnest. Here it has happened before the play begins,
    and an exception that nothing catches leaves the same behind for a fraction of a fork.
    """
    death = _DeathAfterCommit(after_commit)
    with contextlib.suppress(DiedError), watched(death):
        scene.place()
    require("the request died", holds=death.has_come)
    scene.world.pass_time(LEASE)
    scene.shopper_acts(knows=False)
    _arm(scene)


class _DeathAfterCommit:
    def __init__(self, number: int) -> None:
        self._commits_left = number
        self.has_come = False

    def before(self, edge: Edge) -> None:
        """Once it is dead nothing goes out any more, whatever the request makes of that."""
        if not self._commits_left and edge.kind is not Kind.PROVIDER:
            self.has_come = True
        if self.has_come:
            raise DiedError
        self._commits_left -= edge.kind is Kind.COMMIT

    def after(self, _edge: Edge) -> None:
        """The next one is where it ends."""


def _as_the_provider_says(_scene: Scene) -> str | None:
    return None


SWEEPING_BEFORE_T1B = UseCase(
    name="sweeping, request died before T1b",
    stories=[stories.PAID, *gone_wrong(stories.PAID, stories.CREATE)],
    prepare=lambda scene: _request_died(scene, after_commit=1),
    act=_sweep,
    again=_place_again,
    ends=_as_the_provider_says,
)
SWEEPING_BEFORE_T2 = UseCase(
    name="sweeping, request died before T2",
    stories=[
        stories.PAID,
        stories.DECLINED,
        stories.INSUFFICIENT,
        stories.SECURE_DONE,
        stories.SECURE_FAILED,
        stories.SECURE_ABANDONED,
        stories.DEBIT_PAID,
        stories.DEBIT_FAILED,
        stories.PAYPAL,
        *gone_wrong(stories.PAID, stories.RETRIEVE),
        *gone_wrong(stories.SECURE_ABANDONED, stories.CANCEL),
    ],
    prepare=lambda scene: _request_died(scene, after_commit=2),
    act=_sweep,
    again=_place_again,
    ends=_as_the_provider_says,
)


# After the others of a confirm the request's own GET finds the money: nothing is left to sweep.
LEAVES_DOUBT: Final = frozenset(
    {
        *("timeout, not applied", "500, not applied and replayed", "429", "409"),
    }
)


def _promised(scene: Scene) -> None:
    """The client heard 202: the sweeper is to bring it on."""
    _in_doubt(scene)
    scene.world.pass_time(TICK)


SWEEPING_PROMISED = UseCase(
    name="sweeping what was promised",
    stories=[
        *gone_wrong(stories.PAID, stories.CREATE, ends=NEVER_MADE),
        *(
            story
            for story in gone_wrong(stories.PAID, stories.CONFIRM)
            if story.name.partition("confirm: ")[2] in LEAVES_DOUBT
        ),
        stories.DEBIT_PAID,
        stories.DEBIT_FAILED,
    ],
    prepare=_promised,
    act=_sweep,
    again=_place_again,
)


def _hold_over(scene: Scene) -> None:
    """The customer never came back from 3-D Secure."""
    scene.place()
    scene.world.pass_time(HOLD)
    _arm(scene)


SWEEPING_EXPIRED = UseCase(
    name="sweeping an expired hold",
    stories=[
        stories.SECURE_ABANDONED,
        *gone_wrong(stories.SECURE_ABANDONED, stories.RETRIEVE),
        *gone_wrong(stories.SECURE_ABANDONED, stories.CANCEL),
    ],
    prepare=_hold_over,
    act=_sweep,
    again=_sweep,
)


def _refund_left(scene: Scene) -> None:
    """The member of staff's process died before it sent the refund that it had decided."""
    _paid(scene)
    decide_refund(order_id=scene.order.pk, wish=RefundWish(reason="broken"))
    scene.world.pass_time(CLAIM)


SWEEPING_REFUND = UseCase(
    name="sweeping a refund",
    stories=REFUNDABLE,
    prepare=_refund_left,
    act=_sweep,
    again=_sweep,
    ends=lambda _scene: "cancelled",
)


# --- relaying ---------------------------------------------------------------------------------


def _unannounced(scene: Scene) -> None:
    """Confirmed, and nobody has been told. A letter may go twice, as one and the same message."""
    scene.place()
    scene.letters_allowed = 2


def _relay(_scene: Scene) -> None:
    outbox.relay(jitter=lambda: 0.0)


RELAYING = UseCase(
    name="relaying",
    stories=[stories.PAID, stories.DECLINED],
    prepare=_unannounced,
    act=_relay,
    again=_relay,
)

USE_CASES: Final = (
    PLACING,
    PLACING_CART,
    CONFIRMING,
    CANCELLING,
    CANCELLING_IN_DOUBT,
    REFUNDING,
    REFUNDING_A_PART,
    SENDING,
    ARRIVING,
    TAKING_BACK,
    HEARING,
    HEARING_OF_REFUND,
    HEARING_OF_DISPUTE,
    SWEEPING_BEFORE_T1B,
    SWEEPING_BEFORE_T2,
    SWEEPING_PROMISED,
    SWEEPING_EXPIRED,
    SWEEPING_REFUND,
    RELAYING,
)
