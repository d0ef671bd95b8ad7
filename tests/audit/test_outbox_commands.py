"""`relay_outbox`, `retry_deliveries` and the tasks that beat sends."""

from __future__ import annotations

import json

import pytest
from django.core.management import call_command
from django.db import connection

from audit import outbox, tasks
from audit import services as audit
from audit.models import Delivery
from audit.outbox import deliveries

pytestmark = pytest.mark.django_db


@pytest.fixture
def receiver(nobody_listens):
    """Answers by what is in `errors`, in turn; then accepts."""
    errors: list[Exception] = []

    def receive(_message):
        if errors:
            raise errors.pop(0)

    outbox.subscribe("parcel.sent", "crm", receive)
    return errors


@pytest.fixture
def fact():
    audit.publish(
        "parcel.sent", aggregate_type="order", aggregate_id=1, dedupe_key="p.1", payload={}
    )


def run(capsys, *args):
    code = 0
    try:
        call_command(*args)
    except SystemExit as exc:
        code = exc.code
    return code, capsys.readouterr().out


class TestRelayOutbox:
    def test_delivers_what_is_due(self, receiver, fact, capsys):
        code, printed = run(capsys, "relay_outbox", "--json")

        assert code == 0
        assert json.loads(printed) == {
            "fanned_out": 1,
            "delivered": 1,
            "failed": 0,
            "dead": 0,
            "waiting": 0,
            "dead_in_all": 0,
        }

    def test_exits_with_1_when_a_delivery_failed(self, receiver, fact, capsys):
        receiver.append(RuntimeError())

        code, printed = run(capsys, "relay_outbox", "--json")

        assert code == 1
        assert json.loads(printed)["failed"] == 1
        assert json.loads(printed)["waiting"] == 1

    def test_prints_a_table_for_people(self, receiver, fact, capsys):
        code, printed = run(capsys, "relay_outbox")

        assert code == 0
        assert "fanned out" in printed

    def test_goes_on_past_one_step(self, receiver, monkeypatch, capsys):
        monkeypatch.setattr("audit.management.commands.relay_outbox.STEP", 2)
        for n in range(5):
            audit.publish(
                "parcel.sent",
                aggregate_type="order",
                aggregate_id=n,
                dedupe_key=f"p.{n}",
                payload={},
            )

        _, printed = run(capsys, "relay_outbox", "--json")

        assert json.loads(printed)["delivered"] == 5


class TestRetryDeliveries:
    @pytest.fixture(autouse=True)
    def waiting(self, receiver, fact):
        receiver.append(RuntimeError())
        outbox.relay()

    def test_delivers_what_waits(self, capsys):
        code, printed = run(capsys, "retry_deliveries", "--json")

        assert code == 0
        assert json.loads(printed)["retried"] == 1
        assert Delivery.objects.get().status == "delivered"

    def test_leaves_the_dead_alone(self, capsys):
        Delivery.objects.update(status="dead")

        code, printed = run(capsys, "retry_deliveries", "--json")

        assert code == 0
        assert json.loads(printed)["retried"] == 0
        assert json.loads(printed)["dead_in_all"] == 1

    def test_wakes_the_dead_when_asked(self, capsys):
        Delivery.objects.update(status="dead")

        code, _ = run(capsys, "retry_deliveries", "--dead", "--json")

        assert code == 0
        assert Delivery.objects.get().status == "delivered"

    def test_exits_with_1_when_it_fails_again(self, receiver, capsys):
        receiver.append(RuntimeError())

        code, _ = run(capsys, "retry_deliveries")

        assert code == 1


class TestTasks:
    def test_relay_delivers_and_tolerates_arguments_of_another_version(self, receiver, fact):
        tasks.relay(something_new=1)

        assert Delivery.objects.get().status == "delivered"

    def test_a_relay_ends_by_itself_before_it_is_stopped(self):
        longest = tasks.RELAY_SECONDS + deliveries.TRIAL.total_seconds()

        assert longest < tasks.relay.soft_time_limit

    def test_extend_partitions_makes_the_next_months_once(self):
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT inhrelid::regclass::text FROM pg_inherits"
                " WHERE inhparent = 'audit_logs'::regclass ORDER BY 1 DESC LIMIT 1 OFFSET 1"
            )
            last_month = cursor.fetchone()[0]
            cursor.execute(f"DROP TABLE {last_month}")

        tasks.extend_partitions()
        tasks.extend_partitions()

        with connection.cursor() as cursor:
            cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [last_month])
            assert cursor.fetchone()[0]
