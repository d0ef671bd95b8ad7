"""The page of receivers: how each stands, and what staff can do about it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from audit.models import AuditLog, Delivery, OutboxMessage, Receiver

pytestmark = pytest.mark.django_db

LIST = reverse("admin:audit_receiver_changelist")


@pytest.fixture
def crm():
    return Receiver.objects.create(subscriber="crm")


def deliveries(count: int, **fields) -> None:
    for number in range(count):
        message = OutboxMessage.objects.create(
            fact="a.b",
            aggregate_type="a",
            aggregate_id=number + 1,
            dedupe_key=f"a.{OutboxMessage.objects.count()}",
            payload={},
        )
        Delivery.objects.create(message=message, subscriber="crm", **fields)


def press(browser, receiver, name):
    return browser.post(
        reverse("admin:audit_receiver_do", args=(receiver.pk, name)),
        {"request_key": "0197f000-0000-7000-8000-000000000001"},
    )


class TestList:
    def test_tells_how_it_stands(self, browser, crm):
        hour_ago = timezone.now() - timedelta(hours=1)
        deliveries(3, created_at=hour_ago)
        deliveries(2, status="dead", attempts=12)
        deliveries(4, status="delivered")
        crm.retry_at = timezone.now()
        crm.failures = 5
        crm.save()

        page = browser.get(LIST).content.decode()

        assert "Resting" in page
        assert "1\xa0hour" in page
        assert f"{reverse('admin:audit_delivery_changelist')}?subscriber__exact=crm" in page

    def test_costs_the_same_with_many(self, browser, crm, django_assert_max_num_queries):
        deliveries(5)
        for number in range(20):
            Receiver.objects.create(subscriber=f"webhook:{number}")

        with django_assert_max_num_queries(12):
            assert browser.get(LIST).status_code == 200

    @pytest.mark.parametrize("column", range(1, 9))
    def test_is_ordered_by_any_column(self, browser, crm, column):
        assert browser.get(LIST, {"o": column}).status_code == 200

    def test_leads_to_those_that_were_given_up(self, browser, crm):
        deliveries(2, status="dead", attempts=12)
        where = reverse("admin:audit_delivery_changelist")

        page = browser.get(f"{where}?subscriber__exact=crm&status__exact=dead")

        assert page.context["cl"].result_count == 2


class TestButtons:
    def test_pause_and_go_on(self, browser, crm):
        press(browser, crm, "pause")
        crm.refresh_from_db()
        paused = crm.state
        press(browser, crm, "resume")
        crm.refresh_from_db()

        assert (paused, crm.state) == ("paused", "answering")
        done = AuditLog.objects.filter(event_type="STAFF_ACTION_DONE").order_by("pk")
        assert [row.data["state"]["state"] for row in done] == ["paused", "answering"]

    def test_try_all_again(self, browser, crm):
        deliveries(3, status="dead", attempts=12)
        later = timezone.now() + timedelta(hours=1)
        deliveries(2, last_error="503", attempts=3, next_attempt_at=later)
        Receiver.objects.update(retry_at=later, failures=5)

        page = browser.get(press(browser, crm, "retry").url)

        assert "5 deliveries are tried again now" in page.content.decode()
        assert (
            Delivery.objects.filter(status="pending", next_attempt_at__lte=timezone.now()).count()
            == 5
        )
        crm.refresh_from_db()
        assert crm.retry_at <= timezone.now()
