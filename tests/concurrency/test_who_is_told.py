"""Marketing and customer service with real threads and commits: nobody is kept, nothing doubled."""

from __future__ import annotations

import uuid

import pytest
from django.test import Client

from audit import outbox
from audit import services as audit
from audit.models import AuditLog, Delivery, OutboxMessage
from config.kernel.db import short_transaction
from customers import services as customers
from customers.models import Customer
from integrations.marketing import unsubscribe
from integrations.marketing.models import MarketingContact
from integrations.marketing.resync import resync
from integrations.support import tickets
from integrations.support.models import SupportTicket
from tests import factories
from tests.admin import rows
from tests.concurrency.test_races import at_once
from tests.integrations.outbound import subscribe_anew, tell_all

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.concurrency]


@pytest.fixture
def tool(sinks, settings, monkeypatch):
    settings.PUBLIC_URL = "https://shop.example.com"
    settings.MARKETING_PER_SECOND = 1_000
    sinks.configure(settings, "marketing")
    subscribe_anew(monkeypatch)
    return sinks


def test_eight_clicks_at_once_are_one_withdrawal():
    ann = factories.CustomerFactory(marketing_consent=True)
    path = unsubscribe.link_for(customer_id=ann.pk).partition("/api")[2]

    answers = at_once(
        *[lambda: Client().post(f"/api{path}", {"List-Unsubscribe": "One-Click"})] * 8
    )

    assert {answer.status_code for answer in answers} == {200}
    assert AuditLog.objects.filter(event_type="MARKETING_CONSENT_WITHDRAWN").count() == 1
    assert OutboxMessage.objects.filter(fact="customer.marketing_consent_changed").count() == 1
    ann.refresh_from_db()
    assert (ann.marketing_consent, ann.version) == (False, 2)


def test_consent_that_comes_and_goes_beside_relays_and_a_resync_ends_as_it_was_last_said(tool):
    people = [
        factories.CustomerFactory(marketing_consent=True, email_verified=True) for _ in range(6)
    ]

    def change_minds():
        for turn in range(40):
            one = Customer.objects.get(pk=people[turn * turn % len(people)].pk)
            customers.update_profile(
                customer_id=one.pk,
                version=one.version,
                changes={"marketing_consent": not one.marketing_consent},
            )

    def deliver():
        for _ in range(15):
            outbox.relay(jitter=lambda: 0.0)

    at_once(change_minds, deliver, deliver, resync, resync)
    tell_all("marketing")

    there = {}
    for body in tool.received("marketing").bodies:
        there[body["data"]["contact_id"]] = body["type"] == "contact.upserted"
    wanted = {
        str(pk)
        for pk in Customer.objects.filter(marketing_consent=True).values_list("pk", flat=True)
    }
    assert {contact_id for contact_id, is_there in there.items() if is_there} == wanted
    known = MarketingContact.objects.values_list("pk", flat=True)
    assert {str(pk) for pk in known} == wanted
    assert not Delivery.objects.filter(status="dead").exists()


def test_a_message_that_two_relays_hand_over_at_once_opens_one_ticket(sinks, settings):
    settings.SUPPORT_ADAPTER = "zendesk"
    settings.SUPPORT_BASE_URL = sinks.base_url("zendesk")
    settings.SUPPORT_TOKEN = f"agent@shop.example/token:{sinks.token}"
    order = rows.make_order(7)
    with short_transaction():
        audit.publish(
            "order.disputed",
            aggregate_type="order",
            aggregate_id=order.pk,
            dedupe_key=str(uuid.uuid4()),
            payload={"dispute": "dp_1", "amount": "1.00", "currency": "USD"},
        )
    message = OutboxMessage.objects.get(fact="order.disputed")
    sinks.fail("zendesk", "latency", seconds=0.3, method="POST", times=2)

    at_once(*[lambda: tickets.tell(message)] * 2)

    assert len(sinks.received("zendesk", kind="tickets").items) == 1
    assert len(sinks.received("zendesk", kind="comments").items) == 1
    assert SupportTicket.objects.get().told == [message.uuid]
