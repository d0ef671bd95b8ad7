"""How much time is left: deadlines on the monotonic clock, blind to changes of the wall clock."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment after which a piece of work must not begin anything new.

    Args:
        seconds: the budget, counted from the creation of the deadline.
    """

    seconds: float
    started_at: float = field(default_factory=time.monotonic)

    def remaining(self) -> float:
        """Seconds left; negative once it is over."""
        return self.ends_at - time.monotonic()

    @property
    def ends_at(self) -> float:
        """When it is over, by `time.monotonic()`."""
        return self.started_at + self.seconds
