"""What a receiver's failures, wishes and limits do: to itself, and to nobody else."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.db.models import F

from audit import outbox
from audit import services as audit
from audit.models import AuditLog, Delivery, OutboxMessage, Receiver
from audit.outbox import deliveries
from config.kernel import sql

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("nobody_listens")]

FACT = "parcel.sent"
OTHER_FACT = "parcel.lost"
POISONED = ({1, 2, 3, 4, 5}, {24, 25, 26, 27, 28}, {1, 2, 3, 4, 5, 26, 27, 28})


class Desk:
    """A receiver that remembers whom it was told of, and answers as `answer` says."""

    def __init__(self, name: str = "desk", facts: Sequence[str] = (FACT, OTHER_FACT)) -> None:
        self.name = name
        self.asked: list[str] = []
        self.told: list[str] = []
        self.answer: Callable[[OutboxMessage], None] = lambda _: None
        for fact in facts:
            outbox.subscribe(fact, name, self.hear)

    def hear(self, message: OutboxMessage) -> None:
        self.asked.append(message.dedupe_key)
        self.answer(message)
        self.told.append(message.dedupe_key)

    def refuse(self, error: Exception) -> None:
        def answer(_message: OutboxMessage) -> None:
            raise error

        self.answer = answer

    def accept(self) -> None:
        self.answer = lambda _: None

    @property
    def row(self) -> Receiver:
        return Receiver.objects.get(subscriber=self.name)


@pytest.fixture
def desk():
    return Desk()


def state(*numbers: int, fact: str = FACT) -> None:
    """State a fact about each of these orders."""
    for number in numbers:
        audit.publish(
            fact,
            aggregate_type="order",
            aggregate_id=number,
            dedupe_key=f"{fact}.{number}",
            payload={"order_id": number},
        )


def let_pass(seconds: float) -> None:
    """So much time passes, for all that waits."""
    span = timedelta(seconds=seconds)
    Delivery.objects.update(next_attempt_at=F("next_attempt_at") - span)
    for column in ("retry_at", "spent_until"):
        rows = Receiver.objects.filter(**{f"{column}__isnull": False})
        rows.update(**{column: F(column) - span})


class TestOrder:
    def test_a_later_fact_waits_for_an_earlier_one_about_the_same_thing(self, desk):
        state(1, fact=FACT)
        state(1, 2, fact=OTHER_FACT)
        desk.refuse(RuntimeError())
        outbox.relay(limit=1)
        desk.accept()
        outbox.relay()

        early = list(desk.told)
        let_pass(60)
        outbox.relay()

        assert early == ["parcel.lost.2"]
        assert desk.told == ["parcel.lost.2", "parcel.sent.1", "parcel.lost.1"]

    def test_holds_for_each_receiver_by_itself(self, desk):
        slow = Desk("slow")
        slow.refuse(RuntimeError())
        state(1, fact=FACT)
        state(1, fact=OTHER_FACT)

        outbox.relay()

        assert desk.told == ["parcel.sent.1", "parcel.lost.1"]
        assert slow.asked == ["parcel.sent.1"]

    def test_is_given_up_with_what_is_given_up(self, desk):
        state(1, fact=FACT)
        state(1, fact=OTHER_FACT)
        desk.refuse(outbox.RejectedError("no such parcel"))
        outbox.relay(limit=1)
        desk.accept()

        outbox.relay()

        assert desk.told == ["parcel.lost.1"]

    def test_does_not_hold_for_what_is_said_of_nobody(self, desk):
        state(0, fact=FACT)
        state(0, fact=OTHER_FACT)
        desk.refuse(RuntimeError())

        outbox.relay()

        assert len(desk.asked) == 2

    def test_of_older_rows_is_not_known(self, desk):
        state(1, fact=FACT)
        state(1, fact=OTHER_FACT)
        outbox.relay(limit=0)
        Delivery.objects.update(aggregate_type=None, aggregate_id=None)
        desk.refuse(RuntimeError())

        outbox.relay()

        assert len(desk.asked) == 2


class TestRejected:
    def test_is_given_up_at_once_and_shown(self, desk):
        state(7)
        desk.refuse(outbox.RejectedError("the desk answered 422: no field parcel"))

        report = outbox.relay()

        delivery = Delivery.objects.get()
        assert report == outbox.RelayReport(fanned_out=1, failed=1, dead=1)
        assert (delivery.status, delivery.last_error) == (
            "dead",
            "the desk answered 422: no field parcel",
        )
        assert AuditLog.objects.get(event_type="POST_ORDER_ERROR").data["dead"] is True

    def test_never_lets_the_receiver_rest(self, desk):
        state(*range(1, 21))
        desk.refuse(outbox.RejectedError("no"))

        outbox.relay()

        assert len(desk.asked) == 20
        assert desk.row.state == "answering"


class TestRest:
    def test_comes_after_five_failures_in_a_row(self, desk):
        other = Desk("other")
        state(*range(1, 21))
        desk.refuse(outbox.ReceiverAwayError("503"))

        outbox.relay()

        assert len(desk.asked) == 5
        assert desk.row.state == "resting"
        assert desk.row.failing_since is not None
        assert len(other.told) == 20
        assert other.row.state == "answering"

    def test_does_not_come_while_others_succeed(self, desk):
        state(*range(1, 21))
        bad = {f"parcel.sent.{number}" for number in range(1, 21, 2)}

        def answer(message: OutboxMessage) -> None:
            if message.dedupe_key in bad:
                raise outbox.ReceiverAwayError("503")

        desk.answer = answer
        outbox.relay()

        assert len(desk.asked) == 20
        assert desk.row.state == "answering"

    def test_ends_with_one_that_succeeds(self, desk):
        state(*range(1, 21))
        desk.refuse(outbox.ReceiverAwayError("503"))
        outbox.relay()
        desk.accept()

        let_pass(deliveries.FIRST_REST.total_seconds())
        outbox.relay()

        assert len(desk.told) == 15  # those that failed wait for their own time
        assert desk.row.state == "answering"
        let_pass(60)
        outbox.relay()
        assert len(desk.told) == 20

    def test_is_tried_by_one_alone_and_grows_up_to_a_minute(self, desk):
        state(*range(1, 41))
        desk.refuse(outbox.ReceiverAwayError("503"))
        outbox.relay()
        rests = []

        for _ in range(7):
            let_pass(desk_rest(desk))
            asked = len(desk.asked)
            outbox.relay()
            assert len(desk.asked) == asked + 1
            rests.append(round(desk_rest(desk)))

        assert rests == [5, 10, 20, 40, 60, 60, 60]

    @pytest.mark.parametrize(
        "error", [RuntimeError(), outbox.DeliveryFailedError("451"), outbox.RejectedError("422")]
    )
    def test_does_not_come_of_what_the_message_is_to_blame_for(self, desk, error):
        state(*range(1, 21))
        desk.refuse(error)

        outbox.relay()

        assert len(desk.asked) == 20
        assert desk.row.state == "answering"

    def test_of_one_that_is_always_told_to_wait_ends_in_time(self, desk):
        """The receiver takes all others, and asks us to come back with this one."""
        state(*range(1, 200))

        def answer(message: OutboxMessage) -> None:
            if message.aggregate_id == 7:
                raise outbox.ReceiverAwayError("503", retry_after=0)

        desk.answer = answer
        for number in range(1, 60):
            state(1_000 + number)
            outbox.relay()
            let_pass(1_300)

        assert Delivery.objects.get(status="dead").message.aggregate_id == 7

    def test_comes_where_the_network_fails(self, desk):
        state(*range(1, 21))
        desk.refuse(ConnectionRefusedError())

        outbox.relay()

        assert desk.row.state == "resting"

    def test_ends_with_an_answer_of_any_kind(self, desk):
        state(*range(1, 21))
        desk.refuse(outbox.ReceiverAwayError("503"))
        outbox.relay()
        desk.refuse(outbox.RejectedError("422"))

        let_pass(desk_rest(desk))
        outbox.relay()

        assert len(desk.asked) == 20
        assert desk.row.state == "answering"

    def test_of_a_run_of_poison_holds_up_no_good_one_for_five_seconds(self, desk):
        """The receiver breaks at a dozen messages in a row, and takes the one behind them."""
        state(*range(1, 14))

        def answer(message: OutboxMessage) -> None:
            if message.aggregate_id != 13:
                raise outbox.ReceiverAwayError("500")

        desk.answer = answer
        waited = 0.0
        while not desk.told:
            outbox.relay()
            let_pass(0.5)
            waited += 0.5

        assert waited <= 5.0

    @pytest.mark.parametrize(
        "bad", [{1, 2, 3, 4, 5}, set(range(24, 29)), {*range(1, 6), 26, 27, 28}]
    )
    def test_of_poison_at_either_end_starves_nobody(self, desk, bad):
        state(*range(1, 29))

        def answer(message: OutboxMessage) -> None:
            if message.aggregate_id in bad:
                raise outbox.ReceiverAwayError("500")

        desk.answer = answer
        waited = 0.0
        while len(desk.told) < 28 - len(bad):
            outbox.relay()
            let_pass(2.5)
            waited += 2.5

        assert waited <= 300

    def test_costs_no_message_its_tries(self, desk):
        state(1)
        desk.refuse(outbox.ReceiverAwayError("nobody answers"))
        for _ in range(200):
            outbox.relay()
            let_pass(1_200)

        delivery = Delivery.objects.get()

        assert delivery.status == "pending"
        assert delivery.attempts == deliveries.FAILURES_TO_OPEN
        assert len(desk.asked) == 200

    def test_ends_at_once_when_staff_tries_again(self, desk):
        state(1)
        desk.refuse(outbox.ReceiverAwayError("nobody answers", retry_after=600))
        outbox.relay()
        desk.accept()

        early = outbox.relay()
        outbox.retry()
        late = outbox.relay()

        assert (early.delivered, late.delivered) == (0, 1)

    def test_is_as_long_as_the_receiver_asks_for(self, desk):
        state(1, 2)
        desk.refuse(outbox.ReceiverAwayError("429", retry_after=90))
        outbox.relay()
        asked = len(desk.asked)
        desk.accept()

        let_pass(85)
        outbox.relay()
        in_between = len(desk.asked)
        let_pass(10)
        outbox.relay()

        assert (asked, in_between) == (1, 1)
        assert sorted(desk.told) == ["parcel.sent.1", "parcel.sent.2"]


def desk_rest(desk: Desk) -> float:
    row = sql.fetch_one(
        "SELECT extract(epoch FROM retry_at - statement_timestamp()) AS rest FROM receivers"
        " WHERE subscriber = %(name)s",
        name=desk.name,
    )
    return float(row.rest)


class TestAnHourWithoutAReceiver:
    def test_loses_nothing_doubles_nothing_and_asks_seldom(self, desk):
        other = Desk("other")
        desk.refuse(outbox.ReceiverAwayError("nobody answers"))

        for number in range(1, 241):  # an order each quarter of a minute
            state(number)
            outbox.relay()
            let_pass(15)
        asked_in_vain = len(desk.asked)
        desk.accept()
        for _ in range(120):
            outbox.relay()
            let_pass(60)

        assert asked_in_vain < 120
        assert Counter(desk.told) == Counter(other.told)
        assert set(Counter(desk.told).values()) == {1}
        assert len(desk.told) == 240
        assert set(Delivery.objects.values_list("status", flat=True)) == {"delivered"}


class TestMeasure:
    def test_so_many_a_second_and_no_more(self, desk):
        outbox.measure("desk", outbox.Measure(per_second=10))
        state(*range(1, 51))

        first = outbox.relay().delivered
        at_once_again = outbox.relay().delivered
        let_pass(0.5)
        after_half_a_second = outbox.relay().delivered
        let_pass(60)
        after_a_minute = outbox.relay().delivered

        # The clock goes on while the test runs: one or two more may fit in.
        assert 10 <= first <= 12
        assert at_once_again <= 2
        assert 4 <= after_half_a_second <= 8
        assert 10 <= after_a_minute <= 12

    def test_less_than_one_a_second(self, desk):
        outbox.measure("desk", outbox.Measure(per_second=0.5))
        state(*range(1, 31))

        delivered = 0
        for _ in range(20):
            delivered += outbox.relay().delivered
            let_pass(1)

        assert 10 <= delivered <= 12


class TestPaused:
    def test_keeps_what_comes_in(self, desk):
        state(1)
        outbox.relay(limit=0)
        audit.pause_receiver(subscriber="desk")

        state(2)
        while_paused = outbox.relay()
        audit.resume_receiver(subscriber="desk")
        afterwards = outbox.relay()

        assert (while_paused.delivered, afterwards.delivered) == (0, 2)
        events = AuditLog.objects.order_by("pk").values_list("event_type", flat=True)
        assert list(events) == ["RECEIVER_PAUSED", "RECEIVER_RESUMED"]

    def test_twice_is_once(self, desk):
        state(1)
        outbox.relay(limit=0)

        for _ in range(2):
            audit.pause_receiver(subscriber="desk")
        for _ in range(2):
            audit.resume_receiver(subscriber="desk")

        assert AuditLog.objects.count() == 2


class TestBatches:
    @pytest.fixture
    def collector(self):
        return Collector()

    def test_go_out_together(self, collector):
        state(*range(1, 251))

        report = outbox.relay()

        assert report == outbox.RelayReport(fanned_out=250, delivered=250)
        assert [len(batch) for batch in collector.batches] == [100, 100, 50]
        assert Delivery.objects.filter(attempts=1, status="delivered").count() == 250

    def test_that_failed_come_one_by_one(self, collector):
        state(*range(1, 11))
        collector.poison = "parcel.sent.3"
        outbox.relay()
        let_pass(60)

        outbox.relay()

        assert [len(batch) for batch in collector.batches] == [10] + [1] * 10
        left = Delivery.objects.exclude(status="delivered").get()
        assert (left.message.dedupe_key, left.status) == ("parcel.sent.3", "dead")

    def test_that_were_refused_are_asked_of_one_by_one(self, collector):
        state(*range(1, 4))
        collector.poison = "parcel.sent.2"
        collector.refuses_batches = True
        outbox.relay()
        let_pass(60)

        outbox.relay()

        assert Delivery.objects.filter(status="delivered").count() == 2
        assert Delivery.objects.get(status="dead").message.dedupe_key == "parcel.sent.2"

    def test_have_one_message_of_an_aggregate(self, collector):
        state(1, 2, fact=FACT)
        state(1, fact=OTHER_FACT)

        outbox.relay()

        assert collector.batches == [
            ["parcel.sent.1", "parcel.sent.2"],
            ["parcel.lost.1"],
        ]

    def test_stop_at_the_limit(self, collector):
        state(*range(1, 11))

        assert outbox.relay(limit=4).delivered == 4
        assert outbox.relay(limit=4).delivered == 4
        assert outbox.relay(limit=4).delivered == 2


class Collector:
    """A receiver that takes a hundred at a time."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.poison = ""
        self.refuses_batches = False
        outbox.subscribe_batch(
            [FACT, OTHER_FACT], "collector", self.hear, measure=outbox.Measure(batch=100)
        )

    def hear(self, messages: Sequence[OutboxMessage]) -> None:
        keys = [message.dedupe_key for message in messages]
        self.batches.append(keys)
        if self.poison in keys:
            if len(keys) == 1 or self.refuses_batches:
                raise outbox.RejectedError("not this one")
            raise outbox.ReceiverAwayError("not all of these")


class TestFamily:
    def test_is_told_by_name(self):
        told: list[tuple[str, str]] = []
        wanted = [(FACT, "hook:1"), (FACT, "hook:2"), (OTHER_FACT, "hook:2")]
        outbox.add_family(
            outbox.Family(
                prefix="hook:",
                wanted=lambda: wanted,
                tell=lambda name, message: told.append((name, message.dedupe_key)),
                measure=outbox.Measure(),
            )
        )
        state(1)
        state(1, fact=OTHER_FACT)

        outbox.relay()

        assert sorted(told) == [
            ("hook:1", "parcel.sent.1"),
            ("hook:2", "parcel.lost.1"),
            ("hook:2", "parcel.sent.1"),
        ]
        assert set(Receiver.objects.values_list("subscriber", flat=True)) == {"hook:1", "hook:2"}
