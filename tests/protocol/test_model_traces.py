"""The model and the code agree: traces of the model, replayed step by step on the real services.

After every step, what the model says there is (key, order, payment, stock, refund, what lies at the
provider, what the client has heard) is compared with what there is; tests/proof/model.py says
which step is which, and where the two differ. More by hand:

    MODEL_WALKS=500 bin/test tests/protocol/test_model_traces.py    walks at random, two faults each
    MODEL_LATE=1 bin/test tests/protocol/test_model_traces.py       and calls that arrive late
"""

from __future__ import annotations

import os
import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from config.kernel import sql
from config.kernel.db import short_transaction
from orders.services import settlement
from payments import gateway
from payments import services as payments
from payments.gateway import Intent, Unknown
from payments.services import Told
from tests.proof import model, replays
from tests.proof.actors import Stage
from tests.proof.world import World, on_stage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tests.proof.model import Step

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(7_200)]

LATE = bool(os.environ.get("MODEL_LATE"))
LEFT_OUT = set() if LATE else {"late"}
FAULTS = " ".join(sorted(set(model.model.ALL.split()) - LEFT_OUT))
WALKS = int(os.environ.get("MODEL_WALKS", "8"))
FIRST_WALK = int(os.environ.get("MODEL_FIRST_WALK", "0"))
# One fault: with two there is no kind of step that there is not with one.
SEARCHED = [
    "one request, sweeper",
    "request, cancel, staff refund",
    "same key twice",
    "3-D Secure, debit, webhooks, cancel",
    "confirm refused for good",
]
if LATE:
    SEARCHED.append("everybody")
KINDS_OF_THEIR_OWN = {"a day lost", "provider contradicts itself"}
WALKED = [
    "everybody",
    "same key twice, webhooks",
    "two sweepers, cancel",
    "same key twice, cancel",
    "two buyers, last unit",
    "two sweepers, refunds",
    "two buyers, two units, cancel",
    *SEARCHED,
]
TOGETHER = 7  # intents: traces are left to themselves in groups

DAY = "The payment server forgets its keys by its own clock alone."
CONTRADICTION = "The payment server does not contradict its own `canceled`."
# Of all that the model does, with one fault: what the code could not be led to.
NOT_REPLAYED = {
    "clock: a day passes, the provider forgets its keys": DAY,
    "sweeper: takes an old refund": DAY,
    "provider: a canceled intent succeeds after all": CONTRADICTION,
    "checker: settles cx: order confirmed, stock committed": CONTRADICTION,
    "sweeper: settles cx: order confirmed, stock committed": CONTRADICTION,
    "request: T2 settles cx: order confirmed, answers 201": CONTRADICTION,
    "request: T2 settles ok: order cancelled, answers 402": CONTRADICTION,
    "request: confirm -> 400ok": CONTRADICTION,
}


def not_searched() -> Iterator[model.Mapping]:
    """With what is searched: every kind of step that there is, with one fault, in any."""
    for cfg in model.model.CONFIGS:
        if cfg.name not in SEARCHED and (LATE or cfg.name in KINDS_OF_THEIR_OWN):
            kinds = " ".join(set(cfg.kinds.split()) - LEFT_OUT)
            yield model.Mapping(cfg.name, faults=1, kinds=kinds)


@pytest.fixture(scope="module")
def found() -> model.Found:
    return model.find(
        [model.Mapping(name, faults=1, kinds=FAULTS) for name in SEARCHED],
    )


@pytest.fixture
def world(provider, tmp_path):
    provider.reset()
    with on_stage(mail_dir=tmp_path), replays.calls_kept():
        world = World(provider=provider)
        world.open()
        yield world


@pytest.fixture
def stage():
    stage = Stage(8)
    yield stage
    stage.close()


def play(world: World, stage: Stage, traces: Sequence[Sequence[Step]]) -> None:
    """Replay them all; in between they are left to themselves, and must end well."""
    together: list[replays.Replay] = []
    for number, trace in enumerate(traces):
        replay = replays.Replay(world=world, stage=stage, trace=trace, by_webhook=bool(number % 2))
        replay.run()
        together.append(replay)
        if replay.has_told or sum(one.intents_made for one in together) > TOGETHER:
            replays.end_well(together)
            together.clear()
    replays.end_well(together)


def test_every_kind_of_step_of_the_model_is_one_of_the_code(found, world, stage, record_property):
    traces = model.cover(found)

    play(world, stage, traces)

    shown = set().union(*map(model.shows, traces))
    there_are = found.kinds.union(*map(model.kinds_of, not_searched()))
    assert there_are - shown == NOT_REPLAYED.keys()
    assert shown >= model.MAPPED.keys()
    assert found.reasons == model.NOT_TAKEN.keys() - {"tries"}  # it takes two faults to come there
    told = f"{len(traces)} traces, {sum(map(len, traces))} steps, {len(shown & there_are)} kinds"
    record_property("replayed", f"{told} of {len(there_are)}")
    print(told, "of", len(there_are))  # noqa: T201 - with -s


def test_walks_at_random_agree(world, stage):
    traces = []
    for seed in range(FIRST_WALK, FIRST_WALK + WALKS):
        mapping = model.Mapping(WALKED[seed % len(WALKED)], faults=2, kinds=FAULTS)
        draw = random.Random(seed)  # noqa: S311 - a seed walks the same way again
        traces.append(model.walk(mapping, draw))

    play(world, stage, traces)


# --- what a broken rule does to it --------------------------------------------------------------


def store_whatever_is_there(payment: Any, intent_id: str) -> bool:
    with short_transaction():
        sql.execute(
            "UPDATE payments SET payment_intent_id = %(intent_id)s WHERE id = %(id)s",
            id=payment.pk,
            intent_id=intent_id,
        )
    payment.payment_intent_id = intent_id
    return True


def take_a_failed_attempt_for_the_end(*, payment: Any, answer: Any, deadline: Any) -> Any:
    if isinstance(answer, Intent):
        is_over = answer.status == "requires_payment_method"
        ended = replace(answer, status="canceled") if is_over else answer
        return Told(intent=ended, failure=answer.failure)
    return answer if isinstance(answer, Unknown) else Unknown(reason=answer.code)


def believe_whatever_a_confirm_says(payment: Any, deadline: Any) -> Any:
    return gateway.confirm_intent(
        intent_id=payment.payment_intent_id,
        params=payment.confirm_params,
        idempotency_key=f"cf-{payment.uuid}-{payment.confirm_attempt}",
        deadline=deadline,
    )


def leave_the_key_open(locked: Any, *, items: Any = None) -> None:
    """Somebody else will answer it."""


really_create_refund = gateway.create_refund


def take_any_5xx_for_a_stored_one(**call: Any) -> Any:
    answer = really_create_refund(**call)
    return replace(answer, replayed=True) if isinstance(answer, Unknown) else answer


BROKEN = {
    "T1b without its condition": (
        "request: T1b changes no row",
        (payments, "_store_intent", store_whatever_is_there),
    ),
    "a failed attempt settles": (
        "request: confirm -> rpm",
        (payments, "close_failed_attempt", take_a_failed_attempt_for_the_end),
    ),
    "a confirm that tells nothing is believed": (
        "request: next confirm key",
        (payments, "_confirm", believe_whatever_a_confirm_says),
    ),
    "the key is left open": (
        "sweeper: settles ok: order confirmed, stock committed",
        (settlement, "answer_if_final", leave_the_key_open),
    ),
    "the next refund key after any 5xx": (
        "sweeper: refund -> 500 stored, but applied",
        (gateway, "create_refund", take_any_5xx_for_a_stored_one),
    ),
}


def shortest_with(traces: Iterable[list[Step]], kind: str) -> list[Step]:
    """If possible one that goes on: what went wrong in a step may show in the next."""
    having = [trace for trace in traces if kind in model.shows(trace)]
    return min(having, key=lambda trace: (trace[-1].kind == kind, len(trace)))


@pytest.mark.parametrize("rule", BROKEN)
def test_a_broken_rule_is_a_disagreement(found, world, stage, monkeypatch, rule):
    kind, (owner, name, broken) = BROKEN[rule]
    trace = shortest_with(found.traces.values(), kind)
    replays.Replay(world=world, stage=stage, trace=trace).run()
    monkeypatch.setattr(owner, name, broken)

    with pytest.raises(replays.DisagreementError):
        replays.Replay(world=world, stage=stage, trace=trace).run()
