"""What a check found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

EXAMPLES: Final = 5


@dataclass(slots=True, kw_only=True)
class Finding:
    """One invariant, with its count of violators and the first few of them by name."""

    id: str
    name: str
    says: str
    violations: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, violator: str) -> None:
        """Count one more."""
        self.violations += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(violator)
