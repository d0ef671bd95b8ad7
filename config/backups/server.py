"""The server that is backed up, as `BACKUP_DATABASE_URL` names it."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import psycopg2
from django.conf import settings
from psycopg2.extensions import make_dsn

from config.backups.errors import BackupError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

CONNECT_SECONDS: Final = 5
APPLICATION_NAME: Final = "orderkeep_backup"


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What tells one history of a database from every other: a restored one has a new timeline."""

    system_identifier: str
    timeline: int
    segment_bytes: int
    major: int


class Server:
    """Asks a server, and tells PostgreSQL's programs how to reach it."""

    def __init__(self) -> None:
        """Take the server of the settings; nothing is connected yet."""
        named = settings.BACKUP_DATABASE
        self.role = str(named["USER"])
        self._password = str(named["PASSWORD"])
        self._where = {
            "host": named["HOST"],
            "port": named["PORT"],
            "user": self.role,
            "application_name": APPLICATION_NAME,
        }
        self._database = named["NAME"]

    @property
    def dsn(self) -> str:
        """How programs reach it; the password is no part of it, since argv is for all to read."""
        return str(make_dsn(**self._where))

    @property
    def environment(self) -> dict[str, str]:
        """The environment of programs, with the password."""
        password = {"PGPASSWORD": self._password} if self._password else {}
        return {**os.environ, **password}

    @contextlib.contextmanager
    def cursor(self) -> Iterator[psycopg2.extensions.cursor]:
        """A cursor on a connection of its own; each statement is a transaction.

        Raises:
            UnavailableError: the server cannot be reached, or went away.
        """
        try:
            connection = psycopg2.connect(
                **self._where,
                dbname=self._database,
                password=self._password,
                connect_timeout=CONNECT_SECONDS,
            )
            with contextlib.closing(connection):
                connection.autocommit = True
                with connection.cursor() as cursor:
                    yield cursor
        except (psycopg2.OperationalError, psycopg2.InterfaceError) as exc:
            reason = str(exc).strip().partition("\n")[0]
            raise UnavailableError(f"the database to back up is away: {reason}") from exc
        except psycopg2.Error as exc:
            reason = str(exc).strip().partition("\n")[0]
            raise BackupError(f"the database to back up refuses: {reason}") from exc

    def origin(self) -> Origin:
        """Whose history it writes.

        Raises:
            UnavailableError: it is away.
            BackupError: it is a standby, or the role may not copy it.
        """
        with self.cursor() as cursor:
            cursor.execute(
                """
                SELECT pg_is_in_recovery(), rolreplication OR rolsuper FROM pg_roles
                WHERE rolname = current_user
                """
            )
            is_standby, may_copy = cursor.fetchone()
            if is_standby:
                raise BackupError("this is a standby: set BACKUP_DATABASE_URL to the primary")
            if not may_copy:
                raise BackupError(
                    f"the role {self.role} may not copy the database: set BACKUP_DATABASE_URL to"
                    " a role with REPLICATION (docs/backups.md)"
                )
            cursor.execute(
                """
                SELECT (SELECT system_identifier::text FROM pg_control_system()),
                       left(pg_walfile_name(pg_current_wal_lsn()), 8),
                       (SELECT setting::bigint FROM pg_settings WHERE name = 'wal_segment_size'),
                       current_setting('server_version_num')::int / 10000
                """
            )
            system_identifier, timeline, segment_bytes, major = cursor.fetchone()
        return Origin(
            system_identifier=system_identifier,
            timeline=int(timeline, 16),
            segment_bytes=segment_bytes,
            major=major,
        )

    def now(self) -> datetime:
        """The instant by its clock, which also dates its commits."""
        with self.cursor() as cursor:
            cursor.execute("SELECT clock_timestamp()")
            instant: datetime = cursor.fetchone()[0]
        return instant

    def written(self) -> int:
        """How far its log is on its own disk, as a position in bytes: what may not be lost."""
        with self.cursor() as cursor:
            cursor.execute("SELECT pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0')::bigint")
            position: int = cursor.fetchone()[0]
        return position
