"""Seeded interleavings: several actors work on an order, one I/O step at a time, in a drawn order.

A seed decides everything: who takes part, how the payment goes, who steps next, who dies where.
So a seed that is printed runs the same again, step by step.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from django.db import InterfaceError, OperationalError, connection

from audit import outbox
from config.kernel.clock import Deadline
from config.kernel.db import CommitOutcomeUnknownError
from config.kernel.errors import DomainError
from customers.models import Customer
from inventory.models import Price, Product
from orders.models import Coupon, Order
from orders.services import recovery
from orders.services.refunds import RefundWish, decide_refund, finish_refund
from tests import factories, webhooks
from tests.proof import stories
from tests.proof.actors import Actor, DiedError, Director, Stage
from tests.proof.edges import unwatched
from tests.proof.stories import Story, gone_wrong
from tests.proof.usecases import EVENT_OF
from tests.proof.world import (
    CLAIM,
    HOLD,
    LEASE,
    BrokenError,
    UnexpectedError,
    World,
    hear_webhook,
    new_sku,
    require,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.proof.world import Scene

ACTORS: Final = (2, 6)
STEPS_AT_MOST: Final = 2_000
HALF: Final = 0.5
DEATHS: Final = 0.25  # of schedules have one
MANY_LETTERS: Final = 6  # a relay that dies may send again; it is one and the same message
TOLD_TO_THE_CALLER: Final = (
    CommitOutcomeUnknownError,
    OperationalError,
    InterfaceError,
    DomainError,
)
STORIES: Final = (
    *stories.PLAIN,
    *gone_wrong(stories.PAID, stories.CREATE),
    *gone_wrong(stories.PAID, stories.CONFIRM),
    *gone_wrong(stories.SECURE_DONE, stories.RETRIEVE),
    *gone_wrong(stories.SECURE_FAILED, stories.CANCEL),
    *gone_wrong(stories.PAID, stories.REFUND),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """Somebody who takes part. `waits_for`: what there must be before it can begin."""

    name: str
    work: Callable[[], Any]
    waits_for: str = ""  # "order", "intent" or "paid"


@dataclass(kw_only=True)
class Play:
    """A cast on its way: the orders it is about, who takes part, and what must come of it."""

    world: World
    scenes: list[Scene]
    roles: list[Role]
    verdict: Callable[[Play], None]
    afterwards: Callable[[], None] = lambda: None  # whatever came of it
    locks_tables: bool = False  # so that a queue may be in a circle, which PostgreSQL then undoes
    trace: list[str] = field(default_factory=list)
    results: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """A kind of play; `says` is what must hold."""

    name: str
    says: str
    build: Callable[[World, random.Random], Play]


# --- roles ------------------------------------------------------------------------------------


def request(scene: Scene, name: str) -> Role:
    """POST /orders with the scene's key."""
    return Role(name=name, work=scene.place)


def confirm(scene: Scene) -> Role:
    return Role(name="confirm", work=lambda: scene.post("confirm"), waits_for="order")


def cancel(scene: Scene, name: str = "cancel") -> Role:
    return Role(name=name, work=lambda: scene.post("cancel"), waits_for="order")


def sweeper(name: str) -> Role:
    """A worker's sweep, as beat calls it."""
    return Role(name=name, work=lambda: _quietly(recovery.sweep))


def hasty_sweeper(name: str) -> Role:
    """`recover_orders`: heeds no pauses."""
    return Role(name=name, work=lambda: _quietly(lambda: recovery.sweep(ignore_backoff=True)))


def relay(name: str) -> Role:
    return Role(name=name, work=lambda: _quietly(lambda: outbox.relay(jitter=lambda: 0.0)))


def shopper(scene: Scene) -> Role:
    """3-D Secure, PayPal, the bank: at the provider, behind our back."""
    return Role(name="shopper", work=scene.shopper_acts, waits_for="intent")


def webhook(scene: Scene, name: str, *, stale: bool = False) -> Role:
    """An event about the intent as it stands now, or stood before, delivered to us."""

    def hear() -> None:
        for intent in scene.intents():
            kind = EVENT_OF.get("requires_payment_method" if stale else intent["status"])
            if kind is not None:
                _quietly(lambda: hear_webhook(webhooks.event(kind, intent)))  # noqa: B023

    return Role(name=name, work=hear, waits_for="intent")


def twin_webhooks(scene: Scene) -> list[Role]:
    """The same event delivered twice."""
    told: dict[str, Any] = {}

    def hear() -> None:
        if not told:
            intents = [one for one in scene.intents() if one["status"] in EVENT_OF]
            if not intents:
                return
            told.update(webhooks.event(EVENT_OF[intents[0]["status"]], intents[0]))
        _quietly(lambda: hear_webhook(told))

    return [Role(name=f"webhook {n}", work=hear, waits_for="intent") for n in "ab"]


def staff_refund(scene: Scene, name: str, *, share: Decimal | None = None) -> Role:
    """A member of staff gives back a share of what was paid, or all that is left."""

    def press() -> None:
        order = scene.order
        amount = share and (order.total_amount * share).quantize(Decimal("0.01"))
        wish = RefundWish(reason="broken", amount=amount, request_key=name)
        refund = decide_refund(order_id=order.pk, wish=wish)
        finish_refund(refund_id=refund.pk, deadline=Deadline(10))

    return Role(name=name, work=lambda: _quietly(press), waits_for="paid")


def bank(scene: Scene, *, wins: bool) -> list[Role]:
    """The customer's bank takes the money back, and decides; both are told by webhooks."""

    def dispute() -> None:
        scene.be_disputed()
        tell("charge.dispute.created")

    def decide() -> None:
        scene.have_dispute_decided(outcome="win" if wins else "lose")
        tell("charge.dispute.closed")

    def tell(kind: str) -> None:
        if scene.dispute is not None:
            told = webhooks.event(kind, scene.dispute)
            _quietly(lambda: hear_webhook(told))

    return [
        Role(name="bank disputes", work=dispute, waits_for="paid"),
        Role(name="bank decides", work=decide, waits_for="paid"),
    ]


def settle_now(scene: Scene) -> Role:
    """The button in the admin."""

    def press() -> None:
        recovery.settle_now(order_id=scene.order.pk, deadline=Deadline(20))

    return Role(name="settle now", work=lambda: _quietly(press), waits_for="order")


def clock(world: World, by: timedelta, name: str) -> Role:
    """Time passes: a lease, a worker's claim, or a whole hold, whoever is in the middle of it."""
    return Role(name=name, work=lambda: world.pass_time(by))


def _quietly(work: Callable[[], Any]) -> Any:
    """What a worker's task may end with is logged there, and beat calls the next one."""
    try:
        return work()
    except TOLD_TO_THE_CALLER as exc:
        connection.close()
        return exc


# --- casts ------------------------------------------------------------------------------------


def _as_always(play: Play) -> None:
    """Whatever happened: the client comes back, time passes, and every promise holds."""
    for scene in play.scenes:
        scene.letters_allowed = MANY_LETTERS
        scene.come_back()
    for scene in play.scenes:
        scene.settle(waited=LEASE)
        scene.judge()


def anybody(world: World, draw: random.Random) -> Play:
    """Two to six actors at random about one order."""
    scene = world.scene(draw.choice(STORIES))
    scene.story.arm(world.provider)
    others = [
        request(scene, "request b"),
        request(scene, "request c"),
        confirm(scene),
        cancel(scene),
        cancel(scene, "cancel again"),
        shopper(scene),
        webhook(scene, "webhook"),
        webhook(scene, "late webhook", stale=True),
        *twin_webhooks(scene),
        *bank(scene, wins=draw.random() < HALF),
        sweeper("sweeper 1"),
        sweeper("sweeper 2"),
        hasty_sweeper("recover_orders"),
        staff_refund(scene, "refund"),
        staff_refund(scene, "refund of a part", share=Decimal("0.6")),
        staff_refund(scene, "refund of another part", share=Decimal("0.6")),
        settle_now(scene),
        relay("relay 1"),
        relay("relay 2"),
        clock(world, LEASE, "a lease passes"),
        clock(world, CLAIM + LEASE, "a claim passes"),
        clock(world, HOLD, "the hold passes"),
    ]
    roles = [request(scene, "request a"), *draw.sample(others, draw.randint(1, ACTORS[1] - 1))]
    return Play(world=world, scenes=[scene], roles=roles, verdict=_as_always)


def _r1(world: World, draw: random.Random) -> Play:
    scene = world.scene(draw.choice([stories.PAID, stories.DECLINED, stories.SECURE_DONE]))

    def verdict(play: Play) -> None:
        statuses = [play.results[role.name].status_code for role in play.roles]
        first = {201, 402}
        require("an answer or a conflict", holds=set(statuses) <= first | {409}, heard=statuses)
        require("somebody is answered", holds=bool(first & set(statuses)), heard=statuses)
        _as_always(play)

    roles = [request(scene, f"request {letter}") for letter in "abcdef"]
    return Play(world=world, scenes=[scene], roles=roles, verdict=verdict)


def _r2(world: World, draw: random.Random) -> Play:
    del draw
    sku = new_sku(on_hand=1)
    scenes = [world.scene(stories.PAID, sku=sku) for _ in range(4)]

    def verdict(play: Play) -> None:
        answers = [play.results[role.name] for role in play.roles]
        statuses = sorted(answer.status_code for answer in answers)
        require("one has it", holds=statuses == [201, 409, 409, 409], heard=statuses)
        for scene in play.scenes:
            if not scene.exists:
                require("a loser is not charged", holds=not scene.intents())
            else:
                scene.settle()
                scene.judge(ends="confirmed")

    roles = [request(scene, f"buyer {n}") for n, scene in enumerate(scenes)]
    return Play(world=world, scenes=scenes, roles=roles, verdict=verdict)


def _waiting(world: World, story: Story) -> Scene:
    """An order that waits for 3-D Secure."""
    scene = world.scene(story)
    answer = scene.place()
    require("it waits", holds=answer.status_code == 402)
    return scene


def _r3(world: World, draw: random.Random) -> Play:
    scene = _waiting(world, stories.SECURE_DONE)
    roles = [confirm(scene), cancel(scene), shopper(scene)]
    if draw.random() < HALF:
        roles.append(webhook(scene, "webhook"))
    return Play(world=world, scenes=[scene], roles=roles, verdict=_as_always)


def _r4(world: World, draw: random.Random) -> Play:
    del draw
    scene = world.scene(stories.PAID)

    def verdict(play: Play) -> None:
        answer = play.results["request a"]
        require("201 all the same", holds=answer.status_code == 201, status=answer.status_code)
        require("moved once", holds=scene.order.version == 1)
        _as_always(play)

    roles = [request(scene, "request a"), webhook(scene, "webhook"), *twin_webhooks(scene)]
    return Play(world=world, scenes=[scene], roles=roles, verdict=verdict)


def _r5(world: World, draw: random.Random) -> Play:
    del draw
    scene = world.scene(stories.PAID)

    def verdict(play: Play) -> None:
        _as_always(play)
        require("stays paid", holds=scene.order.status == "confirmed")

    roles = [
        request(scene, "request a"),
        webhook(scene, "payment_failed", stale=True),
        webhook(scene, "payment_failed again", stale=True),
        webhook(scene, "webhook"),
    ]
    return Play(world=world, scenes=[scene], roles=roles, verdict=verdict)


def _r6(world: World, draw: random.Random) -> Play:
    del draw
    scene = _waiting(world, stories.SECURE_DONE)
    world.pass_time(HOLD)

    def verdict(play: Play) -> None:
        (intent,) = scene.intents()
        _as_always(play)
        ends = {"succeeded": "confirmed", "canceled": "cancelled"}[intent["status"]]
        require("the provider decides", holds=scene.order.status == ends, intent=intent["status"])

    roles = [sweeper("sweeper"), shopper(scene), confirm(scene)]
    return Play(world=world, scenes=[scene], roles=roles, verdict=verdict)


def _r7(world: World, draw: random.Random) -> Play:
    story = draw.choice([one for one in STORIES if "confirm: " in one.name])
    scene = world.scene(story)
    story.arm(world.provider)
    scene.place()
    world.pass_time(LEASE)
    roles = [sweeper("sweeper 1"), sweeper("sweeper 2"), hasty_sweeper("recover_orders")]
    return Play(world=world, scenes=[scene], roles=roles, verdict=_as_always)


def _r8(world: World, draw: random.Random) -> Play:
    del draw
    scene = world.scene(stories.PAID)

    def verdict(play: Play) -> None:
        _as_always(play)
        require("confirmed once", holds=scene.order.version == 1, version=scene.order.version)

    roles = [
        request(scene, "zombie"),
        clock(world, LEASE, "its lease passes"),
        request(scene, "takeover"),
        clock(world, LEASE, "that one's lease passes"),
        request(scene, "takeover of the takeover"),
    ]
    return Play(world=world, scenes=[scene], roles=roles, verdict=verdict)


def _r9(world: World, draw: random.Random) -> Play:
    scene = world.scene(stories.PAID)
    scene.place()
    share = draw.choice([None, Decimal("0.6")])

    def verdict(play: Play) -> None:
        _as_always(play)
        count = scene.payment.refunds.count()
        require("one refund", holds=count == 1, count=count)

    roles = [staff_refund(scene, f"staff {n}", share=share) for n in range(3)]
    return Play(world=world, scenes=[scene], roles=roles, verdict=verdict)


def _r10(world: World, draw: random.Random) -> Play:
    sku = new_sku(on_hand=5)
    scene = world.scene(stories.PAID, sku=sku)
    before = Price.objects.get(product__sku=sku).amount
    after = before + draw.randint(1, 500)

    def edit() -> None:
        Price.objects.filter(product__sku=sku).update(amount=after)

    def verdict(play: Play) -> None:
        _as_always(play)
        paid = scene.order.items.get().unit_price
        require("one price, all through", holds=paid in {before, after}, paid=paid)

    roles = [request(scene, "request a"), Role(name="price is changed", work=edit)]
    return Play(world=world, scenes=[scene], roles=roles, verdict=verdict)


def _r11(world: World, draw: random.Random) -> Play:
    del draw
    coupon: Any = factories.CouponFactory(max_uses=1)
    scenes = [
        world.scene(stories.PAID, shopper=world.new_shopper(), coupon_code=coupon.code)
        for _ in range(4)
    ]

    def verdict(play: Play) -> None:
        statuses = sorted(play.results[role.name].status_code for role in play.roles)
        require("one uses it", holds=statuses == [201, 409, 409, 409], heard=statuses)
        uses = Coupon.objects.get(pk=coupon.pk).times_used
        require("it is used once", holds=uses == 1, uses=uses)
        for scene in play.scenes:
            if scene.exists:
                scene.settle()
                scene.judge(ends="confirmed")

    roles = [request(scene, f"buyer {n}") for n, scene in enumerate(scenes)]
    return Play(world=world, scenes=scenes, roles=roles, verdict=verdict)


def _r12(world: World, draw: random.Random) -> Play:
    del draw
    scene = world.scene(stories.PAID, shopper=world.new_shopper())
    customer = scene.shopper.customer
    assert customer is not None

    def erase() -> None:
        Customer.objects.filter(pk=customer.pk).update(
            email=f"erased-{customer.pk}@erased.invalid", first_name="", last_name=""
        )

    roles = [request(scene, "request a"), Role(name="erasure", work=erase), relay("relay")]

    def verdict(play: Play) -> None:
        _as_always(play)
        require("the order is kept", holds=scene.order.customer_id == customer.pk)

    scene.may_be_mute = True
    return Play(world=world, scenes=[scene], roles=roles, verdict=verdict)


def _r13(world: World, draw: random.Random) -> Play:
    del draw
    scene = world.scene(stories.PAID, shopper=world.new_shopper())
    customer = scene.shopper.customer
    assert customer is not None

    def suspend() -> None:
        Customer.objects.filter(pk=customer.pk).update(is_active=False)

    def verdict(play: Play) -> None:
        answer = play.results["request a"]
        require("paid or refused", holds=answer.status_code in {201, 401, 403})
        has_order = Order.objects.filter(customer=customer).exists()
        require("no order after 403", holds=has_order == (answer.status_code == 201))
        Customer.objects.filter(pk=customer.pk).update(is_active=True)
        if has_order:
            _as_always(play)

    roles = [request(scene, "request a"), Role(name="suspension", work=suspend)]
    return Play(world=world, scenes=[scene], roles=roles, verdict=verdict)


EXPANSIONS: Final = (
    (
        "a column is added",
        "ALTER TABLE {table} ADD COLUMN of_next_release text NOT NULL DEFAULT 'x'",
        "ALTER TABLE {table} DROP COLUMN IF EXISTS of_next_release",
    ),
    (
        "a check is added",
        "ALTER TABLE {table} ADD CONSTRAINT of_next_release CHECK (id > 0) NOT VALID",
        "ALTER TABLE {table} DROP CONSTRAINT IF EXISTS of_next_release",
    ),
    (
        "an index is added",
        "CREATE INDEX of_next_release ON {table} (id)",
        "DROP INDEX IF EXISTS of_next_release",
    ),
)
EXPANDED: Final = ("idempotency_keys", "orders", "payments", "order_items", "audit_logs")


def _r14(world: World, draw: random.Random) -> Play:
    """The half of a deployment that comes first: the tables are the next release's already."""
    scene = _waiting(world, stories.SECURE_DONE)
    scene.shopper_acts()
    placed = world.scene(draw.choice([stories.PAID, stories.DECLINED]))
    table = draw.choice(EXPANDED)
    name, expand, contract = draw.choice(EXPANSIONS)

    def migrate() -> None:
        # It waits for whoever is in a transaction, and everybody after it waits for it.
        with connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout = '30s'; {expand.format(table=table)}")

    def verdict(play: Play) -> None:
        migrated = play.results[name] is None
        require("it is done", holds=migrated and _is_there(table))
        _as_always(play)

    def take_back() -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout = '5s'; {contract.format(table=table)}")

    roles = [
        request(placed, "request a"),
        request(placed, "request b"),
        confirm(scene),
        draw.choice([cancel(scene), sweeper("sweeper"), relay("relay")]),
        Role(name=name, work=migrate),
    ]
    return Play(
        world=world,
        scenes=[scene, placed],
        roles=roles,
        verdict=verdict,
        afterwards=take_back,
        locks_tables=True,
    )


def _r15(world: World, draw: random.Random) -> Play:
    """Two customers have one use each, two in all; one is in a hurry, and nobody asked for them."""
    del draw
    sku = new_sku(on_hand=9)
    promotion: Any = factories.CouponFactory(
        code=None,
        name=f"One {sku} each",
        max_uses=2,
        max_uses_per_customer=1,
        scoped_to=Product.objects.get(sku=sku),
    )
    hasty, other = world.new_shopper(), world.new_shopper()
    scenes = [
        world.scene(stories.PAID, sku=sku, shopper=shopper, coupon_code=None)
        for shopper in (hasty, hasty, hasty, other)
    ]

    def verdict(play: Play) -> None:
        statuses = [play.results[role.name].status_code for role in play.roles]
        require("nobody is refused", holds=statuses == [201] * 4, heard=statuses)
        uses = Coupon.objects.get(pk=promotion.pk).times_used
        users = set(promotion.redemptions.values_list("redeemed_by", flat=True))
        require("each has used it once", holds=uses == len(users) == 2, uses=uses)
        discounted = [scene.order.discount_amount > 0 for scene in play.scenes]
        require("two orders cost less", holds=sum(discounted) == uses, discounted=discounted)
        for scene in play.scenes:
            scene.settle()
            scene.judge(ends="confirmed")

    roles = [request(scene, f"order {n}") for n, scene in enumerate(scenes)]
    return Play(world=world, scenes=scenes, roles=roles, verdict=verdict)


def _is_there(table: str) -> bool:
    """What the next release adds."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT EXISTS (
                SELECT FROM pg_attribute
                WHERE attrelid = %(table)s::regclass AND attname = 'of_next_release'
                UNION ALL SELECT FROM pg_constraint
                WHERE conrelid = %(table)s::regclass AND conname = 'of_next_release'
                UNION ALL SELECT FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
                WHERE indrelid = %(table)s::regclass AND relname = 'of_next_release'
            )
            """,
            {"table": table},
        )
        return bool(cursor.fetchone()[0])


RACES: Final = (
    Cast(name="R1", says="one key, six requests: one order, one answer", build=_r1),
    Cast(name="R2", says="the last unit has one buyer, and nobody else is charged", build=_r2),
    Cast(name="R3", says="cancel against success: paid or cancelled, never both", build=_r3),
    Cast(name="R4", says="a webhook before T2 changes nothing: 201", build=_r4),
    Cast(name="R5", says="payment_failed after succeeded: stays paid", build=_r5),
    Cast(name="R6", says="expiry against 3-D Secure: the provider decides", build=_r6),
    Cast(name="R7", says="two sweepers settle once", build=_r7),
    Cast(name="R8", says="a zombie after a takeover moves nothing", build=_r8),
    Cast(name="R9", says="two members of staff refund once", build=_r9),
    Cast(name="R10", says="a price edited during T1: one price all through", build=_r10),
    Cast(name="R11", says="a coupon for one use is used once", build=_r11),
    Cast(name="R12", says="an erasure during placement: the order is kept", build=_r12),
    Cast(name="R13", says="a suspended customer is paid for, or refused", build=_r13),
    Cast(name="R14", says="tables of the next release: this one goes on", build=_r14),
    Cast(name="R15", says="a promotion used up meanwhile refuses nobody", build=_r15),
)
ANYBODY: Final = Cast(name="anybody", says="two to six actors at random", build=anybody)
CASTS: Final = {cast.name: cast for cast in (ANYBODY, *RACES)}
WHAT_THERE_IS: Final = """
    SELECT bool_or(p.payment_intent_id <> ''), bool_or(o.status = 'confirmed')
        FROM orders o JOIN payments p ON p.order_id = o.id
        WHERE o.id = ANY(%(orders)s)
"""
RACE_SHARE: Final = 0.3  # of the schedules are named races, in turn


def cast_of(seed: int) -> Cast:
    """Which play a seed is."""
    if seed % 10 < RACE_SHARE * 10:
        return RACES[(seed // 10 * 3 + seed % 10) % len(RACES)]
    return ANYBODY


# --- playing ----------------------------------------------------------------------------------


def play(world: World, stage: Stage, *, seed: int, cast: Cast | None = None) -> Play:
    """Run one schedule to its end and judge it.

    Raises:
        BrokenError: a promise is broken; tells the seed and every step.
        UnexpectedError: something else went wrong; likewise.
    """
    draw = random.Random(seed)  # noqa: S311 - no secret: it is printed
    random.seed(seed)  # the pauses of workers are drawn, too
    world.forget()
    chosen = cast or cast_of(seed)
    acts = chosen.build(world, draw)
    for scene in acts.scenes:
        scene.is_alone = False
    try:
        director = _act(acts, stage, draw, may_die=chosen is ANYBODY)
        acts.trace = director.trace
        require("nobody has to be ended", holds=not director.has_met_deadlock)
        goes_on = acts.locks_tables or not director.circles
        require("nobody waits for each other", holds=goes_on)
        world.forget()
        world.pass_time(LEASE)
        acts.verdict(acts)
    except Exception as exc:
        steps = "\n    ".join(acts.trace)
        kind = BrokenError if isinstance(exc, BrokenError) else UnexpectedError
        raise kind(f"seed {seed}: {exc!r}\n    {steps}") from exc
    finally:
        world.provider.clear_faults()
        acts.afterwards()
    return acts


def _act(acts: Play, stage: Stage, draw: random.Random, *, may_die: bool) -> Director:
    actors = [Actor(role.name, role.work) for role in acts.roles]
    director = Director(stage, actors)
    acts.trace = director.trace
    choose = _chooser(director, draw)
    dies_at = draw.randint(1, 60) if may_die and draw.random() < DEATHS else 0
    waits_for = {role.name: role.waits_for for role in acts.roles}
    there = {""} | _what_there_is(acts)
    wanted = set(waits_for.values())
    steps = 0
    while not director.is_over:
        steps += 1
        require("it comes to an end", holds=steps < STEPS_AT_MOST)
        ready = [
            one for one in director.ready() if one.at is not None or waits_for[one.name] in there
        ]
        if not ready:
            if not any(one.is_blocked for one in actors):
                break  # what the others wait for never comes
            director.wait_for_blocked()
            continue
        actor = choose(ready)
        passes = actor.at
        if steps == dies_at and passes is not None:
            director.kill(actor)
        else:
            director.step(actor)
        if passes is not None and passes.commits and not wanted <= there:
            there |= _what_there_is(acts)
    for actor in actors:
        if not actor.is_done:
            actor.dismiss()
        if actor.error is not None and not isinstance(
            actor.error, (DiedError, *TOLD_TO_THE_CALLER)
        ):
            raise BrokenError(f"{actor.name} ended with {actor.error!r}") from actor.error
        acts.results[actor.name] = actor.result
    return director


def _what_there_is(acts: Play) -> set[str]:
    """What those who wait to begin wait for."""
    ids = [scene.order_id for scene in acts.scenes if scene.exists]
    if not ids:
        return set()
    with unwatched(), connection.cursor() as cursor:
        cursor.execute(WHAT_THERE_IS, {"orders": ids})
        has_intent, is_paid = cursor.fetchone()
    return {"order"} | ({"intent"} if has_intent else set()) | ({"paid"} if is_paid else set())


def _chooser(director: Director, draw: random.Random) -> Callable[[Sequence[Actor]], Actor]:
    """Half of the seeds draw evenly; half give each actor a rank that changes now and then.

    Ranks find what needs one actor to overtake another by far: S. Burckhardt et al., A randomized
    scheduler with probabilistic guarantees of finding bugs, ASPLOS 2010.
    """
    if draw.random() < HALF:
        return draw.choice
    ranks = {actor.name: draw.random() for actor in director.actors}
    changes = {draw.randint(1, 80) for _ in range(3)}
    passed = 0

    def highest(ready: Sequence[Actor]) -> Actor:
        nonlocal passed
        passed += 1
        chosen = max(ready, key=lambda actor: ranks[actor.name])
        if passed in changes:
            ranks[chosen.name] = draw.random() - 1
        return chosen

    return highest
