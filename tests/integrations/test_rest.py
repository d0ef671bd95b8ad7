"""The client that asks other systems: what it sends, and how it tells their failures apart."""

from __future__ import annotations

import http.client
import time
import uuid
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from audit.outbox import DeliveryFailedError, ReceiverAwayError, RejectedError
from config.kernel.transport import Response
from integrations import envelopes
from integrations.rest import RestClient, seconds_asked_for

AT = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
SECRET = "ann@example.com"
FORMS = ("html", "invalid_json", "truncated", "empty", "text", "list", "binary")


@pytest.fixture
def crm(sinks):
    return envelopes.receiver(name="CRM", base_url=sinks.base_url("crm"), token=sinks.token)


def post(client: RestClient, key: uuid.UUID | None = None, **content: object):
    return envelopes.post(
        client,
        key=key or uuid.uuid4(),
        kind="order.confirmed",
        occurred_at=AT,
        content={"order_number": "WAHZ-CDXF-87", **content},
    )


def failure(call) -> DeliveryFailedError:
    with pytest.raises(DeliveryFailedError) as caught:
        call()
    assert SECRET not in str(caught.value)
    assert "127.0.0.1" not in str(caught.value)
    return caught.value


class TestWhatIsSent:
    def test_is_the_envelope_with_its_id_as_the_key(self, crm, sinks):
        key = uuid.uuid4()

        post(crm, key)

        (item,) = sinks.received("crm").items
        (call,) = sinks.journal(receiver="crm")
        assert item["body"] == {
            "id": str(key),
            "type": "order.confirmed",
            "occurred_at": "2026-05-04T03:02:01+00:00",
            "data": {"order_number": "WAHZ-CDXF-87"},
        }
        assert call["idempotency_key"] == str(key)

    def test_twice_is_kept_once(self, crm, sinks):
        key = uuid.uuid4()

        for _ in range(2):
            post(crm, key)

        assert (sinks.received("crm").kept, sinks.received("crm").duplicates) == (1, 1)

    def test_goes_over_one_connection(self, crm, sinks):
        for _ in range(5):
            post(crm)

        assert sinks.received("crm").kept == 5


class TestNobodyThere:
    @pytest.mark.parametrize("status", [401, 403, 404, 405, 408, 425, 429, 500, 502, 503, 504])
    def test_by_its_status(self, crm, sinks, status):
        sinks.fail("crm", "status", status=status)

        error = failure(lambda: post(crm, email=SECRET))

        assert isinstance(error, ReceiverAwayError)
        assert f"CRM answered {status} to POST /events" in str(error)

    def test_not_listening(self):
        client = RestClient(name="CRM", base_url="http://127.0.0.1:1", headers={})

        error = failure(lambda: post(client))

        assert isinstance(error, ReceiverAwayError)
        assert str(error) == "CRM did not answer POST /events: ConnectionRefusedError"

    @pytest.mark.parametrize("kind", ["drop", "answer_lost"])
    @pytest.mark.parametrize("reset", [False, True])
    def test_hanging_up(self, crm, sinks, kind, reset):
        sinks.fail("crm", kind, reset=reset)

        assert isinstance(failure(lambda: post(crm, email=SECRET)), ReceiverAwayError)

    def test_hanging(self, crm, sinks):
        sinks.fail("crm", "hang")
        began = time.monotonic()

        error = failure(
            lambda: crm.call(
                "POST", "/events", body={"email": SECRET}, idempotency_key="1", seconds=1.0
            )
        )

        assert isinstance(error, ReceiverAwayError)
        assert time.monotonic() - began < 3

    def test_leading_elsewhere(self, crm, sinks):
        sinks.fail("crm", "redirect")

        error = failure(lambda: post(crm))

        assert isinstance(error, ReceiverAwayError)
        assert sinks.received("crm").kept == 0

    def test_answering_without_end(self, crm, sinks):
        sinks.fail("crm", "huge")

        assert isinstance(failure(lambda: post(crm)), ReceiverAwayError)


class TestAskedToWait:
    def test_in_seconds(self, crm, sinks):
        sinks.fail("crm", "status", status=429, retry_after=30)

        assert failure(lambda: post(crm)).retry_after == 30

    def test_by_nobody(self, crm, sinks):
        sinks.fail("crm", "status", status=429)

        assert failure(lambda: post(crm)).retry_after is None

    @pytest.mark.parametrize(
        ("asked", "seconds"),
        [
            ("0", 0),
            (" 90 ", 90),
            ("999999999999", 3_600),
            ("soon", None),
            ("-5", None),
            ("", None),
            ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
            ("Wed, 21 Oct 2095 07:28:00 GMT", 3_600),
            ("٣", None),
            ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", None),
        ],
    )
    def test_in_any_form(self, asked, seconds):
        headers = http.client.HTTPMessage()
        headers["Retry-After"] = asked

        assert seconds_asked_for(Response(429, headers, b"")) == seconds

    def test_until_a_time(self):
        headers = http.client.HTTPMessage()
        until = datetime.now(UTC) + timedelta(seconds=100)
        headers["Retry-After"] = format_datetime(until, usegmt=True)

        assert 90 < seconds_asked_for(Response(503, headers, b"")) <= 100


class TestRefused:
    @pytest.mark.parametrize("status", [400, 402, 406, 409, 410, 413, 415, 422, 451])
    def test_for_good(self, crm, sinks, status):
        sinks.fail("crm", "status", status=status)

        error = failure(lambda: post(crm, email=SECRET))

        assert isinstance(error, RejectedError)
        assert f"CRM answered {status} to POST /events" in str(error)

    def test_says_the_receivers_code(self, crm):
        error = failure(
            lambda: crm.call("POST", "/events", body={"email": SECRET}, idempotency_key="1")
        )

        assert str(error) == "CRM answered 422 to POST /events: invalid_event"

    def test_unless_the_caller_understands_it(self, crm, sinks):
        sinks.fail("crm", "status", status=409)

        answer = crm.call("POST", "/events", body={}, accepted={409})

        assert answer.status == 409


class TestJunk:
    @pytest.mark.parametrize("form", FORMS)
    def test_is_no_failure_where_no_answer_is_needed(self, crm, sinks, form):
        sinks.fail("crm", "junk", form=form)

        assert post(crm).body is None

    @pytest.mark.parametrize("form", FORMS)
    def test_is_one_where_it_is(self, crm, sinks, form):
        sinks.fail("crm", "junk", form=form)

        error = failure(lambda: crm.call("POST", "/events", body={}, needs_answer=True))

        assert not isinstance(error, ReceiverAwayError | RejectedError)
