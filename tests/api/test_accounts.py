"""Sign-up, log-in, tokens and the profile, as a storefront meets them."""

import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import unquote

import pytest
from allauth.account.models import EmailAddress, EmailConfirmationHMAC
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal import auth as totp
from django.core import mail
from django.db import connection
from django.test import Client

from audit import outbox
from audit.models import AuditLog, OutboxMessage
from customers.models import Customer, Session

pytestmark = pytest.mark.django_db

ACCOUNTS = "/_allauth/app/v1"
PASSWORD = "correct horse battery staple"
ANN = {"email": "ann@example.com", "password": PASSWORD, "first_name": "Ann", "last_name": "Lee"}


@pytest.fixture
def client():
    return Client(raise_request_exception=False)


def send(client, method, path, body=None, *, token=None, **headers):
    if token:
        headers["Authorization"] = f"Bearer {token}"
    content = body if isinstance(body, (bytes, str)) or body is None else json.dumps(body)
    response = client.generic(
        method, path, content or b"", content_type="application/json", headers=headers
    )
    assert response.status_code < 500, response.content
    return response


def sign_up(client, **fields):
    response = send(client, "POST", f"{ACCOUNTS}/auth/signup", {**ANN, **fields})
    assert response.status_code == 200, response.content
    return response.json()["meta"]


def deliver():
    """Have the worker send what is due, and hand out the letters."""
    mail.outbox.clear()
    outbox.relay()
    return list(mail.outbox)


def key_in_letter(*, to):
    (message,) = deliver()
    assert message.to == [to]
    return unquote(re.search(r"/account/verify-email/(\S+)", message.body)[1])


def verify(client, key, **headers):
    return send(client, "POST", f"{ACCOUNTS}/auth/email/verify", {"key": key}, **headers)


def add_email(client, email, *, token):
    send(client, "POST", f"{ACCOUNTS}/account/email", {"email": email}, token=token)


def log_in(client, *, email=ANN["email"], password=PASSWORD):
    return send(client, "POST", f"{ACCOUNTS}/auth/login", {"email": email, "password": password})


class TestSignUp:
    def test_answers_200_with_tokens_and_makes_an_audited_account(self, client):
        meta = sign_up(client, email="Ann@Example.com", first_name=" Zoe\u0308 ")

        customer = Customer.objects.get()
        assert customer.email == "ann@example.com"
        assert (customer.first_name, customer.last_name) == ("Zoë", "Lee")
        assert not customer.email_verified
        assert {"access_token", "refresh_token", "session_token"} <= meta.keys()
        assert set(AuditLog.objects.values_list("event_type", "entity_id")) == {
            ("CUSTOMER_CREATED", customer.pk),
            ("LOGIN", customer.pk),
        }

    def test_sends_a_link_to_the_storefront(self, client, settings):
        settings.ALLOWED_HOSTS = ["other.example"]
        client.defaults["HTTP_HOST"] = "other.example"
        sign_up(client)

        (message,) = deliver()
        assert "other.example" not in message.body
        assert message.to == ["ann@example.com"]
        assert re.search(r"http://127\.0\.0\.1:\d+/account/verify-email/\S+", message.body)

    def test_says_that_an_address_is_taken(self, client):
        sign_up(client)

        again = send(
            Client(), "POST", f"{ACCOUNTS}/auth/signup", {**ANN, "email": "ANN@example.com"}
        )

        assert again.status_code == 400
        assert again.json()["errors"][0]["code"] == "email_taken"
        assert Customer.objects.count() == 1

    @pytest.mark.parametrize("missing", ANN)
    def test_requires_every_field(self, client, missing):
        body = {name: value for name, value in ANN.items() if name != missing}

        response = send(client, "POST", f"{ACCOUNTS}/auth/signup", body)

        assert response.status_code == 400
        assert missing in json.dumps(response.json()["errors"])
        assert not Customer.objects.exists()

    @pytest.mark.parametrize(
        "fields",
        [
            {"email": "nul\x00@example.com"},
            {"email": "\ud800@example.com"},
            {"email": "a" * 300 + "@example.com"},
            {"email": 5},
            {"email": ["a@example.com"]},
            {"email": "a@example.com\nBcc: b@example.com"},
            {"password": "x" * 1_025},
            {"password": "a\x00bcdefgh1"},
            {"password": "\ud800abcdefgh1"},
            {"password": 1234567890},
            {"password": "short"},
            {"password": "password123"},
            {"first_name": "A" * 101},
            {"first_name": "\u202eAnn"},
            {"first_name": "4242 4242 4242 4242"},
            {"last_name": None},
            {"last_name": "   "},
        ],
    )
    def test_refuses_bad_input(self, client, fields):
        body = json.dumps({**ANN, **fields})

        assert send(client, "POST", f"{ACCOUNTS}/auth/signup", body).status_code == 400
        assert not Customer.objects.exists()

    @pytest.mark.parametrize(
        "body", ["", "{", "[]", "[" * 50_000, '{"email": ' + "9" * 5_000 + "}", '{"a":1,"a":2}']
    )
    @pytest.mark.parametrize("route", ["auth/signup", "auth/login", "tokens/refresh"])
    def test_survives_bodies_that_are_no_json(self, client, body, route):
        assert send(client, "POST", f"{ACCOUNTS}/{route}", body).status_code == 400

    def test_takes_json_alone(self, client):
        response = client.post(f"{ACCOUNTS}/auth/signup", ANN)

        assert response.status_code == 415

    def test_ignores_fields_that_are_not_for_the_client(self, client):
        sign_up(client, is_staff=True, is_superuser=True, status="active", email_verified=True)

        customer = Customer.objects.get()
        assert [customer.is_staff, customer.is_superuser, customer.email_verified] == [False] * 3


class TestLogIn:
    def test_gives_tokens(self, client):
        sign_up(client)

        response = log_in(Client())

        assert response.status_code == 200
        assert send(client, "GET", "/api/v1/me", token=response.json()["meta"]["access_token"])

    def test_answers_the_same_for_an_unknown_address_and_a_wrong_password(self, client):
        sign_up(client)

        unknown = log_in(client, email="bob@example.com", password="wrong password")
        wrong = log_in(client, password="wrong password")

        assert unknown.status_code == wrong.status_code == 400
        assert unknown.json() == wrong.json()

    def test_is_audited_without_the_address(self, client):
        sign_up(client)
        log_in(client, email="bob@example.com", password="wrong password")
        log_in(client, password="wrong password")

        failures = AuditLog.objects.filter(event_type="LOGIN_FAILED").order_by("pk")
        assert [failure.entity_id for failure in failures] == [None, Customer.objects.get().pk]
        assert "example" not in json.dumps([failure.data for failure in failures])

    @pytest.mark.parametrize("status", ["suspended", "inactive"])
    def test_is_401_for_a_customer_who_is_not_active(self, client, status):
        sign_up(client)
        Customer.objects.update(status=status)

        response = log_in(Client())

        assert response.status_code == 401
        assert "access_token" not in response.json().get("meta", {})


class TestStaff:
    def test_log_in_and_out_of_the_admin_is_audited(self, client):
        staff = Customer.objects.create_superuser(
            "staff@example.com", PASSWORD, first_name="Sam", last_name="Fox"
        )
        typed = {"username": staff.email, "password": PASSWORD, "next": "/admin/"}

        secret = totp.generate_totp_secret()
        totp.TOTP.activate(staff, secret)
        [now, *_] = totp.yield_hotp_counters_from_time()
        code = totp.format_hotp_value(totp.hotp_value(secret, now))

        client.post("/admin/login/", {**typed, "password": "wrong password"})
        client.post("/admin/login/", typed)
        response = client.post("/admin/login/code/", {"code": code})
        client.post("/admin/logout/")

        assert response.status_code == 302
        assert response.cookies["sessionid"]["httponly"]
        assert response.cookies["sessionid"]["samesite"] == "Lax"
        events = AuditLog.objects.filter(entity_id=staff.pk).order_by("pk")
        assert [event.event_type for event in events] == ["LOGIN_FAILED", "LOGIN", "LOGOUT"]

    def test_a_cookie_of_the_admin_opens_nothing_in_the_api(self, client):
        staff = Customer.objects.create_superuser(
            "staff@example.com", PASSWORD, first_name="Sam", last_name="Fox"
        )
        client.force_login(staff)

        assert client.get("/api/v1/me").status_code == 401


class TestAccessToken:
    def test_is_needed(self, client):
        response = send(client, "GET", "/api/v1/me")

        assert response.status_code == 401
        assert response["WWW-Authenticate"] == "Bearer"
        assert response.json()["error"]["code"] == "NOT_AUTHENTICATED"

    @pytest.mark.parametrize(
        "header",
        [
            "Bearer",
            "Bearer ",
            "Bearer x",
            "Bearer a.b.c",
            "Bearer é",
            "Basic YTpi",
            "Token x",
            # {"alg": "none"} with claims
            "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIiwidG9rZW5fdXNlIjoiYWNjZXNzIn0.",
        ],
    )
    def test_that_is_bad_is_401(self, client, header):
        response = client.get("/api/v1/me", headers={"Authorization": header})

        assert response.status_code == 401
        assert response.json()["error"]["code"] == "NOT_AUTHENTICATED"

    def test_in_the_url_is_ignored(self, client):
        token = sign_up(client)["access_token"]

        assert send(client, "GET", f"/api/v1/me?access_token={token}").status_code == 401

    def test_reads_customer_and_session_in_one_query(self, client, django_assert_num_queries):
        token = sign_up(client)["access_token"]

        with django_assert_num_queries(1):
            assert send(client, "GET", "/api/v1/me", token=token).status_code == 200

    def test_is_not_a_refresh_token(self, client):
        meta = sign_up(client)

        assert send(client, "GET", "/api/v1/me", token=meta["refresh_token"]).status_code == 401
        renewed = send(
            Client(), "POST", f"{ACCOUNTS}/tokens/refresh", {"refresh_token": meta["refresh_token"]}
        )
        token = renewed.json()["data"]["access_token"]
        assert send(client, "GET", "/api/v1/me", token=token).status_code == 200

    def test_is_worth_nothing_after_log_out(self, client):
        token = sign_up(client)["access_token"]

        send(client, "DELETE", f"{ACCOUNTS}/auth/session", token=token)

        assert send(client, "GET", "/api/v1/me", token=token).status_code == 401
        assert AuditLog.objects.filter(event_type="LOGOUT").count() == 1

    def test_is_worth_nothing_after_a_change_of_password(self, client):
        token = sign_up(client)["access_token"]
        elsewhere = log_in(Client()).json()["meta"]["access_token"]
        body = {"current_password": PASSWORD, "new_password": "another good passphrase"}

        send(client, "POST", f"{ACCOUNTS}/account/password/change", body, token=token)

        assert send(client, "GET", "/api/v1/me", token=token).status_code == 401
        assert send(client, "GET", "/api/v1/me", token=elsewhere).status_code == 401
        assert log_in(Client(), password="another good passphrase").status_code == 200
        assert AuditLog.objects.filter(event_type="PASSWORD_CHANGED").count() == 1

    def test_is_worth_nothing_after_a_reset_of_the_password(self, client):
        token = sign_up(client)["access_token"]
        deliver()
        send(Client(), "POST", f"{ACCOUNTS}/auth/password/request", {"email": ANN["email"]})
        (message,) = deliver()
        key = re.search(r"/account/password/reset/key/(\S+)", message.body)[1]

        body = {"key": key, "password": "another good passphrase"}
        send(Client(), "POST", f"{ACCOUNTS}/auth/password/reset", body)

        assert send(client, "GET", "/api/v1/me", token=token).status_code == 401
        assert log_in(Client(), password="another good passphrase").status_code == 200
        again = send(Client(), "POST", f"{ACCOUNTS}/auth/password/reset", body)
        assert again.status_code == 400

    def test_of_an_erased_customer_is_worth_nothing(self, client):
        token = sign_up(client)["access_token"]
        Customer.objects.get().delete()

        assert send(client, "GET", "/api/v1/me", token=token).status_code == 401
        assert send(client, "PATCH", "/api/v1/me", {}, token=token).status_code == 401

    @pytest.mark.parametrize("status", ["suspended", "inactive"])
    def test_of_a_customer_who_is_not_active_only_reads(self, client, status):
        token = sign_up(client)["access_token"]
        Customer.objects.update(status=status)

        write = send(client, "PATCH", "/api/v1/me", {"version": 1}, token=token)

        assert send(client, "GET", "/api/v1/me", token=token).status_code == 200
        assert write.status_code == 403
        assert write.json()["error"]["code"] == "INACTIVE_CUSTOMER"

    def test_says_who_asked_in_the_audit_log(self, client):
        token = sign_up(client)["access_token"]

        send(
            client,
            *("PATCH", "/api/v1/me", {"version": 1, "first_name": "Anna"}),
            token=token,
            **{"X-Request-ID": "req-1", "User-Agent": "shop\x1b[31m/1.0"},
        )

        row = AuditLog.objects.get(event_type="CUSTOMER_UPDATED")
        customer = Customer.objects.get()
        assert (row.user_id, row.entity_id, row.request_id) == (customer.pk, customer.pk, "req-1")
        assert (row.ip_address, row.user_agent) == ("127.0.0.1", "shop?[31m/1.0")
        assert row.data == {"fields": ["first_name"], "version": 2}

    def test_keeps_each_word_of_consent_to_marketing_and_tells_it(self, client):
        token = sign_up(client)["access_token"]

        for version, consents in ((1, True), (2, False)):
            send(
                client,
                *("PATCH", "/api/v1/me", {"version": version, "marketing_consent": consents}),
                token=token,
            )

        words = AuditLog.objects.filter(event_type__startswith="MARKETING").order_by("pk")
        assert list(words.values_list("event_type", flat=True)) == [
            "MARKETING_CONSENT_GIVEN",
            "MARKETING_CONSENT_WITHDRAWN",
        ]
        facts = OutboxMessage.objects.filter(fact="customer.marketing_consent_changed")
        assert [fact.payload["marketing_consent"] for fact in facts.order_by("pk")] == [True, False]


class TestVerification:
    def test_marks_the_account(self, client):
        sign_up(client)
        (message,) = deliver()
        key = unquote(re.search(r"/account/verify-email/(\S+)", message.body)[1])

        send(Client(), "POST", f"{ACCOUNTS}/auth/email/verify", {"key": key})

        assert Customer.objects.get().email_verified


class TestAnAccountOfWhoeverCameFirst:
    """Mallory signs up with Ann's address before Ann does, and would like to stay."""

    MALLORYS = "mallory@example.net"

    @pytest.fixture
    def token(self, client):
        return sign_up(client)["access_token"]

    @pytest.fixture
    def key(self, client, token):
        """From the letter to the address that Mallory has added."""
        deliver()
        add_email(client, self.MALLORYS, token=token)
        return key_in_letter(to=self.MALLORYS)

    def reset(self, email):
        send(Client(), "POST", f"{ACCOUNTS}/auth/password/request", {"email": email})
        (message,) = deliver()
        assert message.to == [email]
        key = unquote(re.search(r"/reset/key/(\S+)", message.body)[1])
        body = {"key": key, "password": "a new one of the owner's"}
        return send(Client(), "POST", f"{ACCOUNTS}/auth/password/reset", body)

    def test_takes_the_address_that_is_verified_and_frees_the_other(self, client, token, key):
        assert verify(client, key, token=token).status_code == 200

        mallory = Customer.objects.get()
        assert (mallory.email, mallory.email_verified) == (self.MALLORYS, True)
        kept = EmailAddress.objects.values_list("email", "primary", "verified")
        assert list(kept) == [(self.MALLORYS, True, True)]
        assert AuditLog.objects.filter(event_type="CUSTOMER_EMAIL_CHANGED").count() == 1
        profile = send(client, "GET", "/api/v1/me", token=token).json()
        assert (profile["email"], profile["version"]) == (self.MALLORYS, 2)
        sign_up(Client())
        assert Customer.objects.get(email=ANN["email"]) != mallory

    def test_changes_nothing_if_somebody_has_signed_up_with_that_address(self, client, token, key):
        Customer.objects.create_user(self.MALLORYS, first_name="Bob", last_name="Ray")

        answer = verify(client, key, token=token)

        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, "email_taken")
        assert not EmailAddress.objects.filter(verified=True).exists()
        assert Customer.objects.filter(email=ANN["email"], email_verified=False).exists()

    def test_is_left_to_the_owner_who_resets_its_password(self, client, token, key):
        mallory = Customer.objects.get()
        Authenticator.objects.create(user=mallory, type=Authenticator.Type.TOTP, data={})

        assert self.reset(ANN["email"]).status_code == 401  # log in, please

        assert EmailAddress.objects.get().email == ANN["email"]
        assert not Authenticator.objects.exists()
        assert not Session.objects.filter(customer=mallory).exists()
        assert verify(Client(), key).status_code == 400
        deliver()
        send(Client(), "POST", f"{ACCOUNTS}/auth/password/request", {"email": self.MALLORYS})
        assert deliver() == []

    def test_keeps_both_addresses_of_who_has_verified_the_first(self, client, token):
        verify(client, key_in_letter(to=ANN["email"]))
        add_email(client, self.MALLORYS, token=token)
        verify(client, key_in_letter(to=self.MALLORYS))

        self.reset(ANN["email"])

        assert EmailAddress.objects.filter(verified=True).count() == 2

    def test_gets_no_address_back_that_is_removed_meanwhile(self, client, monkeypatch, key):
        confirm = EmailConfirmationHMAC.confirm

        def confirm_late(confirmation, request):
            EmailAddress.objects.get(email=self.MALLORYS).delete()
            return confirm(confirmation, request)

        monkeypatch.setattr(EmailConfirmationHMAC, "confirm", confirm_late)

        assert verify(Client(), key).status_code == 409
        assert not EmailAddress.objects.filter(verified=True).exists()


class TestChangeOfAddress:
    NEW = "new@example.com"

    @pytest.fixture
    def token(self, client):
        """Of a customer who has two verified addresses."""
        token = sign_up(client)["access_token"]
        verify(client, key_in_letter(to=ANN["email"]))
        add_email(client, self.NEW, token=token)
        verify(client, key_in_letter(to=self.NEW))
        assert Customer.objects.get().email == ANN["email"]
        return token

    def make_primary(self, client, token):
        body = {"email": self.NEW, "primary": True}
        return send(client, "PATCH", f"{ACCOUNTS}/account/email", body, token=token)

    def test_reaches_the_account(self, client, token):
        assert self.make_primary(client, token).status_code == 200

        customer = Customer.objects.get()
        assert (customer.email, customer.email_verified) == (self.NEW, True)
        assert AuditLog.objects.filter(event_type="CUSTOMER_EMAIL_CHANGED").count() == 1
        assert log_in(Client(), email=self.NEW).status_code == 200

    def test_has_failed_log_ins_under_either_address_audited_to_the_account(self, token):
        for email in (ANN["email"], self.NEW):
            assert log_in(Client(), email=email, password="wrong password").status_code == 400

        rows = AuditLog.objects.filter(event_type="LOGIN_FAILED")
        assert [row.entity_id for row in rows] == [Customer.objects.get().pk] * 2

    def test_wants_a_password_typed_lately(self, client, token, settings):
        settings.ACCOUNT_REAUTHENTICATION_TIMEOUT = 0
        assert self.make_primary(client, token).status_code == 401

        settings.ACCOUNT_REAUTHENTICATION_TIMEOUT = 300
        assert self.make_primary(client, token).status_code == 200

    def test_changes_nothing_when_the_address_is_somebody_else_s(self, client, token):
        Customer.objects.create_user(self.NEW, first_name="Bob", last_name="Ray")

        response = self.make_primary(client, token)

        assert response.status_code == 400
        assert response.json()["errors"][0]["code"] == "email_taken"
        primary = EmailAddress.objects.get(user__email=ANN["email"], primary=True)
        assert primary.email == ANN["email"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.concurrency
class TestSignUpAtOnce:
    def test_makes_one_account(self):
        barrier = threading.Barrier(6)

        def attempt(_):
            try:
                barrier.wait(timeout=30)
                return send(Client(), "POST", f"{ACCOUNTS}/auth/signup", ANN).status_code
            finally:
                connection.close()

        with ThreadPoolExecutor(6) as pool:
            answers = sorted(pool.map(attempt, range(6)))

        assert answers == [200, 400, 400, 400, 400, 400]
        assert Customer.objects.count() == 1


class TestProfile:
    def test_has_the_fields_of_the_contract(self, client):
        token = sign_up(client)["access_token"]

        profile = send(client, "GET", "/api/v1/me", token=token).json()

        assert profile == {
            "id": Customer.objects.get().pk,
            "email": "ann@example.com",
            "email_verified": False,
            "first_name": "Ann",
            "last_name": "Lee",
            "phone": None,
            "date_of_birth": None,
            "marketing_consent": False,
            "version": 1,
            "created_at": profile["created_at"],
        }
        assert profile["created_at"].endswith("Z")

    def test_changes_with_its_version(self, client):
        token = sign_up(client)["access_token"]
        changes = {
            "first_name": "Anna",
            "phone": "+1 212 555 0100",
            "date_of_birth": "1990-12-31",
            "marketing_consent": True,
        }

        response = send(client, "PATCH", "/api/v1/me", {**changes, "version": 1}, token=token)

        assert response.status_code == 200
        assert {**response.json(), **changes, "version": 2} == response.json()

    def test_refuses_a_stale_version_and_changes_nothing(self, client):
        token = sign_up(client)["access_token"]
        send(client, "PATCH", "/api/v1/me", {"version": 1, "last_name": "Day"}, token=token)

        stale = send(client, "PATCH", "/api/v1/me", {"version": 1, "last_name": "May"}, token=token)

        assert stale.status_code == 409
        assert stale.json()["error"]["code"] == "EDIT_CONFLICT"
        assert stale.json()["error"]["details"] == {"version": 2}
        assert Customer.objects.get().last_name == "Day"

    @pytest.mark.parametrize(
        "field",
        [
            {"email": "new@example.com"},
            {"is_staff": True},
            {"status": "active"},
            {"first_name": ""},
            {"first_name": None},
            {"first_name": "A\nB"},
            {"phone": "call me"},
            {"phone": "1" * 21},
            {"date_of_birth": "2190-01-01"},
            {"date_of_birth": "1066-10-14"},
            {"marketing_consent": "true"},
            {"version": "1"},
            {"version": 1.0},
            {"version": None},
            {"version": 2**63},
        ],
    )
    def test_refuses_bad_input_by_name(self, client, field):
        token = sign_up(client)["access_token"]

        response = send(client, "PATCH", "/api/v1/me", {"version": 1, **field}, token=token)

        assert response.status_code == 400
        assert response.json()["error"]["code"] == "VALIDATION_FAILED"
        assert set(response.json()["error"]["details"]) == set(field)
        assert Customer.objects.get().version == 1
