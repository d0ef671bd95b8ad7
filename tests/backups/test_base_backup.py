"""Base backups: complete or not there, their owner's alone, and only as many as are wanted."""

from __future__ import annotations

import json
import signal
import stat

import psutil
import pytest

from config.backups import base_backup
from config.backups.base_backup import UNFINISHED
from config.backups.directory import BackupDirectory
from config.backups.errors import BackupError, UnavailableError
from config.backups.programs import Programs
from config.backups.server import Server
from config.processes import lives
from tests.backups.conftest import env_database, following, manage, take, wait_until

pytestmark = pytest.mark.usefixtures("source")


class TestABaseBackup:
    def test_is_verified_and_its_owners_alone(self, source, backups):
        before = source.write("one")

        taken = take(backups)

        [base] = backups.bases()
        assert base == taken.base
        assert base.began_at >= before
        assert base.ended_at > base.began_at
        assert base.size > 1_000_000
        assert base.end > base.start
        modes = {stat.S_IMODE(path.stat().st_mode) for path in backups.root.rglob("*")}
        assert modes == {0o700, 0o600}
        assert stat.S_IMODE(backups.root.stat().st_mode) == 0o700

    def test_shows_the_password_to_nobody(self, source, backups, settings, tmp_path, capsys):
        real = Programs(major=18).directory
        for program in ("pg_basebackup", "pg_verifybackup"):
            noting = tmp_path / program
            noting.write_text(
                f'#!/bin/sh\necho "$0 $*" >> "{tmp_path}/seen"\nexec "{real}/{program}" "$@"\n'
            )
            noting.chmod(0o700)
        settings.POSTGRES_BIN = str(tmp_path)

        take(backups)

        seen = (tmp_path / "seen").read_text()
        assert "pg_basebackup --dbname=" in seen
        assert "pg_verifybackup --progress" in seen
        assert source.password not in seen
        for name in ("archive.json", f"base/{backups.bases()[0].name}/backup.json"):
            assert source.password not in (backups.root / name).read_text()
        assert source.password not in "".join(capsys.readouterr())

    def test_killed_half_way_leaves_nothing_that_looks_like_one(self, source, backups):
        with manage(source, "backup", str(backups.root)) as process:
            wait_until(lambda: list(backups.base.glob(f"{UNFINISHED}*/data/base")))
            children = psutil.Process(process.pid).children()
            process.send_signal(signal.SIGKILL)
            process.wait()

        wait_until(lambda: not any(lives(child) for child in children))
        assert backups.bases() == []
        assert list(backups.base.iterdir()) != []
        taken = take(backups)
        assert list(backups.base.iterdir()) == [taken.base.path]

    def test_that_is_not_what_was_copied_is_none_and_replaces_none(
        self, source, backups, monkeypatch
    ):
        earlier = take(backups).base
        copy = base_backup._copy

        def copy_badly(programs, server, unfinished, *, on_progress):
            copy(programs, server, unfinished, on_progress=on_progress)
            victim = unfinished / "data" / "PG_VERSION"
            victim.write_text("17\n")

        monkeypatch.setattr(base_backup, "_copy", copy_badly)
        with pytest.raises(BackupError, match='"PG_VERSION"'):
            take(backups, keep=1)

        assert [path.name for path in backups.base.iterdir()] == [earlier.name]

    def test_too_many_go_with_the_log_before_the_oldest_that_is_left(self, source, backups):
        with following(source, backups):
            first = take(backups).base
            source.fill_segment()
            second = take(backups, keep=2).base
            wait_until(source.received)
            third = take(backups, keep=2)

        assert third.removed == [first.name]
        assert third.segments_removed > 0
        assert backups.bases() == [second, third.base]
        archive = backups.archive()
        numbers = {archive.number_in(name) for name in backups.segments()}
        assert min(numbers) == archive.number_of(second.start)

    def test_two_at_once_are_refused(self, source, backups):
        with backups.changing(), pytest.raises(BackupError, match="in use"):
            take(backups)

        assert backups.bases() == []


class TestADirectory:
    def test_with_something_else_in_it_is_refused_and_left_alone(self, source, tmp_path):
        (tmp_path / "photo.jpg").touch()

        with pytest.raises(BackupError, match="not empty and no backup directory"):
            take(BackupDirectory(tmp_path))

        assert (tmp_path / "photo.jpg").exists()
        assert not (tmp_path / "archive.json").exists()

    @pytest.mark.parametrize("change", [{"system_identifier": "1"}, {"timeline": 9}])
    def test_of_another_history_is_refused(self, source, backups, change):
        take(backups)
        about = backups.root / "archive.json"
        about.write_text(json.dumps(json.loads(about.read_text()) | change))

        with pytest.raises(BackupError, match="another server, or of this one before"):
            take(backups)

        assert len(backups.bases()) == 1

    def test_that_cannot_be_made_is_told(self, source, tmp_path):
        (tmp_path / "file").touch()

        with pytest.raises(BackupError, match="cannot be used: Not a directory"):
            take(BackupDirectory(tmp_path / "file" / "backups"))


class TestTheServer:
    def test_has_to_let_the_role_copy_it(self, source, backups, settings):
        settings.BACKUP_DATABASE = env_database(source.cluster.url)

        with pytest.raises(BackupError, match=r"the role orderkeep may not copy.*REPLICATION"):
            take(backups)

        assert not backups.root.exists()

    def test_that_is_away_is_told_without_its_password(self, source, backups, settings):
        settings.BACKUP_DATABASE = settings.BACKUP_DATABASE | {"PORT": "1"}

        with pytest.raises(UnavailableError, match=r"is away: .*refused") as failure:
            take(backups)

        assert failure.value.exit_code == 2
        assert source.password not in str(failure.value)

    def test_needs_programs_of_its_version(self, source, backups, settings, tmp_path):
        settings.POSTGRES_BIN = str(tmp_path)

        with pytest.raises(UnavailableError, match=r"PostgreSQL 18 were not found.*POSTGRES_BIN"):
            take(backups)


def test_progress_is_told_in_bytes(source, backups):
    told = []

    base_backup.take(backups, server=Server(), keep=1, on_progress=lambda *step: told.append(step))

    for step in ("Copying", "Verifying"):
        done, total = next((done, total) for name, done, total in reversed(told) if name == step)
        assert 1_000_000 < done <= total
