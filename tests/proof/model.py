"""Which step of the executable model is which step of the code, and the traces that show it.

A trace of the model is a list of steps, each with the state it leads to. Here every step gets its
part in the real thing: so many COMMITs and calls of a real actor, a clock put forward, a shopper at
the provider. `tests.proof.replays` plays that and compares.

Where one step of the model is not one of the code, it stands in `MAPPED`. Where the code never does
what the model allows, it stands in `NOT_TAKEN`, and traces go round it. Nothing else is tolerated:
an actor who commits or calls where the model does not is a disagreement.
"""

from __future__ import annotations

import functools
import importlib.util
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from orders.services.placement import TRIES

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator, Sequence

_PATH: Final = Path(__file__).parents[1] / "model" / "placement_model.py"
_spec = importlib.util.spec_from_file_location("placement_model", _PATH)
assert _spec
assert _spec.loader
model: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(model)

# How the provider is told to answer as the model's step says; the rest of a call's text.
FAULTS: Final = {
    "is lost on the way": "drop",
    "its answer lost": "answer_lost",
    "-> 500 stored, not applied": "error_before",
    "-> 500 stored, but applied": "error_after",
    "-> no answer": "drop",
    "times out, still travelling": "drop",  # it arrives later, sent once more by the replay
    "from a gateway, still travelling": "unavailable",
    "-> 409, same key in flight": "conflict",
}
STEPS_AT_MOST: Final = 40
NEAR: Final = 400  # states that are looked at for a way to go on

# Where the steps of the two are not the same, and why that is no difference.
MAPPED: Final = {
    "the canceller looks again": "After it has settled, the code reads the order under its locks"
    " once more, for it may be a paid one now; after `canceled` that COMMIT changes nothing.",
    "a cancelled order's refund": "The customer's request goes on to send it; in the model that is"
    " a sweeper. The request's thread is that sweeper.",
    "a sweeper takes an order": "It looks at it under its locks before it asks the provider: a"
    " COMMIT that changes nothing.",
    "an order that waits": "The code notes on the payment that it waits for its customer or bank,"
    " and that is decoration: a COMMIT of which the model knows nothing.",
    "an abandoned order": "The model ends it as soon as the lease is over; the code waits 90"
    " seconds, and `recover_orders` does not. Here it is that one.",
    "a webhook": "It is kept and claimed before the provider is asked: two COMMITs about the event"
    " alone. /confirm has none.",
}
# What the model allows and the code does not do: traces go round it.
NOT_TAKEN: Final = {
    "promised": "A sweeper makes or confirms an intent only for an order whose client heard 202,"
    " and ends no such order while its hold runs. The model leaves that open.",
    "final order": "A webhook or /confirm asks nothing about an order that is decided.",
    "tries": "A request begins at most three times, the model's as often as it likes.",
}


# --- what the model does not keep, and the code does ------------------------------------------


class Hand(NamedTuple):
    """What an actor of the code carries with it.

    `left`: what its thread stands before while the model's actor is idle.
    """

    left: str = ""
    tries: int = 0


class Beside(NamedTuple):
    """Beside a state: by order, what was promised and how it pays; by actor, its hand."""

    promised: tuple[bool, ...]
    pays: tuple[str, ...]
    hands: tuple[Hand, ...]


class Do(NamedTuple):
    """One thing to be done by the actor whose step it is, or to the world."""

    what: str
    name: str = ""
    fault: str = ""


class Step(NamedTuple):
    """One step of a trace: the model's label, who and which order, what to do, what is then."""

    label: tuple[str, str]
    role: str
    number: int
    order: int
    before: Any
    after: Any
    script: tuple[Do, ...]
    beside: Beside
    mapped: tuple[str, ...]

    @property
    def kind(self) -> str:
        return kind_of(self.role, self.label)

    def __str__(self) -> str:
        return ": ".join(self.label)


@functools.cache
def kind_of(role: str, label: tuple[str, str]) -> str:
    """A transition's kind: who does what, whatever their names."""
    text = re.sub(r"lease of [^ ,]+", "lease of its holder", label[1])
    return f"{role}: {text}"


COMMIT: Final = Do("commit")
END: Final = Do("end")


class _NotTakenError(Exception):
    """The code does not go this way; the argument is a name in `NOT_TAKEN`."""


class Mapping:
    """Which steps of a configuration of the model the code takes, and what it does in each."""

    def __init__(self, name: str, *, faults: int, kinds: str) -> None:
        found = next(cfg for cfg in model.CONFIGS if cfg.name == name)
        self.cfg = found._replace(
            faults=min(found.faults, faults),
            outcomes=found.outcomes.split(),
            kinds=frozenset(kinds.split()),
        )
        self.roles = {actor: role for actor, role, _ in self.cfg.actors}
        orders = 1 + max(k for _, _, k in self.cfg.actors)
        self.first = (
            (model.EMPTY,) * orders,
            (("idle", None),) * len(self.cfg.actors),
            0,
            self.cfg.faults,
        )
        self.beside = Beside(
            promised=(False,) * orders,
            pays=("",) * orders,
            hands=(Hand(),) * len(self.cfg.actors),
        )

    def with_faults(self, faults: int) -> Mapping:
        """The same, with so many faults at most."""
        return Mapping(self.cfg.name, faults=faults, kinds=" ".join(self.cfg.kinds))

    def labels(self, state: Any) -> Iterator[tuple[str, tuple[str, str], Any]]:
        """(role, label, next state) of everything that the model allows."""
        for label, _, after in model.steps(self.cfg, model.PROTOCOL, state):
            yield self.roles.get(label[0], label[0]), label, after

    def steps(self, state: Any, beside: Beside) -> Iterator[Step | tuple[str, str]]:
        """Every step that the code takes; of the others, their kind and the name of the reason."""
        for role, label, after in self.labels(state):
            number = next(
                (n for n, (actor, _, _) in enumerate(self.cfg.actors) if actor == label[0]), -1
            )
            k = (
                self.cfg.actors[number][2]
                if number >= 0
                else next(n for n, now in enumerate(after[0]) if now != state[0][n])
            )
            part = _Part(self, state, beside, number, k, label[1], after)
            try:
                script = part.script(role)
            except _NotTakenError as why:
                yield kind_of(role, label), str(why)
            else:
                yield Step(
                    label,
                    role,
                    number,
                    k,
                    state,
                    after,
                    script,
                    part.beside,
                    tuple(part.mapped),
                )


class _Part:
    """One step of the model, as the code does it; `beside` is brought up to date meanwhile."""

    def __init__(
        self,
        mapping: Mapping,
        state: Any,
        beside: Beside,
        number: int,
        k: int,
        text: str,
        after: Any,
    ) -> None:
        self.mapping = mapping
        self.beside = beside
        self.number = number
        self.k = k
        self.text = text
        self.was, self.now = state[0][k], after[0][k]
        self.pc: str = state[1][number][0] if number >= 0 else ""
        self.memory: Any = state[1][number][1] if number >= 0 else None
        self.next_pc = after[1][number][0] if number >= 0 else ""
        self.hand = beside.hands[number] if number >= 0 else Hand()
        self.mapped: list[str] = []

    def script(self, role: str) -> tuple[Do, ...]:
        """What is to be done.

        Raises:
            _NotTakenError: the code does not do this.
        """
        if self.text == "dies":
            self._carry()
            return (Do("die"),)
        if self.text.startswith("dies, its"):
            return self._dies_calling()
        return tuple(getattr(self, f"_{role}")())

    def _dies_calling(self) -> tuple[Do, ...]:
        name = self.text.removeprefix("dies, its ").partition(" ")[0]
        if name == "confirm":
            self._check_confirm()
        begins: tuple[Do, ...] = ()
        if self.pc == "idle":  # a sweeper's create
            if not self.beside.promised[self.k] or self.was.age:
                raise _NotTakenError("promised")
            self._mapped("a sweeper takes an order")
            begins = (Do("enter", "recover"), COMMIT)
        self._carry()
        return *begins, Do("call", name, "drop"), Do("die")

    # --- the world ------------------------------------------------------------------------------

    def _network(self) -> list[Do]:
        (item,) = Counter(self.was.net) - Counter(self.now.net)
        if self.text.endswith("is lost"):
            return [Do("lose")]
        kind, key, n = item
        if kind == "confirm":
            self._check_outcome(key, n)
        return [Do("arrive")]

    def _clock(self) -> list[Do]:
        if self.text.startswith("the lease"):
            return [Do("lease")]
        if self.text == "the hold expires":
            return [Do("hold")]
        raise NotImplementedError(self.text)

    def _customer(self) -> list[Do]:
        if "another card" in self.text:
            return [Do("another card", self._moved())]
        return [Do("act", self._moved(), "succeed" if "completes" in self.text else "fail")]

    def _provider(self) -> list[Do]:
        return [Do("act", self._moved(), "succeed" if "succeeds" in self.text else "fail")]

    def _moved(self) -> str:
        pairs = enumerate(zip(self.was.intents, self.now.intents, strict=True))
        return str(next(n for n, (was, now) in pairs if was != now))

    # --- a request ------------------------------------------------------------------------------

    def _request(self) -> list[Do]:
        script = self._request_does()
        if self.next_pc == "again" and self.beside.hands[self.number].tries == TRIES:
            raise _NotTakenError("tries")
        return script

    def _request_does(self) -> list[Do]:
        if self.pc in ("idle", "again"):
            return self._request_begins()
        if self.pc == "C1":
            return [self._call("create")]
        if self.pc == "T1b":
            return [self._commit()]
        if self.pc in model.CONFIRMING:
            return [self._confirms()]
        if self.pc == "GET":
            return [self._call("GET")]
        if self.pc == "cancel":
            return [self._call("cancel")]
        if self.pc == "T2":
            return self._request_settles()
        raise NotImplementedError(self.pc)

    def _request_begins(self) -> list[Do]:
        tries = 1 if self.pc == "idle" else self.hand.tries + 1
        begins = [Do("enter", "place")] if self.pc == "idle" else []
        self._carry(tries=tries)
        ends = self.next_pc == "idle"
        return [*begins, self._commit(), *([END] if ends else [])]

    def _request_settles(self) -> list[Do]:
        is_done = "fails" not in self.text
        if is_done and self.was.key == self.now.key == "open" and self.was.owner == self._name():
            self._promise()
        return [self._commit()] if "outcome unknown" in self.text else [COMMIT, END]

    # --- a webhook, or /confirm -----------------------------------------------------------------

    def _checker(self) -> list[Do]:
        if self.pc == "idle":
            if self.was.order != "pending":
                raise _NotTakenError("final order")
            self._mapped("a webhook")
            return [Do("enter", "check"), self._call("GET")]
        if self.pc == "cancel":
            return self._cancels()
        return [COMMIT, END]

    # --- the customer who cancels ---------------------------------------------------------------

    def _cancel(self) -> list[Do]:
        if self.pc == "cancel":
            return self._cancels()
        if self.pc == "settle":
            self._mapped("the canceller looks again")
            if self.memory == "cx" and self.now.ref != "due":
                return [COMMIT, COMMIT, END]
            self._carry(left="look again")
            return [COMMIT]
        if self.text.startswith("wants to cancel"):
            self._carry()
            return [Do("enter", "cancel"), COMMIT]
        if self.text == "cancels an order without intent":
            self._carry()
            return [Do("enter", "cancel"), COMMIT, END]
        goes_on = self.hand.left == "look again"
        self._carry(left="refund")
        return [COMMIT] if goes_on else [Do("enter", "cancel"), COMMIT]

    def _cancels(self) -> list[Do]:
        call = self._call("cancel")
        if self.next_pc != "idle" or call.fault:
            return [call, *([END] if self.next_pc == "idle" else [])]
        if self.mapping.cfg.actors[self.number][1] == "cancel":
            return [call, END]  # "it is being processed": 409
        self._mapped("an order that waits")
        return [call, COMMIT, END]

    # --- staff ----------------------------------------------------------------------------------

    def _staff(self) -> list[Do]:
        return [Do("enter", "decide"), COMMIT, END]

    # --- the sweeper ----------------------------------------------------------------------------

    def _sweeper(self) -> list[Do]:
        known: dict[str, Callable[[], list[Do]]] = {
            "idle": self._sweeper_begins,
            "T1b": lambda: [COMMIT] if self.next_pc == "C2" else [COMMIT, END],
            **dict.fromkeys(model.CONFIRMING, self._sweeper_confirms),
            "cancel": self._cancels,
            "settle": lambda: [COMMIT, END],
            "refund": lambda: [self._call("refund"), *([END] if self.next_pc == "idle" else [])],
            "refund list": lambda: [Do("call", "list")],
            "next key": lambda: [Do("write", "UPDATE refunds"), END],
            "refunded": lambda: [COMMIT, END],
        }
        return known[self.pc]()

    def _sweeper_begins(self) -> list[Do]:
        if self.text == "takes a refund":
            return self._sweeper_takes_refund()
        if self.was.pi is None:
            return self._sweeper_finds_no_intent()
        is_promised = self.beside.promised[self.k]
        is_abandoned = self.text.endswith(", abandoned")
        if (is_abandoned and is_promised) or (self.next_pc == "C2" and not is_promised):
            raise _NotTakenError("promised")
        if is_abandoned:
            self._mapped("an abandoned order")
        self._carry()
        self._mapped("a sweeper takes an order")
        begins = Do("enter", "recover at once" if is_abandoned else "recover")
        return [begins, COMMIT, self._call("GET")]

    def _sweeper_finds_no_intent(self) -> list[Do]:
        is_promised = self.beside.promised[self.k] and not self.was.age
        if self.text.startswith("closes") == is_promised:
            raise _NotTakenError("promised")
        self._carry()
        if is_promised:
            self._mapped("a sweeper takes an order")
            ends = [END] if self.next_pc == "idle" else []
            return [Do("enter", "recover"), COMMIT, self._call("create"), *ends]
        if self.was.age:
            return [Do("enter", "recover"), COMMIT, END]
        self._mapped("an abandoned order")
        return [Do("enter", "recover at once"), COMMIT, END]

    def _sweeper_confirms(self) -> list[Do]:
        does = self._confirms()
        if self.next_pc != "idle":
            return [does]
        if self.text.removeprefix("confirm -> ").removeprefix("GET -> ") in ("ra", "pr"):
            self._mapped("an order that waits")
            return [does, COMMIT, END]
        return [does, END]

    def _sweeper_takes_refund(self) -> list[Do]:
        hands = self.beside.hands
        sender = next(
            (
                n
                for n, (_, _, k) in enumerate(self.mapping.cfg.actors)
                if k == self.k and hands[n].left == "refund"
            ),
            -1,
        )
        if sender >= 0:
            self._mapped("a cancelled order's refund")
            emptied = (*hands[:sender], Hand(), *hands[sender + 1 :])
            self.beside = self.beside._replace(hands=emptied)
        self._carry()
        begins = Do("take over", str(sender)) if sender >= 0 else Do("enter", "refund")
        return [begins, Do("before call")]

    # --- helpers --------------------------------------------------------------------------------

    def _mapped(self, how: str) -> None:
        """Here the code's steps are not the model's, for the reason in `MAPPED`."""
        self.mapped.append(how)

    def _name(self) -> str:
        return str(self.mapping.cfg.actors[self.number][0])

    def _carry(self, **changes: Any) -> None:
        """What the actor has in its hand from now on, and nothing else unless it is named."""
        base = self.hand if self.mapping.cfg.actors[self.number][1] == "request" else Hand()
        hand = base._replace(**changes) if changes else Hand()
        hands = self.beside.hands
        changed = (*hands[: self.number], hand, *hands[self.number + 1 :])
        self.beside = self.beside._replace(hands=changed)

    def _promise(self) -> None:
        promised = self.beside.promised
        changed = (*promised[: self.k], True, *promised[self.k + 1 :])
        self.beside = self.beside._replace(promised=changed)

    def _commit(self) -> Do:
        if "outcome unknown" not in self.text:
            return COMMIT
        return Do("commit", fault="cut before" if "fails" in self.text else "cut after")

    def _call(self, name: str) -> Do:
        for ending, fault in FAULTS.items():
            if self.text.endswith(ending) or (ending == "its answer lost" and ending in self.text):
                return Do("call", name, fault)
        return Do("call", name)

    def _confirms(self) -> Do:
        """C2 and what follows it, whoever sends it."""
        if self.pc == "next attempt":
            return Do("write", "UPDATE payments")
        if self.pc == "GET after":
            return self._call("GET")
        self._check_confirm()
        return self._call("confirm")

    def _check_confirm(self) -> None:
        """Whether the provider would answer this confirm as the model says."""
        n, number = self.memory
        self._check_outcome(f"cf-{number}", n)

    def _check_outcome(self, key: str, n: int) -> None:
        """Note how the order pays, so that the provider answers as the model's does.

        Raises:
            NotImplementedError: no order of ours pays like that; no trace with two faults does it.
        """
        if any(known == key for known, _ in self.was.keys):
            return
        state = self.was.intents[n][0]
        if state == "rpm":
            raise NotImplementedError("a failed attempt has taken the method off the intent")
        if state != "rc":
            return
        after = self.now.intents[n][0]
        came_to = after if after != "rc" else "no" if "400rc" in self.text else ""
        pays = self.beside.pays[self.k]
        if came_to and pays and came_to != pays:
            raise NotImplementedError("an order has one method, and it comes out one way")
        if came_to:
            changed = (*self.beside.pays[: self.k], came_to, *self.beside.pays[self.k + 1 :])
            self.beside = self.beside._replace(pays=changed)


# --- finding traces ---------------------------------------------------------------------------


@dataclass(kw_only=True)
class Found:
    """The shortest trace to each kind of step, and to each entry of `MAPPED`; what was in the way.

    `searched`: where each was found; `kinds`: what the model does there, whatever the code does;
    `reasons`: the names in `NOT_TAKEN` that traces went round.
    """

    traces: dict[str, list[Step]] = field(default_factory=dict)
    searched: dict[str, Mapping] = field(default_factory=dict)
    kinds: set[str] = field(default_factory=set)
    reasons: set[str] = field(default_factory=set)
    states: int = 0


def find(mappings: Sequence[Mapping]) -> Found:
    """Search configurations one after the other, breadth first, for what the earlier ones lack."""
    found = Found()
    for mapping in mappings:
        _search(mapping, found)
    return found


def _search(mapping: Mapping, found: Found) -> None:
    """Along what the code does, until every kind is seen, or every state."""
    kinds = kinds_of(mapping)
    found.kinds |= kinds
    wanted = (kinds | MAPPED.keys()) - found.traces.keys()
    tree = _Tree(mapping, mapping.first, mapping.beside)
    for step, here in tree.grow(found.reasons):
        for shown in wanted.intersection((step.kind, *step.mapped)):
            wanted.discard(shown)
            found.traces[shown] = [*tree.way(here), step]
            found.searched[shown] = mapping
        if not wanted:
            break
    found.states += len(tree.nodes)


class _Tree:
    """What can be reached from a state, breadth first, and by which way."""

    def __init__(self, mapping: Mapping, state: Any, beside: Beside) -> None:
        self.mapping = mapping
        self.nodes: list[tuple[Any, Beside, int, Step | None]] = [(state, beside, -1, None)]

    def grow(self, reasons: set[str]) -> Iterator[tuple[Step, int]]:
        """Every step that the code takes, and the node that it begins at."""
        seen = {self.nodes[0][:2]}
        for here, (state, beside, _, _) in enumerate(self.nodes):
            for step in self.mapping.steps(state, beside):
                if not isinstance(step, Step):
                    reasons.add(step[1])
                    continue
                after = (step.after, step.beside)
                if after not in seen:
                    seen.add(after)
                    self.nodes.append((*after, here, step))
                yield step, here

    def way(self, here: int) -> list[Step]:
        """The steps that lead to a node."""
        steps = []
        while here >= 0:
            _, _, before, step = self.nodes[here]
            if step is not None:
                steps.append(step)
            here = before
        return steps[::-1]


def kinds_of(mapping: Mapping) -> set[str]:
    """Every kind of step that the model takes in a configuration, whatever the code does."""
    seen, queue = {mapping.first}, [mapping.first]
    found = set()
    for state in queue:
        for role, label, after in mapping.labels(state):
            found.add(kind_of(role, label))
            if after not in seen:
                seen.add(after)
                queue.append(after)
    return found


def shows(trace: Sequence[Step]) -> set[str]:
    """The kinds of steps, and of differences between the two, that a trace has."""
    return {name for step in trace for name in (step.kind, *step.mapped)}


def cover(found: Found) -> list[list[Step]]:
    """Traces that together show all that was found.

    The longest first, each going on to what it can show besides with one more fault: then few do.
    """
    chosen: list[list[Step]] = []
    wanted = set(found.traces)
    for kind, shortest in sorted(found.traces.items(), key=lambda one: (-len(one[1]), one[0])):
        if kind not in wanted:
            continue
        mapping = found.searched[kind]
        mapping = mapping.with_faults(mapping.cfg.faults + 1)
        trace = _along(mapping, [step.label for step in shortest])
        more = trace
        while more:
            wanted -= shows(more)
            more = _nearest(mapping, trace[-1], wanted)
            trace += more
        chosen.append(trace)
    return chosen


def _along(mapping: Mapping, labels: Sequence[tuple[str, str]]) -> list[Step]:
    """The same steps again, in another mapping."""
    trace: list[Step] = []
    state, beside = mapping.first, mapping.beside
    for label in labels:
        steps = mapping.steps(state, beside)
        trace += [one for one in steps if isinstance(one, Step) and one.label == label][:1]
        state, beside = trace[-1].after, trace[-1].beside
    return trace


def _nearest(mapping: Mapping, last: Step, wanted: set[str]) -> list[Step]:
    """How to go on to something that is wanted; nothing, if none is near."""
    tree = _Tree(mapping, last.after, last.beside)
    for step, here in tree.grow(set()):
        if wanted.intersection((step.kind, *step.mapped)):
            return [*tree.way(here), step]
        if len(tree.nodes) > NEAR:
            break
    return []


WEIGHTS: Final = {"clock": 0.3, "customer": 0.7, "provider": 0.7}
FAULT_WEIGHT: Final = 0.4


def walk(mapping: Mapping, draw: random.Random) -> list[Step]:
    """A walk at random, until all is well and nobody is busy, or for `STEPS_AT_MOST` steps."""
    state, beside = mapping.first, mapping.beside
    trace: list[Step] = []
    while len(trace) < STEPS_AT_MOST:
        is_over = model.good(state) and all(pc == "idle" for pc, _ in state[1])
        if trace and is_over:
            break
        steps = [step for step in mapping.steps(state, beside) if isinstance(step, Step)]
        if not steps:
            break
        weights = [
            WEIGHTS.get(step.role, 1.0) * (FAULT_WEIGHT if step.after[3] < state[3] else 1.0)
            for step in steps
        ]
        (step,) = draw.choices(steps, weights)
        trace.append(step)
        state, beside = step.after, step.beside
    return trace
