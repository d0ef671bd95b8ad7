"""What a check found."""

from __future__ import annotations

import enum
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from payments.models import ReconciliationCase

EXAMPLES: Final = 5


@dataclass(slots=True, kw_only=True)
class Finding:
    """One invariant, with its count of violators and the first few of them by name.

    `seconds`: how long its own query took; 0 where there is none.
    """

    id: str
    name: str
    says: str
    violations: int = 0
    examples: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, violator: str) -> None:
        """Count one more."""
        self.violations += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(violator)


class Remedy(enum.Enum):
    """What a machine may do about a discrepancy: all of it safe to repeat, no money given away."""

    SETTLE = "settle it"
    CANCEL_INTENT = "cancel the intent"
    FOLLOW_REFUNDS = "take the provider's refunds into the books"
    FOLLOW_DISPUTE = "take the provider's dispute into the books"
    BOOK = "book it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Discrepancy:
    """One thing of which the provider tells another story than we do.

    `subject` is the provider's id of it and `intent_id` the intent it belongs to; `is_payment`:
    that is a payment's of ours. Without a `remedy` a person has to decide.
    """

    classification: ReconciliationCase.Classification
    subject: str
    intent_id: str
    is_payment: bool
    order_number: str
    problem: str
    remedy: Remedy | None = None


@dataclass(slots=True, kw_only=True)
class Compared:
    """What a comparison with the provider found; `seen`: the provider's ids of all it looked at.

    `notes` count what is allowed yet notable, by what it is.
    """

    findings: list[Finding] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)
    discrepancies: list[Discrepancy] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)

    def add(self, found: Discrepancy, *, violates: Finding | None) -> None:
        """Note a discrepancy, and the invariant it violates, if it does."""
        if violates is not None:
            violates.add(f"{found.order_number} {found.subject}")
        self.discrepancies.append(found)
