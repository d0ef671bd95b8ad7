"""`backup DIR --follow`: nothing is missing, whoever dies; what would be a gap is refused."""

from __future__ import annotations

import contextlib
import json
import signal
from dataclasses import replace

import psutil
import pytest

from config.backups import wal_archive
from config.backups.errors import BackupError
from config.backups.server import Server
from config.processes import lives
from sandbox import servers
from sandbox.postgres import Postgres
from tests.backups.conftest import (
    Source,
    env_database,
    following,
    manage,
    restored_notes,
    serving,
    take,
    wait_until,
)


def test_killed_and_started_again_it_misses_nothing(source, backups, tmp_path):
    with serving(source, backups) as service:
        take(backups)
        source.write("received")
        wait_until(source.received)
        [receiver] = psutil.Process(service.pid).children()
        assert source.password not in " ".join(receiver.cmdline())
        service.send_signal(signal.SIGKILL)
        service.wait()
        wait_until(lambda: not lives(receiver))
    for number in range(2):
        source.write(f"while it was dead {number}")
        source.fill_segment()

    with serving(source, backups) as service:
        source.write("received again")
        wait_until(source.received)
        service.send_signal(signal.SIGTERM)
        said, complained = service.communicate(timeout=20)

    assert service.returncode == 0
    assert json.loads(said) == {"restarts": 0}
    assert "Following the database's log" in complained
    assert source.password not in said + complained
    assert restored_notes(backups, tmp_path, login=source.login) == [
        "received",
        "while it was dead 0",
        "while it was dead 1",
        "received again",
    ]


def test_a_receiver_that_dies_is_started_again(source, backups):
    with serving(source, backups) as service:
        [receiver] = psutil.Process(service.pid).children()
        receiver.kill()
        receiver.wait(timeout=10)
        wait_until(lambda: source.write("again") and source.received())
        service.send_signal(signal.SIGINT)
        said, complained = service.communicate(timeout=20)

    assert service.returncode == 0
    assert json.loads(said)["restarts"] >= 1
    assert "pg_receivewal ended" in complained


def test_two_do_not_follow_into_one_directory(source, backups):
    with (
        following(source, backups),
        manage(source, "backup", str(backups.root), "--follow") as second,
    ):
        _, complained = second.communicate(timeout=20)

    assert second.returncode == 1
    assert "in use" in complained


def test_what_would_not_join_is_refused(source, backups):
    with following(source, backups):
        source.write("received")
        wait_until(source.received)
    source.drop_slots()

    with pytest.raises(BackupError, match="would not join"):
        wal_archive.follow(backups, server=Server(), is_over=lambda: False, say=print)

    assert source.slots() == {}


class OfFewWords(Postgres):
    """A server that keeps no more than a segment for whoever is away."""

    def command(self):
        command = super().command()
        argv = [part.replace("keep_size=4GB", "keep_size=1MB") for part in command.argv]
        return replace(command, argv=argv)


def test_what_the_server_could_not_keep_any_longer_is_told(tmp_path, settings, backups):
    cluster = OfFewWords(tmp_path / "postgres", log=tmp_path / "log", throwaway=True)
    with servers.running(cluster):
        settings.BACKUP_DATABASE = env_database(cluster.backup_url)
        source = Source(cluster)
        with source.cursor() as cursor:
            cursor.execute("CREATE TABLE notes (note text)")
        with following(source, backups):
            source.write("received")
            wait_until(source.received)
        for _ in range(4):
            source.fill_segment()
        with contextlib.closing(cluster._connect()) as owner, owner.cursor() as cursor:
            cursor.execute("CHECKPOINT")

        state = take(backups).following
        with pytest.raises(BackupError, match="would not join"):
            wal_archive.follow(backups, server=Server(), is_over=lambda: False, say=print)

    assert (state.is_wanted, state.is_lost, state.is_well) == (True, True, False)


class TestABackup:
    def test_says_that_nobody_ever_followed(self, source, backups):
        state = take(backups).following

        assert (state.is_wanted, state.is_active, state.is_well) == (False, False, True)

    def test_says_that_the_log_is_followed(self, source, backups):
        with following(source, backups):
            state = take(backups).following

        assert (state.is_active, state.is_lost, state.is_well) == (True, False, True)

    def test_says_that_nobody_follows_any_more_and_what_is_kept_for_them(self, source, backups):
        with following(source, backups):
            source.write("received")
            wait_until(source.received)
        source.fill_segment()

        state = take(backups).following

        assert (state.is_active, state.is_lost, state.is_well) == (False, False, False)
        assert state.lag_bytes > 0

    def test_says_that_the_server_has_dropped_the_log(self, source, backups):
        with following(source, backups):
            source.write("received")
            wait_until(source.received)
        source.drop_slots()

        state = take(backups).following

        assert (state.is_wanted, state.is_lost, state.is_well) == (True, True, False)
