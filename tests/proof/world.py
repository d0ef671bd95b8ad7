"""A shop whose clock can be put forward, and a judge who knows what must be true of an order.

Time passes here by moving back what the database remembers of it: leases, pauses, holds and ages
of whatever is still open. So two minutes of waiting cost as many sweeps as in production, and no
more time than these.
"""

from __future__ import annotations

import contextlib
import csv
import functools
import io
import json
import re
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.test import override_settings
from django.test.client import ClientHandler
from django.utils import timezone

from audit import outbox
from audit.nudger import Nudger
from audit.outbox import nudging
from config.kernel import sql
from config.kernel.clock import Deadline
from orders import books
from orders.models import IdempotencyKey, Order
from orders.services import events, quarantine, recovery
from payments import bookkeeping, gateway
from payments import services as payments
from payments.models import Payment, Refund
from tests import factories, webhooks
from tests.proof.edges import unwatched
from tests.shop import Shopper

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping

    from tests.proof.stories import Story
    from tests.provider import PaymentServer

TICK: Final = timedelta(seconds=15)  # beat sweeps as often
LEASE: Final = timedelta(seconds=25)  # a request's lease, and a little
CLAIM: Final = timedelta(seconds=65)  # longer than a worker's; with the lease: given up
HOLD: Final = timedelta(minutes=15, seconds=5)
REFUND_PAUSE: Final = timedelta(minutes=10)
LONGEST_DOUBT: Final = timedelta(minutes=2)
COUPON: Final = "PROOF10"
RETRIES: Final = 5
LOOKS: Final = 3
ACTORS_AT_MOST: Final = 16
CONFIRMED: Final = re.compile(r"Order (\S+) confirmed")
# Called in every play again and again: in here they are planned once a session.
HELPERS: Final = """
    CREATE OR REPLACE PROCEDURE proof_pass_time(passed interval)
    LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
    BEGIN
        UPDATE idempotency_keys SET lease_until = lease_until - passed
            WHERE response_status IS NULL AND lease_until > now() - interval '1 day';
        UPDATE orders SET created_at = created_at - passed,
            hold_expires_at = hold_expires_at - passed
            WHERE status = 'pending';
        UPDATE payments SET created_at = created_at - passed,
            next_attempt_at = next_attempt_at - passed
            WHERE status IN ('created', 'requires_action', 'processing');
        UPDATE refunds SET created_at = created_at - passed,
            next_attempt_at = next_attempt_at - passed
            WHERE status IN ('due', 'pending');
        UPDATE provider_events SET next_attempt_at = next_attempt_at - passed
            WHERE status = 'received';
        UPDATE deliveries SET next_attempt_at = next_attempt_at - passed
            WHERE status = 'pending';
    END $$;

    CREATE OR REPLACE FUNCTION proof_under_way() RETURNS SETOF text
    LANGUAGE plpgsql AS $$
    BEGIN
        RETURN QUERY
        SELECT 'order ' || o.order_number || ', ' || p.status || ', ' || p.last_error
            FROM orders o JOIN payments p ON p.order_id = o.id
            WHERE o.status = 'pending' AND p.status <> 'quarantined'
        UNION ALL SELECT 'refund ' || status || ', ' || last_error
            FROM refunds WHERE status IN ('due', 'pending')
        UNION ALL SELECT 'webhook ' || event_type || ', ' || last_error
            FROM provider_events WHERE status = 'received'
        UNION ALL SELECT 'fact ' || fact FROM outbox_messages WHERE fanned_out_at IS NULL
        UNION ALL SELECT 'delivery to ' || subscriber || ', ' || last_error
            FROM deliveries WHERE status = 'pending'
        UNION ALL SELECT 'answer of ' || o.order_number
            FROM idempotency_keys k JOIN orders o ON o.idempotency_key_id = k.id
            WHERE k.response_status IS NULL AND o.status <> 'pending';
    END $$;
"""
STANDING: Final = """
    SELECT o.*, p.*, count(*) OVER () AS payments_of_order, k.*
    FROM orders o LEFT JOIN payments p ON p.order_id = o.id
        LEFT JOIN idempotency_keys k ON k.id = o.idempotency_key_id
    WHERE o.id = coalesce(%(id)s, (
        SELECT o.id FROM orders o JOIN idempotency_keys k ON k.id = o.idempotency_key_id
        WHERE k.scope = %(scope)s AND k.key = %(key)s
    ))
"""
WHAT_FOLLOWED: Final = """
    SELECT array(SELECT DISTINCT status FROM reservations WHERE order_id = %(id)s) AS reserved,
        EXISTS (
            SELECT FROM order_transitions WHERE order_id = %(id)s AND to_status = 'confirmed'
        ) AS was_confirmed
"""
MONEY_IS_KEPT: Final = frozenset({"confirmed", "processing", "shipped", "delivered"})
ANSWER_OF_KEY: Final = frozenset({201, 402, 502})  # remembered, in words and status


class BrokenError(AssertionError):
    """What must be true is not: a promise is broken."""


class UnexpectedError(Exception):
    """Something went wrong that is no broken promise: the harness, or an error nobody handles."""


def require(what: str, *, holds: bool, **told: Any) -> None:
    """Say what is wrong unless it holds."""
    if not holds:
        details = ", ".join(f"{name}={value!r}" for name, value in told.items())
        raise BrokenError(f"{what} ({details})" if details else what)


def exported_balance() -> Counter[str]:
    """What the accountant's CSV says lies at the provider, in minor units by currency."""
    written = io.StringIO()
    call_command("export_ledger", "--from=2000-01-01", "--to=2100-01-01", stdout=written)
    found: Counter[str] = Counter()
    for line in csv.DictReader(io.StringIO(written.getvalue())):
        if line["account"] == "stripe_balance":
            found[line["currency"].lower()] += int(Decimal(line["amount"]) * 100)
    return found


def without_zeros(amounts: Mapping[str, int]) -> dict[str, int]:
    """Nothing in a currency is as good as no such currency; less than nothing is not."""
    return {currency: amount for currency, amount in amounts.items() if amount}


def new_sku(*, on_hand: int) -> str:
    """A product with so many units, and its price."""
    product: Any = factories.ProductFactory(on_hand=on_hand)
    return str(product.sku)


@functools.cache
def _site() -> ClientHandler:
    """The shop, its middleware loaded once: looking for all static files takes its time."""
    return ClientHandler(enforce_csrf_checks=False)


class Standing(NamedTuple):
    """An order, its payment, and the key it was placed with."""

    order: Order
    payment: Payment
    key: IdempotencyKey | None


@functools.cache
def _unheard_bell() -> Nudger:
    """One a process: each has a thread for good, and every fork clears away what it copied."""
    return Nudger(lambda: None)


class _NobodyWaits:
    """The gateway's clock, on which a pause before a call is repeated takes no time."""

    time, monotonic = staticmethod(time.time), staticmethod(time.monotonic)

    @staticmethod
    def sleep(_seconds: float) -> None:
        """It is over."""


@contextlib.contextmanager
def on_stage(*, mail_dir: Path) -> Iterator[None]:
    """Settings and process for a play: nobody waits, letters are files, the broker never hears.

    A pause before a call is repeated takes no time: nobody else needs it to pass here. What a
    nudge would hurry must happen without it.
    """
    really, gateway.time = gateway.time, _NobodyWaits  # type: ignore[assignment]
    nudgers = nudging._nudger, events._nudger
    nudging._nudger = events._nudger = _unheard_bell()
    try:
        with override_settings(
            MAIL_DIR=mail_dir,
            EMAIL_BACKEND="integrations.email.backend.EmlFileBackend",
            PROVIDER_SLOTS=ACTORS_AT_MOST,
            STRIPE_WEBHOOK_SECRETS=[webhooks.SECRET],
        ):
            gateway.bulkhead.cache_clear()
            yield
    finally:
        gateway.time = really
        nudging._nudger, events._nudger = nudgers
        gateway.bulkhead.cache_clear()


@dataclass(kw_only=True)
class World:
    """A shop that is open, its provider, and time."""

    provider: PaymentServer
    sku: str = ""
    shopper: Shopper = field(default_factory=Shopper)
    keys: int = 0
    deadlocks: int = 0
    known_intent: str = ""  # one that somebody has looked at: those of later scenes are newer
    letters: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def open(self) -> None:
        """Everything that an order needs, in plenty, on an empty database."""
        with connection.cursor() as cursor:
            cursor.execute(HELPERS)
        factories.open_shop()
        self.sku = new_sku(on_hand=100_000)
        factories.CouponFactory(code=COUPON)
        self.shopper = self.new_shopper()
        self.deadlocks = self.count_deadlocks()

    def new_shopper(self) -> Shopper:
        """A customer with a browser that shows the shop's error pages, whatever they are."""
        customer: Any = factories.CustomerFactory()
        shopper = Shopper(customer)
        shopper.client.raise_request_exception = False
        shopper.client.handler = _site()
        return shopper

    def scene(
        self, story: Story, *, sku: str = "", shopper: Shopper | None = None, **changes: Any
    ) -> Scene:
        """An order that somebody wants to place; `changes` as for `Shopper.order`."""
        self.keys += 1
        return Scene(
            world=self,
            story=story,
            number=self.keys,
            newer_than=self.known_intent,
            sku=sku or self.sku,
            shopper=shopper or self.shopper,
            changes=changes,
        )

    def forget(self) -> None:
        """What a process remembers of the provider is gone with it."""
        gateway.breaker.cache_clear()

    # --- time ---------------------------------------------------------------------------------

    def pass_time(self, by: timedelta) -> None:
        """Let this much time pass for whatever is open."""
        with connection.cursor() as cursor:
            cursor.execute("CALL proof_pass_time(%s)", [str(by)])

    def tick(self) -> None:
        """A sweep's pause, and what beat then calls."""
        self.pass_time(TICK)
        self.forget()
        recovery.sweep()
        outbox.relay(jitter=lambda: 0.0)

    def fetch_events(self) -> None:
        """What no webhook brought, as beat fetches it every hour."""
        events.backfill(since=timezone.now())  # reaches back to where it was read last

    def under_way(self) -> list[str]:
        """What is not finished yet, in words; quarantine waits for a person and is none of it."""
        with unwatched(), connection.cursor() as cursor:
            cursor.execute("SELECT proof_under_way()")
            return [what for (what,) in cursor]

    def count_deadlocks(self) -> int:
        """How many PostgreSQL has ended in this database; sessions tell it when they are idle."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_stat_force_next_flush()")
            cursor.execute(
                "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
            )
            return int(cursor.fetchone()[0])

    # --- books --------------------------------------------------------------------------------

    def check_books(self) -> None:
        """Every invariant, here and at the provider; and the ledger to the cent.

        Raises:
            BrokenError: names who violates what.
        """
        require("nobody waits for each other", holds=self.count_deadlocks() == self.deadlocks)
        bookkeeping.book_balance_transactions()
        report = books.check(with_provider=True)
        wrong = {one.name: one.examples for one in report.findings if one.violations}
        require("the books are not in order", holds=not wrong, violations=wrong)
        ours = without_zeros(exported_balance())
        theirs = without_zeros(self.provider.balance())
        require("the exported ledger is the provider's", holds=ours == theirs, o=ours, p=theirs)

    def read_letters(self) -> None:
        """Take the e-mails out of the box, and count confirmations by the order they are about."""
        for path in Path(settings.MAIL_DIR).glob("*.eml"):
            head = path.read_text(errors="replace").partition("\n\n")[0]
            lines = dict(line.split(": ", 1) for line in head.splitlines() if ": " in line)
            if confirmed := CONFIRMED.fullmatch(lines["Subject"]):
                self.letters[confirmed[1]].append(lines["Message-ID"])
            path.unlink()


@dataclass(kw_only=True)
class Scene:
    """One order: who wants it, how its payment turns out, what was heard of it."""

    world: World
    story: Story
    number: int
    newer_than: str  # an intent that was there before
    sku: str
    shopper: Shopper
    changes: dict[str, Any] = field(default_factory=dict)
    heard: list[tuple[int, bytes]] = field(default_factory=list)
    letters_allowed: int = 1
    refund_ends: str = field(init=False)
    decided: set[str] = field(default_factory=set)
    told: dict[str, Any] | None = None
    dispute: dict[str, Any] | None = None  # as the provider has it
    order_id: int | None = None
    public_id: str = ""
    looks: int = 0
    asked: bool = False
    is_alone: bool = True  # nobody else sends this key at the same time
    may_be_mute: bool = False  # no letter can reach its buyer any more

    def __post_init__(self) -> None:
        self.refund_ends = self.story.refund_ends

    @property
    def key(self) -> str:
        """The client's idempotency key."""
        return f"proof-{self.number}"

    @property
    def scope(self) -> str:
        """Whose key it is."""
        return f"customer:{self.shopper.customer.pk}"

    # --- what the client does -----------------------------------------------------------------

    def place(self) -> Any:
        """POST /orders, always with the same key and body."""
        existed = self.asked and self.exists
        self.asked = True
        answer = self.shopper.order(
            (self.sku, 1 if self.sku != self.world.sku else 2),
            key=self.key,
            **{
                "payment_method_id": self.story.pays_with,
                "coupon_code": COUPON,
                **self.changes,
            },
        )
        self.hear(answer)
        if answer.status_code == 503 and not existed and self.is_alone:
            require("503 means that nothing is held", holds=not self.exists)
        return answer

    def hear(self, answer: Any) -> None:
        """Keep an answer to the key; refusals before an order exists are none of it."""
        if answer.status_code in ANSWER_OF_KEY:
            self.heard.append((answer.status_code, answer.content))

    def place_until_answered(self) -> None:
        """As a good client does: ask again with the same key while that may help."""
        for _ in range(RETRIES):
            answer = self.place()
            if answer.status_code in ANSWER_OF_KEY:
                return
            require("an order that can be placed", holds=answer.status_code in {202, 409, 500, 503})
            if answer.status_code == 202:
                self.world.tick()
                continue
            if answer.status_code == 409:
                code = answer.json()["error"]["code"]
                require("a conflict that passes", holds=code == "ORDER_IN_PROGRESS", code=code)
            self.world.forget()
            self.world.pass_time(LEASE)

    def come_back(self) -> None:
        """Ask until it is answered; what was refused before there was an order is left."""
        if self.exists or not self.heard:
            self.place_until_answered()

    def post(self, what: str, body: Any = None) -> Any:
        """POST /orders/{number}/… as its customer."""
        return self.shopper.post(f"/orders/{self.order.order_number}/{what}", body)

    # --- what is there ------------------------------------------------------------------------

    @property
    def exists(self) -> bool:
        """Whether there is an order of this key; once there, it does not go away."""
        return self.order_id is not None or self.standing is not None

    @property
    def standing(self) -> Standing | None:
        """How the order of this key stands, if there is one."""
        with unwatched():
            found = sql.fetch_joined(
                (Order, Payment, IdempotencyKey),
                STANDING,
                id=self.order_id,
                scope=self.scope,
                key=self.key,
            )
        if found is None:
            require("an order does not go away", holds=self.order_id is None, id=self.order_id)
            return None
        require("an order has a payment", holds=found[1] is not None, order=str(found[0]))
        standing = Standing(*found)
        self.order_id, self.public_id = standing.order.pk, str(standing.order.public_id)
        payments_of_order = standing.payment.payments_of_order
        require("one order, one payment", holds=payments_of_order == 1, is_=payments_of_order)
        return standing

    @property
    def order(self) -> Order:
        """The order of this key."""
        return self._there_is.order

    @property
    def payment(self) -> Payment:
        """Its payment."""
        return self._there_is.payment

    @property
    def _there_is(self) -> Standing:
        standing = self.standing
        require("there is an order", holds=standing is not None, key=self.key)
        assert standing is not None
        return standing

    def intents(self) -> list[dict[str, Any]]:
        """Every intent at the provider that was made for this order."""
        if not self.exists:
            return []
        found = self.world.provider.intents_of(self.public_id, newer_than=self.newer_than)
        if found:
            self.world.known_intent = found[0]["id"]
        return found

    # --- the customer's bank ------------------------------------------------------------------

    def be_disputed(self) -> None:
        """The bank takes back what is left of the payment, if anything is."""
        with unwatched():
            provider = self.world.provider
            for intent in self.intents():
                charge = intent["latest_charge"] and provider.charge(intent["latest_charge"])
                if self.dispute is None and charge and charge["paid"] and not charge["refunded"]:
                    self.dispute = provider.dispute(intent["id"])

    def have_dispute_decided(self, *, outcome: str) -> None:
        """The bank decides, once."""
        if self.dispute is not None and self.dispute["status"] not in {"won", "lost"}:
            with unwatched():
                self.dispute = self.world.provider.decide_dispute(self.dispute["id"], outcome)

    @property
    def is_lost_to_a_bank(self) -> bool:
        """Whether the money is gone."""
        return self.dispute is not None and self.dispute["status"] == "lost"

    # --- how it goes on -----------------------------------------------------------------------

    def shopper_acts(self, *, knows: bool = True) -> None:
        """3-D Secure is done or failed, by whoever has heard of it; a bank decides by itself."""
        if not self.story.then:
            return
        for intent in self.intents():
            waits_for_bank = intent["status"] == "processing"
            if waits_for_bank or (knows and intent["status"] == "requires_action"):
                self.world.provider.act(intent["id"], self.story.then)

    def settle(self, *, waited: timedelta = timedelta(0)) -> None:
        """Let time pass, with nobody left but our own workers, until nothing is under way.

        Args:
            waited: how long it has been left alone already.

        Raises:
            BrokenError: it takes longer than promised.
        """
        hold_is_over = False
        while under_way := self.world.under_way():
            standing = self.standing
            if self._bank_decides(under_way):
                self.world.pass_time(REFUND_PAUSE)
                waited = timedelta(0)
            if standing is not None and standing.order.status == "pending":
                self.shopper_acts(knows=False)
                if not hold_is_over and self._waits_for_its_shopper(standing):
                    self.world.pass_time(HOLD)
                    waited = timedelta(0)
                    hold_is_over = True
            require(
                "settled within two minutes",
                holds=waited <= LONGEST_DOUBT,
                under_way=under_way,
            )
            self.world.tick()
            waited += TICK
        if problem := self._staff_helps():
            self.looks += 1
            require("a person helps", holds=self.looks <= LOOKS, problem=problem)
            self.settle()

    def _bank_decides(self, under_way: list[str]) -> bool:
        """A dispute is lost; refunds on their way arrive, or come back. Was there anything?"""
        if self.dispute is not None and self.dispute["status"] not in {"won", "lost"}:
            self.have_dispute_decided(outcome="lose")
            hear_webhook(webhooks.event("charge.dispute.closed", self.dispute))
            return True
        if not any(what.startswith("refund pending") for what in under_way):
            return False
        pending = Refund.objects.filter(status="pending", payment__order=self.order_id)
        found = pending.values_list("stripe_refund_id", flat=True)
        ids = {one for one in found if one is not None} - self.decided
        for refund_id in ids:
            self.world.provider.decide_refund(refund_id, self.refund_ends)
        self.decided |= ids
        return bool(ids)

    def _waits_for_its_shopper(self, standing: Standing) -> bool:
        """Nobody comes, and the hold is what ends it."""
        was_told = standing.key is not None and standing.key.response_status is not None
        was_promised = standing.payment.in_doubt_since is not None
        return (was_told or was_promised) and any(
            one["status"] == "requires_action" for one in self.intents()
        )

    def _staff_helps(self) -> str:
        """What waited for a person, who has seen to it; empty: nothing did."""
        standing = self.standing
        if standing is None:
            return ""
        order, payment = standing.order, standing.payment
        if payment.status == "quarantined":
            require("a story that confuses us", holds=self.story.quarantines, order=str(order))
            if self.looks == 0:
                recovery.settle_now(order_id=order.pk, deadline=Deadline(20))
            else:
                quarantine.end_quarantined(order_id=order.pk, deadline=Deadline(20))
            return f"quarantined: {payment.last_error}"
        owes = order.status == "cancelled" and not self.is_lost_to_a_bank
        if owes and payments.not_given_back(payment):
            require("a refund that failed", holds=self.story.refund_ends == "fail")
            self.refund_ends = "succeed"
            self.post("cancel")
            return "a refund has failed"
        return ""

    # --- the verdict --------------------------------------------------------------------------

    def judge(self, *, ends: str | None = None) -> None:
        """Whether all that was promised of one order is true.

        Args:
            ends: what it must have come to; None: what the provider's word makes of it.

        Raises:
            BrokenError: something is not as promised.
        """
        standing = self.standing
        if standing is None:
            require("nobody was told of an order", holds=not self.heard, heard=self.heard)
            require("it was not placed", holds=ends in {None, "nothing"}, ends=ends)
            return
        order = standing.order
        require("it is decided", holds=order.status != "pending", order=str(order))
        self._judge_money(standing)
        self._judge_answers(standing)
        followed = sql.fetch_one(WHAT_FOLLOWED, id=order.pk)
        assert followed is not None
        wanted = "committed" if order.status in MONEY_IS_KEPT else "released"
        wanted = "shipped" if order.status in Order.SHIPPED else wanted
        right = followed.reserved == [wanted]
        require("stock follows the order", holds=right, is_=followed.reserved)
        self._judge_mail(order, was_confirmed=followed.was_confirmed)
        if ends is not None:
            require("it ends as it should", holds=order.status == ends, is_=order.status, ends=ends)

    def _judge_money(self, standing: Standing) -> None:
        order, payment = standing.order, standing.payment
        intents = self.intents()
        charged = [intent for intent in intents if intent["status"] == "succeeded"]
        require("charged at most once", holds=len(charged) <= 1, intents=charged)
        require("one order, one intent", holds=len(intents) <= 1, intents=len(intents))
        given = sum(
            refund["amount"]
            for intent in charged
            for refund in self.world.provider.refunds_of(intent["id"])
            if refund["status"] == "succeeded"
        )
        received = sum(intent["amount_received"] for intent in charged)
        total = int(order.total_amount * 100)
        if order.status in MONEY_IS_KEPT:
            require("a paid order was paid", holds=received == total, received=received)
            require("its money is not all back", holds=given < received, given=given)
        elif self.is_lost_to_a_bank:
            assert self.dispute is not None
            require("not given back twice", holds=given + self.dispute["amount"] <= received)
        else:
            require("a dead order keeps no money", holds=given == received, given=given, r=received)
        known = payment.amount_received, payment.amount_refunded
        require(
            "we know what was received and given back",
            holds=known == (Decimal(received) / 100, Decimal(given) / 100),
            known=known,
            received=received,
            given=given,
        )

    def _judge_answers(self, standing: Standing) -> None:
        key = standing.key
        assert key is not None
        answered = key.response_status is not None
        require("the key is answered", holds=answered, order=str(standing.order))
        kept = key.response_status, (key.response_body or "").encode()
        others = [heard for heard in self.heard if heard != kept]
        require("every answer heard is the remembered one", holds=not others, kept=kept, o=others)
        replay = self.place()
        require("it replays", holds=(replay.status_code, replay.content) == kept, kept=kept)
        body = json.loads(kept[1])
        is_paid = self.payment.amount_received > 0  # still, after the replay
        if kept[0] == 201:
            require("201 means paid", holds=is_paid)
        elif body["error"]["code"] != "PAYMENT_REQUIRES_ACTION":
            require("a definite refusal means not paid", holds=not is_paid, body=body)

    def _judge_mail(self, order: Order, *, was_confirmed: bool) -> None:
        self.world.read_letters()
        letters = self.world.letters.pop(order.order_number, [])
        most = self.letters_allowed if was_confirmed else 0
        fits = len(set(letters)) == was_confirmed or (self.may_be_mute and not letters)
        right = fits and len(letters) <= most
        require("one e-mail for a confirmed order", holds=right, letters=letters)


def hear_webhook(told: dict[str, Any], *, taken: Container[int] = (200,)) -> None:
    """The provider tells, and a worker works it off."""
    status = webhooks.send(told).status_code
    require("a webhook is taken", holds=status in taken, status=status)
    events.process_due(deadline=Deadline(60), ignore_backoff=True)
