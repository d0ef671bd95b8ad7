"""The receivers of signed webhooks: what they verify, keep and refuse."""

import base64
import hashlib
import hmac
import json
import time

import pytest

from sandbox.sinks.webhooks import sign
from tests.sandbox.sink_calls import http, refusal

KEY = b"a key of at least 24 bytes"
SECRET = "whsec_" + base64.b64encode(KEY).decode()
OTHER_KEY = b"another key of enough bytes"
OTHER = "whsec_" + base64.b64encode(OTHER_KEY).decode()


def signature(key, message_id, at, content):
    signed = f"{message_id}.{at}.".encode() + content
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def send(sinks, document, *, name="shop", message_id="msg_1", at=None, keys=(KEY,), **headers):
    content = json.dumps(document).encode()
    at = int(time.time()) if at is None else at
    signed = {
        "webhook-id": message_id,
        "webhook-timestamp": str(at),
        "webhook-signature": " ".join(signature(key, message_id, at, content) for key in keys),
        "Content-Type": "application/json",
        **headers,
    }
    signed = {name: value for name, value in signed.items() if value is not None}
    return http.post(f"{sinks.url}/webhooks/{name}", content=content, headers=signed)


@pytest.fixture
def shop(sinks):
    sinks.tell("webhooks", shop=[SECRET])
    return sinks


def test_the_example_of_the_reference_libraries_is_signed_the_same():
    content = b'msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{"test": 2432232314}'
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

    assert sign(content, secret=secret) == b"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_what_is_signed_is_kept_once(shop):
    answers = [send(shop, {"type": "order.confirmed"}) for _ in range(2)]

    assert [answer.json()["status"] for answer in answers] == ["accepted", "duplicate"]
    received = shop.received("webhooks", kind="shop")
    assert received.bodies == [{"type": "order.confirmed"}]
    assert received.items[0]["key"] == "msg_1"
    assert received.duplicates == 1
    assert [one["idempotency_key"] for one in shop.journal()] == ["msg_1", "msg_1"]


def test_one_good_signature_of_several_is_enough(shop):
    assert send(shop, {}, keys=(OTHER_KEY, KEY)).status_code == 200


def test_each_of_several_secrets_is_good(sinks):
    sinks.tell("webhooks", shop=[OTHER, SECRET])

    assert send(sinks, {}).status_code == 200
    assert send(sinks, {}, keys=(OTHER_KEY,), message_id="msg_2").status_code == 200


def test_names_are_apart(shop):
    shop.tell("webhooks", other=[OTHER])
    send(shop, {})
    send(shop, {}, name="other", keys=(OTHER_KEY,))

    assert shop.received("webhooks").kinds == {"shop": 1, "other": 1}


def test_secrets_outlive_what_was_received(shop):
    shop.ask("DELETE", "/_test/received")

    assert send(shop, {}).status_code == 200


@pytest.mark.parametrize(
    ("changes", "status", "complaint"),
    [
        ({"keys": (OTHER_KEY,)}, 401, "webhook-signature: none of them is right"),
        ({"webhook-signature": "v1,"}, 401, "webhook-signature: none of them is right"),
        ({"webhook-signature": None}, 400, "webhook-signature is missing"),
        ({"webhook-id": None}, 400, "webhook-id is missing"),
        ({"webhook-id": "msg_2"}, 401, "webhook-signature: none of them is right"),
        ({"message_id": "a.b"}, 400, "webhook-id: must not contain a dot"),
        ({"webhook-timestamp": None}, 400, "webhook-timestamp is missing"),
        ({"webhook-timestamp": "soon"}, 400, "webhook-timestamp: must be whole seconds"),
        ({"at": 1_700_000_000}, 400, "webhook-timestamp: too old or too new"),
        ({"at": int(time.time()) + 3_600}, 400, "webhook-timestamp: too old or too new"),
        ({"name": "nobody"}, 401, "no secret is known for this name"),
        ({"name": "shop/deep"}, 404, "no such address"),
    ],
)
def test_what_is_not_signed_well_is_refused(shop, changes, status, complaint):
    answer = send(shop, {"type": "order.confirmed"}, **changes)

    assert answer.status_code == status
    assert refusal(answer).startswith(complaint)
    assert shop.received("webhooks").kept == 0
    assert shop.received("webhooks").refused == 1


def test_faults_find_a_webhook_by_its_id(shop):
    shop.fail("webhooks", "status", status=410, idempotency_key="msg_2", times=None)

    assert send(shop, {}, message_id="msg_1").status_code == 200
    assert send(shop, {}, message_id="msg_2").status_code == 410
