"""What our tables have in common: triggers that PostgreSQL runs whoever writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pgtrigger
import uuid_utils.compat

if TYPE_CHECKING:
    import uuid
    from collections.abc import Mapping, Sequence


def new_uuid() -> uuid.UUID:
    """A UUIDv7: unguessable enough for an id, and sorted by time for the index."""
    return uuid_utils.compat.uuid7()


def touches_updated_at(*, unless: str | None = None) -> pgtrigger.Trigger:
    """`updated_at` follows every UPDATE, also one written by hand.

    Args:
        unless: SQL about OLD and NEW: an UPDATE that changes nothing of what the row tells.
    """
    return pgtrigger.Trigger(
        name="touch_updated_at",
        when=pgtrigger.Before,
        operation=pgtrigger.Update,
        func="NEW.updated_at = now(); RETURN NEW;",
        condition=None if unless is None else pgtrigger.Condition(f"NOT ({unless})"),
    )


def legal_statuses(
    *, start: Sequence[str], transitions: Mapping[str, Sequence[str]]
) -> list[pgtrigger.Trigger]:
    """Rows begin in one of `start` and move only along `transitions` (status -> next ones)."""
    legal = [(old, new) for old, news in transitions.items() for new in news]
    named = [f"'{old}>{new}'" for old, new in legal]
    return [
        pgtrigger.Protect(
            name="begins_at_the_beginning",
            operation=pgtrigger.Insert,
            condition=~pgtrigger.Q(new__status__in=list(start)),
        ),
        pgtrigger.FSM(
            name="legal_transitions",
            field="status",
            transitions=legal,
            # Decided in the trigger's WHEN: a legal move does not cost a call of its function.
            condition=pgtrigger.Condition(
                "OLD.status IS DISTINCT FROM NEW.status"
                f" AND NOT (OLD.status || '>' || NEW.status) IN ({', '.join(named)})"
            ),
        ),
    ]


def append_only() -> list[pgtrigger.Trigger]:
    """Rows are written once: no UPDATE, no DELETE, no TRUNCATE."""
    return [
        pgtrigger.Protect(name="never_changed", operation=pgtrigger.Update | pgtrigger.Delete),
        _never_truncated(),
    ]


def erasable(*, personal: Sequence[str], frozen: Sequence[str]) -> list[pgtrigger.Trigger]:
    """Rows are written once, and of a person who is erased they keep that they were written.

    Args:
        personal: text columns that an UPDATE may blank, all of them at once, and not rewrite.
        frozen: all other columns.
    """
    return [
        pgtrigger.ReadOnly(name="all_else_is_frozen", fields=list(frozen)),
        pgtrigger.Protect(
            name="only_ever_blanked",
            operation=pgtrigger.Update,
            condition=~pgtrigger.Q(**{f"new__{name}": "" for name in personal}),
        ),
        pgtrigger.Protect(name="never_deleted", operation=pgtrigger.Delete),
        _never_truncated(),
    ]


def _never_truncated() -> pgtrigger.Trigger:
    return pgtrigger.Trigger(
        name="never_truncated",
        level=pgtrigger.Statement,
        when=pgtrigger.Before,
        operation=pgtrigger.Truncate,
        func="RAISE EXCEPTION '% is append-only', TG_TABLE_NAME;",
    )
