"""What the local servers share of breaking requests on purpose: when a fault strikes, how often."""

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeAlias, TypeVar

Definition: TypeAlias = dict[str, Any]
Check: TypeAlias = tuple[Callable[[Any], bool], str]
"""What a setting must be: a test, and the words for it."""

MAX_SECONDS = 3_600.0
_BILLION = 1_000_000_000


class FaultDefinitionError(Exception):
    """A fault that cannot be understood; the message says what is wrong with it."""


@dataclass(kw_only=True)
class Strikes:
    """How often a fault strikes what matches it."""

    times: int | None = 1  # None: until deleted
    skip: int = 0
    probability: float = 1.0
    seed: int | None = None
    hits: int = 0
    _random: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # Seeded on demand so that a failing schedule can be repeated; nothing secret comes from it.
        self._random = random.Random(self.seed)  # noqa: S311

    def uses_up(self) -> bool:
        """Whether it strikes this time; uses up one of `skip` or `times`."""
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

    def described(self) -> Definition:
        """What the control API tells of it."""
        return {
            "times": self.times,
            "skip": self.skip,
            "probability": self.probability,
            "seed": self.seed,
            "hits": self.hits,
        }


@dataclass(kw_only=True)
class Identified(Strikes):
    """A fault with its number."""

    id: int


FaultT = TypeVar("FaultT", bound=Identified)


class Armed(Generic[FaultT]):
    """The armed faults, in the order they were added. They live in memory."""

    def __init__(self, read: Callable[[Any, int], FaultT]) -> None:
        self._read = read
        self._armed: list[FaultT] = []
        self._last_id = 0

    def add(self, definition: Any) -> FaultT:
        """Arm a fault.

        Raises:
            FaultDefinitionError: the definition is wrong; nothing is armed.
        """
        fault = self._read(definition, self._last_id + 1)
        self._last_id = fault.id
        self._armed.append(fault)
        return fault

    def first(self, strikes: Callable[[FaultT], bool]) -> FaultT | None:
        """The first armed fault that strikes."""
        return next((fault for fault in self._armed if strikes(fault)), None)

    def described(self) -> list[Definition]:
        return [fault.described() for fault in self._armed]

    def remove(self, fault_id: int) -> bool:
        """Disarm one fault; False if there is no such."""
        kept = [fault for fault in self._armed if fault.id != fault_id]
        removed = len(kept) < len(self._armed)
        self._armed = kept
        return removed

    def clear(self) -> None:
        self._armed.clear()


def pattern(glob: str) -> re.Pattern[str]:
    """`*` stands for anything without a slash; `**`, or `*` alone, for anything at all."""
    glob = "**" if glob == "*" else glob
    parts = re.split(r"(\*\*|\*)", glob)
    wild = {"*": "[^/]*", "**": ".*"}
    return re.compile("".join(wild.get(part) or re.escape(part) for part in parts), re.DOTALL)


# --- reading a definition -----------------------------------------------------------------------


def whole(*, least: int, most: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and least <= value <= most


def number(*, least: float, most: float) -> Callable[[Any], bool]:
    return lambda value: type(value) in (int, float) and least <= value <= most


def or_null(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or check(value)


def is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def is_bool(value: Any) -> bool:
    return type(value) is bool


def is_printable(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[!-~]+", value) is not None


COUNTING: dict[str, Check] = {
    "times": (or_null(whole(least=1, most=_BILLION)), "a whole number from 1, or null"),
    "skip": (whole(least=0, most=_BILLION), "a whole number from 0"),
    "probability": (number(least=0, most=1), "a number from 0 to 1"),
    "seed": (or_null(whole(least=0, most=_BILLION)), "a whole number from 0, or null"),
}
SECONDS: Check = (
    number(least=0, most=MAX_SECONDS),
    f"a number from 0 to {MAX_SECONDS:.0f}",
)


def kind_of(definition: Any, *, kinds: Mapping[str, Any]) -> str:
    """The kind a definition names.

    Raises:
        FaultDefinitionError: it is no object, or names none of these.
    """
    if not isinstance(definition, dict):
        raise FaultDefinitionError("a fault is a JSON object")
    kind = definition.get("kind")
    if not isinstance(kind, str) or kind not in kinds:
        raise FaultDefinitionError(f"kind: must be one of {', '.join(kinds)}")
    return kind


def read_settings(
    definition: Definition,
    *,
    common: Mapping[str, Check],
    settings: Mapping[str, Check],
    defaults: Mapping[str, Any],
) -> tuple[Definition, Definition]:
    """The settings that every kind knows, as far as they were given, and those of this kind.

    Raises:
        FaultDefinitionError: a name is unknown, or a value is wrong.
    """
    allowed = {"kind", *common, *defaults}
    for name in definition:
        if name not in allowed:
            raise FaultDefinitionError(
                f"{name}: unknown; a {definition['kind']} fault takes {', '.join(sorted(allowed))}"
            )
    given = {name: definition[name] for name in common if name in definition}
    own = {name: definition.get(name, default) for name, default in defaults.items()}
    for name, value in (given | own).items():
        is_good, wanted = common[name] if name in common else settings[name]
        if not is_good(value):
            raise FaultDefinitionError(f"{name}: must be {wanted}")
    return given, own
