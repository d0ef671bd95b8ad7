"""Tokens that somebody has made up, kept too long, or sent where they do not belong."""

import base64
import json
import time
import uuid
from datetime import timedelta

import jwt
import pytest
from allauth.headless.tokens.strategies.jwt import internal as tokens
from django.conf import settings
from django.test import Client
from django.utils import timezone

from customers import tasks
from customers.models import Session
from customers.sessions import SessionStore
from tests import factories
from tests.shop import Shopper, access_token

pytestmark = pytest.mark.django_db

ACCOUNTS = "/_allauth/app/v1"


@pytest.fixture
def ann():
    return factories.CustomerFactory(email="ann@example.com")


@pytest.fixture
def claims(ann):
    """Those of a good token."""
    return tokens.decode_token(access_token(ann), "access")


def sign(claims, *, key=None, algorithm="HS256", **headers):
    return jwt.encode(
        claims, key or settings.HEADLESS_JWT_PRIVATE_KEY, algorithm=algorithm, headers=headers
    )


def me(token):
    return Client().get("/api/v1/me", headers={"Authorization": f"Bearer {token}"})


def part(data):
    return base64.urlsafe_b64encode(json.dumps(data).encode()).rstrip(b"=").decode()


def log_in(email="ann@example.com"):
    body = {"email": email, "password": factories.PASSWORD}
    return Client().post(f"{ACCOUNTS}/auth/login", body, "application/json")


class TestAMadeUpToken:
    def test_of_ours_is_good(self, claims):
        assert me(sign(claims)).status_code == 200

    @pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE"])
    def test_without_signature_is_401(self, claims, algorithm):
        bare = f"{part({'alg': algorithm, 'typ': 'JWT'})}.{part(claims)}."

        assert me(bare).status_code == 401

    def test_under_another_key_or_algorithm_is_401(self, claims):
        good = sign(claims)
        _, payload, signature = good.split(".")

        assert me(sign(claims, key="x" * 64)).status_code == 401
        assert me(sign(claims, key=settings.SECRET_KEY + "x" * 32)).status_code == 401
        assert me(sign(claims, algorithm="HS512")).status_code == 401
        forged = part({"alg": "RS256", "typ": "JWT"})
        assert me(f"{forged}.{payload}.{signature}").status_code == 401

    @pytest.mark.parametrize("kid", ["../../../dev/null", "' OR 1=1 --", "https://evil.example/"])
    def test_that_names_a_key_is_checked_with_ours_all_the_same(self, claims, kid):
        assert me(sign(claims, key="x" * 64, kid=kid, jku=kid)).status_code == 401

    @pytest.mark.parametrize(
        "changes",
        [
            {"exp": 0},
            {"exp": "soon"},
            {"nbf": int(time.time()) + 3_600},
            {"iat": int(time.time()) + 3_600},
            {"token_use": "refresh"},
            {"token_use": None},
            {"sub": "0"},
            {"sub": "x"},
            {"sub": None},
            {"sub": "9" * 40},
            {"sid": ""},
            {"sid": "!"},
            {"sid": None},
            {"jti": None},
            {"aud": "somebody else"},
        ],
    )
    def test_with_other_claims_is_401(self, claims, changes):
        told = me(sign({**claims, **changes}))

        assert told.status_code == (200 if "aud" in changes else 401)
        if told.status_code == 401:
            assert told.json()["error"]["code"] == "NOT_AUTHENTICATED"

    def test_of_another_customer_s_session_is_401(self, claims):
        other = factories.CustomerFactory()

        assert me(sign({**claims, "sub": str(other.pk)})).status_code == 401

    def test_with_a_changed_payload_is_401(self, claims):
        header, _, signature = sign(claims).split(".")
        other = part({**claims, "sub": "1"})

        assert me(f"{header}.{other}.{signature}").status_code == 401

    def test_does_not_show_the_session_s_key(self, claims):
        (session,) = Session.objects.all()

        assert session.session_key not in json.dumps(claims)


class TestASession:
    def test_is_another_one_after_log_in(self, ann):
        before = SessionStore()
        before["visited"] = True
        before.save()

        answer = Client().post(
            f"{ACCOUNTS}/auth/login",
            {"email": ann.email, "password": factories.PASSWORD},
            "application/json",
            headers={"X-Session-Token": before.session_key},
        )

        assert answer.status_code == 200
        assert answer.json()["meta"]["session_token"] != before.session_key
        assert not SessionStore().exists(before.session_key)

    def test_that_a_stranger_has_chosen_is_not_opened(self, ann):
        chosen = uuid.uuid4().hex

        answer = Client().post(
            f"{ACCOUNTS}/auth/login",
            {"email": ann.email, "password": factories.PASSWORD},
            "application/json",
            headers={"X-Session-Token": chosen},
        )

        assert answer.status_code == 410
        assert not SessionStore().exists(chosen)

    def test_is_over_at_log_out_refresh_token_included(self, ann):
        meta = log_in().json()["meta"]
        headers = {"Authorization": f"Bearer {meta['access_token']}"}

        Client().delete(f"{ACCOUNTS}/auth/session", headers=headers)

        assert me(meta["access_token"]).status_code == 401
        renewed = Client().post(
            f"{ACCOUNTS}/tokens/refresh",
            {"refresh_token": meta["refresh_token"]},
            "application/json",
        )
        assert renewed.status_code == 400

    @pytest.mark.parametrize("status", ["suspended", "inactive"])
    def test_of_a_customer_who_is_suspended_gives_no_fresh_token(self, ann, status):
        meta = log_in().json()["meta"]
        type(ann).objects.update(status=status)

        renewed = Client().post(
            f"{ACCOUNTS}/tokens/refresh",
            {"refresh_token": meta["refresh_token"]},
            "application/json",
        )

        assert renewed.status_code == 400
        assert me(meta["access_token"]).status_code == 200  # reads stay possible while it lives

    def test_of_a_customer_who_is_suspended_changes_no_account(self, ann):
        meta = log_in().json()["meta"]
        type(ann).objects.update(status="suspended")

        answer = Client().post(
            f"{ACCOUNTS}/account/password/change",
            {"current_password": factories.PASSWORD, "new_password": "another good passphrase"},
            "application/json",
            headers={"X-Session-Token": meta["session_token"]},
        )

        assert answer.status_code == 401
        ann.refresh_from_db()
        assert ann.check_password(factories.PASSWORD)


class TestSessionsThatAreOver:
    def test_are_forgotten_however_many(self, ann, monkeypatch, django_assert_num_queries):
        monkeypatch.setattr(tasks, "SESSIONS_AT_ONCE", 2)
        for _ in range(4):
            access_token(ann)
        living = Session.objects.order_by("pk").last()
        now = timezone.now()
        Session.objects.exclude(pk=living.pk).update(expire_date=now - timedelta(seconds=1))

        with django_assert_num_queries(2):  # two at a time
            tasks.forget_dead_sessions()

        assert Session.objects.get() == living

    def test_are_forgotten_each_hour(self):
        (entry,) = (
            entry
            for entry in settings.CELERY_BEAT_SCHEDULE.values()
            if entry["task"] == tasks.forget_dead_sessions.name
        )

        assert entry["schedule"] == timedelta(hours=1)


class TestAnAnswer:
    @pytest.mark.parametrize("path", ["/auth/password/reset", "/auth/session", "/auth/login"])
    def test_of_an_account_route_is_not_stored_and_sends_no_referrer(self, ann, path):
        answer = Client().get(f"{ACCOUNTS}{path}", headers={"X-Password-Reset-Key": "1-abc"})

        assert "no-store" in answer["Cache-Control"]
        assert answer["Referrer-Policy"] == "no-referrer"

    def test_is_not_given_to_a_key_in_the_url(self, ann):
        token = access_token(ann)

        assert Client().get(f"/api/v1/me?token={token}").status_code == 401
        assert Client().get(f"{ACCOUNTS}/auth/session?session_token={token}").status_code == 401

    def test_is_given_to_nobody_for_somebody_else_s_cookie(self, ann):
        client = Client()
        client.force_login(ann)

        assert client.get(f"{ACCOUNTS}/auth/session").status_code == 401
        assert client.post("/api/v1/me/addresses", {}, "application/json").status_code == 401
        assert Shopper(ann).get("/me").status_code == 200
