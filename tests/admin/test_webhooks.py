"""The pages of webhooks: what staff enters, presses and sees."""

from __future__ import annotations

import re
import uuid
from datetime import timedelta

import pytest
from django.contrib.auth.models import Group
from django.db import connection
from django.urls import reverse
from django.utils import timezone
from standardwebhooks import Webhook

from audit import outbox
from audit.models import AuditLog, Delivery, OutboxMessage
from config.kernel import dialling
from integrations.webhooks.models import (
    WebhookAttempt,
    WebhookEndpoint,
    WebhookReplay,
    WebhookSecret,
)
from orders import roles
from tests.admin import rows
from tests.integrations.webhook_receiver import LOOPBACK, MerchantsServer, answering, make_endpoint

pytestmark = pytest.mark.django_db

ADD = reverse("admin:integrations_webhookendpoint_add")
CONSENT = "customer.marketing_consent_changed"
SECRET = re.compile(r"whsec_[A-Za-z0-9+/=]{44}\n")


@pytest.fixture
def merchant(settings):
    settings.WEBHOOK_ALLOWED_NETWORKS = LOOPBACK
    server = MerchantsServer()
    yield server
    server.close()


@pytest.fixture
def endpoint(merchant):
    endpoint, _ = make_endpoint(merchant, CONSENT)
    return endpoint


def page_of(row, name="change", *args):
    label = row._meta.model_name
    return reverse(f"admin:{row._meta.app_label}_{label}_{name}", args=[row.pk, *args])


def press(browser, row, action, key=None, **values):
    return browser.post(
        page_of(row, "do", action), {"request_key": str(key or uuid.uuid4()), **values}
    )


def form(url, *kinds, **more):
    inline = {"secrets-TOTAL_FORMS": "0", "secrets-INITIAL_FORMS": "0"}
    return {"url": url, "description": "ERP", "events": kinds or [CONSENT], **inline, **more}


def state(number=1):
    return OutboxMessage.objects.create(
        fact=CONSENT,
        aggregate_type="customer",
        aggregate_id=number,
        dedupe_key=f"{CONSENT}.{number}.{OutboxMessage.objects.count()}",
        payload={"customer_id": number, "marketing_consent": True},
    )


class TestTheForm:
    def test_keeps_an_endpoint_that_is_not_enabled_yet(self, browser, superuser, merchant):
        answer = browser.post(ADD, form(merchant.url))

        made = WebhookEndpoint.objects.get()
        assert answer.status_code == 302
        assert (made.url, made.events, made.status) == (merchant.url, [CONSENT], "disabled")
        assert made.created_by == superuser
        (row,) = AuditLog.objects.filter(event_type="STAFF_ADDED")
        assert row.entity_type == "webhook_endpoint"
        assert row.data["values"]["url"] == merchant.url

    @pytest.mark.parametrize(
        ("url", "why"),
        [
            ("https://127.0.0.1/", "not public"),
            ("https://169.254.169.254/latest/", "not public"),
            ("https://2130706433/", "four numbers"),
            ("http://8.8.8.8/", "https://"),
            ("https://user:word@8.8.8.8/", "user name"),
            ("javascript:alert(1)", "https://"),
            ('https://8.8.8.8/"><script>alert(1)</script>', "characters"),
        ],
    )
    def test_refuses_a_bad_address_in_words_and_keeps_nothing(self, browser, url, why):
        answer = browser.post(ADD, form(url))

        assert answer.status_code == 200
        assert why in answer.content.decode()
        assert "<script>alert(1)" not in answer.content.decode()
        assert not WebhookEndpoint.objects.exists()

    def test_refuses_kinds_that_are_internal_and_none_at_all(self, browser, merchant):
        for kinds in (["account.password_reset_requested"], ["webhook.test"], []):
            answer = browser.post(ADD, {**form(merchant.url), "events": kinds})
            assert answer.status_code == 200
        assert not WebhookEndpoint.objects.exists()

    def test_refuses_the_same_url_twice(self, browser, endpoint):
        answer = browser.post(ADD, form(endpoint.url))

        assert "There is an endpoint with this URL" in answer.content.decode()
        assert WebhookEndpoint.objects.count() == 1

    def test_changes_what_is_wanted_and_says_what_it_was(self, browser, endpoint):
        kinds = ["order.confirmed", CONSENT]

        answer = browser.post(page_of(endpoint), form(endpoint.url, *kinds))

        endpoint.refresh_from_db()
        assert answer.status_code == 302
        assert endpoint.events == kinds
        assert endpoint.status == "enabled"
        (row,) = AuditLog.objects.filter(event_type="STAFF_CHANGED")
        assert row.data["before"]["events"] == f"['{CONSENT}']"

    def test_asks_the_resolver_outside_the_transaction(self, client, merchant, monkeypatch):
        seen = []
        look_up = dialling._look_up

        def looking(*args, **options):
            seen.append(len(connection.savepoint_ids))
            return look_up(*args, **options)

        monkeypatch.setattr(dialling, "_look_up", looking)
        boss = rows.make_customer(5, is_staff=True, is_superuser=True)
        client.force_login(boss)
        before = len(connection.savepoint_ids)

        client.post(ADD, form(merchant.url))

        assert WebhookEndpoint.objects.exists()
        assert seen == [before]

    def test_of_somebody_without_the_right_looks_nothing_up(self, client, monkeypatch):
        monkeypatch.setattr(dialling, "_look_up", lambda *_, **__: pytest.fail("it was looked up"))
        support = rows.make_customer(7, is_staff=True)
        support.groups.set([Group.objects.get(name=roles.SUPPORT)])
        client.force_login(support)

        assert client.post(ADD, form("https://erp.example/")).status_code == 403


class TestButtons:
    def test_lead_from_a_new_endpoint_to_a_signed_event(self, browser, merchant):
        browser.post(ADD, form(merchant.url))
        endpoint = WebhookEndpoint.objects.get()

        file = press(browser, endpoint, "new-secret")
        press(browser, endpoint, "test")
        outbox.relay()
        press(browser, endpoint, "enable", send_missed="on")
        state()
        outbox.relay()

        secret = file.content.decode()
        assert SECRET.fullmatch(secret)
        assert "attachment" in file["Content-Disposition"]
        kinds = [request.event["type"] for request in merchant.requests]
        assert kinds == ["webhook.test", CONSENT]
        for request in merchant.requests:
            Webhook(secret.strip()).verify(request.body, request.headers)

    def test_give_a_secret_once_a_page_and_show_it_on_none(self, browser, endpoint):
        key = uuid.uuid4()

        first = press(browser, endpoint, "new-secret", key)
        again = press(browser, endpoint, "new-secret", key)
        page = browser.get(page_of(endpoint)).content.decode()

        assert first.content == again.content
        assert WebhookSecret.objects.count() == 2
        assert first.content.decode().strip() not in page
        assert "whsec_" not in page
        assert "whsec_" not in str(list(AuditLog.objects.values()))

    def test_say_why_it_cannot_be_enabled(self, browser, merchant):
        endpoint, _ = make_endpoint(merchant, CONSENT, is_enabled=False, with_secret=False)

        answer = press(browser, endpoint, "enable")

        assert "Give it a secret first" in answer.content.decode()
        endpoint.refresh_from_db()
        assert endpoint.status == "disabled"

    def test_disable_and_leave_who_did_it_on_record(self, browser, superuser, endpoint):
        press(browser, endpoint, "disable")

        endpoint.refresh_from_db()
        assert endpoint.disabled_because == "staff has disabled it"
        row = AuditLog.objects.get(event_type="WEBHOOK_ENDPOINT_DISABLED")
        assert row.user_id == superuser.pk

    def test_send_everything_since_once_more_and_show_how_far_it_is(
        self, browser, endpoint, merchant
    ):
        for number in (1, 2):
            state(number)
        outbox.relay()
        merchant.requests.clear()
        key = uuid.uuid4()
        since = (timezone.now() - timedelta(days=2)).strftime("%Y-%m-%dT%H:%M")
        merchant.answers(answering(500))

        for _ in range(2):
            answer = press(browser, endpoint, "replay", key, since=since)
            assert answer.status_code == 302
        made = WebhookReplay.objects.get()
        outbox.relay()
        page = browser.get(page_of(made)).content.decode()

        assert made.events == 2
        assert len(merchant.requests) == 2
        assert re.search(r"[Ss]till waiting.*?>\s*2\s*<", page, re.DOTALL)

    def test_refuse_a_replay_without_a_beginning(self, browser, endpoint):
        assert press(browser, endpoint, "replay").status_code == 200
        assert not WebhookReplay.objects.exists()

    def test_send_a_delivered_event_again(self, browser, endpoint, merchant):
        state()
        outbox.relay()
        delivery = Delivery.objects.get(subscriber=endpoint.subscriber)
        page = browser.get(page_of(delivery)).content.decode()

        press(browser, delivery, "send-again")
        outbox.relay()

        assert "Send again" in page
        assert len({request.id for request in merchant.requests}) == 1
        assert len(merchant.requests) == 2

    def test_send_no_letter_again(self, browser):
        delivery = rows.make_everything(1).delivery
        Delivery.objects.update(status="delivered", attempts=1, delivered_at=timezone.now())
        page = browser.get(page_of(delivery)).content.decode()

        press(browser, delivery, "send-again")

        delivery.refresh_from_db()
        assert "Send again" not in page
        assert delivery.status == "delivered"


class TestTheLog:
    def test_of_an_endpoint_is_its_own_and_leads_to_the_delivery(self, browser, endpoint, merchant):
        other, _ = make_endpoint(merchant.url + "/other", CONSENT)
        state()
        outbox.relay()
        log = reverse("admin:integrations_webhookattempt_changelist")

        page = browser.get(f"{log}?endpoint__id__exact={endpoint.pk}")
        row = browser.get(page_of(endpoint.attempts.get())).content.decode()

        assert page.context["cl"].result_count == 1
        assert other.attempts.count() == 1
        delivery = Delivery.objects.get(subscriber=endpoint.subscriber)
        assert page_of(delivery) in row
        assert (
            f"{log}?endpoint__id__exact={endpoint.pk}"
            in browser.get(page_of(endpoint)).content.decode()
        )

    def test_shows_what_was_answered_as_text(self, browser, endpoint, merchant):
        merchant.answers(answering(500, b"<script>alert(1)</script><img src=x onerror=alert(1)>"))
        state()
        outbox.relay()

        for url in (
            reverse("admin:integrations_webhookattempt_changelist"),
            page_of(WebhookAttempt.objects.get()),
        ):
            page = browser.get(url).content.decode()
            assert "&lt;script&gt;alert(1)" in page
            assert "<script>alert" not in page
            assert "<img src=x" not in page
