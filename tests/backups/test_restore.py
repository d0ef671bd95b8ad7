"""Restores: exactly the state of a moment, and no word of success where that cannot be."""

from __future__ import annotations

import os
import shutil
import tempfile
from datetime import timedelta
from pathlib import Path

import pytest

from config import postgres
from config.backups import drill, recovery
from config.backups.directory import Archive, BackupDirectory, lsn, position
from config.backups.errors import BackupError
from config.backups.scratch_server import ScratchServer
from tests.backups.conftest import (
    Source,
    env_database,
    following,
    quietly,
    restored_notes,
    take,
    wait_until,
)


class Story:
    """A backup, and what was written when: `a`, then `b`, then `c`, in segments of their own."""

    def __init__(self, source: Source, backups: BackupDirectory) -> None:
        self.source = source
        self.backups = backups
        with following(source, backups):
            self.base = take(backups).base
            self.at = {}
            for note in "abc":
                self.at[note] = source.write(note)
                source.fill_segment()
            self.end = source.write("d")
            wait_until(source.received)


@pytest.fixture(scope="module")
def written(cluster, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        from django.conf import settings  # noqa: PLC0415

        patch.setattr(settings, "BACKUP_DATABASE", env_database(cluster.backup_url))
        source = Source(cluster)
        with source.cursor() as cursor:
            cursor.execute("DELETE FROM notes")
        yield Story(source, BackupDirectory(tmp_path_factory.mktemp("story") / "it's 100% mine"))


@pytest.fixture
def story(written, settings, source):
    """The story; what a test breaks of it is a copy."""
    return written


@pytest.fixture
def broken(story, tmp_path):
    """A copy to be broken."""
    shutil.copytree(story.backups.root, tmp_path / "copy")
    return BackupDirectory(tmp_path / "copy")


def restore(backups, tmp_path, *, to=None):
    return recovery.restore(backups, to=to, data_directory=tmp_path / "target", on_progress=quietly)


def segment_with(story, note) -> str:
    """The segment that `note` begins; by the segments' order."""
    archive = story.backups.archive()
    return archive.name_of(archive.number_of(story.base.end) + 1 + "abcd".index(note))


class TestARestore:
    def test_brings_everything_back(self, story, tmp_path):
        notes = restored_notes(story.backups, tmp_path, login=story.source.login)

        assert notes == ["a", "b", "c", "d"]

    def test_to_a_moment_brings_back_exactly_what_was_there(self, story, tmp_path):
        notes = restored_notes(story.backups, tmp_path, login=story.source.login, to=story.at["b"])

        assert notes == ["a", "b"]

    def test_to_the_last_commit_brings_everything_back(self, story, tmp_path):
        until = restore(story.backups, tmp_path).until

        notes = restored_notes(story.backups, tmp_path, login=story.source.login, to=until)

        assert notes == ["a", "b", "c", "d"]

    def test_of_a_backup_without_log_brings_back_what_it_has(self, source, backups, tmp_path):
        source.write("before")
        take(backups)
        source.write("after")

        assert restored_notes(backups, tmp_path, login=source.login) == ["before"]

    def test_needs_no_right_to_change_the_backup(self, story, tmp_path, monkeypatch):
        monkeypatch.setattr("os.access", lambda path, mode: False)

        assert restore(story.backups, tmp_path).base == story.base


class TestIsRefused:
    def test_what_is_later_than_the_last_commit(self, story, tmp_path):
        with pytest.raises(BackupError, match="nothing later is in") as failure:
            restore(story.backups, tmp_path, to=story.end + timedelta(seconds=1))

        until = restore(story.backups, tmp_path).until
        assert str(failure.value).endswith(f"--to {recovery.told(until)}")
        assert until <= story.end

    def test_what_is_before_the_oldest_backup(self, story, tmp_path):
        with pytest.raises(BackupError, match="not possible to go back further"):
            restore(story.backups, tmp_path, to=story.base.began_at - timedelta(seconds=1))

        assert not (tmp_path / "target").exists()

    def test_a_flipped_bit_in_the_base_backup(self, story, broken, tmp_path):
        [base] = broken.bases()
        victim = next(path for path in sorted((base.data / "base").rglob("1259")))
        content = bytearray(victim.read_bytes())
        content[4321] ^= 1
        victim.write_bytes(content)

        with pytest.raises(BackupError, match=rf"{victim.relative_to(base.data)}"):
            restore(broken, tmp_path)

        assert not (tmp_path / "target").exists()

    def test_a_damaged_backup_but_not_the_one_before(self, source, backups, tmp_path):
        with following(source, backups):
            take(backups)
            source.write("between")
            newest = take(backups).base
            source.write("since")
            wait_until(source.received)
        (newest.data / "PG_VERSION").write_text("17\n")

        with pytest.raises(
            BackupError, match=r"damaged \(the one before .*: move it out"
        ) as failure:
            restore(backups, tmp_path)

        assert str(newest.path) in str(failure.value)
        shutil.move(newest.path, tmp_path / "aside")
        assert restored_notes(backups, tmp_path, login=source.login) == ["between", "since"]

    def test_a_missing_segment_but_not_what_lies_before(self, story, broken, tmp_path):
        gone = segment_with(story, "c")
        (broken.wal / gone).unlink()

        with pytest.raises(BackupError, match=f"the segment {gone} is missing") as failure:
            restore(broken, tmp_path)
        with pytest.raises(BackupError, match=f"the segment {gone} is missing"):
            restore(broken, tmp_path, to=story.at["c"])

        assert not (tmp_path / "target").exists()
        assert restored_notes(broken, tmp_path, login=story.source.login, to=story.at["a"]) == ["a"]
        last = str(failure.value).rpartition("--to ")[2]
        assert recovery.told(story.at["a"]) < last <= recovery.told(story.at["b"])

    def test_a_damaged_segment(self, story, broken, tmp_path):
        bad = segment_with(story, "b")
        segment = bytearray((broken.wal / bad).read_bytes())
        segment[200] ^= 1
        (broken.wal / bad).write_bytes(segment)

        with pytest.raises(BackupError, match=f"the segment {bad} in .* is damaged"):
            restore(broken, tmp_path)

        assert not (tmp_path / "target").exists()

    def test_a_target_that_is_not_empty(self, story, tmp_path):
        (tmp_path / "target").mkdir()
        (tmp_path / "target" / "PG_VERSION").write_text("18")

        with pytest.raises(BackupError, match="is not empty"):
            restore(story.backups, tmp_path)

        assert [path.name for path in (tmp_path / "target").iterdir()] == ["PG_VERSION"]

    def test_a_directory_that_is_none_or_has_none(self, source, backups, tmp_path):
        with pytest.raises(BackupError, match="is no backup directory"):
            restore(BackupDirectory(tmp_path / "nowhere"), tmp_path)
        take(backups)
        shutil.rmtree(backups.bases()[0].path)
        with pytest.raises(BackupError, match="no complete base backup"):
            restore(backups, tmp_path)


def test_what_fails_on_the_way_is_removed_again(story, tmp_path, monkeypatch):
    (tmp_path / "target").mkdir()

    def break_off(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(recovery, "_settings", break_off)
    with pytest.raises(KeyboardInterrupt):
        restore(story.backups, tmp_path)

    assert list((tmp_path / "target").iterdir()) == []


def test_a_half_made_target_starts_no_server(story, tmp_path, monkeypatch):
    """Killed at any moment before the end, it lacks what every server asks for first."""
    monkeypatch.setattr(recovery, "_remove", lambda *_, **__: None)
    monkeypatch.setattr("os.sync", lambda: None)
    seen = []

    def look(step, done, total):
        if step == "Restoring":
            seen.append((tmp_path / "target" / "global" / "pg_control").exists())

    recovery.restore(story.backups, to=None, data_directory=tmp_path / "target", on_progress=look)

    assert seen
    assert not any(seen)
    assert (tmp_path / "target" / "global" / "pg_control").exists()


class TestTheSegmentThatWasBeingReceived:
    """Where the base backup ends in it, both have a part of it: the longer one is taken."""

    @pytest.mark.parametrize(("received", "longer"), [(b"ab", b"abc"), (b"abcd", b"abcd")])
    def test_is_the_one_that_goes_further(self, story, tmp_path, received, longer):
        archive = story.backups.archive()
        name = archive.name_of(7)
        (tmp_path / name).write_bytes(b"abc".ljust(archive.segment_bytes, b"\0"))
        partial = tmp_path / f"{name}.partial"
        partial.write_bytes(received)

        recovery._put_partial(partial, tmp_path, archive=archive)

        segment = (tmp_path / name).read_bytes()
        assert len(segment) == archive.segment_bytes
        assert segment.rstrip(b"\0") == longer


@pytest.mark.parametrize("segment_bytes", [2**20, 2**24, 2**30])
@pytest.mark.parametrize("number", [0, 1, 255, 256, 5_000])
def test_segments_are_named_as_postgresql_does(segment_bytes, number):
    archive = Archive(
        system_identifier="1", timeline=3, segment_bytes=segment_bytes, slot="orderkeep_x"
    )
    begin = number * segment_bytes

    name = archive.name_of(archive.number_of(begin + 1))

    high, low = name[8:16], name[16:]
    assert name.startswith("00000003")
    assert int(high, 16) * 2**32 + int(low, 16) * segment_bytes == begin
    assert archive.number_in(name) == number
    assert position(lsn(begin)) == begin


@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another identity")
def test_root_can_look_at_a_copy_where_there_are_no_namespaces(source, backups, monkeypatch):
    monkeypatch.setattr(postgres, "NAMESPACE", ("false",))
    with following(source, backups):
        take(backups)
        source.write("since")
        wait_until(source.received)
    reachable = Path(tempfile.mkdtemp(prefix="orderkeep-test-"))
    reachable.chmod(0o711)

    try:
        with drill.scratch_directory(reachable) as work:
            frozen = drill._freeze(backups, work / "frozen")
            identity = drill._identity(frozen, work)
            recovery.restore(frozen, to=None, data_directory=work / "data", on_progress=quietly)
            scratch = ScratchServer(work, identity=identity, login=source.login)
            with scratch.running(), scratch.cursor() as cursor:
                cursor.execute("SELECT note FROM notes")
                notes = cursor.fetchall()
    finally:
        shutil.rmtree(reachable)

    assert identity.user is not None
    assert notes == [("since",)]
