"""What became of a wish to give money back, in words for whoever wished it."""

from __future__ import annotations

from typing import Final

from audit.staff_actions import Done
from orders.services.refund_approval import Outcome

ON_ITS_WAY: Final = "Decided; the money is not back yet. The shop goes on asking the provider."
PROPOSED: Final = "Proposed: so much takes a second person. Nothing has moved."


def told_of(outcome: Outcome, *, done: str, open_still: str = ON_ITS_WAY) -> Done:
    """The words for an outcome: `done` once the money is back, `open_still` before."""
    if outcome == Outcome.DONE:
        return Done(text=done)
    return Done(text=PROPOSED if outcome == Outcome.PROPOSED else open_still, is_open=True)
