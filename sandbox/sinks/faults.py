"""Breaks calls on purpose, as a test asks for with `POST /_test/faults`.

A fault waits until a call matches it, then spoils that one at its stage. Faults live in memory: a
restarted server is a healthy one.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Any

from sandbox import faults
from sandbox.faults import COUNTING, SECONDS, Armed, Check, Definition, Identified, is_bool, pattern
from sandbox.sinks.calls import NAMES, Call


class Stage(Enum):
    """Where in its life a call is spoiled."""

    ARRIVAL = "arrival"  # in place of the receiver: nothing of the call happens
    DELAY = "delay"  # before the receiver gets it
    ANSWER = "answer"  # the receiver has taken it, and that is committed; its answer is spoiled


# kind -> the settings it takes besides the common ones, with their defaults
KINDS: dict[str, dict[str, Any]] = {
    "status": {"status": 503, "body": None, "retry_after": None, "applied": False},
    "redirect": {"location": "http://127.0.0.1:9/", "status": 302},
    "drop": {"reset": False},
    "latency": {"seconds": 1.0},
    "answer_lost": {"reset": False},
    "hang": {"seconds": 60.0, "applied": True},
    "drip": {"seconds": 1.0},
    "junk": {"form": "html", "status": 200, "applied": True},
    "huge": {"size": 20_000_000, "applied": True},
    "refuse": {"code": 451, "at": "rcpt"},  # mail alone
}
_STAGES = {
    "redirect": Stage.ARRIVAL,
    "drop": Stage.ARRIVAL,
    "refuse": Stage.ARRIVAL,
    "latency": Stage.DELAY,
    "answer_lost": Stage.ANSWER,
    "drip": Stage.ANSWER,
}  # the others: by `applied`
JUNK_FORMS = ("html", "invalid_json", "truncated", "empty", "text", "list", "short", "binary")
MAIL = "smtp"
MAIL_KINDS = ("refuse", "latency", "hang", "drop", "answer_lost")
MAIL_STAGES = ("connect", "helo", "mail", "rcpt", "data", "end")


@dataclass(kw_only=True)
class Fault(Identified):
    """One armed fault: which calls it spoils, how often, and how."""

    kind: str
    stage: Stage
    settings: Definition
    receiver: str = "*"
    method: str = "*"
    path: str = "*"
    idempotency_key: str = "*"
    contains: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._path = pattern(self.path)
        self._key = pattern(self.idempotency_key)

    def strikes(self, call: Call) -> bool:
        """Whether this call is spoiled; uses up one of `skip` or `times` if it matches."""
        return self._matches(call) and self.uses_up()

    def _matches(self, call: Call) -> bool:
        # Many kinds mean nothing to mail: "*" is every receiver that speaks HTTP.
        is_meant = call.receiver != MAIL if self.receiver == "*" else call.receiver == self.receiver
        return (
            is_meant
            and self.method in ("*", call.method)
            and self._path.fullmatch(call.path) is not None
            and self._key.fullmatch(call.message_key or "") is not None
            and self.contains.encode() in call.content
        )

    def described(self) -> Definition:
        return {
            "id": self.id,
            "kind": self.kind,
            "stage": self.stage.value,
            "receiver": self.receiver,
            "method": self.method,
            "path": self.path,
            "idempotency_key": self.idempotency_key,
            "contains": self.contains,
            **super().described(),
            **self.settings,
        }


class Faults(Armed[Fault]):
    """The armed faults, in the order they were added."""

    def __init__(self) -> None:
        super().__init__(_read_fault)

    def take(self, stage: Stage, call: Call) -> Fault | None:
        """The first armed fault of this stage that strikes the call."""
        return self.first(lambda fault: fault.stage is stage and fault.strikes(call))


def _read_fault(definition: Any, fault_id: int) -> Fault:
    kind = faults.kind_of(definition, kinds=KINDS)
    common, settings = faults.read_settings(
        definition, common=_COMMON, settings=_SETTINGS, defaults=KINDS[kind]
    )
    receiver = common.get("receiver", "*")
    if receiver == MAIL and kind not in MAIL_KINDS:
        raise faults.FaultDefinitionError(f"{kind}: is no fault of mail")
    if receiver != MAIL and kind == "refuse":
        raise faults.FaultDefinitionError(f'{kind}: is a fault of mail alone, receiver "{MAIL}"')
    stage = _STAGES.get(kind) or (Stage.ANSWER if settings["applied"] else Stage.ARRIVAL)
    return Fault(id=fault_id, kind=kind, stage=stage, settings=settings, **common)


def _is_pattern(value: Any) -> bool:
    return isinstance(value, str) and (value == "*" or value.startswith("/"))


_COMMON: dict[str, Check] = {
    "receiver": (
        lambda value: value == "*" or value in NAMES,
        f"one of {', '.join(NAMES)}, or *",
    ),
    "method": (faults.is_text, "a method, or *"),
    "path": (
        _is_pattern,
        "a path behind the receiver's prefix; * is anything but a slash, ** anything; or *",
    ),
    "idempotency_key": (faults.is_text, "a text, * allowed"),
    "contains": (lambda value: isinstance(value, str), "a text that the body must contain"),
    **COUNTING,
}
_SETTINGS: dict[str, Check] = {
    "status": (faults.whole(least=200, most=599), "a status from 200 to 599"),
    "body": (lambda _: True, "JSON; null for the receiver's own words"),
    "retry_after": (
        faults.or_null(faults.whole(least=0, most=86_400)),
        "a whole number of seconds, or null",
    ),
    "applied": (is_bool, "true or false"),
    "reset": (is_bool, "true or false"),
    "location": (faults.is_printable, "a URL without spaces or control characters"),
    "seconds": SECONDS,
    "form": (lambda value: value in JUNK_FORMS, f"one of {', '.join(JUNK_FORMS)}"),
    "size": (faults.whole(least=1, most=1_000_000_000), "a whole number of bytes"),
    "code": (faults.whole(least=400, most=599), "an SMTP reply code from 400 to 599"),
    "at": (lambda value: value in MAIL_STAGES, f"one of {', '.join(MAIL_STAGES)}"),
}
