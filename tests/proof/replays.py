"""Plays a trace of the executable model on the real services, and compares after every step.

Real requests, workers and webhooks on threads of their own, each told to pass so many boundaries as
the model's step is long; the real payment server, told to answer as the model's step says.
"""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import requests
from django.db import connection, transaction
from django.db.models.functions import Now

from config.kernel import sql
from config.kernel.clock import Deadline
from config.kernel.transport import Transport
from inventory.models import StockLevel
from orders import selectors
from orders.models import IdempotencyKey
from orders.services import recovery
from orders.services.refunds import RefundWish, decide_refund, finish_refund
from payments.models import Refund
from tests import factories, webhooks
from tests.proof.actors import (
    STUCK_SECONDS,
    Actor,
    Director,
    Stage,
    wait_until_session_is_over,
)
from tests.proof.edges import Kind, Recorder, cut_connection, watched
from tests.proof.model import Do, Step, model
from tests.proof.stories import Story
from tests.proof.usecases import EVENT_OF
from tests.proof.world import (
    CLAIM,
    HOLD,
    LONGEST_DOUBT,
    REFUND_PAUSE,
    TICK,
    BrokenError,
    Scene,
    World,
    hear_webhook,
    require,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.proof.edges import Edge

SETTINGS: Final[dict[str, dict[str, Any]]] = {"unavailable": {"status": 502}}
PATHS: Final = {
    "create": ("POST", "/v1/payment_intents"),
    "confirm": ("POST", "/v1/payment_intents/*/confirm"),
    "cancel": ("POST", "/v1/payment_intents/*/cancel"),
    "GET": ("GET", "/v1/payment_intents/*"),
    "refund": ("POST", "/v1/refunds"),
    "list": ("GET", "/v1/refunds"),
}
STATES: Final = {
    "requires_confirmation": "rc",
    "requires_action": "ra",
    "processing": "pr",
    "requires_payment_method": "rpm",
    "succeeded": "ok",
    "canceled": "cx",
}
PAYMENTS: Final = {
    "created": "created",
    "requires_action": "created",  # decoration: no rule reads it
    "processing": "created",
    "succeeded": "succeeded",
    "failed": "closed",
    "cancelled": "closed",
}
# Pending: the provider has it, and a bank takes its time. The model has no such wait.
REFUNDS: Final = {"due": "due", "pending": "done", "succeeded": "done"}
# What an order is paid with, so that its confirmation comes out as the model's does.
METHODS: Final = {
    "ok": "pm_card_visa",
    "rpm": "pm_card_chargeDeclined",
    "ra": "pm_card_threeDSecure2Required",
    "pr": "pm_usBankAccount_success",
}
TICKS_AT_MOST: Final = (LONGEST_DOUBT + CLAIM) // TICK
WHAT_THERE_IS: Final = """
    SELECT key.owner, key.lease_until > clock_timestamp() AS has_lease,
        key.response_status, key.response_body,
        placed.public_id, placed.status,
        placed.hold_expires_at <= clock_timestamp() AS hold_is_over,
        payment.id AS payment_id, payment.status AS payment_status,
        payment.payment_intent_id, payment.confirm_attempt,
        ARRAY(SELECT status FROM refunds WHERE payment_id = payment.id ORDER BY id) AS refunds,
        coalesce((SELECT max(attempt) FROM refunds WHERE payment_id = payment.id), 1)
            AS refund_attempt,
        (SELECT string_agg(DISTINCT status, '+') FROM reservations WHERE order_id = placed.id)
            AS reserved
    FROM idempotency_keys AS key
    JOIN orders AS placed ON placed.idempotency_key_id = key.id
    JOIN payments AS payment ON payment.order_id = placed.id
    WHERE key.scope = %(scope)s AND key.key = %(key)s
"""
UNSEEN: Final = frozenset({"keys", "net"})  # the provider's memory: `_check_call` sees it at work


class DisagreementError(BrokenError):
    """The code does not do what the model says."""


class Player(Actor):
    """An actor who can lose its database in the middle of a COMMIT."""

    cut = ""

    def before(self, edge: Edge) -> None:
        super().before(edge)
        if self.cut == "cut before" and edge.kind is Kind.COMMIT:
            self.cut = ""
            cut_connection()

    def after(self, edge: Edge) -> None:
        if self.cut == "cut after" and edge.kind is Kind.COMMIT:
            self.cut = ""
            cut_connection()
            with connection.wrap_database_errors, connection.connection.cursor() as cursor:
                cursor.execute("SELECT 1")


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A call to the provider as it went over the wire."""

    method: str
    url: str
    headers: dict[str, str]
    body: Any

    def deliver(self) -> Any:
        """Have it arrive, once more or for the first time."""
        return requests.request(
            self.method, self.url, headers=self.headers, data=self.body, timeout=5
        )


_last_sent: list[Sent] = []


@contextlib.contextmanager
def calls_kept() -> Iterator[None]:
    """Keep what was sent last, so that it can arrive after its sender has given up, or is dead."""
    with watched(Recorder()):
        really = Transport.exchange  # as tests.proof.edges has wrapped it, for good

    def exchange(self: Transport, method: str, url: str, **more: Any) -> Any:
        sent = Sent(method=method, url=url, headers=dict(more["headers"]), body=more["body"])
        try:
            return really(self, method, url, **more)  # waits there until it is told to go on
        finally:
            _last_sent[:] = [sent]

    Transport.exchange = exchange  # type: ignore[method-assign]
    try:
        yield
    finally:
        Transport.exchange = really  # type: ignore[method-assign]
        _last_sent.clear()


@dataclass(kw_only=True)
class Replay:
    """One trace on the real thing."""

    world: World
    stage: Stage
    trace: Sequence[Step]
    by_webhook: bool = False  # the checker: a webhook, or the customer's /confirm
    scenes: list[Scene] = field(default_factory=list)
    owners: list[dict[str, Any]] = field(default_factory=list)
    said: list[set[str]] = field(default_factory=list)
    players: dict[int, Player] = field(default_factory=dict)
    played: list[str] = field(default_factory=list)
    heard_of: int = 0
    cancel_keys: set[str] = field(default_factory=set)
    travelling: dict[tuple[int, Any], list[Sent]] = field(default_factory=dict)
    swept: dict[int, Any] = field(default_factory=dict)
    twin: str = ""
    has_told: bool = False  # of an event that may still be there, and that others would work off

    def run(self) -> None:
        """Play and compare, step by step; then let go on whoever is still on the way.

        Raises:
            DisagreementError: tells every step and what differs.
        """
        self._prepare()
        try:
            self.director = Director(self.stage, [])
            for step in self.trace:
                self.played.append(str(step))
                self._play(step)
                self._compare(step)
            self._release()
            for sent in [one for several in self.travelling.values() for one in several]:
                sent.deliver()
        except AssertionError as exc:
            steps = "\n    ".join(self.played)
            raise DisagreementError(f"{exc}\n    {steps}") from exc
        finally:
            self._dismiss()
            self.world.provider.clear_faults()

    @property
    def intents_made(self) -> int:
        """How many at most lie at the provider because of it."""
        return len(self.scenes) + bool(self.twin)

    def _prepare(self) -> None:
        last = self.trace[-1]
        self.world.forget()
        self.world.provider.clear_faults()
        units = max(1, *(step.after[2] for step in self.trace))
        self.product = factories.ProductFactory(on_hand=units)
        for pays in last.beside.pays:
            method = self._method_to_be_refused() if pays == "no" else METHODS.get(pays, "")
            story = Story(name=f"model, {pays}", pays_with=method or METHODS["ok"], then="succeed")
            self.scenes.append(self.world.scene(story, sku=str(self.product.sku)))
            self.owners.append({})
            self.said.append(set())
        self.world.provider.clear_journal()

    # --- doing ----------------------------------------------------------------------------------

    def _play(self, step: Step) -> None:
        for do in step.script:
            known: dict[str, Callable[[Step, Do], None]] = {
                "enter": self._enter,
                "take over": self._take_over,
                "commit": self._pass_commit,
                "call": self._pass_call,
                "before call": lambda step, _do: self._up_to_call(step),
                "write": self._pass_write,
                "end": lambda step, _do: self._walk_to_end(step),
                "die": lambda step, _do: self.director.kill(self.players[step.number]),
                "arrive": lambda step, _do: self._arrive(step),
                "lose": lambda step, _do: self._lose(step),
                "lease": lambda step, _do: self._end_lease(step.order),
                "hold": lambda step, _do: self._end_hold(step.order),
                "act": lambda step, do: self.world.provider.act(
                    self.intents(step.order)[int(do.name)]["id"], do.fault
                ),
                "another card": lambda step, do: self._pay_with_another_card(
                    self.intents(step.order)[int(do.name)]
                ),
            }
            known[do.what](step, do)

    def _enter(self, step: Step, do: Do) -> None:
        player = Player(step.label[0], self._work(do.name, self.scenes[step.order]))
        self.players[step.number] = player
        player.stands.set()
        self.director.actors.append(player)
        self.stage.enter(player)
        self.director.step(player)

    def _work(self, name: str, scene: Scene) -> Callable[[], Any]:
        if name == "place":
            return scene.place
        if name == "check":
            return (lambda: self._hear(scene)) if self.by_webhook else lambda: scene.post("confirm")
        if name == "cancel":
            return lambda: scene.post("cancel")
        order_id = scene.order.pk
        if name == "decide":
            return lambda: decide_refund(order_id=order_id, wish=RefundWish(reason="broken"))
        if name == "refund":
            refund_id = Refund.objects.get(payment__order_id=order_id).pk
            return lambda: finish_refund(refund_id=refund_id, deadline=Deadline(20))
        patience = timedelta(0) if name == "recover at once" else recovery.ABANDONED_AFTER
        return lambda: recovery.recover_order(
            order_id=order_id, deadline=Deadline(20), patience=patience
        )

    def _hear(self, scene: Scene) -> None:
        (intent,) = [one for one in scene.intents() if one["id"] == scene.payment.payment_intent_id]
        self.has_told = True
        hear_webhook(webhooks.event(EVENT_OF[intent["status"]], intent))

    def _take_over(self, step: Step, do: Do) -> None:
        self.players[step.number] = self.players.pop(int(do.name))

    def _pass(self, step: Step, *, is_wanted: Callable[[Edge], bool]) -> Edge:
        """Go on past what is read, to the boundary that is wanted, and over it."""
        player = self.players[step.number]
        while (edge := player.at) is not None:
            wanted = is_wanted(edge)
            if not wanted and edge.kind in {Kind.COMMIT, Kind.PROVIDER}:
                break
            self._over(player)
            if wanted:
                return edge
        raise DisagreementError(f"{step}: the code stands before {player.at or 'its end'} instead")

    def _over(self, player: Player) -> None:
        self.director.step(player)
        if player.is_blocked:
            require("a row is free again", holds=player.stands.wait(STUCK_SECONDS))
            player.is_blocked = False

    def _pass_commit(self, step: Step, do: Do) -> None:
        player = self.players[step.number]
        player.cut = do.fault
        pid = player.backend_pid
        self._pass(step, is_wanted=lambda edge: edge.kind is Kind.COMMIT)
        if do.fault:
            wait_until_session_is_over(pid)

    def _pass_write(self, step: Step, do: Do) -> None:
        self._pass(step, is_wanted=lambda edge: edge.commits and edge.name == do.name)

    def _pass_call(self, step: Step, do: Do) -> None:
        method, path = PATHS[do.name]
        if "400rc" in step.label[1]:
            self._spoil_method()
        if do.fault:
            more = SETTINGS.get(do.fault, {})
            self.world.provider.fail(do.fault, path=path, method=method, **more)
        if self.by_webhook and step.role == "checker" and do.name == "GET":
            # A webhook is kept before it is worked off.
            self._pass(step, is_wanted=lambda edge: edge.kind is Kind.COMMIT)
        self._pass(step, is_wanted=lambda edge: edge.name == f"{method} {path}")
        self._check_call(step, do)
        if do.name != "GET":
            was, now = step.before[0][step.order], step.after[0][step.order]
            for item in Counter(now.net) - Counter(was.net):
                self.travelling.setdefault((step.order, item), []).append(_last_sent[0])

    def _up_to_call(self, step: Step) -> None:
        player = self.players[step.number]
        while player.at is not None and player.at.kind is not Kind.PROVIDER:
            if player.at.kind is Kind.COMMIT:
                break
            self._over(player)
        require(f"{step}: stands before a call", holds=_is_call(player.at), at=player.at)

    def _walk_to_end(self, step: Step) -> None:
        player = self.players[step.number]
        while (edge := player.at) is not None:
            if edge.kind in {Kind.COMMIT, Kind.PROVIDER}:
                raise DisagreementError(f"{step}: the code goes on with {edge}")
            self._over(player)
        self._check_end(step, player)

    def _check_end(self, step: Step, player: Player) -> None:
        if player.error is not None:
            raise DisagreementError(f"{step}: ended with {player.error!r}")
        if step.role != "request":
            return
        answer = _answer(player.result)
        if answer in ("201", "402", "RA"):
            self.said[step.order].add(answer)
        text = step.label[1]
        told = (
            "202"
            if "202" in text
            else "409"
            if text.endswith("409")
            else step.after[0][step.order].key
        )
        require(f"{step}: the answer is {told}", holds=answer == told, answer=answer)

    def _release(self) -> None:
        """Whoever is still on the stage goes on as it likes."""
        for player in self.players.values():
            if not player.is_done:
                player.go_on_freely()
                require("comes to its end", holds=player.stands.wait(STUCK_SECONDS))
                require("ends well", holds=player.error is None, error=player.error)

    def _dismiss(self) -> None:
        for player in self.players.values():
            if not player.is_done:
                player.die()
                player.stands.wait(STUCK_SECONDS)

    # --- the world ------------------------------------------------------------------------------

    def _end_lease(self, k: int) -> None:
        key_id = self.scenes[k].order.idempotency_key_id
        IdempotencyKey.objects.filter(pk=key_id).update(lease_until=Now())

    def _end_hold(self, k: int) -> None:
        values: dict[str, Any] = {"by": HOLD, "id": self.scenes[k].order.pk}
        with connection.cursor() as cursor:
            cursor.execute(
                """
                UPDATE payments SET created_at = created_at - %(by)s WHERE order_id = %(id)s;
                UPDATE orders SET created_at = created_at - %(by)s,
                    hold_expires_at = hold_expires_at - %(by)s
                WHERE id = %(id)s AND status = 'pending'
                """,
                values,
            )

    def _pay_with_another_card(self, intent: dict[str, Any]) -> None:
        """In the customer's browser, with the client secret."""
        self._ask(
            f"/v1/payment_intents/{intent['id']}/confirm",
            payment_method=METHODS["ok"],
            return_url="https://example.com/",
        )

    def _method_to_be_refused(self) -> str:
        """A method of one use, not used yet: on another intent, which waits."""
        made = self._ask(
            "/v1/payment_intents", amount="100", currency="usd", payment_method=METHODS["ok"]
        )
        self.twin = made["id"]
        return str(made["payment_method"])

    def _spoil_method(self) -> None:
        """It is used: whoever confirms with it from now on is refused for good."""
        if self.world.provider.intent(self.twin)["status"] == "requires_confirmation":
            self._ask(f"/v1/payment_intents/{self.twin}/confirm", return_url="https://example.com/")

    def _ask(self, path: str, **form: str) -> dict[str, Any]:
        answer = requests.post(
            f"{self.world.provider.base_url}{path}",
            data=form,
            headers={"Authorization": "Bearer sk_test_reader"},
            timeout=5,
        )
        answer.raise_for_status()
        return answer.json()

    def _no_longer_travelling(self, step: Step) -> list[Sent]:
        was, now = step.before[0][step.order], step.after[0][step.order]
        (item,) = Counter(was.net) - Counter(now.net)
        return self.travelling[step.order, item]

    def _lose(self, step: Step) -> None:
        self._no_longer_travelling(step).pop()

    def _arrive(self, step: Step) -> None:
        """A call whose caller has long given it up comes to the provider, to the byte as it was."""
        if "400rc" in step.label[1]:
            self._spoil_method()
        answer = self._no_longer_travelling(step).pop().deliver()
        is_replay = answer.headers.get("Idempotent-Replayed") == "true"
        require(f"{step}: replayed", holds=is_replay == step.label[1].endswith("*"), is_=is_replay)

    # --- comparing ------------------------------------------------------------------------------

    def _journal(self) -> list[dict[str, Any]]:
        answer = requests.get(
            f"{self.world.provider.base_url}/_test/journal",
            params={"after": str(self.heard_of), "limit": "1000"},
            timeout=5,
        )
        answer.raise_for_status()
        return answer.json()["requests"]

    def _check_call(self, step: Step, do: Do) -> None:
        """The provider saw this call, and answered as the model says it did."""
        entries = self._journal()
        method, path = PATHS[do.name]
        pattern = path.replace("*", "[^/]+")
        (*_, last) = [
            one for one in entries if one["method"] == method and re.fullmatch(pattern, one["path"])
        ]
        self.heard_of = entries[-1]["id"]
        is_replay = step.label[1].endswith("*") and do.name != "GET"
        require(f"{step}: replayed", holds=last["replayed"] == is_replay, was=last["replayed"])
        require(f"{step}: fault", holds=(last["fault"] or "") == do.fault, fault=last["fault"])
        key = last["idempotency_key"] or ""
        _, memory = step.before[1][step.number]
        if do.name in ("confirm", "refund"):
            begins, number = ("cf-", memory[1]) if do.name == "confirm" else ("rf-", memory)
            is_right = key.startswith(begins) and key.endswith(f"-{number}")
            require(f"{step}: under the key of number {number}", holds=is_right, key=key)
        elif do.name == "create":
            require(f"{step}: under the payment's key", holds=key.startswith("pi-"), key=key)
        elif do.name == "cancel":
            require(f"{step}: under a fresh key", holds=key not in self.cancel_keys, key=key)
            self.cancel_keys.add(key)

    def _compare(self, step: Step) -> None:
        orders, actors, allocated, _ = step.after
        for k, told in enumerate(orders):
            found = self._row(k)
            if found is not None:
                self._learn_owner(step, k, found)
            differs = {
                name: f"model {getattr(told, name)!r}, code {value!r}"
                for name, value in self._seen(k, found, told).items()
                if getattr(told, name) != value and name not in UNSEEN
            }
            require(f"{step}: order {k} differs", holds=not differs, differs=differs)
        levels = StockLevel.objects.filter(product=self.product)
        taken = sum(levels.values_list("allocated", flat=True))
        require(f"{step}: allocated", holds=taken == allocated, model=allocated, code=taken)
        for number, (pc, _) in enumerate(actors):
            player = self.players.get(number)
            is_busy = player is not None and not player.is_done
            has_left = bool(step.beside.hands[number].left)
            require(
                f"{step}: busy",
                holds=is_busy == (pc != "idle" or has_left),
                actor=number,
                model=pc,
                left=step.beside.hands[number].left,
                code=player and player.at,
            )

    def _learn_owner(self, step: Step, k: int, found: Any) -> None:
        """Who has just taken the key, in the model's name for it."""
        was, told = step.before[0][k], step.after[0][k]
        has_taken = told.key == "open" and step.order == k and told.owner == step.label[0]
        if has_taken and (was.key, was.owner, was.lease) != (told.key, told.owner, told.lease):
            self.owners[k][told.owner] = found.owner

    def _row(self, k: int) -> Any:
        scene = self.scenes[k]
        return sql.fetch_one(WHAT_THERE_IS, scope=scene.scope, key=scene.key)

    def intents(self, k: int) -> list[dict[str, Any]]:
        """The order's intents at the provider, the oldest first."""
        return self.scenes[k].intents()[::-1]

    def _seen(self, k: int, found: Any, told: Any) -> dict[str, Any]:
        """What there is of an order, in the model's words."""
        if found is None:
            return {**model.EMPTY._asdict(), "said": tuple(sorted(self.said[k]))}
        intents = self.intents(k)
        ids = [one["id"] for one in intents]
        stored = found.payment_intent_id
        seen: dict[str, Any] = {
            "key": _remembered(found.response_status, found.response_body),
            "order": found.status,
            "pay": PAYMENTS.get(found.payment_status, found.payment_status),
            "pi": None if stored is None else ids.index(stored),
            "att": found.confirm_attempt,
            "res": found.reserved,
            "ref": _refund_of(found.refunds),
            "ratt": found.refund_attempt,
            "intents": tuple((STATES[one["status"]], self._refunds_made(one)) for one in intents),
            "said": tuple(sorted(self.said[k])),
        }
        if seen["key"] == "open":  # nobody asks for them later
            seen["lease"] = found.has_lease
            names = [name for name, owner in self.owners[k].items() if owner == found.owner]
            seen["owner"] = told.owner if told.owner in names else "+".join(names) or "a stranger"
        if found.status == "pending":
            seen["age"] = int(found.hold_is_over)
            self._compare_with_sweep(k, found, told)
        return seen

    def _compare_with_sweep(self, k: int, found: Any, told: Any) -> None:
        """Whether a sweep would take the order, each time that one of its reasons has changed."""
        reasons = (told.key, told.lease, told.age)
        if self.swept.get(k) == reasons:
            return
        self.swept[k] = reasons
        may = told.key != "open" or not told.lease or told.age > 0
        does = _is_claimable(found.payment_id)
        require("a sweeper may take it", holds=may == does, model=may, code=does)

    def _refunds_made(self, intent: dict[str, Any]) -> int:
        if intent["status"] != "succeeded":
            return 0
        return len(self.world.provider.refunds_of(intent["id"]))


def end_well(replays: Sequence[Replay]) -> None:
    """Left to themselves, with their clients back, all of them must end well.

    Raises:
        DisagreementError: names the trace.
    """
    scenes = [(scene, replay) for replay in replays for scene in replay.scenes]
    for scene, replay in scenes:
        if scene.exists or len(replay.scenes) == 1:  # else another buyer may have it all
            scene.come_back()
    for world in {id(replay.world): replay.world for replay in replays}.values():
        _let_time_pass(world, [scene for scene, _ in scenes])
    for scene, replay in scenes:
        try:
            if scene.exists:
                scene.settle()
                scene.judge()
        except BrokenError as exc:
            steps = "\n    ".join(replay.played)
            raise DisagreementError(f"it does not end well: {exc}\n    {steps}") from exc


def _let_time_pass(world: World, scenes: Sequence[Scene]) -> None:
    """As long as anything may stay in doubt, with shoppers and banks who do their part at once."""
    decided: set[str] = set()
    for _ in range(TICKS_AT_MOST):
        if not world.under_way():
            return
        for scene in scenes:
            scene.shopper_acts()
        on_the_way = Refund.objects.filter(status=Refund.Status.PENDING)
        for refund_id in {one.stripe_refund_id or "" for one in on_the_way} - decided:
            decided.add(refund_id)
            world.provider.decide_refund(refund_id, "succeed")
            world.pass_time(REFUND_PAUSE)
        world.tick()


def _is_call(edge: Edge | None) -> bool:
    return edge is not None and edge.kind is Kind.PROVIDER


def _answer(response: Any) -> str:
    """What a client heard, in the model's words."""
    if response.status_code in (402, 502):
        is_action = response.json()["error"]["code"] == "PAYMENT_REQUIRES_ACTION"
        return "RA" if is_action else "402"
    return str(response.status_code)


def _remembered(status: int | None, body: str | None) -> str:
    if status is None:
        return "open"
    if status in (402, 502):
        return "RA" if "PAYMENT_REQUIRES_ACTION" in (body or "") else "402"
    return str(status)


def _refund_of(statuses: Sequence[str]) -> str:
    if not statuses:
        return "-"
    return "twice" if len(statuses) > 1 else REFUNDS.get(statuses[0], statuses[0])


def _is_claimable(payment_id: int) -> bool:
    """Whether a sweep would take this order; nothing is taken."""
    with transaction.atomic():
        claimed = selectors.claim_orders_in_doubt(limit=100, ignore_backoff=True, lease=CLAIM)
        transaction.set_rollback(True)
    return payment_id in {one.pk for one in claimed}
