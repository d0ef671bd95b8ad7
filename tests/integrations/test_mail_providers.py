"""Letters by a provider's API: what it is sent, and what its refusals come to."""

from __future__ import annotations

from urllib.parse import unquote_plus

import pytest

from audit import outbox
from audit import services as audit
from audit.models import Delivery, OutboxMessage
from config import env
from tests.admin import rows
from tests.integrations import mail_provider

pytestmark = pytest.mark.django_db

URLS = {
    "postmark": "postmark://server-Token%2F1?api_url={url}",
    "mailgun": "mailgun://key-1@mg.shop.example?api_url={url}v3",
    "brevo": "brevo://xkeysib-1?api_url={url}v3/",
}
TAKEN = {
    "postmark": [{"ErrorCode": 0, "Message": "OK", "MessageID": "pm-1", "To": "ann7@example.com"}][
        0
    ],
    "mailgun": {"id": "<mg-1@mg.shop.example>", "message": "Queued. Thank you."},
    "brevo": {"messageId": "<b-1@smtp-relay.mailin.fr>"},
}


@pytest.fixture
def provider():
    with mail_provider.running() as provider:
        yield provider


@pytest.fixture(params=URLS)
def shop(request, provider, settings, monkeypatch):
    """A shop that sends by each of them, and `shop.name`."""
    name = request.param
    monkeypatch.setenv("EMAIL_URL", URLS[name].format(url=provider.url))
    for setting, value in env.mail_provider("EMAIL_URL", webhook_secret="").items():
        setattr(settings, setting, value)
    settings.PUBLIC_URL = "https://shop.example.com"
    settings.DEFAULT_FROM_EMAIL = "orders@shop.example.com"
    provider.answer = (200, TAKEN[name])
    return name


@pytest.fixture
def message():
    order = rows.make_order(7)
    audit.publish(
        "order.confirmed",
        aggregate_type="order",
        aggregate_id=order.pk,
        dedupe_key=f"order.{order.pk}.confirmed.1",
        payload={"order_id": order.pk},
    )
    return OutboxMessage.objects.get(aggregate_id=order.pk)


def delivery():
    return Delivery.objects.get(subscriber="email")


def test_a_letter_is_sent_with_its_own_id(shop, provider, message):
    outbox.relay()

    (call,) = provider.calls
    assert delivery().status == "delivered", delivery().last_error
    for said in (
        f"<{message.uuid}@shop.example.com>",
        "ann7@example.com",
        "orders@shop.example.com",
        "Order ABCD-0007 confirmed",
        "auto-generated",
        "Your order is confirmed",
    ):
        assert said in unquote_plus(call.body.decode())


def test_each_is_shown_its_key(shop, provider, message):
    outbox.relay()

    headers = provider.calls[0].headers
    assert {
        "postmark": headers["X-Postmark-Server-Token"] == "server-Token/1",
        "mailgun": headers["Authorization"] == "Basic YXBpOmtleS0x",  # api:key-1
        "brevo": headers["api-key"] == "xkeysib-1",
    }[shop]


def test_postmark_keeps_the_id_and_watches_nobody_reading(provider, settings, monkeypatch, message):
    monkeypatch.setenv("EMAIL_URL", URLS["postmark"].format(url=provider.url))
    for setting, value in env.mail_provider("EMAIL_URL", webhook_secret="").items():
        setattr(settings, setting, value)
    provider.answer = (200, TAKEN["postmark"])

    outbox.relay()

    sent = provider.calls[0].json
    assert {"Name": "X-PM-KeepID", "Value": "true"} in sent["Headers"]
    assert (sent["TrackOpens"], sent["TrackLinks"]) == (False, "None")


@pytest.mark.parametrize("status", [401, 429, 500, 503])
def test_one_that_is_away_is_asked_again(shop, provider, message, status):
    provider.answer = (status, {"message": "ann7@example.com"})

    outbox.relay()

    assert (delivery().status, delivery().attempts) == ("pending", 1)
    assert delivery().last_error == f"the e-mail provider answers HTTP {status}"


def test_one_that_does_not_answer_is_asked_again(shop, settings, message):
    settings.ANYMAIL = {**settings.ANYMAIL, f"{shop.upper()}_API_URL": "http://127.0.0.1:1/"}

    outbox.relay()

    assert delivery().status == "pending"
    assert delivery().last_error == "the e-mail provider does not answer"


def test_what_it_will_never_take_is_given_up_at_once(shop, provider, message):
    provider.answer = (422 if shop == "postmark" else 400, {"message": "bad ann7@example.com"})

    outbox.relay()

    assert delivery().status == "dead"
    assert "ann7" not in delivery().last_error


def test_an_address_that_postmark_does_not_write_to_is_told_to_staff(
    provider, settings, monkeypatch, message
):
    monkeypatch.setenv("EMAIL_URL", URLS["postmark"].format(url=provider.url))
    for setting, value in env.mail_provider("EMAIL_URL", webhook_secret="").items():
        setattr(settings, setting, value)
    words = "Found inactive addresses: ann7@example.com.\nInactive recipients are ones that …"
    provider.answer = (422, {"ErrorCode": 406, "Message": words})

    outbox.relay()

    assert delivery().status == "dead"
    assert "ann7" not in delivery().last_error


class TestTheAddress:
    @pytest.mark.parametrize(
        "url",
        ["postmark://", "postmark://a@b", "mailgun://key", "mailgun://@domain", "brevo://key/path"],
    )
    def test_that_lacks_something_stops_the_start_and_shows_no_key(self, monkeypatch, url):
        monkeypatch.setenv("EMAIL_URL", url)

        with pytest.raises(SystemExit, match="EMAIL_URL: must look like") as caught:
            env.mail_provider("EMAIL_URL", webhook_secret="")

        assert "key" not in str(caught.value)

    def test_wants_a_webhook_secret_that_can_be_one(self, monkeypatch):
        monkeypatch.setenv("EMAIL_URL", "postmark://token")

        with pytest.raises(SystemExit, match="EMAIL_WEBHOOK_SECRET"):
            env.mail_provider("EMAIL_URL", webhook_secret="no-colon")
