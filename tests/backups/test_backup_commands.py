"""What `backup` and `restore` say, to people and to programs, and their exit codes."""

from __future__ import annotations

import json

import pytest
from django.core.management import CommandError, call_command

from config.backups.command import amount
from tests.backups.conftest import following, wait_until


def test_backup_and_restore_answer_people(source, backups, tmp_path, capsys):
    call_command("backup", str(backups.root))
    [base] = backups.bases()
    said = capsys.readouterr().out
    assert said.startswith(f"{base.name}: {amount(base.size)} in ")
    assert "verified; 1 kept. The log is not followed" in said

    call_command("restore", str(backups.root), "--data-directory", str(tmp_path / "target"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{tmp_path / 'target'} will be the database as of ")
    assert [line.split(".")[0].strip() for line in lines[1:]] == list("1234567")
    assert "AUDIT_SEAL_DIR" in lines[2]
    assert "erase_customer --replay" in lines[3]


def test_backup_and_restore_answer_programs(source, backups, tmp_path, capsys):
    with following(source, backups):
        call_command("backup", str(backups.root), "--keep", "3", "--json")
        answer = json.loads(capsys.readouterr().out)
        source.write("since")
        wait_until(source.received)
    assert answer["backup"] == backups.bases()[0].name
    assert answer["kept"] == 1
    assert (answer["log"]["followed"], answer["log"]["lost"]) == (True, False)

    target = tmp_path / "target"
    call_command("restore", str(backups.root), "--data-directory", str(target), "--json")
    answer = json.loads(capsys.readouterr().out)
    assert answer["data_directory"] == str(target)
    assert answer["until"].endswith("Z")
    assert len(answer["then"]) == 5

    with pytest.raises(SystemExit) as ended:
        call_command("backup", str(backups.root))
    assert ended.value.code == 1
    assert "The log is NOT being followed" in capsys.readouterr().out


def test_what_is_refused_is_one_line_and_a_code(source, backups, settings):
    settings.BACKUP_DATABASE = settings.BACKUP_DATABASE | {"PORT": "1"}
    with pytest.raises(CommandError, match="the database to back up is away") as away:
        call_command("backup", str(backups.root))
    with pytest.raises(CommandError, match="is no backup directory") as refused:
        call_command("restore", str(backups.root))

    assert (away.value.returncode, refused.value.returncode) == (2, 1)
    assert "\n" not in str(away.value)


@pytest.mark.parametrize(
    ("size", "words"),
    [
        *((0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB")),
        *((24_536_678, "23.4 MiB"), (5 * 2**30, "5.0 GiB"), (3 * 2**40, "3.0 TiB")),
    ],
)
def test_amounts_are_told_in_units_that_people_read(size, words):
    assert amount(size) == words
