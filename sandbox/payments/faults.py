"""Breaks requests on purpose, as a test asks for with `POST /_test/faults`.

A fault waits until a request matches it, then spoils that one at its stage: on the way in, inside
the execution, or on the way out. Faults live in memory: a restarted server is a healthy one.
"""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from fnmatch import fnmatchcase
from typing import Any

from sandbox.payments.calls import Call
from sandbox.payments.documents import Document


class Stage(Enum):
    """Where in its life a request is spoiled."""

    ARRIVAL = "arrival"  # before its idempotency key is looked at: nothing of it happens
    DELAY = "delay"  # while it holds its idempotency key, before it is executed
    EXECUTION = "execution"  # a new execution, so its answer is remembered under the key
    ANSWER = "answer"  # executed or replayed, and committed; the answer is lost or spoiled
    WEBHOOK = "webhook"  # not a request at all: an event on its first way to the listener


class FaultDefinitionError(Exception):
    """A fault that cannot be understood; the message says what is wrong with it."""


# kind -> (stage, the settings it takes besides the common ones, with their defaults)
KINDS: dict[str, tuple[Stage, dict[str, Any]]] = {
    "drop": (Stage.ARRIVAL, {"reset": False}),
    "rate_limit": (Stage.ARRIVAL, {"retry_after": 1}),
    "unavailable": (Stage.ARRIVAL, {"status": 503}),
    "conflict": (Stage.ARRIVAL, {"status": 409}),
    "redirect": (Stage.ARRIVAL, {"location": "http://127.0.0.1:9/"}),
    "latency": (Stage.DELAY, {"seconds": 1.0}),
    "error_before": (Stage.EXECUTION, {"status": 500}),
    "error_after": (Stage.EXECUTION, {"status": 500}),
    "answer_lost": (Stage.ANSWER, {"reset": False}),
    "hang": (Stage.ANSWER, {"seconds": 60.0, "applied": True}),  # ARRIVAL when not applied
    "malformed": (Stage.ANSWER, {"form": "truncated"}),
    "drip": (Stage.ANSWER, {"seconds": 1.0}),
    "wrong_amount": (Stage.ANSWER, {"amount": None}),
    "altered": (Stage.ANSWER, {"fields": {}}),
    "webhook_drop": (Stage.WEBHOOK, {"event": "*"}),
    "webhook_duplicate": (Stage.WEBHOOK, {"event": "*", "copies": 1}),
    "webhook_delay": (Stage.WEBHOOK, {"event": "*", "seconds": 1.0}),
    "webhook_reorder": (Stage.WEBHOOK, {"event": "*", "count": 1}),
}
MALFORMED_FORMS = ("truncated", "html", "empty", "short", "error_200", "list")
MAX_SECONDS = 3_600.0


@dataclass(kw_only=True)
class Fault:
    """One armed fault: which requests it spoils, how often, and how."""

    id: int
    kind: str
    stage: Stage
    settings: dict[str, Any]
    method: str = "POST"
    path: str = "*"
    idempotency_key: str = "*"
    metadata: dict[str, str] = field(default_factory=dict)
    times: int | None = 1  # None: until deleted
    skip: int = 0
    probability: float = 1.0
    seed: int | None = None
    hits: int = 0

    def __post_init__(self) -> None:
        self._path = _pattern(self.path)
        self._key = _pattern(self.idempotency_key)
        # Seeded on demand so that a failing schedule can be repeated; nothing secret comes from it.
        self._random = random.Random(self.seed)  # noqa: S311

    def strikes(self, call: Call) -> bool:
        """Whether this request is spoiled; uses up one of `skip` or `times` if it matches."""
        return self._matches(call) and self._uses_up()

    def strikes_event(self, kind: str) -> bool:
        """The same for an event's delivery."""
        return fnmatchcase(kind, self.settings["event"]) and self._uses_up()

    def _uses_up(self) -> bool:
        if self.times == 0:
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.probability < 1.0 and self._random.random() >= self.probability:
            return False
        if self.times is not None:
            self.times -= 1
        self.hits += 1
        return True

    def _matches(self, call: Call) -> bool:
        if self.method not in ("*", call.method) or self._path.fullmatch(call.path) is None:
            return False
        if self._key.fullmatch(call.idempotency_key or "") is None:
            return False
        sent = call.params.get("metadata")
        return not self.metadata or (
            isinstance(sent, dict) and self.metadata.items() <= sent.items()
        )

    def described(self) -> Document:
        return {
            "id": self.id,
            "kind": self.kind,
            "stage": self.stage.value,
            "method": self.method,
            "path": self.path,
            "idempotency_key": self.idempotency_key,
            "metadata": self.metadata,
            "times": self.times,
            "skip": self.skip,
            "probability": self.probability,
            "seed": self.seed,
            "hits": self.hits,
            **self.settings,
        }


class Faults:
    """The armed faults, in the order they were added."""

    def __init__(self) -> None:
        self._armed: list[Fault] = []
        self._last_id = 0

    def add(self, definition: Any) -> Fault:
        """Arm a fault.

        Raises:
            FaultDefinitionError: the definition is wrong; nothing is armed.
        """
        fault = _read_fault(definition, fault_id=self._last_id + 1)
        self._last_id = fault.id
        self._armed.append(fault)
        return fault

    def take(self, stage: Stage, call: Call) -> Fault | None:
        """The first armed fault of this stage that strikes the request."""
        for fault in self._armed:
            if fault.stage is stage and fault.strikes(call):
                return fault
        return None

    def take_webhook(self, kind: str) -> Fault | None:
        """The first armed fault that strikes the delivery of an event of this type."""
        for fault in self._armed:
            if fault.stage is Stage.WEBHOOK and fault.strikes_event(kind):
                return fault
        return None

    def described(self) -> list[Document]:
        return [fault.described() for fault in self._armed]

    def remove(self, fault_id: int) -> bool:
        """Disarm one fault; False if there is no such."""
        kept = [fault for fault in self._armed if fault.id != fault_id]
        removed = len(kept) < len(self._armed)
        self._armed = kept
        return removed

    def clear(self) -> None:
        self._armed.clear()


def _pattern(glob: str) -> re.Pattern[str]:
    """`*` stands for anything without a slash; `**`, or `*` alone, for anything at all."""
    glob = "**" if glob == "*" else glob
    parts = re.split(r"(\*\*|\*)", glob)
    wild = {"*": "[^/]*", "**": ".*"}
    return re.compile("".join(wild.get(part) or re.escape(part) for part in parts), re.DOTALL)


# --- reading a definition -----------------------------------------------------------------------


def _read_fault(definition: Any, *, fault_id: int) -> Fault:
    if not isinstance(definition, dict):
        raise FaultDefinitionError("a fault is a JSON object")
    kind = definition.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise FaultDefinitionError(f"kind: must be one of {', '.join(KINDS)}")
    stage, defaults = KINDS[kind]
    common_names = _COUNTING if stage is Stage.WEBHOOK else _COMMON.keys()
    allowed = {"kind", *common_names, *defaults}
    for name in definition:
        if name not in allowed:
            raise FaultDefinitionError(
                f"{name}: unknown; a {kind} fault takes {', '.join(sorted(allowed))}"
            )
    common = {name: _checked(name, definition[name]) for name in _COMMON if name in definition}
    settings = {
        name: _checked(name, definition.get(name, default)) for name, default in defaults.items()
    }
    if kind == "hang" and not settings["applied"]:
        stage = Stage.ARRIVAL
    return Fault(id=fault_id, kind=kind, stage=stage, settings=settings, **common)


def _whole(*, least: int, most: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and least <= value <= most


def _number(*, least: float, most: float) -> Callable[[Any], bool]:
    return lambda value: type(value) in (int, float) and least <= value <= most


def _or_null(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or check(value)


def _is_text_hash(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(item, str) for item in value.values())


def _is_printable(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[!-~]+", value) is not None


_BILLION = 1_000_000_000
_COMMON: dict[str, tuple[Callable[[Any], bool], str]] = {
    "method": (lambda value: value in ("GET", "POST", "*"), "GET, POST or *"),
    "path": (
        lambda value: value == "*" or (isinstance(value, str) and value.startswith("/v1/")),
        "a path under /v1/, where * stands for anything but a slash and ** for anything, or *",
    ),
    "idempotency_key": (lambda value: isinstance(value, str) and bool(value), "a text, * allowed"),
    "metadata": (_is_text_hash, "an object of texts"),
    "times": (_or_null(_whole(least=1, most=_BILLION)), "a whole number from 1, or null"),
    "skip": (_whole(least=0, most=_BILLION), "a whole number from 0"),
    "probability": (_number(least=0, most=1), "a number from 0 to 1"),
    "seed": (_or_null(_whole(least=0, most=_BILLION)), "a whole number from 0, or null"),
}
_COUNTING = ("times", "skip", "probability", "seed")  # what also an event's delivery knows
_SETTINGS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "event": (lambda value: isinstance(value, str) and bool(value), "an event type, * allowed"),
    "copies": (_whole(least=1, most=100), "a whole number from 1 to 100"),
    "count": (_whole(least=1, most=1_000), "a whole number from 1 to 1000"),
    "reset": (lambda value: type(value) is bool, "true or false"),
    "applied": (lambda value: type(value) is bool, "true or false"),
    "retry_after": (_whole(least=0, most=86_400), "a whole number of seconds"),
    "status": (_whole(least=400, most=599), "a status from 400 to 599"),
    "location": (_is_printable, "a URL without spaces or control characters"),
    "seconds": (_number(least=0, most=MAX_SECONDS), f"a number from 0 to {MAX_SECONDS:.0f}"),
    "form": (lambda value: value in MALFORMED_FORMS, f"one of {', '.join(MALFORMED_FORMS)}"),
    "amount": (_or_null(_whole(least=0, most=_BILLION)), "minor units, or null for one more"),
    "fields": (lambda value: isinstance(value, dict), "an object of fields to replace"),
}


def _checked(name: str, value: Any) -> Any:
    is_good, wanted = (_COMMON | _SETTINGS)[name]
    if not is_good(value):
        raise FaultDefinitionError(f"{name}: must be {wanted}")
    return value
