"""A merchant's own receivers of signed webhooks, by https://www.standardwebhooks.com.

`POST /webhooks/NAME`; a test tells the secrets of a name with `PUT /_test/settings/webhooks` and
`{"NAME": ["whsec_..."]}`: several while one is rotated.
"""

import base64
import binascii
import hashlib
import hmac

from sandbox.answers import Answer
from sandbox.sinks.calls import Call, Document, Refusal, answer

TOLERANCE_SECONDS = 300
MAX_BYTES = 262_144
PREFIX = "whsec_"
HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")


def take(call: Call) -> Answer:
    """Verify a webhook and keep it once."""
    if len(call.segments) != 1:
        raise _refusal(404, f"no such address: {call.path}")
    if call.method != "POST":
        raise _refusal(405, f"{call.path} takes POST")
    name = call.segments[0]
    _verify(call, secrets=call.store.setting(receiver=call.receiver, name=name))
    if len(call.content) > MAX_BYTES:
        raise _refusal(413, f"the body is over {MAX_BYTES} bytes")
    try:
        document = call.json()
    except ValueError:
        raise _refusal(400, "the body is not JSON") from None
    is_new = call.keep(kind=name, key=call.headers["webhook-id"], body=document)
    return answer({"status": "accepted" if is_new else "duplicate"})


def error(status: int) -> Document:
    """What these receivers say when they fail."""
    return {"error": {"message": f"the receiver answers {status}"}}


def _verify(call: Call, *, secrets: list[str] | None) -> None:
    if not secrets:
        raise _refusal(401, "no secret is known for this name")
    for header in HEADERS:
        if not call.headers.get(header):
            raise _refusal(400, f"{header} is missing")
    message_id, told, signatures = (call.headers[header] for header in HEADERS)
    if "." in message_id:
        raise _refusal(400, "webhook-id: must not contain a dot")
    if not (told.isascii() and told.isdigit() and len(told) < 12):  # noqa: PLR2004 - seconds
        raise _refusal(400, "webhook-timestamp: must be whole seconds")
    if abs(call.now - int(told)) > TOLERANCE_SECONDS:
        raise _refusal(400, "webhook-timestamp: too old or too new")
    signed = f"{message_id}.{told}.".encode() + call.content
    expected = {sign(signed, secret=secret) for secret in secrets}
    for one in signatures.split(" "):
        if any(hmac.compare_digest(one.encode(errors="replace"), good) for good in expected):
            return
    raise _refusal(401, "webhook-signature: none of them is right")


def sign(content: bytes, *, secret: str) -> bytes:
    """The signature of a content under a `whsec_` secret."""
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        raise _refusal(401, "the secret that is known is no base 64") from None
    return b"v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest())


def _refusal(status: int, message: str) -> Refusal:
    return Refusal(status, {"error": {"message": message}})
