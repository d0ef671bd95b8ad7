"""What carriers tell moves parcels one way: once, in any order, and never loses an event."""

from __future__ import annotations

import itertools
import json
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from audit import outbox
from audit.models import AuditLog, Delivery, OutboxMessage
from config.kernel.clock import Deadline
from config.kernel.errors import InvalidTransitionError
from integrations.fulfilment import tracking
from integrations.fulfilment.models import TrackingEvent
from orders.models import Order, Shipment
from orders.services import refunds, shipping
from orders.services.refunds import RefundWish
from orders.services.shipping import Parcel, ship_order
from tests import factories
from tests.integrations.carriers import (
    NUMBER,
    SECRET,
    easypost,
    news,
    post,
    send,
    send_easypost,
    sign,
)
from tests.shop import order_of

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _secrets(settings):
    settings.FULFILMENT_WEBHOOK_SECRETS = [SECRET]
    settings.EASYPOST_WEBHOOK_SECRETS = ["sesame-of-easypost"]


@pytest.fixture
def order(provider, shopper):
    factories.ProductFactory(sku="MUG", on_hand=10)
    return order_of(shopper.order(("MUG", 3)))


@pytest.fixture
def parcel(order):
    return sent(order)


def sent(order, number=NUMBER, units=None):
    parcel = Parcel(carrier="UPS", tracking_number=number, units=units)
    return ship_order(order_id=order.pk, parcel=parcel)


def work_off():
    return tracking.process_due(deadline=Deadline(30.0))


def states(order):
    order.refresh_from_db()
    parcels = order.shipments.order_by("pk").values_list("status", flat=True)
    return order.status, *parcels


def facts(name):
    return OutboxMessage.objects.filter(fact=name)


def refused(answer):
    body = answer.json()
    return (answer.status_code, body["error"]["code"]) == (400, "VALIDATION_FAILED")


def told_early(**changes):
    """An event about a number that is not known yet, worked off in vain."""
    send(news(**changes))
    work_off()
    return TrackingEvent.objects.get()


class TestReceive:
    def test_keeps_an_event_once_however_often_it_comes(self):
        told = news()

        answers = [send(told) for _ in range(3)]

        assert [answer.status_code for answer in answers] == [200, 200, 200]
        assert answers[0].json() == {"received": True}
        event = TrackingEvent.objects.get()
        assert (event.event_id, event.tracking_number) == (told["id"], NUMBER)
        assert (event.stage, event.told, event.status) == ("delivered", "delivered", "received")
        assert event.happened_at == datetime(2026, 11, 28, 9, 30, tzinfo=UTC)

    def test_asks_the_database_once(self):
        with CaptureQueriesContext(connection) as queries:
            send(news())

        assert len([q for q in queries if "SAVEPOINT" not in q["sql"]]) == 1

    def test_takes_any_secret_of_a_rotation(self, settings):
        settings.FULFILMENT_WEBHOOK_SECRETS = ["next", SECRET]

        assert send(news(), secret="next").status_code == 200
        assert send(news(), secret=SECRET).status_code == 200
        assert refused(send(news(), secret="before"))

    def test_refuses_everything_without_a_secret(self, settings):
        settings.FULFILMENT_WEBHOOK_SECRETS = []

        assert refused(send(news(), secret=""))
        assert not TrackingEvent.objects.exists()

    @pytest.mark.parametrize("seconds", [-301, 301])
    def test_refuses_what_is_not_of_these_minutes(self, seconds):
        assert refused(send(news(), at=time.time() + seconds))
        assert not TrackingEvent.objects.exists()

    @pytest.mark.parametrize("seconds", [-290, 290])
    def test_bears_with_clocks_that_differ(self, seconds):
        assert send(news(), at=time.time() + seconds).status_code == 200

    @pytest.mark.parametrize(
        "signature",
        [
            "",
            "v1=abc",
            "t=1,v1=" + "0" * 64,
            "t=99999999999999999999,v1=" + "0" * 64,
            "t=é,v1=" + "0" * 64,
        ],
    )
    def test_refuses_a_signature_that_is_none(self, signature):
        body = json.dumps(news()).encode()

        assert refused(post("generic", body, {"Orderkeep-Signature": signature}))

    def test_refuses_a_body_that_was_changed(self):
        body = json.dumps(news()).encode()

        answer = post("generic", body + b" ", {"Orderkeep-Signature": sign(body)})

        assert refused(answer)

    def test_takes_one_good_signature_of_several(self):
        body = json.dumps(news()).encode()
        good = sign(body)

        answer = post(
            "generic", body, {"Orderkeep-Signature": good.replace(",", f",v1={'0' * 64},", 1)}
        )

        assert answer.status_code == 200

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("id", None),
            ("id", ""),
            ("id", 7),
            ("id", "x" * 256),
            ("id", "a\x00b"),
            ("tracking_number", "  "),
            ("tracking_number", "x" * 101),
            ("status", "arrived"),
            ("status", ["delivered"]),
            ("occurred_at", "yesterday"),
            ("occurred_at", "2026-11-28T09:30:00"),
            ("occurred_at", "2026-13-28T09:30:00Z"),
            ("carrier", {"name": "UPS"}),
        ],
    )
    def test_names_the_field_that_is_wrong(self, name, value):
        answer = send(news() | {name: value})

        assert refused(answer)
        assert name in answer.json()["error"]["details"]
        assert not TrackingEvent.objects.exists()

    @pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b"null"])
    def test_refuses_what_is_no_object(self, body):
        assert refused(send(body))

    def test_takes_numbers_that_look_like_those_of_cards(self):
        assert send(news(tracking_number="4242424242424242")).status_code == 200


class TestEasyPost:
    def test_keeps_a_trackers_event_without_who_signed(self):
        assert send_easypost(easypost("in_transit")).status_code == 200

        event = TrackingEvent.objects.get()
        assert (event.source, event.stage, event.told) == ("easypost", "in_transit", "in_transit")
        assert event.tracking_number == NUMBER
        assert event.happened_at == datetime(2026, 11, 28, 9, 30, tzinfo=UTC)
        assert "Lovelace" not in str(TrackingEvent.objects.values().get())

    @pytest.mark.parametrize(
        ("told", "stage"),
        [
            ("pre_transit", "announced"),
            ("out_for_delivery", "out_for_delivery"),
            ("available_for_pickup", "out_for_delivery"),
            ("return_to_sender", "trouble"),
            ("failure", "trouble"),
            ("unknown", "unknown"),
            ("a word of tomorrow", "unknown"),
        ],
    )
    def test_knows_its_words(self, told, stage):
        send_easypost(easypost(told))

        assert TrackingEvent.objects.get().stage == stage

    def test_answers_what_is_about_something_else_and_keeps_nothing(self):
        told = {"id": "evt_1", "object": "Event", "result": {"id": "batch_1", "object": "Batch"}}

        assert send_easypost(told).status_code == 200
        assert not TrackingEvent.objects.exists()

    def test_refuses_another_secret(self):
        assert refused(send_easypost(easypost(), secret="x"))

    def test_normalizes_its_secret_as_its_clients_do(self, settings):
        settings.EASYPOST_WEBHOOK_SECRETS = ["sésame"]  # one letter, or e and an accent

        assert send_easypost(easypost(), secret="se\u0301same").status_code == 200

    def test_has_ids_of_its_own(self):
        send(news(id="evt_1"))
        send_easypost(easypost() | {"id": "evt_1"})

        assert TrackingEvent.objects.count() == 2


class TestWorkOff:
    def test_delivers_the_order_with_its_parcel(self, order, parcel):
        send(news())

        assert work_off() == 1

        assert states(order) == ("delivered", "delivered")
        assert order.delivered_at is not None
        told = facts("shipment.delivered").get()
        assert told.payload == {
            "order_id": order.pk,
            "order_number": order.order_number,
            "shipment": parcel.pk,
        }
        assert facts("order.delivered").count() == 1
        event = TrackingEvent.objects.get()
        assert (event.status, event.shipment) == ("processed", parcel)

    def test_moves_a_parcel_to_in_transit(self, order, parcel):
        send(news("in_transit"))
        send(news("out_for_delivery"))
        send(news("announced"))

        work_off()

        assert states(order) == ("shipped", "in_transit")
        assert TrackingEvent.objects.filter(status="processed").count() == 3
        assert not facts("shipment.delivered").exists()
        assert AuditLog.objects.filter(event_type="SHIPMENT_IN_TRANSIT").count() == 1

    @pytest.mark.parametrize(
        "stages", list(itertools.permutations(["announced", "in_transit", "delivered"]))
    )
    def test_ends_the_same_in_whatever_order(self, order, parcel, stages):
        for stage in stages:
            send(news(stage))
            work_off()

        assert states(order) == ("delivered", "delivered")
        assert facts("shipment.delivered").count() == 1
        assert facts("order.delivered").count() == 1

    def test_says_delivered_once_however_often_it_is_told(self, order, parcel):
        for _ in range(3):
            send(news())
        work_off()

        assert facts("shipment.delivered").count() == 1
        assert AuditLog.objects.filter(event_type="SHIPMENT_DELIVERED").count() == 1

    def test_waits_for_the_last_parcel(self, order):
        sent(order, "FIRST", {"MUG": 1})
        sent(order, "SECOND", {"MUG": 2})

        send(news(tracking_number="SECOND"))
        work_off()
        assert states(order) == ("shipped", "sent", "delivered")

        send(news(tracking_number="FIRST"))
        work_off()
        assert states(order) == ("delivered", "delivered", "delivered")

    def test_leaves_an_order_open_whose_rest_has_not_left(self, order):
        sent(order, "FIRST", {"MUG": 1})
        send(news(tracking_number="FIRST"))

        work_off()

        assert states(order) == ("processing", "delivered")
        sent(order, "SECOND")
        assert states(order) == ("shipped", "delivered", "sent")

    def test_delivers_the_order_whose_rest_is_refunded_after_its_parcel_arrived(self, order):
        sent(order, "FIRST", {"MUG": 1})
        send(news(tracking_number="FIRST"))
        work_off()

        refunds.decide_refund(
            order_id=order.pk, wish=RefundWish(reason="gone", units={"MUG": 2}, request_key="k")
        )

        assert states(order) == ("delivered", "delivered")
        assert facts("order.delivered").count() == 1

    def test_never_revives_a_refunded_order(self, order, parcel):
        Order.objects.filter(pk=order.pk).update(status="refunded")
        send(news())

        work_off()

        assert states(order) == ("refunded", "delivered")

    def test_tells_of_trouble_in_the_orders_history(self, order, parcel):
        send(news("trouble"))

        work_off()

        assert states(order) == ("shipped", "sent")
        row = AuditLog.objects.get(event_type="SHIPMENT_IN_TROUBLE")
        assert row.entity_id == order.pk
        assert row.data["shipment"] == parcel.pk

    def test_does_not_believe_a_time_before_the_parcel_left_or_to_come(self, order, parcel):
        send(news(occurred_at=(timezone.now() + timedelta(days=3)).isoformat()))

        work_off()

        parcel.refresh_from_db()
        assert parcel.shipped_at <= parcel.delivered_at <= timezone.now()

    def test_goes_on_after_one_that_fails(self, order, parcel, monkeypatch):
        note_arrival = shipping.note_arrival
        broken = iter([True])

        def fails_once(**about):
            if next(broken, False):
                raise RuntimeError("not now")
            return note_arrival(**about)

        monkeypatch.setattr(shipping, "note_arrival", fails_once)
        send(news())
        send(news())

        assert work_off() == 1

        left = TrackingEvent.objects.get(status="received")
        assert (left.last_error, left.next_attempt_at > timezone.now()) == ("RuntimeError", True)
        assert states(order) == ("delivered", "delivered")
        TrackingEvent.objects.update(next_attempt_at=timezone.now())
        assert work_off() == 1
        assert not TrackingEvent.objects.exclude(status="processed").exists()

    def test_is_about_every_order_in_the_parcel(self, order, parcel, shopper):
        another = order_of(shopper.order(("MUG", 1)))
        sent(another)
        send(news())

        work_off()

        assert states(order) == ("delivered", "delivered")
        assert states(another) == ("delivered", "delivered")

    def test_is_not_about_a_parcel_of_a_year_later(self, order, parcel):
        send(news(occurred_at="2025-01-01T00:00:00Z"))

        work_off()

        assert states(order) == ("shipped", "sent")
        assert TrackingEvent.objects.get().status == "unmatched"

    def test_finds_a_number_that_was_typed_with_gaps(self, order):
        sent(order, "1Z 999 AA1 0123 456 784")
        send(news())

        work_off()

        assert states(order) == ("delivered", "delivered")


class TestUnknownNumbers:
    def test_are_kept_and_shown(self):
        event = told_early()

        assert (event.status, event.shipment) == ("unmatched", None)

    def test_are_found_again_when_the_parcel_is_on_record(self, order):
        told_early()
        sent(order)

        outbox.relay()

        assert states(order) == ("delivered", "delivered")
        assert TrackingEvent.objects.get().status == "processed"
        assert Delivery.objects.get(subscriber="tracking").status == "delivered"

    def test_are_not_asked_about_again_and_again(self):
        told_early()

        assert work_off() == 0

    def test_of_a_parcel_without_a_number_match_nothing(self, order):
        told_early()
        sent(order, "")

        outbox.relay()

        assert states(order) == ("shipped", "sent")
        assert TrackingEvent.objects.get().status == "unmatched"

    def test_matched_between_look_and_mark_are_not_lost(self, order, monkeypatch):
        """The parcel appears after the worker has looked and before it says that there is none."""
        parcels_of = tracking._parcels_of
        has_looked = iter([True])

        def look_then_ship(event):
            found = parcels_of(event)
            if next(has_looked, False):
                sent(order)
                outbox.relay()
            return found

        monkeypatch.setattr(tracking, "_parcels_of", look_then_ship)
        send(news())

        work_off()

        assert states(order) == ("delivered", "delivered")
        assert TrackingEvent.objects.get().status == "processed"


class TestNoteDeliveryByHand:
    def test_says_that_its_parcels_have_arrived(self, order, parcel):
        shipping.deliver_order(order_id=order.pk)

        assert states(order) == ("delivered", "delivered")
        assert facts("shipment.delivered").count() == 1
        shipping.deliver_order(order_id=order.pk)
        send(news())
        work_off()
        assert facts("shipment.delivered").count() == 1
        assert facts("order.delivered").count() == 1

    def test_of_an_order_that_has_not_left_is_refused(self, order):
        with pytest.raises(InvalidTransitionError):
            shipping.deliver_order(order_id=order.pk)


@pytest.mark.concurrency
@pytest.mark.django_db(transaction=True)
class TestRaces:
    def test_four_workers_deliver_once(self, order, parcel):
        for stage in ("in_transit", "delivered") * 10:
            send(news(stage))
        start = threading.Barrier(4)

        def work():
            start.wait()
            try:
                work_off()
            finally:
                connection.close()

        workers = [threading.Thread(target=work) for _ in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(30)

        assert states(order) == ("delivered", "delivered")
        assert TrackingEvent.objects.filter(status="processed").count() == 20
        assert facts("shipment.delivered").count() == 1
        assert facts("order.delivered").count() == 1

    def test_the_parcel_and_its_news_at_once_meet(self, order):
        for stage in ("in_transit", "delivered") * 5:
            send(news(stage))
        start = threading.Barrier(2)

        def in_a_thread(do):
            def run():
                start.wait()
                try:
                    do()
                finally:
                    connection.close()

            return threading.Thread(target=run)

        both = [in_a_thread(lambda: sent(order)), in_a_thread(work_off)]
        for one in both:
            one.start()
        for one in both:
            one.join(30)
        outbox.relay()
        work_off()

        assert Shipment.objects.count() == 1
        assert states(order) == ("delivered", "delivered")
        assert not TrackingEvent.objects.exclude(status="processed").exists()
