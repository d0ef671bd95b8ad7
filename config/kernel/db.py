"""Short transactions whose end is known: committed, rolled back, or, said aloud, unknown.

And long looks at one instant, that change nothing.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from django.db import (
    DatabaseError,
    IntegrityError,
    InterfaceError,
    InternalError,
    OperationalError,
    connection,
    transaction,
)

from config.kernel import sql
from config.kernel.errors import InvalidTransitionError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.db.backends.utils import CursorWrapper

LOCK_NOT_AVAILABLE = "55P03"
QUERY_CANCELED = "57014"  # by a time limit, or by somebody
SESSION_ENDED = frozenset({"25P03", "25P04"})  # idle in a transaction, or in it, for too long
RAISE_EXCEPTION = "P0001"
"""What PL/pgSQL's RAISE EXCEPTION carries: all of our triggers speak through it."""


class CommitOutcomeUnknownError(Exception):
    """The connection was lost while a COMMIT was under way: it may have happened or not.

    Whoever catches it must look into the database on a new connection before anything else.
    """


WENT_AWAY = (CommitOutcomeUnknownError, OperationalError, InterfaceError)
"""The database was away or too slow; what was under way may have happened or not."""


@contextlib.contextmanager
def short_transaction() -> Iterator[None]:
    """One outermost transaction, milliseconds long; never opened inside another.

    No lock is waited for longer than the role's `lock_timeout` (a migration sets it: PgBouncer
    passes no start-up options, and a SET in every transaction would cost a round trip each).

    Raises:
        CommitOutcomeUnknownError: the connection broke during COMMIT.
        InvalidTransitionError: a trigger refused an illegal change of state.
        OperationalError: the connection broke, or a lock was not to be had: rolled back.
    """
    at_commit = False
    try:
        with transaction.atomic(durable=True):
            with refusals_translated(), sql.sent_together():
                yield
            at_commit = True
    except (OperationalError, InterfaceError) as exc:
        if at_commit:
            connection.close()
            raise CommitOutcomeUnknownError from exc
        raise
    except InternalError as exc:
        if sqlstate(exc) in SESSION_ENDED:
            connection.close()
            raise OperationalError("a time limit ended the session") from exc
        raise
    except Exception as exc:
        if at_commit and not connection.autocommit:
            # Something else broke into the COMMIT, a task's time limit for one. Django would keep
            # the connection, half inside a transaction, and could not use it for anything again.
            connection.close()
            raise CommitOutcomeUnknownError from exc
        raise


@contextlib.contextmanager
def snapshot(*, most_seconds: float | None = None) -> Iterator[CursorWrapper]:
    """A read-only look at one instant of the whole database. Must be the outermost transaction.

    Args:
        most_seconds: of each statement; None: as long as it takes. Where somebody waits for a page,
            say how long they would.

    Raises:
        OperationalError: a statement took longer than that.
    """
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        # The role's limits are made for requests; these queries read whole tables.
        milliseconds = 0 if most_seconds is None else int(most_seconds * 1_000)
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", [f"{milliseconds}ms"])
        cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        cursor.execute("SET LOCAL work_mem = '128MB'")
        cursor.execute("SET LOCAL jit = off")  # compiling takes longer than these queries
        # Violators are few: workers have little to hand over, and two of them halve the time.
        cursor.execute("SET LOCAL parallel_tuple_cost = 0.01")
        yield cursor


@contextlib.contextmanager
def refusals_translated() -> Iterator[None]:
    """Turn a trigger's refusal (P0001) into a domain error; everything else passes through."""
    try:
        yield
    except DatabaseError as exc:
        if sqlstate(exc) == RAISE_EXCEPTION:
            raise InvalidTransitionError from exc
        raise


def sqlstate(exc: BaseException) -> str | None:
    """PostgreSQL's five-character code behind a Django database error, if there is one."""
    return getattr(exc.__cause__, "pgcode", None)


def is_lock_timeout(exc: BaseException) -> bool:
    """Whether the statement gave up waiting for a lock."""
    return sqlstate(exc) == LOCK_NOT_AVAILABLE


def violated_constraint(exc: IntegrityError) -> str | None:
    """The name of the constraint that refused a row: the name is what callers decide by."""
    diagnostics = getattr(exc.__cause__, "diag", None)
    return getattr(diagnostics, "constraint_name", None)
