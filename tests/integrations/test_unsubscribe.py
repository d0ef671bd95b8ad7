"""Unsubscribing: by one click without a log-in, by nobody who only looks, told by the tool too."""

from __future__ import annotations

import json
import time

import pytest
from django.test import Client
from django.utils import timezone

from audit.models import AuditLog, OutboxMessage
from customers.models import Customer
from integrations import signatures
from integrations.marketing import unsubscribe
from orders.services import privacy
from tests import factories

pytestmark = pytest.mark.django_db

FACT = "customer.marketing_consent_changed"
SECRET = "a-secret-of-the-marketing-tool"
WEBHOOK = "/api/v1/webhooks/marketing"
ONE_CLICK = {"List-Unsubscribe": "One-Click"}


@pytest.fixture(autouse=True)
def _shop(settings):
    settings.PUBLIC_URL = "https://shop.example.com"
    settings.MARKETING_WEBHOOK_SECRETS = [SECRET]


@pytest.fixture
def ann():
    return factories.CustomerFactory(marketing_consent=True, email_verified=True)


@pytest.fixture
def link(ann):
    return path_of(ann)


def path_of(customer: Customer) -> str:
    return unsubscribe.link_for(customer_id=customer.pk).removeprefix("https://shop.example.com")


def consents(customer: Customer) -> bool:
    customer.refresh_from_db()
    return customer.marketing_consent


def withdrawals() -> int:
    stated = OutboxMessage.objects.filter(fact=FACT).count()
    assert AuditLog.objects.filter(event_type="MARKETING_CONSENT_WITHDRAWN").count() == stated
    return stated


class TestALink:
    def test_works_whatever_key_signs_sessions(self, ann, link, settings):
        settings.SECRET_KEY = "another one"

        assert Client().post(link, ONE_CLICK).status_code == 200

        assert not consents(ann)

    def test_of_a_former_key_works(self, ann, link, settings):
        settings.SUPPRESSION_OLD_KEYS = [b"m" * 32, settings.SUPPRESSION_KEY]
        settings.SUPPRESSION_KEY = b"n" * 32
        assert path_of(ann) != link

        assert Client().post(link, ONE_CLICK).status_code == 200

        assert not consents(ann)

    def test_of_an_unknown_key_does_not(self, ann, link, settings):
        settings.SUPPRESSION_KEY = b"n" * 32

        assert Client().post(link, ONE_CLICK).status_code == 404

        assert consents(ann)

    def test_only_asks_whoever_opens_it(self, ann, link):
        for accept in ("*/*", "text/html,application/xhtml+xml"):
            assert Client().get(link, headers={"Accept": accept}).status_code == 200
        assert Client().head(link).status_code == 200

        assert consents(ann)
        assert withdrawals() == 0

    def test_is_a_page_with_a_button_for_a_browser(self, link, settings):
        settings.SHOP_NAME = "Ann & <Sons>"

        page = Client().get(link, headers={"Accept": "text/html"})

        assert page["Content-Type"].startswith("text/html")
        text = page.content.decode()
        assert '<form method="post">' in text
        assert 'name="List-Unsubscribe" value="One-Click"' in text
        assert "Ann &amp; &lt;Sons&gt;" in text
        assert "form-action 'self'" in page["Content-Security-Policy"]
        assert page["Referrer-Policy"] == "no-referrer"

    @pytest.mark.parametrize(
        "content_type",
        ["application/x-www-form-urlencoded", "multipart/form-data", "application/json"],
    )
    def test_unsubscribes_by_one_click(self, ann, link, content_type):
        """RFC 8058 names both forms; nobody is logged in, and no cookie or token of CSRF comes."""
        answer = send(link, content_type)

        assert (answer.status_code, answer.json()) == (200, {"unsubscribed": True})
        assert not consents(ann)
        assert withdrawals() == 1
        row = AuditLog.objects.get(event_type="MARKETING_CONSENT_WITHDRAWN")
        assert (row.entity_id, row.user_id, row.data) == (ann.pk, None, {"how": "link"})

    def test_tells_a_browser_that_it_is_done(self, link):
        page = Client().post(link, ONE_CLICK, headers={"Accept": "text/html"})

        assert "You are unsubscribed" in page.content.decode()
        assert "<form" not in page.content.decode()

    def test_may_be_clicked_again(self, ann, link):
        before = ann.version

        answers = [send(link).json() for _ in range(3)]

        assert answers == [{"unsubscribed": True}] * 3
        assert withdrawals() == 1
        ann.refresh_from_db()
        assert ann.version == before + 1

    @pytest.mark.parametrize("body", [{}, {"List-Unsubscribe": "No"}, {"other": "One-Click"}])
    def test_wants_to_be_told_what_rfc_8058_says(self, ann, link, body):
        answer = Client().post(link, body)

        assert answer.status_code == 400
        assert answer.json()["error"]["details"] == {
            "List-Unsubscribe": ["Send List-Unsubscribe=One-Click."]
        }
        assert consents(ann)

    @pytest.mark.parametrize("state", ["never consented", "suspended", "erased", "deleted"])
    def test_answers_the_same_whatever_became_of_the_account(self, ann, link, state):
        changes = {
            "never consented": {"marketing_consent": False},
            "suspended": {"status": "suspended"},
        }
        Customer.objects.filter(pk=ann.pk).update(**changes.get(state, {}))
        if state == "erased":
            privacy.erase_customer(customer_id=ann.pk, now=timezone.now())
        if state == "deleted":
            Customer.objects.filter(pk=ann.pk).delete()

        asked, done = Client().get(link), send(link)

        assert (asked.status_code, asked.json()) == (200, {"unsubscribed": False})
        assert (done.status_code, done.json()) == (200, {"unsubscribed": True})
        assert not Customer.objects.filter(pk=ann.pk, marketing_consent=True).exists()

    def test_of_a_customer_is_good_for_no_other(self, ann, link):
        other = factories.CustomerFactory(marketing_consent=True)
        forged = link.replace(f"/{ann.pk}.", f"/{other.pk}.")

        for path in (
            forged,
            link[:-1],
            f"{link}x",
            "/api/v1/unsubscribe/1",
            "/api/v1/unsubscribe/x.y",
        ):
            assert Client().get(path).status_code == 404
            assert send(path).status_code == 404

        assert consents(other)
        assert withdrawals() == 0

    def test_is_good_for_years(self, ann, link, monkeypatch):
        later = time.time() + 10 * 365 * 86_400
        monkeypatch.setattr(time, "time", lambda: later)

        assert send(link).status_code == 200


def send(path: str, content_type: str = "application/x-www-form-urlencoded"):
    client = Client(enforce_csrf_checks=True)
    if content_type == "multipart/form-data":
        return client.post(path, ONE_CLICK)
    bodies = {
        "application/json": json.dumps(ONE_CLICK),
        "application/x-www-form-urlencoded": "List-Unsubscribe=One-Click",
    }
    return client.post(path, bodies[content_type], content_type=content_type)


class TestTheTool:
    @pytest.mark.parametrize("kind", ["contact.unsubscribed", "contact.complained"])
    def test_has_its_word_taken(self, ann, kind):
        answer = tell({"type": kind, "data": {"contact_id": str(ann.pk)}})

        assert (answer.status_code, answer.json()) == (200, {"received": True})
        assert not consents(ann)
        row = AuditLog.objects.get(event_type="MARKETING_CONSENT_WITHDRAWN")
        assert row.data == {"how": f"marketing: {kind.removeprefix('contact.')}"}

    def test_may_name_the_address(self, ann):
        tell({"type": "contact.unsubscribed", "data": {"email": ann.email.upper()}})

        assert not consents(ann)

    def test_may_repeat_itself(self, ann):
        for _ in range(3):
            tell({"type": "contact.unsubscribed", "data": {"contact_id": str(ann.pk)}})

        assert withdrawals() == 1

    @pytest.mark.parametrize(
        "person",
        [{"contact_id": "999999"}, {"contact_id": "9" * 30}, {"email": "nobody@example.com"}],
    )
    def test_hears_nothing_of_who_is_there(self, person):
        answer = tell({"type": "contact.unsubscribed", "data": person})

        assert (answer.status_code, answer.json()) == (200, {"received": True})

    def test_is_not_listened_to_about_other_things(self, ann):
        answer = tell({"type": "contact.opened", "data": {"contact_id": str(ann.pk)}})

        assert answer.status_code == 200
        assert consents(ann)

    @pytest.mark.parametrize("person", [None, [], {}, {"contact_id": 7}, {"contact_id": "x"}])
    def test_has_to_say_whom_it_means(self, person):
        answer = tell({"type": "contact.unsubscribed", "data": person})

        assert answer.status_code == 400
        assert "data" in answer.json()["error"]["details"]

    @pytest.mark.parametrize(
        ("secret", "age"), [("another-secret-of-somebody", 0), (SECRET, 301), (SECRET, -301)]
    )
    def test_has_to_sign_it_now(self, ann, secret, age):
        answer = tell(
            {"type": "contact.unsubscribed", "data": {"contact_id": str(ann.pk)}},
            secret=secret,
            age=age,
        )

        assert answer.status_code == 400
        assert consents(ann)

    @pytest.mark.parametrize("signature", ["", "t=1", "v1=00", "t=1,v1=00", "é"])
    def test_has_to_sign_at_all(self, signature):
        answer = Client().post(
            WEBHOOK,
            "{}",
            content_type="application/json",
            headers={"Orderkeep-Signature": signature},
        )

        assert answer.status_code == 400

    def test_may_use_either_secret_while_it_is_changed(self, ann, settings):
        settings.MARKETING_WEBHOOK_SECRETS = ["the-new-secret-of-the-tool", SECRET]

        assert tell({"type": "contact.opened"}).status_code == 200

    def test_is_not_there_without_a_secret(self, settings):
        settings.MARKETING_WEBHOOK_SECRETS = []

        assert tell({"type": "contact.opened"}).status_code == 404

    def test_signs_the_bytes_and_not_what_they_mean(self, ann):
        body = json.dumps({"type": "contact.unsubscribed", "data": {"contact_id": str(ann.pk)}})
        signature = signatures.sign(payload=body.encode(), secret=SECRET, at=int(time.time()))

        answer = Client().post(
            WEBHOOK,
            body.replace(": ", ":"),
            content_type="application/json",
            headers={"Orderkeep-Signature": signature},
        )

        assert answer.status_code == 400


def tell(event, *, secret: str = SECRET, age: int = 0):
    body = json.dumps(event).encode()
    signature = signatures.sign(payload=body, secret=secret, at=int(time.time()) - age)
    return Client().post(
        WEBHOOK,
        body,
        content_type="application/json",
        headers={"Orderkeep-Signature": signature},
    )
