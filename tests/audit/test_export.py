"""An auditor with the file alone finds what was changed, and nothing else."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import random
import subprocess
import sys
import tracemalloc
import zipfile
from datetime import UTC, date, datetime, timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction
from django.utils import timezone

from audit import partitions
from audit import services as audit
from audit.models import AuditLog, AuditSeal
from audit.seals import export, keys, offline
from config.kernel import request_context
from tests.audit.seals import execute, seal_everything, switch_triggers_off, write

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("strictly")]

EVER = {"begin": datetime(2020, 1, 1, tzinfo=UTC), "end": datetime(2999, 1, 1, tzinfo=UTC)}
FULL = {
    "entity_type": "order",
    "entity_id": -5,
    "data": {"b": [1, 2.50, None], "a": 'Zoë "said" \\ \u2028 <b>'},
}


@pytest.fixture
def log(strictly):
    """Some thirty rows in several seals: with all columns, and with as few as may be."""
    write(25, at_once=4)
    asker = request_context.RequestContext(
        user_id=7, ip_address="2001:db8::1", user_agent="Mozilla – ünï", request_id="r-1"
    )
    with request_context.bound(asker), transaction.atomic():
        audit.record("FULL", **FULL)
    AuditLog.objects.create(event_type="BARE")
    AuditLog.objects.create(event_type="V4", ip_address="192.0.2.7", user_agent="")
    seal_everything()
    assert AuditSeal.objects.count() >= 3


def exported(**period):
    file = io.BytesIO()
    done = export.write(file, export.find_extent(**{**EVER, **period}))
    return done, file.getvalue()


def verified(content, *own):
    public = own or [base64.b64decode(key) for key in keys.believed().values()]
    return offline.verify(io.BytesIO(content), keys=list(public))


def lines_of(content):
    with zipfile.ZipFile(io.BytesIO(content)) as packed:
        return [json.loads(line) for line in packed.read(offline.LOG).splitlines()]


def changed(content, lines=None, **members):
    """The file with other lines, or other members; its manifest as it was."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(file, "w") as new:
        for name in old.namelist():
            written = old.read(name)
            if name == offline.LOG and lines is not None:
                written = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
            new.writestr(name, members.get(name, written))
    return file.getvalue()


class TestTheFile:
    def test_is_as_it_was_sealed(self, log):
        done, content = exported()

        found = verified(content)
        assert (found.count, found.findings) == (0, [])
        assert (found.rows, found.seals) == (done.rows, done.seals)
        assert (done.rows, done.seals) == (AuditLog.objects.count(), AuditSeal.objects.count())
        assert done.is_whole
        assert found.key_ids == list(keys.believed())

    def test_has_each_column_as_the_log_has_it(self, log):
        _, content = exported()

        [row] = [
            line["row"]
            for line in lines_of(content)
            if line.get("row", {}).get("event_type") == "FULL"
        ]
        there = AuditLog.objects.get(event_type="FULL")
        assert json.loads(row["data"]) == FULL["data"]
        assert (row["id"], row["user_id"], row["entity_id"]) == (there.pk, 7, -5)
        assert (row["ip_address"], row["request_id"]) == ("2001:db8::1/128", "r-1")
        assert datetime.fromisoformat(row["created_at"]) == there.created_at

    def test_of_a_period_has_the_whole_seals_that_cover_it(self, log):
        seals = list(AuditSeal.objects.order_by("number"))
        middle = AuditLog.objects.extra(
            where=["xid::text::bigint >= %s AND xid::text::bigint < %s"],
            params=[seals[1].from_xid, seals[1].to_xid],
        ).order_by("id")

        done, content = exported(begin=middle[0].created_at, end=middle[1].created_at)

        assert (done.seals, done.rows) == (1, seals[1].row_count)
        assert verified(content).count == 0

    @pytest.mark.parametrize("batch", [1, 10, 1_000])
    def test_is_the_same_however_it_is_read(self, log, batch, monkeypatch):
        _, content = exported()
        monkeypatch.setattr(export, "ROWS_AT_ONCE", batch)

        _, again = exported()

        assert lines_of(again) == lines_of(content)

    def test_takes_no_more_memory_for_more_rows(self, strictly, monkeypatch):
        monkeypatch.setattr(export, "ROWS_AT_ONCE", 20)
        monkeypatch.setattr(export.chain, "PAGE", 5)

        class Away:
            def write(self, piece):
                return len(piece)

            def flush(self):
                pass

        def peak():
            extent = export.find_extent(**EVER)
            tracemalloc.start()
            export.write(Away(), extent)
            try:
                return tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()

        write(100, at_once=10)
        seal_everything()
        peak()  # what is loaded once
        few = peak()
        write(900, at_once=10)
        seal_everything()

        assert peak() < few * 1.5

    def test_tells_what_has_no_seal_yet(self, log):
        write(3)

        done, content = exported()

        assert (done.unsealed, done.is_whole) == (3, False)
        assert verified(content).unsealed == 3
        assert verified(content).count == 0

    def test_of_a_period_without_rows_is_none(self, log):
        with pytest.raises(export.NotFoundError, match="no row of this period is sealed"):
            exported(begin=datetime(2020, 1, 1, tzinfo=UTC), end=datetime(2020, 2, 1, tzinfo=UTC))

    def test_of_rows_that_were_changed_says_so(self, log):
        row = AuditLog.objects.order_by("id")[3]
        with tampered("UPDATE audit_logs SET event_type = 'OTHER' WHERE id = %s", [row.pk]):
            done, content = exported()

        assert (done.differing, done.is_whole) == (1, False)
        assert verified(content).findings == [
            f"row {row.pk} of seal 1 is not what it was when it was sealed"
        ]

    def test_of_a_row_that_was_deleted_says_so(self, log):
        row = AuditLog.objects.order_by("id")[3]
        with tampered("DELETE FROM audit_logs WHERE id = %s", [row.pk]):
            done, content = exported()

        found = verified(content)
        assert (done.gone, done.differing, done.is_whole) == (0, 1, False)
        assert (found.gone, found.findings) == (0, [f"row {row.pk} of seal 1 is missing"])

    @pytest.mark.parametrize("end", [0, -1], ids=["first", "last"])
    def test_of_a_seal_at_its_edge_whose_rows_were_all_deleted_says_so(self, log, end):
        seal = list(AuditSeal.objects.order_by("number"))[end]
        with tampered(
            "DELETE FROM audit_logs WHERE xid::text::bigint >= %s AND xid::text::bigint < %s",
            [seal.from_xid, seal.to_xid],
        ):
            done, content = exported()

        assert (done.differing, verified(content).count) == (1, seal.row_count)

    def test_of_a_row_deleted_at_the_very_end_of_the_period_says_so(self, log):
        """In a seal that has later rows as well."""
        seal = AuditSeal.objects.get(number=1)
        rows = AuditLog.objects.order_by("created_at").extra(
            where=["xid::text::bigint < %s"], params=[seal.to_xid]
        )
        # Alone in its seal: the others of it are of the time after.
        first, second = rows[0], rows.filter(created_at__gt=rows[0].created_at)[0]
        gone = rows.filter(created_at__lt=second.created_at)
        ids = [row.pk for row in gone]
        with tampered("DELETE FROM audit_logs WHERE id = ANY(%s)", [ids]):
            done, content = exported(begin=first.created_at, end=second.created_at)

        assert done.differing == 1
        assert verified(content).findings == [f"row {pk} of seal 1 is missing" for pk in ids]

    def test_of_a_row_that_was_put_in_says_so(self, log):
        first = AuditSeal.objects.get(number=1)
        with tampered(
            "INSERT INTO audit_logs (id, event_type, xid) VALUES (10000000, 'FORGED', %s)",
            [str(first.to_xid - 1)],
        ):
            done, content = exported()

        assert (done.differing, done.is_whole) == (1, False)
        assert verified(content).findings == ["row 10000000 of seal 1 was put in later"]

    def test_of_a_seal_without_rows_and_leaves_says_so(self, log):
        second = AuditSeal.objects.get(number=2)
        with tampered(
            "DELETE FROM audit_logs WHERE xid::text::bigint >= %s AND xid::text::bigint < %s;"
            " UPDATE audit_seals SET leaves = '' WHERE number = 2",
            [second.from_xid, second.to_xid],
        ):
            done, content = exported()

        assert (done.gone, done.differing) == (0, 1)
        assert verified(content).findings == ["the rows of seal 2 are not those that were sealed"]


@contextlib.contextmanager
def tampered(statement, values):
    """What is exported meanwhile is exported in the same transaction, which puts all back."""
    atomic = transaction.atomic
    with transaction.atomic():
        switch_triggers_off()
        execute(statement, values)
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(export.transaction, "atomic", lambda **_: atomic())
                yield
        finally:
            transaction.set_rollback(True)


class TestRetiredRows:
    """What was dropped on purpose is told apart from what was taken away."""

    @pytest.fixture
    def months(self, strictly):
        """Rows of two months that are long over, in the same seals, and one that is older still."""
        both = (date(2020, 1, 1), date(2020, 2, 1))
        for month in both:
            execute("SELECT audit_make_partition(%s)", [month])
        AuditLog.objects.create(event_type="OLDEST", created_at=datetime(2001, 1, 1, tzinfo=UTC))
        made = {month: [] for month in both}
        for n in range(14):
            for month in both:
                at = datetime(month.year, month.month, 15, 12, n, tzinfo=UTC)
                made[month].append(AuditLog.objects.create(event_type="OLD", created_at=at).pk)
        for n in range(24):
            at = datetime(2020, 1, 16, 12, n, tzinfo=UTC)
            made[both[0]].append(AuditLog.objects.create(event_type="OLD", created_at=at).pk)
        seal_everything()
        yield made
        for month in both:
            execute(f"DROP TABLE IF EXISTS audit_logs_{month:%Y_%m}")

    def test_are_as_they_were_sealed(self, months):
        gone, stay = months.values()
        write(3)
        seal_everything()
        assert partitions.drop_before(date(2020, 2, 1))[0].rows == len(gone)
        seal_everything()

        done, content = exported(begin=datetime(2000, 1, 1, tzinfo=UTC))

        found = verified(content)
        assert any(not bytes(one.leaves) for one in AuditSeal.objects.filter(row_count__gt=0))
        assert (done.gone, done.differing, done.is_whole) == (len(gone), 0, True)
        assert (found.gone, found.findings) == (len(gone), [])
        assert found.rows == AuditLog.objects.count() == 1 + len(stay) + 3 + 1
        seals = [line["seal"] for line in lines_of(content) if "seal" in line]
        kept = {one["number"]: bytes.fromhex(one["leaves"]) for one in seals if one.get("leaves")}
        assert len(kept) >= 2
        for number, leaves in kept.items():
            assert leaves == bytes(AuditSeal.objects.get(number=number).leaves)

    def test_are_not_those_that_were_taken_from_a_month_that_stays(self, months):
        _, stay = months.values()
        partitions.drop_before(date(2020, 2, 1))
        with tampered("DELETE FROM audit_logs WHERE id = ANY(%s)", [[stay[2], stay[5]]]):
            done, content = exported()

        found = verified(content)
        assert (done.is_whole, found.count) == (False, 2)
        assert [each.split()[1] for each in found.findings] == [str(stay[2]), str(stay[5])]
        assert all(each.endswith("is missing") for each in found.findings)

    def test_are_none_of_a_month_that_was_dropped_by_hand(self, months):
        gone, _ = months.values()
        execute("DROP TABLE audit_logs_2020_01")

        done, content = exported(begin=datetime(2000, 1, 1, tzinfo=UTC))

        found = verified(content)
        assert (done.gone, found.gone) == (0, 0)
        assert not done.is_whole
        assert {each.split()[1] for each in found.findings} == {str(pk) for pk in gone}

    def test_are_none_by_the_word_of_another_key(self, months, settings):
        right = settings.AUDIT_SEAL_KEY
        settings.AUDIT_SEAL_KEY = b"x" * 32
        partitions.drop_before(date(2020, 2, 1))
        settings.AUDIT_SEAL_KEY = right

        done, content = exported(begin=datetime(2000, 1, 1, tzinfo=UTC))

        found = verified(content)
        assert (done.gone, found.gone, done.is_whole) == (0, 0, False)
        assert found.count >= 2

    def test_are_judged_by_a_seal_that_is_signed(self, months):
        partitions.drop_before(date(2020, 2, 1))
        _, content = exported()
        lines = lines_of(content)
        at = [n for n, line in enumerate(lines) if "retired_by" in line.get("seal", {})]
        assert len(at) >= 2
        told = lines[at[0]]["seal"]
        for forged in (
            {
                **told,
                "retired_by": {**told["retired_by"], "retired_before": "2021-01-01T00:00:00Z"},
            },
            {**told, "retired_by": {**told["retired_by"], "signature": "00" * 64}},
            {name: value for name, value in told.items() if name != "retired_by"},
            {**told, "retired_by": None},
            {**told, "leaves": told["leaves"][96:]},
        ):
            changed_lines = [*lines[: at[0]], {"seal": forged}, *lines[at[0] + 1 :]]

            found = verified(changed(content, changed_lines))

            # One finding is of the file that is another than the manifest's.
            assert any(f"seal {told['number']}" in each for each in found.findings), found.findings

    def test_do_not_hide_a_row_that_stands_twice(self, months):
        partitions.drop_before(date(2020, 2, 1))
        _, content = exported()
        lines = lines_of(content)
        n = next(n for n, line in enumerate(lines) if "retired_by" in line.get("seal", {}))

        found = verified(changed(content, [*lines[:n], lines[n - 1], *lines[n:]]))

        assert any("stand there twice" in each for each in found.findings)


class TestAnAuditor:
    """Each change of the file is found, whoever made it without the key."""

    def test_finds_each_value_of_each_row_that_was_changed(self, log):
        _, content = exported()
        lines = lines_of(content)
        rows = [n for n, line in enumerate(lines) if "row" in line]

        for name in lines[rows[0]]["row"]:
            n = rows[len(rows) // 2]
            row = lines[n]["row"]
            other = {
                int: lambda value: value + 1,
                str: lambda value: f"{value[:-1]}1",
                type(None): lambda _: 1 if name.endswith("_id") else "x",  # noqa: B023
            }[type(row[name])](row[name])
            if name == "request_id" and row[name] is None:
                other = "x"
            if name == "created_at":
                moved = datetime.fromisoformat(row[name]) + timedelta(microseconds=1)
                other = moved.isoformat(timespec="microseconds")
            forged = [*lines[:n], {"row": {**row, name: other}}, *lines[n + 1 :]]

            found = verified(changed(content, forged))

            assert any("not those that were sealed" in each for each in found.findings), name
            assert any("not the file that the manifest" in each for each in found.findings)

    def test_finds_each_value_of_a_seal_that_was_changed(self, log):
        _, content = exported()
        lines = lines_of(content)
        [n] = [n for n, line in enumerate(lines) if line.get("seal", {}).get("number") == 2]
        seal = lines[n]["seal"]

        for name, value in seal.items():
            if isinstance(value, int):
                other = value + 1
            elif name in {"newest_at", "created_at"} or value is None:
                other = "2021-01-01T00:00:00+00:00"
            else:
                other = f"{'1' if value[0] == '0' else '0'}{value[1:]}"
            forged = [*lines[:n], {"seal": {**seal, name: other}}, *lines[n + 1 :]]

            found = verified(changed(content, forged))

            assert any("seal 2" in each or f"{other}" in each for each in found.findings), name

    @pytest.mark.parametrize("kind", ["row", "seal"])
    def test_finds_what_was_taken_away_put_in_twice_or_moved(self, log, kind):
        _, content = exported()
        lines = lines_of(content)
        at = [n for n, line in enumerate(lines) if kind in line]
        first, last = at[0], at[-1]

        forgeries = [
            lines[:first] + lines[first + 1 :],
            lines[:last] + lines[last + 1 :],
            [lines[first], *lines],
            [
                *lines[:first],
                lines[last],
                *lines[first + 1 : last],
                lines[first],
                *lines[last + 1 :],
            ],
        ]

        for forged in forgeries:
            assert verified(changed(content, forged)).count > 0

    def test_finds_a_manifest_of_somebody_else(self, log):
        _, content = exported()
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            manifest = json.loads(packed.read(offline.MANIFEST))
        manifest["unsealed"] = 9

        found = verified(changed(content, **{offline.MANIFEST: json.dumps(manifest).encode()}))

        assert ["manifest is not signed" in each for each in found.findings] == [True]

    def test_believes_the_keys_that_they_name_and_no_other(self, log):
        _, content = exported()
        somebody = keys.new_key()

        found = verified(content, base64.b64decode(somebody.public))

        assert found.count == found.seals + 1
        assert found.key_ids == []

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"PK\x03\x04 and nothing else",
            pytest.param(None, id="another zip"),
        ],
    )
    def test_is_told_what_is_no_export(self, content):
        if content is None:
            file = io.BytesIO()
            with zipfile.ZipFile(file, "w") as packed:
                packed.writestr("x", "y")
            content = file.getvalue()

        with pytest.raises(offline.UnreadableExportError, match="no export of an audit log"):
            verified(content)

    def test_reads_nothing_that_is_not_sealed_into_a_row(self, log):
        _, content = exported()
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            text = packed.read(offline.LOG)

        for more in (b'{"row":{"event_type":"OTHER",', b'{"row":{"remark":"x",'):
            forged = text.replace(b'{"row":{', more, 1)
            with pytest.raises(offline.UnreadableExportError):
                verified(changed(content, **{offline.LOG: forged}))

    def test_finds_any_byte_that_was_changed_where_it_counts(self, log):
        _, content = exported()
        chance = random.Random(5)  # noqa: S311 - bytes to change, not secrets

        for _ in range(300):
            n = chance.randrange(len(content))
            forged = content[:n] + bytes([content[n] ^ chance.randrange(1, 256)]) + content[n + 1 :]
            try:
                is_found = verified(forged).count > 0
            except offline.UnreadableExportError:
                is_found = True
            if not is_found:  # of the program and the words beside it, or of the ZIP's own marks
                assert lines_of(forged) == lines_of(content)

    @pytest.mark.parametrize("line", ["{}", "[]", '{"row": {}}', '{"row": 5}', "nonsense", '"x"'])
    def test_is_told_of_lines_that_are_none(self, log, line):
        _, content = exported()

        with pytest.raises(offline.UnreadableExportError):
            verified(changed(content, **{offline.LOG: line.encode()}))

    def test_needs_the_file_alone(self, log, tmp_path):
        """The program in the file, in a process that has neither our code nor our settings."""
        _, content = exported()
        (tmp_path / "x.zip").write_bytes(content)
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            packed.extract("verify.py", tmp_path)
            assert packed.namelist() == [
                *("log.jsonl", "manifest.json", "manifest.sig", "verify.py", "README.txt")
            ]

        def run(*arguments):
            return subprocess.run(
                [sys.executable, "-P", "verify.py", *arguments],
                cwd=tmp_path,
                env={"PATH": os.environ["PATH"]},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )

        good = run("x.zip", "--key", keys.public_key())
        unsure = run("x.zip")
        bad = run("x.zip", "--key", keys.new_key().public)
        nothing = run("nowhere.zip")
        no_key = run("x.zip", "--key", "abc")

        assert (good.returncode, good.stderr) == (0, "")
        assert good.stdout.startswith("As sealed: ")
        assert (unsure.returncode, "the file's own" in unsure.stdout) == (0, True)
        assert (bad.returncode, nothing.returncode, no_key.returncode) == (1, 2, 2)
        assert "is no public key" in no_key.stderr


class TestTheCommands:
    def test_write_and_verify(self, log, tmp_path, capsys):
        output = tmp_path / "log.zip"
        period = ("--from", "2020-01-01", "--to", f"{timezone.now() + timedelta(1):%Y-%m-%d}")

        write(1)  # which has no seal yet

        with pytest.raises(SystemExit):
            call_command("export_audit", *period, "--output", str(output), "--json")
        told = json.loads(capsys.readouterr().out)
        call_command("verify_audit_export", str(output), "--json")
        found = json.loads(capsys.readouterr().out)

        assert told["rows"] == found["rows"] > 25
        assert told["unsealed"] == found["unsealed"] > 0
        assert found["count"] == 0

    def test_refuse_what_is_none(self, log, tmp_path):
        (tmp_path / "x.zip").write_bytes(b"x")

        for name, arguments, problem in (
            ("verify_audit_export", (str(tmp_path / "x.zip"),), "no export of an audit log"),
            ("verify_audit_export", (str(tmp_path / "y.zip"),), "cannot be read"),
            (
                "export_audit",
                ("--from", "2020-01-01", "--to", "2020-02-01", "--output", str(tmp_path / "z")),
                "no row of this period is sealed",
            ),
        ):
            with pytest.raises(CommandError, match=problem) as refused:
                call_command(name, *arguments)
            assert refused.value.returncode == 2
        assert [path.name for path in tmp_path.glob("*z*")] == ["x.zip"]
