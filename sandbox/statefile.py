"""Keeps what a local server must not forget in one SQLite file that survives kill -9.

A single connection on the event loop's thread: statements take microseconds, and one writer at a
time makes what is read inside a transaction hold until its end without any locking of our own.
"""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

LOCK_SECONDS = 2.0  # a predecessor that is just stopping lets go of the file by then


class StateFileError(Exception):
    """The state file cannot be used: locked by another server, damaged or from another version."""


class StateFile:
    """The open file. Writes belong into `with file.transaction():`."""

    def __init__(self, *, path: Path, versions: Sequence[str]) -> None:
        """Open the file, made if it is missing.

        Args:
            path: where it lies.
            versions: the SQL that each version of the schema added; a file of an older one gets
                the rest on opening.

        Raises:
            StateFileError: it cannot be used.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._connection = sqlite3.connect(
                path, isolation_level=None, cached_statements=256, timeout=LOCK_SECONDS
            )
        except sqlite3.Error as exc:
            raise StateFileError(f"{path}: {exc}") from exc
        self._connection.row_factory = sqlite3.Row
        try:
            self._open(versions)
        except sqlite3.Error as exc:
            self._connection.close()
            raise StateFileError(f"{path}: {exc}") from exc

    def _open(self, versions: Sequence[str]) -> None:
        # EXCLUSIVE: a second server on the same file would not see this one's running calls; it
        # must fail at start. The lock dies with the process, so a restart after kill -9 gets it.
        self._connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._connection.execute("PRAGMA journal_mode = WAL")
        # NORMAL: a commit is in the kernel's hands when it returns, which a killed process cannot
        # lose. Only a crash of the whole machine could, and no local server claims to survive it.
        self._connection.execute("PRAGMA synchronous = NORMAL")
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        newest = len(versions)
        if not 0 <= version <= newest:
            raise sqlite3.DatabaseError(
                f"state of version {version}, this server writes version {newest}; "
                "delete the file or use another"
            )
        if version < newest:
            self._connection.executescript(
                f"BEGIN IMMEDIATE; {' '.join(versions[version:])}"
                f" PRAGMA user_version = {newest}; COMMIT;"
            )

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Open a transaction; everything in it is committed, or nothing if an exception leaves."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Undo what was done in it if an exception leaves; requires a transaction."""
        self._connection.execute("SAVEPOINT part")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK TO part")
            self._connection.execute("RELEASE part")
            raise
        self._connection.execute("RELEASE part")

    def execute(self, sql: str, parameters: Mapping[str, Any] | tuple[Any, ...] = ()) -> Any:
        """Run one statement for a module that owns a table."""
        return self._connection.execute(sql, parameters)
