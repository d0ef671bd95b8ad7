"""Wakes the relay soon after a commit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import transaction

from audit.nudger import Nudger

if TYPE_CHECKING:
    from collections.abc import Callable

_nudger: Nudger | None = None


def set_nudge(send: Callable[[], None] | None) -> None:
    """Say how the relay is woken in this process; None: it is not, and comes by by itself."""
    global _nudger  # noqa: PLW0603 - one bell a process
    _nudger = Nudger(send) if send is not None else None


def nudge_on_commit() -> None:
    """Wake the relay once the caller's transaction has committed; the committer does not wait."""
    if _nudger is not None:
        # robust: a bell that cannot ring must not turn a committed order into an error.
        transaction.on_commit(_nudger.ring, robust=True)
