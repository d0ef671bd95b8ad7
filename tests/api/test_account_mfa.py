"""The second factor, as a storefront walks through it: codes of an app, and recovery codes."""

import base64
import hmac
import json
import struct
from types import SimpleNamespace

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal import auth
from django.core import mail
from django.test import Client
from django.utils import timezone

from audit import outbox
from audit.models import AuditLog
from customers import privacy
from customers.models import Session
from tests import factories

pytestmark = pytest.mark.django_db

ACCOUNTS = "/_allauth/app/v1"
TOTP = "/account/authenticators/totp"
CODES = "/account/authenticators/recovery-codes"
EMAIL = "ann@example.com"


@pytest.fixture
def ann():
    customer = factories.CustomerFactory(email=EMAIL)
    EmailAddress.objects.create(user=customer, email=EMAIL, primary=True, verified=True)
    return customer


def send(method, path, body=None, *, session=None, token=None):
    headers = {"X-Session-Token": session} if session else {}
    headers |= {"Authorization": f"Bearer {token}"} if token else {}
    return Client().generic(
        method,
        f"{ACCOUNTS}{path}",
        json.dumps(body) if body is not None else b"",
        content_type="application/json",
        headers=headers,
    )


def log_in():
    return send("POST", "/auth/login", {"email": EMAIL, "password": factories.PASSWORD})


MOMENT = 1_800_000_010
"""Within 30 seconds of a code, that none changes between being shown and being looked at."""
clock = SimpleNamespace(now=MOMENT)


@pytest.fixture(autouse=True)
def _same_moment(monkeypatch):
    clock.now = MOMENT
    monkeypatch.setattr(auth, "time", SimpleNamespace(time=lambda: clock.now))


def totp(secret):
    """RFC 6238: the code that an authenticator app shows."""
    counter = struct.pack(">Q", clock.now // 30)
    digest = hmac.digest(base64.b32decode(secret), counter, "sha1")
    start = digest[-1] & 15
    (number,) = struct.unpack(">I", digest[start : start + 4])
    return f"{(number & 0x7FFFFFFF) % 1_000_000:06}"


def another_code(secret):
    """The app shows a code for 30 seconds, and each is good once."""
    clock.now += 30
    return totp(secret)


def activate(token):
    offered = send("GET", TOTP, token=token)
    assert offered.status_code == 404
    secret = offered.json()["meta"]["secret"]
    answer = send("POST", TOTP, {"code": totp(secret)}, token=token)
    assert answer.status_code == 200, answer.content
    return secret


@pytest.fixture
def token(ann):
    return log_in().json()["meta"]["access_token"]


@pytest.fixture
def secret(token):
    return activate(token)


@pytest.fixture
def pending(secret):
    """The session of a log-in that waits for its second factor."""
    answer = log_in()
    assert answer.status_code == 401
    return answer.json()["meta"]["session_token"]


class TestActivation:
    def test_is_told_by_e_mail_and_makes_recovery_codes(self, token):
        activate(token)

        assert set(Authenticator.objects.values_list("type", flat=True)) == {
            "totp",
            "recovery_codes",
        }
        assert AuditLog.objects.filter(event_type="MFA_ACTIVATED").count() == 1
        outbox.relay()
        (message,) = mail.outbox
        assert (message.to, message.subject) == ([EMAIL], "Two-step log-in is on")

    def test_wants_a_right_code(self, token):
        send("GET", TOTP, token=token)

        answer = send("POST", TOTP, {"code": "000000"}, token=token)

        assert answer.status_code == 400
        assert not Authenticator.objects.exists()

    def test_wants_a_password_typed_lately(self, token, settings):
        secret = send("GET", TOTP, token=token).json()["meta"]["secret"]
        settings.ACCOUNT_REAUTHENTICATION_TIMEOUT = 0

        answer = send("POST", TOTP, {"code": totp(secret)}, token=token)

        assert answer.status_code == 401
        assert not Authenticator.objects.exists()

        settings.ACCOUNT_REAUTHENTICATION_TIMEOUT = 300
        again = send("POST", "/auth/reauthenticate", {"password": factories.PASSWORD}, token=token)
        assert again.status_code == 200
        assert send("POST", TOTP, {"code": totp(secret)}, token=token).status_code == 200

    def test_keeps_the_secret_to_itself(self, token, secret):
        shown = send("GET", TOTP, token=token).content.decode()
        listed = send("GET", "/account/authenticators", token=token).content.decode()

        assert secret not in shown + listed


class TestLogIn:
    def test_gives_no_token_before_the_code(self, secret):
        answer = log_in()

        assert answer.status_code == 401
        assert "access_token" not in answer.json()["meta"]
        (flow,) = [flow for flow in answer.json()["data"]["flows"] if flow.get("is_pending")]
        assert flow["id"] == "mfa_authenticate"

    def test_gives_one_after_it(self, secret, pending):
        code = another_code(secret)

        answer = send("POST", "/auth/2fa/authenticate", {"code": code}, session=pending)

        assert answer.status_code == 200, answer.content
        token = answer.json()["meta"]["access_token"]
        me = Client().get("/api/v1/me", headers={"Authorization": f"Bearer {token}"})
        assert me.status_code == 200
        assert AuditLog.objects.filter(event_type="LOGIN").count() == 2

    @pytest.mark.parametrize("cache_is_away", [False, True])
    def test_takes_a_code_once(self, secret, pending, monkeypatch, cache_is_away):
        if cache_is_away:
            monkeypatch.setattr("config.cache.outage.is_on", lambda: True)
        code = another_code(secret)
        first = send("POST", "/auth/2fa/authenticate", {"code": code}, session=pending)
        other = log_in().json()["meta"]["session_token"]

        again = send("POST", "/auth/2fa/authenticate", {"code": code}, session=other)

        assert (first.status_code, again.status_code) == (200, 400)

    def test_takes_none_that_has_set_the_app_up(self, secret, pending, monkeypatch):
        monkeypatch.setattr("config.cache.outage.is_on", lambda: True)

        answer = send("POST", "/auth/2fa/authenticate", {"code": totp(secret)}, session=pending)

        assert answer.status_code == 400

    def test_takes_none_that_is_older_than_a_used_one(self, secret, pending):
        older = another_code(secret)
        newer = another_code(secret)
        first = send("POST", "/auth/2fa/authenticate", {"code": newer}, session=pending)
        other = log_in().json()["meta"]["session_token"]
        clock.now -= 30  # another server's clock, or one put back

        again = send("POST", "/auth/2fa/authenticate", {"code": older}, session=other)

        assert (first.status_code, again.status_code) == (200, 400)

    def test_takes_each_recovery_code_once(self, token, secret, pending):
        codes = send("GET", CODES, token=token).json()["data"]["unused_codes"]
        assert len(codes) == 10

        first = send("POST", "/auth/2fa/authenticate", {"code": codes[0]}, session=pending)
        other = log_in().json()["meta"]["session_token"]
        again = send("POST", "/auth/2fa/authenticate", {"code": codes[0]}, session=other)

        assert (first.status_code, again.status_code) == (200, 400)
        left = send("GET", CODES, token=token).json()["data"]
        assert left["unused_code_count"] == 9

    @pytest.mark.parametrize("code", ["", "000000", "1" * 300, "é" * 6, "12 345"])
    def test_refuses_other_codes(self, pending, code):
        answer = send("POST", "/auth/2fa/authenticate", {"code": code}, session=pending)

        assert answer.status_code == 400

    def test_is_refused_to_who_was_suspended_in_between(self, ann, secret, pending):
        type(ann).objects.update(status="suspended")

        answer = send(
            "POST", "/auth/2fa/authenticate", {"code": another_code(secret)}, session=pending
        )

        assert answer.status_code == 401
        assert "access_token" not in answer.json().get("meta", {})

    def test_that_waits_for_a_code_is_forgotten_with_its_customer(self, ann, secret, pending):
        assert Session.objects.filter(customer=ann).count() == 2  # that of the token as well

        privacy.erase_account(customer_id=ann.pk, at=timezone.now())

        assert not Session.objects.exists()

    @pytest.mark.parametrize("cached", [True, False])
    def test_lets_few_codes_be_tried(self, settings, monkeypatch, secret, pending, cached):
        settings.THROTTLE = True
        if not cached:
            monkeypatch.setattr("config.cache.outage.is_on", lambda: True)

        answers = [
            send("POST", "/auth/2fa/authenticate", {"code": f"{n:06}"}, session=pending).status_code
            for n in range(6)
        ]
        other = log_in().json()["meta"]["session_token"]
        elsewhere = send("POST", "/auth/2fa/authenticate", {"code": totp(secret)}, session=other)

        assert answers == [400] * 5 + [429]
        assert elsewhere.status_code == 429
        assert 1 <= int(elsewhere["Retry-After"]) <= 300


class TestReauthentication:
    def test_takes_a_code(self, token, secret):
        answer = send(
            "POST", "/auth/2fa/reauthenticate", {"code": another_code(secret)}, token=token
        )

        assert answer.status_code == 200

    def test_takes_a_code_once(self, token, secret, monkeypatch):
        monkeypatch.setattr("config.cache.outage.is_on", lambda: True)
        code = {"code": another_code(secret)}

        answers = [send("POST", "/auth/2fa/reauthenticate", code, token=token) for _ in range(2)]

        assert [answer.status_code for answer in answers] == [200, 400]

    def test_takes_no_wrong_one(self, token, secret):
        answer = send("POST", "/auth/2fa/reauthenticate", {"code": "000000"}, token=token)

        assert answer.status_code == 400

    def test_is_for_who_is_logged_in(self, secret):
        assert send("POST", "/auth/2fa/reauthenticate", {"code": "000000"}).status_code == 401


class TestDeactivation:
    def test_ends_the_sessions_of_staff_that_came_by_it(self, ann, token, secret):
        type(ann).objects.filter(pk=ann.pk).update(is_staff=True, is_superuser=True)
        ann.refresh_from_db()
        browser = Client()
        browser.force_login(ann)
        assert browser.get("/admin/").status_code == 200

        assert send("DELETE", TOTP, token=token).status_code == 200

        assert browser.get("/admin/").status_code == 302
        assert send("GET", TOTP, token=token).status_code == 404  # this session goes on

    def test_takes_the_recovery_codes_along(self, token, secret):
        answer = send("DELETE", TOTP, token=token)

        assert answer.status_code == 200
        assert not Authenticator.objects.exists()
        assert log_in().status_code == 200
        assert AuditLog.objects.filter(event_type="MFA_DEACTIVATED").count() == 1
        send("DELETE", TOTP, token=token)
        assert AuditLog.objects.filter(event_type="MFA_DEACTIVATED").count() == 1

    def test_wants_a_password_typed_lately(self, token, secret, settings):
        settings.ACCOUNT_REAUTHENTICATION_TIMEOUT = 0

        assert send("DELETE", TOTP, token=token).status_code == 401
        assert Authenticator.objects.count() == 2

    def test_is_not_another_customer_s_business(self, secret):
        factories.CustomerFactory(email="bob@example.com")
        theirs = send(
            "POST", "/auth/login", {"email": "bob@example.com", "password": factories.PASSWORD}
        ).json()["meta"]["access_token"]

        send("DELETE", TOTP, token=theirs)

        assert Authenticator.objects.count() == 2


class TestRecoveryCodes:
    def test_can_be_made_anew(self, token, secret):
        before = send("GET", CODES, token=token).json()["data"]["unused_codes"]

        answer = send("POST", CODES, {}, token=token)

        assert answer.status_code == 200
        assert not set(answer.json()["data"]["unused_codes"]) & set(before)
        assert AuditLog.objects.filter(event_type="RECOVERY_CODES_MADE").count() == 1
