"""Sealers against writers, sealers against each other: no row is missed, none is sealed twice."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from datetime import timedelta

import pytest
from django.db import connection, transaction

from audit.models import AuditLog, AuditSeal
from audit.seals import chain, content, copies, sealing, verification
from tests.audit.seals import seal_everything, write
from tests.concurrency.test_races import at_once

pytestmark = [pytest.mark.usefixtures("strictly"), pytest.mark.concurrency]

WRITERS = 5
TRANSACTIONS = 12


def writer(seed):
    """Transactions of some length that write in the middle, some of which come to nothing."""
    rng = random.Random(seed)  # noqa: S311 - it is to be the same again

    def run():
        for _ in range(TRANSACTIONS):
            with transaction.atomic():
                for _ in range(rng.randrange(1, 4)):
                    AuditLog.objects.create(event_type="TESTED", entity_id=seed)
                    time.sleep(rng.random() * 0.02)  # to be overtaken by the others
                transaction.set_rollback(rng.random() < 0.2)

    return run


def sealed_rows():
    return [
        leaf.row
        for seal in AuditSeal.objects.order_by("number")
        for leaf in content.parsed(bytes(seal.leaves))
    ]


@pytest.mark.parametrize("seed", range(3))
def test_writers_that_overtake_each_other_are_sealed_whole(seed, monkeypatch):
    monkeypatch.setattr(sealing, "ROWS_AT_ONCE", 7)
    over = threading.Event()

    def sealer():
        while not over.is_set():
            sealing.seal_all()

    def write_and_end():
        pending = [threading.Thread(target=one) for one in map(closing, writers)]
        for thread in pending:
            thread.start()
        for thread in pending:
            thread.join(timeout=60)
        over.set()

    def closing(call):
        def run():
            try:
                call()
            finally:
                connection.close()

        return run

    writers = [writer(100 * seed + n) for n in range(WRITERS)]
    at_once(sealer, sealer, write_and_end)
    seal_everything()

    committed = sorted(AuditLog.objects.values_list("pk", flat=True))
    assert len(committed) > WRITERS * TRANSACTIONS / 2
    assert sorted(sealed_rows()) == committed
    report = verification.verify()
    assert (report.findings, report.rows) == ([], len(committed))


def test_of_sealers_at_once_one_seals_and_nobody_fails():
    write(60, at_once=3)

    done = at_once(*[sealing.seal_all] * 4)
    seal_everything()

    assert {one.copy_error for one in done} == {""}
    assert Counter(sealed_rows()).most_common(1)[0][1] == 1
    assert len(sealed_rows()) == 60
    numbers = [seal.number for seal in chain.read(after=0)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert [line.seal.number for line in copies.read()] == numbers


def test_copiers_at_once_neither_double_nor_mix_lines(monkeypatch):
    write(200, at_once=2)
    with monkeypatch.context() as broken:
        broken.setattr(copies, "catch_up", lambda: 0)
        seal_everything()
    monkeypatch.setattr(copies, "AT_ONCE", 3)

    copied = at_once(*[copies.catch_up] * 6)

    assert sum(copied) == AuditSeal.objects.count() > 10
    assert [line.seal for line in copies.read()] == list(chain.read(after=0))


def test_a_verification_beside_a_sealer_accuses_nobody(monkeypatch):
    monkeypatch.setattr(verification, "COPY_LAG", timedelta(minutes=1))
    over = threading.Event()

    def sealer():
        while not over.is_set():
            write(2)
            sealing.seal_all()

    def verifier():
        try:
            return [verification.verify().findings for _ in range(15)]
        finally:
            over.set()

    _, found = at_once(sealer, verifier)

    assert found == [[]] * 15
