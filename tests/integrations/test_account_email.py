"""Letters about accounts: through the outbox, with keys that are made when they are sent."""

import email.policy
import json
import re
import time
from datetime import datetime, timedelta
from urllib.parse import unquote

import pytest
from allauth.account.forms import EmailAwarePasswordResetTokenGenerator
from allauth.account.models import EmailAddress
from django.core import mail, signing
from django.core.signing import b62_encode
from django.test import Client
from django.utils import timezone

from audit import outbox
from audit.models import Delivery, OutboxMessage
from customers import adapter
from customers import mail as mail_facts
from customers.models import Customer

pytestmark = pytest.mark.django_db

ACCOUNTS = "/_allauth/app/v1"
PASSWORD = "correct horse battery staple"
NEW_PASSWORD = "another good passphrase"
ANN = {"email": "ann@example.com", "password": PASSWORD, "first_name": "Ann", "last_name": "Lee"}
VERIFY = r"http://127\.0\.0\.1:\d+/account/verify-email/(\S+)"
RESET = r"http://127\.0\.0\.1:\d+/account/password/reset/key/(\S+)"


def send(method, path, body=None, *, token=None):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return Client().generic(
        method,
        f"{ACCOUNTS}{path}",
        json.dumps(body or {}),
        content_type="application/json",
        headers=headers,
    )


def sign_up(**fields):
    answer = send("POST", "/auth/signup", {**ANN, **fields})
    assert answer.status_code == 200, answer.content
    return answer.json()["meta"]["access_token"]


def deliver():
    mail.outbox.clear()
    outbox.relay()
    return list(mail.outbox)


def key_in(message, pattern):
    return unquote(re.search(pattern, message.body)[1])


def request_reset(address=ANN["email"]):
    assert send("POST", "/auth/password/request", {"email": address}).status_code == 200


def reset(key, password=NEW_PASSWORD):
    return send("POST", "/auth/password/reset", {"key": key, "password": password})


def facts():
    return list(
        OutboxMessage.objects.filter(fact__startswith="account.")
        .order_by("pk")
        .values_list("fact", flat=True)
    )


class TestEveryLetter:
    def test_is_sent_by_the_worker_and_not_by_the_request(self):
        sign_up()

        assert mail.outbox == []
        (message,) = deliver()
        assert message.to == [ANN["email"]]
        assert message.subject.isascii()
        assert deliver() == []

    def test_leaves_no_address_and_no_key_in_the_outbox(self):
        sign_up()
        request_reset()
        keys = [re.search(r"/([^/\s]{10,})$", letter.body, re.MULTILINE)[1] for letter in deliver()]

        held = str(list(OutboxMessage.objects.values())) + str(list(Delivery.objects.values()))

        assert len(keys) == 2
        assert "example.com" not in held
        assert not [key for key in keys if key in held or unquote(key) in held]

    def test_says_the_same_as_text_and_as_html(self):
        sign_up()

        (message,) = deliver()

        html = message.alternatives[0].content
        link = re.search(VERIFY, message.body)[0]
        assert f'href="{link}"' in html
        assert "Confirm this address" in html
        assert "Confirm this address" in message.body

    def test_repeats_nothing_that_a_stranger_typed(self):
        sign_up(first_name="Win money at evil dot example", last_name="<b>Now</b>")

        (message,) = deliver()

        assert "evil" not in message.body + message.alternatives[0].content

    def test_is_tried_again_while_the_mail_server_is_away(self, settings):
        locmem = settings.EMAIL_BACKEND
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1

        sign_up()
        assert deliver() == []
        waiting = Delivery.objects.get(message__fact="account.verification_requested")
        assert (waiting.status, waiting.attempts) == ("pending", 1)
        assert "example" not in waiting.last_error

        settings.EMAIL_BACKEND = locmem
        outbox.retry()
        assert len(deliver()) == 1

    def test_can_be_read_as_a_file_where_there_is_no_mail_server(self, settings, tmp_path):
        settings.EMAIL_BACKEND = "integrations.email.backend.EmlFileBackend"
        settings.MAIL_DIR = tmp_path
        sign_up()

        outbox.relay()

        (file,) = tmp_path.glob("*.eml")
        read = email.message_from_bytes(file.read_bytes(), policy=email.policy.default)
        assert (read["To"], read["Subject"]) == (ANN["email"], "Confirm your e-mail address")
        assert re.search(VERIFY, read.get_body(("plain",)).get_content())

    def test_goes_to_nobody_where_the_account_is_gone(self):
        sign_up()
        Customer.objects.all().delete()

        assert deliver() == []
        assert Delivery.objects.get().last_error == "not sent: there is no such account"


class TestVerification:
    def test_is_good_once(self):
        sign_up()
        (message,) = deliver()
        key = key_in(message, VERIFY)

        first = send("POST", "/auth/email/verify", {"key": key})
        again = send("POST", "/auth/email/verify", {"key": key})

        assert first.status_code in {200, 401}  # verified; 401 says that this did not log in
        assert again.status_code == 400
        assert Customer.objects.get().email_verified

    def test_is_not_asked_for_again_once_it_is_done(self):
        sign_up()
        EmailAddress.objects.update(verified=True)

        assert deliver() == []
        assert Delivery.objects.get().last_error == "not sent: the address is verified"

    def test_counts_its_three_days_from_the_sending(self):
        sign_up()
        OutboxMessage.objects.update(occurred_at=timezone.now() - timedelta(days=10))
        (message,) = deliver()

        assert send("POST", "/auth/email/verify", {"key": key_in(message, VERIFY)})
        assert Customer.objects.get().email_verified

    @pytest.mark.parametrize("wrong", ["x", "MQ:1abc:def", "", "../../../etc"])
    def test_refuses_other_keys(self, wrong):
        sign_up()

        assert send("POST", "/auth/email/verify", {"key": wrong}).status_code == 400
        assert not Customer.objects.get().email_verified

    @pytest.mark.parametrize(
        ("age", "is_good"),
        [(timedelta(days=2, hours=23), True), (timedelta(days=3, minutes=1), False)],
    )
    def test_runs_out(self, monkeypatch, age, is_good):
        sign_up()
        sent_at = int(time.time() - age.total_seconds())
        monkeypatch.setattr(signing.TimestampSigner, "timestamp", lambda _: b62_encode(sent_at))
        (message,) = deliver()
        monkeypatch.undo()

        answer = send("POST", "/auth/email/verify", {"key": key_in(message, VERIFY)})

        assert (answer.status_code != 400) is is_good
        assert Customer.objects.get().email_verified is is_good


class TestReset:
    @pytest.fixture
    def token(self):
        token = sign_up()
        deliver()
        return token

    def asked_key(self):
        request_reset()
        (message,) = deliver()
        assert message.to == [ANN["email"]]
        return key_in(message, RESET)

    def test_key_works_once(self, token):
        key = self.asked_key()

        assert reset(key).status_code != 400
        assert reset(key, "yet another passphrase").status_code == 400
        assert Customer.objects.get().check_password(NEW_PASSWORD)

    @pytest.mark.parametrize(("minutes", "is_good"), [(59, True), (61, False)])
    def test_key_lives_for_an_hour_from_the_sending(self, token, monkeypatch, minutes, is_good):
        request_reset()
        OutboxMessage.objects.update(occurred_at=timezone.now() - timedelta(hours=5))
        (message,) = deliver()
        later = datetime.now() + timedelta(minutes=minutes)  # noqa: DTZ005 - as Django counts
        monkeypatch.setattr(EmailAwarePasswordResetTokenGenerator, "_now", lambda _: later)

        assert (reset(key_in(message, RESET)).status_code != 400) is is_good

    def test_key_is_dead_after_a_change_of_password(self, token):
        key = self.asked_key()
        changed = {"current_password": PASSWORD, "new_password": "yet another passphrase"}
        send("POST", "/account/password/change", changed, token=token)

        assert reset(key).status_code == 400

    def test_key_is_dead_after_a_change_of_address(self, token):
        key = self.asked_key()
        send("POST", "/account/email", {"email": "new@example.com"}, token=token)

        assert reset(key).status_code == 400

    def test_key_is_dead_after_a_log_in(self, token):
        Customer.objects.update(last_login=timezone.now() - timedelta(minutes=5))
        key = self.asked_key()
        send("POST", "/auth/login", {"email": ANN["email"], "password": PASSWORD})

        assert reset(key).status_code == 400

    def test_key_of_one_account_opens_no_other(self, token):
        key = self.asked_key()
        sign_up(email="bob@example.com")
        other = Customer.objects.get(email="bob@example.com")
        uid, _, rest = key.partition("-")
        assert uid != str(other.pk)

        assert reset(f"{other.pk}-{rest}").status_code == 400
        assert other.check_password(PASSWORD)

    def test_ends_every_session_and_logs_nobody_in(self, token):
        answer = reset(self.asked_key())

        assert answer.status_code == 401
        assert "access_token" not in answer.json().get("meta", {})
        me = Client().get("/api/v1/me", headers={"Authorization": f"Bearer {token}"})
        assert me.status_code == 401

    @pytest.mark.parametrize("hash_", ["4242424242424242", "a4242-4242-4242-4242b"])
    def test_takes_a_key_that_has_the_digits_of_a_card_number_for_a_key(self, token, hash_):
        """One in some hundreds has: it is made by chance."""
        answer = reset(f"1-d9v1x2-{hash_}")

        assert answer.status_code == 400
        assert answer.json()["errors"][0]["code"] == "invalid_password_reset"

    @pytest.mark.parametrize("key", ["\x00", "1-d9v1x2-\x00", "a\nb"])
    def test_a_key_with_control_characters_is_none(self, token, key):
        assert reset(key).status_code == 400

    def test_wants_a_good_password(self, token):
        key = self.asked_key()

        assert reset(key, "short").status_code == 400
        assert reset(key, "password123").status_code == 400
        assert reset(key, "x" * 1_025).status_code == 400
        assert reset(key).status_code != 400

    @pytest.mark.parametrize("status", ["suspended", "inactive"])
    def test_is_not_sent_to_a_customer_who_is_not_active(self, token, status):
        Customer.objects.update(status=status)

        request_reset()

        assert deliver() == []

    def test_does_not_activate_who_was_suspended_meanwhile(self, token):
        key = self.asked_key()
        Customer.objects.update(status="suspended")

        reset(key)

        assert Customer.objects.get().status == "suspended"
        logged_in = send("POST", "/auth/login", {"email": ANN["email"], "password": NEW_PASSWORD})
        assert logged_in.status_code == 401

    def test_writes_to_nobody_for_an_address_without_account(self, token):
        request_reset("stranger@example.com")

        assert deliver() == []
        told = Delivery.objects.get(message__aggregate_id=0)
        assert told.last_error == "not sent: there is no such account"


class TestNotices:
    @pytest.fixture
    def token(self):
        token = sign_up()
        deliver()
        return token

    def test_tell_of_a_changed_password(self, token):
        changed = {"current_password": PASSWORD, "new_password": NEW_PASSWORD}
        send("POST", "/account/password/change", changed, token=token)

        (message,) = deliver()
        assert (message.to, message.subject) == ([ANN["email"]], "Your password was changed")

    def test_tell_of_a_reset_password(self, token):
        request_reset()
        (message,) = deliver()
        reset(key_in(message, RESET))

        (notice,) = deliver()
        assert (notice.to, notice.subject) == ([ANN["email"]], "Your password was changed")

    def test_tell_the_former_address_of_a_changed_one(self, token):
        new = "new@example.com"
        Customer.objects.update(email_verified=True)
        EmailAddress.objects.update(verified=True)
        send("POST", "/account/email", {"email": new}, token=token)
        (message,) = deliver()
        send("POST", "/auth/email/verify", {"key": key_in(message, VERIFY)}, token=token)
        deliver()

        send("PATCH", "/account/email", {"email": new, "primary": True}, token=token)

        (notice,) = deliver()
        assert (notice.to, notice.subject) == ([ANN["email"]], "Your e-mail address was changed")
        assert new not in notice.body

    def test_tell_no_address_that_nobody_had_verified(self, token):
        send("POST", "/account/email", {"email": "new@example.com"}, token=token)
        (message,) = deliver()

        send("POST", "/auth/email/verify", {"key": key_in(message, VERIFY)}, token=token)

        assert Customer.objects.get().email == "new@example.com"
        assert deliver() == []

    def test_go_to_no_other_address_than_the_one_they_are_about(self, token):
        customer = Customer.objects.get()
        mail_facts.announce("account.email_changed", customer_id=customer.pk, email_address_id=0)

        assert deliver() == []
        told = Delivery.objects.get(message__fact="account.email_changed")
        assert told.last_error == "not sent: the address was removed"

    def test_are_not_sent_of_what_did_not_happen(self, token):
        changed = {"current_password": "wrong password", "new_password": NEW_PASSWORD}
        assert send("POST", "/account/password/change", changed, token=token).status_code == 400

        assert deliver() == []


class TestSignUp:
    def test_states_its_letter_with_the_account_or_not_at_all(self, monkeypatch):
        def die(*_args, **_kwargs):
            raise RuntimeError("died")

        monkeypatch.setattr(adapter.AccountAdapter, "post_login", die)
        client = Client(raise_request_exception=False)

        answer = client.post(f"{ACCOUNTS}/auth/signup", ANN, "application/json")

        assert answer.status_code == 500
        assert not Customer.objects.exists()
        assert not EmailAddress.objects.exists()
        assert facts() == []
