"""What staff does to webhook endpoints: once, however often it is asked for, and on record."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from audit import outbox
from audit import services as audit
from audit.models import AuditLog, Delivery, OutboxMessage, Receiver
from config.kernel import request_context
from config.kernel.errors import InvalidTransitionError, ValidationFailedError
from integrations.webhooks import log, services
from integrations.webhooks.models import (
    WebhookAttempt,
    WebhookEndpoint,
    WebhookReplay,
    WebhookSecret,
)
from orders.services import retention
from tests.integrations.webhook_receiver import answering, make_endpoint

pytestmark = pytest.mark.django_db

CONSENT = "customer.marketing_consent_changed"
HOUR = timedelta(hours=1)


def state(number=1, *, ago=timedelta(0), kind=CONSENT):
    """A fact that was stated some time ago; what is to be sent of it is worked out then."""
    made = OutboxMessage.objects.create(
        fact=kind,
        aggregate_type="customer",
        aggregate_id=number,
        dedupe_key=f"{kind}.{number}.{OutboxMessage.objects.count()}",
        payload={"customer_id": number, "marketing_consent": True},
    )
    OutboxMessage.objects.filter(pk=made.pk).update(occurred_at=timezone.now() - ago)
    return made


def told(merchant):
    return [request.event["data"]["customer_id"] for request in merchant.requests]


def recorded(event_type):
    return list(AuditLog.objects.filter(event_type=event_type).values_list("data", flat=True))


def give(endpoint, key, **options):
    return services.give_secret(
        endpoint_id=endpoint.pk, request_key=key, user_id=endpoint.created_by_id, **options
    )


def enable(endpoint, *, send_missed=True):
    return services.enable(
        endpoint_id=endpoint.pk,
        request_key="enable",
        user_id=endpoint.created_by_id,
        send_missed=send_missed,
    )


def replay(endpoint, *, ago=HOUR, until=None, key="replay"):
    return services.replay(
        endpoint_id=endpoint.pk,
        since=timezone.now() - ago,
        until=until,
        request_key=key,
        user_id=endpoint.created_by_id,
    )


@pytest.fixture
def endpoint(merchant):
    endpoint, _ = make_endpoint(merchant, CONSENT)
    return endpoint


class TestGiveSecret:
    def test_tells_the_same_secret_to_the_same_page_and_another_to_another(self, endpoint):
        new = give(endpoint, "second")

        assert give(endpoint, "second") == new
        assert give(endpoint, "third") != new
        assert WebhookSecret.objects.count() == 3
        assert WebhookSecret.objects.filter(expires_at__isnull=True).count() == 1
        assert len(recorded("WEBHOOK_SECRET_MADE")) == 3

    def test_tells_nothing_to_a_page_whose_secret_was_replaced(self, endpoint):
        give(endpoint, "second")

        with pytest.raises(InvalidTransitionError, match="make a new one"):
            give(endpoint, "first")

        assert WebhookSecret.objects.count() == 2

    def test_lets_the_former_sign_for_24_hours(self, endpoint):
        give(endpoint, "second")

        former = WebhookSecret.objects.get(request_key="first")
        left = former.expires_at - timezone.now()
        assert timedelta(hours=23, minutes=59) < left <= timedelta(hours=24)

    def test_ends_all_former_ones_that_leaked(self, endpoint):
        give(endpoint, "second")

        give(endpoint, "third", old_ends_now=True)

        former = WebhookSecret.objects.filter(expires_at__isnull=False)
        assert [row.expires_at <= timezone.now() for row in former] == [True, True]

    def test_leaves_nothing_of_it_in_the_log(self, endpoint):
        secret = give(endpoint, "second")

        assert secret not in str(list(AuditLog.objects.values()))
        assert recorded("WEBHOOK_SECRET_MADE")[-1].keys() == {"secret", "old_ends_now"}


class TestEnable:
    def test_needs_a_secret(self, merchant):
        endpoint, _ = make_endpoint(merchant, CONSENT, is_enabled=False, with_secret=False)

        with pytest.raises(InvalidTransitionError, match="secret"):
            enable(endpoint)

        endpoint.refresh_from_db()
        assert endpoint.status == "disabled"

    def test_sends_what_it_missed_and_what_waited_in_order_and_nothing_twice(
        self, merchant, endpoint
    ):
        state(1)
        outbox.relay()
        merchant.answers(answering(500))
        state(2)
        outbox.relay()
        services.disable(endpoint_id=endpoint.pk, because="staff has disabled it")
        state(3)
        outbox.relay()
        merchant.answers(answering(204))
        merchant.requests.clear()

        sent = enable(endpoint)
        outbox.relay()

        assert told(merchant) == [2, 3]
        assert sent == 3  # the first may have been missed; it was not
        assert enable(endpoint) == 0
        outbox.relay()
        assert told(merchant) == [2, 3]

    def test_sends_what_was_passed_over_meanwhile(self, merchant, endpoint):
        merchant.answers(answering(500))
        state(1)
        outbox.relay()
        services.disable(endpoint_id=endpoint.pk, because="staff has disabled it")
        merchant.answers(answering(204))
        merchant.requests.clear()
        Delivery.objects.update(next_attempt_at=timezone.now())
        outbox.relay()
        assert merchant.requests == []
        assert Delivery.objects.get(subscriber=endpoint.subscriber).status == "delivered"

        enable(endpoint)
        outbox.relay()

        assert told(merchant) == [1]

    def test_sends_nothing_old_unless_asked_to(self, merchant, endpoint):
        services.disable(endpoint_id=endpoint.pk, because="staff has disabled it")
        state(1)
        outbox.relay()

        enable(endpoint, send_missed=False)
        state(2)
        outbox.relay()

        assert told(merchant) == [2]

    def test_is_refused_if_it_missed_too_much(self, merchant, endpoint, monkeypatch):
        monkeypatch.setattr(services, "REPLAYED_AT_ONCE", 1)
        services.disable(endpoint_id=endpoint.pk, because="staff has disabled it")
        state(1)
        state(2)
        outbox.relay()

        with pytest.raises(services.TooManyEventsError, match="2 events"):
            enable(endpoint)

        endpoint.refresh_from_db()
        assert endpoint.status == "disabled"
        assert not WebhookReplay.objects.exists()


class TestDisable:
    def test_says_why_once_and_since_when_something_is_missed(self, endpoint):
        state(1, ago=HOUR)

        assert services.disable(endpoint_id=endpoint.pk, because="it answered 410 Gone")
        assert not services.disable(endpoint_id=endpoint.pk, because="staff has disabled it")

        endpoint.refresh_from_db()
        assert endpoint.disabled_because == "it answered 410 Gone"
        assert endpoint.missed_since <= timezone.now() - HOUR
        assert recorded("WEBHOOK_ENDPOINT_DISABLED") == [{"because": "it answered 410 Gone"}]


class TestSendTest:
    def test_reaches_this_endpoint_alone_even_if_disabled_and_once(self, merchant):
        endpoint, secret = make_endpoint(merchant, CONSENT, is_enabled=False)
        make_endpoint(merchant.url + "/other", CONSENT)

        services.send_test(endpoint_id=endpoint.pk, request_key="one")
        services.send_test(endpoint_id=endpoint.pk, request_key="one")
        outbox.relay()

        (request,) = merchant.requests
        assert request.path == "/hook"
        assert request.is_signed_with(secret)
        assert request.event["type"] == "webhook.test"
        assert WebhookAttempt.objects.get().event == "webhook.test"

    def test_needs_a_secret(self, merchant):
        endpoint, _ = make_endpoint(merchant, CONSENT, with_secret=False)

        with pytest.raises(InvalidTransitionError, match="secret"):
            services.send_test(endpoint_id=endpoint.pk, request_key="one")

        assert not OutboxMessage.objects.exists()


class TestSendAgain:
    def test_sends_what_was_delivered_with_its_id_once_more(self, merchant, endpoint):
        state(1)
        outbox.relay()
        delivery = Delivery.objects.get(subscriber=endpoint.subscriber)
        request_context.set_user(user_id=endpoint.created_by_id)

        services.send_again(delivery_id=delivery.pk)
        with pytest.raises(InvalidTransitionError, match="on its way"):
            services.send_again(delivery_id=delivery.pk)
        outbox.relay()

        first, second = merchant.requests
        assert first.id == second.id
        assert first.body == second.body
        row = AuditLog.objects.get(event_type="WEBHOOK_SENT_AGAIN")
        assert (row.entity_type, row.entity_id) == ("delivery", delivery.pk)

    def test_sends_no_letter_a_second_time(self):
        message = state(1)
        letter = Delivery.objects.create(
            message=message, subscriber="email", status="delivered", attempts=1
        )

        with pytest.raises(InvalidTransitionError):
            services.send_again(delivery_id=letter.pk)

        letter.refresh_from_db()
        assert letter.status == "delivered"


class TestReplay:
    def test_sends_everything_of_the_span_in_order_once_more(self, merchant, endpoint):
        state(1, ago=3 * HOUR)
        for number in (2, 3, 4):
            state(number, ago=HOUR / number)
        outbox.relay()
        merchant.requests.clear()

        made = replay(endpoint)
        outbox.relay()

        assert told(merchant) == [2, 3, 4]
        assert made.events == 3
        assert recorded("WEBHOOK_REPLAYED")[0]["events"] == 3

    def test_sends_also_what_was_given_up_and_what_was_stated_before_it_was_there(self, merchant):
        state(1, ago=HOUR / 2)
        outbox.relay()
        endpoint, _ = make_endpoint(merchant, CONSENT)
        merchant.answers(answering(500))
        state(2)
        outbox.relay()
        Delivery.objects.filter(subscriber=endpoint.subscriber).update(status="dead")
        merchant.requests.clear()
        merchant.answers(answering(204))

        made = replay(endpoint)
        outbox.relay()

        assert made.events == 2
        assert told(merchant) == [1, 2]

    def test_ends_where_it_shall(self, merchant, endpoint):
        state(1, ago=HOUR / 2)
        state(2)
        outbox.relay()
        merchant.requests.clear()

        replay(endpoint, until=timezone.now() - HOUR / 4)
        outbox.relay()

        assert told(merchant) == [1]

    def test_is_done_once_for_one_page(self, merchant, endpoint):
        state(1)
        outbox.relay()
        first = replay(endpoint)
        outbox.relay()
        merchant.requests.clear()

        second = replay(endpoint)
        outbox.relay()

        assert second == first
        assert merchant.requests == []

    def test_is_bounded_and_says_how_many_there_are(self, merchant, endpoint, monkeypatch):
        monkeypatch.setattr(services, "REPLAYED_AT_ONCE", 2)
        for number in (1, 2, 3):
            state(number)
        outbox.relay()
        merchant.requests.clear()

        with pytest.raises(services.TooManyEventsError, match="3 events; at most 2"):
            replay(endpoint)
        outbox.relay()

        assert merchant.requests == []
        assert not WebhookReplay.objects.exists()

    @pytest.mark.parametrize(
        ("ago", "until", "why"),
        [
            (timedelta(days=100), None, "90 days"),
            (-HOUR, None, "in the past"),
            (HOUR, 2 * HOUR, "before it ends"),
        ],
    )
    def test_of_no_span_is_refused_in_words(self, endpoint, ago, until, why):
        with pytest.raises(ValidationFailedError, match=why):
            replay(endpoint, ago=ago, until=until and timezone.now() - until)

    def test_to_a_disabled_endpoint_is_refused(self, merchant):
        endpoint, _ = make_endpoint(merchant, CONSENT, is_enabled=False)

        with pytest.raises(InvalidTransitionError, match="Enable it first"):
            replay(endpoint)


class TestTheLog:
    def test_is_forgotten_after_its_days(self, merchant, endpoint, settings):
        state(1)
        state(2)
        outbox.relay()
        old, _ = WebhookAttempt.objects.order_by("pk")
        days = timedelta(days=settings.WEBHOOK_LOG_DAYS)
        WebhookAttempt.objects.filter(pk=old.pk).update(attempted_at=timezone.now() - days)
        now = timezone.now()

        assert retention.count(now=now, tables=["webhook_attempts"]) == {"webhook_attempts": 1}
        assert retention.prune(now=now, tables=["webhook_attempts"]) == {"webhook_attempts": 1}

        assert not WebhookAttempt.objects.filter(pk=old.pk).exists()
        assert WebhookAttempt.objects.count() == 1

    def test_says_of_each_try_what_it_was(self, merchant, endpoint):
        message = state(1)
        outbox.relay()

        (row,) = WebhookAttempt.objects.all()
        delivery = Delivery.objects.get(subscriber=endpoint.subscriber)
        assert (row.endpoint, row.delivery_id) == (endpoint, delivery.pk)
        assert (row.message_uuid, row.event) == (message.uuid, CONSENT)
        assert row.duration_ms < 5_000

    def test_goes_batch_by_batch(self, merchant, endpoint):
        for number in range(3):
            state(number)
        outbox.relay()
        later = timezone.now() + HOUR

        assert log.forget_old(before=later, limit=2) == 2
        assert log.forget_old(before=later, limit=2) == 1
        assert log.count_old(before=later) == 0


def test_a_kind_that_is_wanted_no_more_is_passed_over(merchant, endpoint):
    merchant.answers(answering(500))
    state(1)
    outbox.relay()
    WebhookEndpoint.objects.update(events=["customer.erased"])
    Delivery.objects.update(next_attempt_at=timezone.now())
    merchant.requests.clear()

    outbox.relay()

    assert merchant.requests == []
    one = Delivery.objects.get(subscriber=endpoint.subscriber)
    assert one.last_error == "not sent: the endpoint wants this kind no more"


def test_a_delivery_to_nobody_is_given_up(merchant, endpoint):
    audit.publish(
        CONSENT,
        aggregate_type="customer",
        aggregate_id=1,
        dedupe_key="x",
        payload={"customer_id": 1, "marketing_consent": True},
    )
    outbox.relay()
    Delivery.objects.filter(subscriber=endpoint.subscriber).update(
        subscriber="webhook:0",
        status="pending",
        delivered_at=None,
        next_attempt_at=timezone.now(),
    )
    Receiver.objects.create(subscriber="webhook:0")

    outbox.relay()

    assert Delivery.objects.get(subscriber="webhook:0").status == "dead"
