"""`seal_audit` and `verify_audit` as a shell runs them, and the buttons that do the same."""

from __future__ import annotations

import base64
import json
import re
from uuid import uuid4

import pgtrigger
import pytest
from django.core.management import get_commands, load_command_class
from django.urls import reverse

from audit import tasks
from audit.models import AuditLog, AuditSeal, AuditVerification
from audit.seals import keys, sealing, verification
from tests.admin import rows
from tests.audit.seals import execute, seal_everything, write

pytestmark = pytest.mark.usefixtures("strictly")


@pytest.fixture
def run(capsys):
    def run(name, *arguments):
        code = 0
        try:
            load_command_class(get_commands()[name], name).run_from_argv(
                ["manage.py", name, *arguments]
            )
        except SystemExit as exc:
            code = exc.code
        return code, *capsys.readouterr()

    return run


def spoil_a_row():
    """Somebody changes a row behind our back; its id."""
    row = AuditLog.objects.order_by("pk").first().pk
    with pgtrigger.ignore():
        execute("UPDATE audit_logs SET user_id = 99 WHERE id = %s", [row])
    return row


class TestSealAudit:
    def test_seals_and_copies_all_that_waits(self, run):
        write(25)
        seal_everything()
        before = AuditSeal.objects.count()
        write(3, at_once=3)

        while sealing.find_lag().rows:
            code, said, _ = run("seal_audit", "--json")

        assert code == 0
        answer = json.loads(said)
        assert (answer["rows"], answer["rows_waiting"], answer["copy_error"]) == (3, 0, "")
        assert answer["seals"] == answer["copied"] == AuditSeal.objects.count() - before

    def test_says_so_in_words(self, run):
        assert run("seal_audit") == (0, "seals 0, rows 0, copied 0, rows waiting 0.\n", "")

    def test_exits_with_1_if_the_copies_cannot_be_written(self, run, outside):
        outside.write_text("in the way")

        code, said, _ = run("seal_audit")

        assert code == 1
        assert said.endswith("The copies could not be written: File exists.\n")

    def test_exits_with_2_if_nothing_may_be_sealed(self, run, monkeypatch):
        def refuses(**_):
            raise sealing.TransactionsBeganAnewError

        monkeypatch.setattr(sealing, "seal_all", refuses)

        code, said, complained = run("seal_audit")

        assert (code, said) == (2, "")
        assert "loaded from a dump" in complained

    def test_makes_a_key_that_can_replace_the_present_one(self, run, settings):
        write(1)
        seal_everything()

        code, said, _ = run("seal_audit", "--new-key", "--json")

        made = json.loads(said)
        assert code == 0
        settings.AUDIT_SEAL_KEY = base64.b64decode(made["key"])
        settings.AUDIT_SEAL_TRUSTED_KEYS = [base64.b64decode(made["present_public_key"])]
        assert keys.public_key() == made["public_key"]
        assert verification.verify().count == 0

    def test_prints_a_key_as_the_settings_are_named(self, run):
        code, said, _ = run("seal_audit", "--new-key")

        first, second, _ = said.split("\n", 2)
        assert code == 0
        assert first.startswith("AUDIT_SEAL_KEY=")
        assert second == f"AUDIT_SEAL_TRUSTED_KEYS={keys.public_key()}"


class TestVerifyAudit:
    def test_exits_with_0_where_all_is_as_it_was_sealed(self, run):
        write(12)
        seal_everything()

        code, said, _ = run("verify_audit")

        assert code == 0
        assert f"{AuditSeal.objects.count()} seals and 12 rows are as they were sealed" in said
        assert not AuditVerification.objects.exists()

    def test_exits_with_1_and_names_what_is_not(self, run):
        write(12)
        seal_everything()
        row = spoil_a_row()

        code, said, _ = run("verify_audit", "--json")
        code_for_people, words, _ = run("verify_audit")

        assert code == code_for_people == 1
        assert json.loads(said)["findings"] == [{"kind": "row_altered", "seal": 1, "row": row}]
        assert "row_altered" in words
        assert "the row is not what it was when it was sealed" in words
        assert "1 findings" in words

    def test_says_what_waits_for_a_seal(self, run):
        write(2)
        seal_everything()
        write(3)

        _, said, _ = run("verify_audit")
        _, answer, _ = run("verify_audit", "--json")

        assert re.search(r" 3 rows wait for a seal, the oldest for \d s\.", said)
        assert json.loads(answer)["rows_waiting"] == 3
        assert json.loads(answer)["oldest_waiting_at"] is not None

    def test_begins_where_it_is_told_to(self, run):
        write(40)
        seal_everything()
        spoil_a_row()

        code, said, _ = run("verify_audit", "--from-number", "2", "--json")

        assert code == 0
        assert json.loads(said)["seals"] == AuditSeal.objects.count() - 1

    @pytest.mark.parametrize("wrong", ["0", "-1", "one", "1.5"])
    def test_refuses_what_is_no_number_of_a_seal(self, run, wrong):
        code, said, complained = run("verify_audit", f"--from-number={wrong}")

        assert (code, said) == (2, "")
        assert "is no number of a seal" in complained

    def test_exits_with_2_if_the_copies_cannot_be_read(self, run, monkeypatch):
        def fails(**_):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(verification, "verify", fails)

        code, _, complained = run("verify_audit")

        assert code == 2
        assert complained == (
            "CommandError: the copies of the seals cannot be read: Permission denied\n"
        )

    def test_keeps_the_outcome_when_asked(self, run, caplog):
        write(12)
        seal_everything()
        row = spoil_a_row()

        run("verify_audit", "--record")

        kept = AuditVerification.objects.get()
        assert (kept.findings, kept.rows, kept.first_seal) == (1, 11, 1)
        assert kept.examples == [{"kind": "row_altered", "seal": 1, "row": row}]

    def test_is_done_and_kept_by_the_nightly_task(self):
        write(5)
        seal_everything()

        tasks.verify(something_new=1)

        kept = AuditVerification.objects.get()
        assert (kept.findings, kept.rows, kept.seals) == (0, 5, AuditSeal.objects.count())


class TestTheButtons:
    @pytest.fixture
    def browser(self, client):
        client.force_login(rows.make_customer(1, is_staff=True, is_superuser=True))
        return client

    def press(self, browser, model, row, name):
        url = reverse(f"admin:audit_{model}_do", args=[row.pk, name])
        return browser.post(url, {"request_key": uuid4()}, follow=True).content.decode()

    def test_seal_now_seals_the_row_and_is_offered_no_more(self, browser):
        (pk,) = write(1)
        row = AuditLog.objects.get(pk=pk)
        url = reverse("admin:audit_auditlog_change", args=[pk])
        assert "/do/seal/" in browser.get(url).content.decode()

        while not sealing.is_sealed(row_id=pk):
            page = self.press(browser, "auditlog", row, "seal")

        assert "It is sealed" in page
        assert "/do/seal/" not in browser.get(url).content.decode()
        done = AuditLog.objects.filter(event_type="STAFF_ACTION_DONE").latest("pk")
        assert done.data == {"action": "seal", "state": {"is_sealed": True}}

    def test_seal_now_says_what_is_in_its_way(self, browser, outside):
        (pk,) = write(1)
        outside.write_text("in the way")

        page = self.press(browser, "auditlog", AuditLog.objects.get(pk=pk), "seal")

        assert "the copies could not be written: File exists" in page

    def test_verify_again_asks_a_worker(self, browser, monkeypatch):
        asked = []
        monkeypatch.setattr(verification, "_start", lambda: asked.append(1))
        row = verification.keep(verification.verify())

        page = self.press(browser, "auditverification", row, "verify")

        assert asked == [1]
        assert "A worker verifies it" in page

    @pytest.mark.parametrize("start", [None, lambda: 1 / 0])
    def test_verify_again_says_if_nobody_hears_it(self, browser, monkeypatch, start):
        monkeypatch.setattr(verification, "_start", start)
        row = verification.keep(verification.verify())

        page = self.press(browser, "auditverification", row, "verify")

        assert "The workers cannot be asked" in page
        assert AuditLog.objects.filter(event_type="STAFF_ACTION_REFUSED").count() == 1
