"""Breaks requests on purpose, as a test asks for with `POST /_test/faults`.

A fault waits until a request matches it, then spoils that one at its stage: on the way in, inside
the execution, or on the way out. Faults live in memory: a restarted server is a healthy one.
"""

from dataclasses import dataclass, field
from enum import Enum
from fnmatch import fnmatchcase
from typing import Any

from sandbox import faults
from sandbox.faults import COUNTING, SECONDS, Armed, Check, Identified, is_bool, is_text, pattern
from sandbox.payments.calls import Call
from sandbox.payments.documents import Document


class Stage(Enum):
    """Where in its life a request is spoiled."""

    ARRIVAL = "arrival"  # before its idempotency key is looked at: nothing of it happens
    DELAY = "delay"  # while it holds its idempotency key, before it is executed
    EXECUTION = "execution"  # a new execution, so its answer is remembered under the key
    ANSWER = "answer"  # executed or replayed, and committed; the answer is lost or spoiled
    WEBHOOK = "webhook"  # not a request at all: an event on its first way to the listener


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


@dataclass(kw_only=True)
class Fault(Identified):
    """One armed fault: which requests it spoils, how often, and how."""

    kind: str
    stage: Stage
    settings: dict[str, Any]
    method: str = "POST"
    path: str = "*"
    idempotency_key: str = "*"
    metadata: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._path = pattern(self.path)
        self._key = pattern(self.idempotency_key)

    def strikes(self, call: Call) -> bool:
        """Whether this request is spoiled; uses up one of `skip` or `times` if it matches."""
        return self._matches(call) and self.uses_up()

    def strikes_event(self, kind: str) -> bool:
        """The same for an event's delivery."""
        return fnmatchcase(kind, self.settings["event"]) and self.uses_up()

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
            **super().described(),
            **self.settings,
        }


class Faults(Armed[Fault]):
    """The armed faults, in the order they were added."""

    def __init__(self) -> None:
        super().__init__(_read_fault)

    def take(self, stage: Stage, call: Call) -> Fault | None:
        """The first armed fault of this stage that strikes the request."""
        return self.first(lambda fault: fault.stage is stage and fault.strikes(call))

    def take_webhook(self, kind: str) -> Fault | None:
        """The first armed fault that strikes the delivery of an event of this type."""
        return self.first(lambda fault: fault.stage is Stage.WEBHOOK and fault.strikes_event(kind))


# --- reading a definition -----------------------------------------------------------------------


def _read_fault(definition: Any, fault_id: int) -> Fault:
    kind = faults.kind_of(definition, kinds=KINDS)
    stage, defaults = KINDS[kind]
    common, settings = faults.read_settings(
        definition,
        common=COUNTING if stage is Stage.WEBHOOK else _COMMON,
        settings=_SETTINGS,
        defaults=defaults,
    )
    if kind == "hang" and not settings["applied"]:
        stage = Stage.ARRIVAL
    return Fault(id=fault_id, kind=kind, stage=stage, settings=settings, **common)


def _is_text_hash(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(item, str) for item in value.values())


_BILLION = 1_000_000_000
_COMMON: dict[str, Check] = {
    "method": (lambda value: value in ("GET", "POST", "*"), "GET, POST or *"),
    "path": (
        lambda value: value == "*" or (isinstance(value, str) and value.startswith("/v1/")),
        "a path under /v1/, where * stands for anything but a slash and ** for anything, or *",
    ),
    "idempotency_key": (is_text, "a text, * allowed"),
    "metadata": (_is_text_hash, "an object of texts"),
    **COUNTING,
}
_SETTINGS: dict[str, Check] = {
    "event": (is_text, "an event type, * allowed"),
    "copies": (faults.whole(least=1, most=100), "a whole number from 1 to 100"),
    "count": (faults.whole(least=1, most=1_000), "a whole number from 1 to 1000"),
    "reset": (is_bool, "true or false"),
    "applied": (is_bool, "true or false"),
    "retry_after": (faults.whole(least=0, most=86_400), "a whole number of seconds"),
    "status": (faults.whole(least=400, most=599), "a status from 400 to 599"),
    "location": (faults.is_printable, "a URL without spaces or control characters"),
    "seconds": SECONDS,
    "form": (lambda value: value in MALFORMED_FORMS, f"one of {', '.join(MALFORMED_FORMS)}"),
    "amount": (
        faults.or_null(faults.whole(least=0, most=_BILLION)),
        "minor units, or null for one more",
    ),
    "fields": (lambda value: isinstance(value, dict), "an object of fields to replace"),
}
