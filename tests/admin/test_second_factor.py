"""The door of the admin: a password and a code, and a session that the clock ends."""

from __future__ import annotations

import re
from base64 import b64decode
from datetime import timedelta

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal import auth as totp
from django.contrib.auth import SESSION_KEY
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from audit.models import AuditLog, OutboxMessage
from config.kernel.errors import InvalidTransitionError, NotFoundError
from customers import services, staff_log_in, tasks
from customers.models import Session
from customers.sessions import HALF_WAY, STAFF
from tests import factories
from tests.shop import Shopper, access_token

pytestmark = pytest.mark.django_db

LOGIN, CODE, SET_UP = "/admin/login/", "/admin/login/code/", "/admin/login/set-up/"
PASSWORD = factories.PASSWORD


@pytest.fixture
def clerk(db):
    return factories.CustomerFactory(email="clerk@example.com", is_staff=True, is_superuser=True)


@pytest.fixture
def secret(clerk):
    """Of the authenticator app that the clerk has."""
    secret = totp.generate_totp_secret()
    totp.TOTP.activate(clerk, secret)
    return secret


def code_of(secret):
    """What the app shows."""
    counter = next(iter(totp.yield_hotp_counters_from_time()))
    return totp.format_hotp_value(totp.hotp_value(secret, counter))


def type_password(client, password=PASSWORD, **more):
    return client.post(LOGIN, {"username": "clerk@example.com", "password": password, **more})


def log_in(client, secret, **more):
    type_password(client, **more)
    return client.post(CODE, {"code": code_of(secret)})


def opens(client):
    return client.get("/admin/").status_code == 200


def audited(clerk):
    rows = AuditLog.objects.filter(entity_type="customer", entity_id=clerk.pk).order_by("pk")
    return list(rows.values_list("event_type", flat=True))


def shift(client, **changes):
    """As if it had been so for longer."""
    session = client.session
    back = {name: session[STAFF][name] - by.total_seconds() for name, by in changes.items()}
    session[STAFF] = {**session[STAFF], **back}
    session.save()


class TestAPassword:
    def test_alone_opens_nothing(self, client, clerk, secret):
        answer = type_password(client)

        assert (answer.status_code, answer["Location"]) == (302, CODE)
        assert not opens(client)
        assert SESSION_KEY not in client.session
        assert "LOGIN" not in audited(clerk)

    def test_that_is_wrong_asks_for_no_code(self, client, clerk, secret):
        assert type_password(client, "wrong password").status_code == 200

        assert client.get(CODE)["Location"] == LOGIN
        assert audited(clerk) == ["LOGIN_FAILED"]

    def test_of_a_customer_asks_for_no_code(self, client, clerk, secret):
        type(clerk).objects.update(is_staff=False)

        assert type_password(client).status_code == 200
        assert HALF_WAY not in client.session

    def test_is_forgotten_after_a_while(self, client, clerk, secret):
        type_password(client)
        session = client.session
        session[HALF_WAY] = {**session[HALF_WAY], "at": session[HALF_WAY]["at"] - 601}
        session.save()

        assert client.post(CODE, {"code": code_of(secret)})["Location"] == LOGIN
        assert not opens(client)

    @pytest.mark.parametrize("change", [{"status": "suspended"}, {"is_staff": False}])
    def test_is_worth_nothing_to_who_was_shut_out_since(self, client, clerk, secret, change):
        type_password(client)
        type(clerk).objects.update(**change)

        assert client.post(CODE, {"code": code_of(secret)})["Location"] == LOGIN

    def test_that_is_another_since_has_to_be_typed_again(self, client, clerk, secret):
        type_password(client)
        clerk.set_password("another pass phrase")
        clerk.save()

        assert client.post(CODE, {"code": code_of(secret)})["Location"] == LOGIN

    def test_makes_another_session(self, client, clerk, secret):
        client.get(LOGIN)
        type_password(client)
        first = client.session.session_key
        type_password(client)
        second = client.session.session_key
        client.post(CODE, {"code": code_of(secret)})

        assert len({first, second, client.session.session_key}) == 3
        assert Session.objects.count() == 1

    def test_knows_whose_the_session_is(self, client, clerk, secret):
        type_password(client)

        assert Session.objects.get().customer_id == clerk.pk


class TestACode:
    def test_lets_in_and_leads_on(self, client, clerk, secret):
        answer = log_in(client, secret, next="/admin/orders/order/")

        assert answer["Location"] == "/admin/orders/order/"
        assert opens(client)
        assert audited(clerk) == ["LOGIN"]
        assert Authenticator.objects.get().last_used_at is not None

    def test_leads_nowhere_else(self, client, clerk, secret):
        assert log_in(client, secret, next="https://evil.example/")["Location"] == "/admin/"

    @pytest.mark.parametrize(
        "code", ["000000", "", "x" * 40, "\uff11\uff12\uff13\uff14\uff15\uff16"]
    )
    def test_that_is_wrong_is_told_and_recorded(self, client, clerk, secret, code):
        type_password(client)

        answer = client.post(CODE, {"code": code})

        assert (answer.status_code, opens(client)) == (200, False)
        assert audited(clerk) == ["SECOND_FACTOR_FAILED"]

    @pytest.mark.parametrize("cache_is_away", [False, True])
    def test_is_good_once(self, clerk, secret, monkeypatch, cache_is_away):
        if cache_is_away:
            monkeypatch.setattr("config.cache.outage.is_on", lambda: True)
        code = code_of(secret)
        for expected in (True, False):
            client = Client()
            type_password(client)
            client.post(CODE, {"code": code})
            assert opens(client) is expected

    def test_for_recovery_is_good_once(self, clerk, secret):
        code = RecoveryCodes.activate(clerk).get_unused_codes()[0]
        for expected in (True, False):
            client = Client()
            type_password(client)
            client.post(CODE, {"code": code})
            assert opens(client) is expected

    def test_may_be_tried_so_often(self, clerk, secret, settings):
        settings.THROTTLE = True
        settings.ACCOUNT_LIMITS = {**settings.ACCOUNT_LIMITS, "mfa": ((3, 300),)}

        def attempt(code):
            client = Client()  # another browser is no way out
            type_password(client)
            return client.post(CODE, {"code": code}).status_code

        assert [attempt("000000") for _ in range(4)] == [200, 200, 200, 429]
        assert attempt(code_of(secret)) == 429

    def test_that_was_right_does_not_count(self, clerk, secret, settings):
        settings.THROTTLE = True
        settings.ACCOUNT_LIMITS = {**settings.ACCOUNT_LIMITS, "mfa": ((2, 300),)}
        codes = RecoveryCodes.activate(clerk).get_unused_codes()

        for code in codes[:4]:
            client = Client()
            type_password(client)
            assert client.post(CODE, {"code": code}).status_code == 302

    def test_without_a_token_of_the_page_is_refused(self, clerk, secret):
        strict = Client(enforce_csrf_checks=True)

        assert strict.post(CODE, {"code": code_of(secret)}).status_code == 403

    def test_is_asked_for_by_a_page_that_is_not_kept(self, client, clerk, secret):
        type_password(client)

        page = client.get(CODE)

        assert "no-store" in page["Cache-Control"]
        assert not re.search(r"\s(style|on\w+)=\"", page.content.decode())


class TestSettingUp:
    def begin(self, client):
        assert type_password(client)["Location"] == SET_UP
        page = client.get(SET_UP).content.decode()
        return page, re.search(r"<code class=\"staff-key\">(\w+)</code>", page)[1]

    def test_shows_the_key_as_a_picture_and_as_text(self, client, clerk):
        page, secret = self.begin(client)

        picture = re.search(r"src=\"data:image/svg\+xml;base64,([^\"]+)\"", page)[1]
        assert b64decode(picture).startswith(b"<?xml")
        assert len(secret) == 32
        assert not re.search(r"\sstyle=", page)

    def test_lets_in_and_shows_the_recovery_codes_once(self, client, clerk):
        _, secret = self.begin(client)

        page = client.post(SET_UP, {"code": code_of(secret)}).content.decode()

        codes = RecoveryCodes(Authenticator.objects.get(type="recovery_codes")).get_unused_codes()
        assert len(codes) == 10
        assert all(code in page for code in codes)
        assert opens(client)
        assert client.post(SET_UP, {"code": code_of(secret)})["Location"] == LOGIN
        assert audited(clerk) == ["MFA_ACTIVATED", "LOGIN"]
        assert OutboxMessage.objects.filter(fact="account.mfa_activated").count() == 1

    def test_uses_its_code_up(self, client, clerk):
        _, secret = self.begin(client)
        code = code_of(secret)
        client.post(SET_UP, {"code": code})

        other = Client()
        type_password(other)
        other.post(CODE, {"code": code})

        assert not opens(other)

    def test_with_a_wrong_code_keeps_the_key_and_opens_nothing(self, client, clerk):
        _, secret = self.begin(client)

        page = client.post(SET_UP, {"code": "000000"}).content.decode()

        assert secret in page
        assert not opens(client)
        assert not Authenticator.objects.exists()
        client.post(SET_UP, {"code": code_of(secret)})
        assert opens(client)

    def test_is_not_for_who_has_one(self, client, clerk, secret):
        type_password(client)

        assert client.get(SET_UP)["Location"] == CODE
        assert client.post(SET_UP, {"code": "000000"})["Location"] == CODE

    def test_in_another_browser_meanwhile_does_not_make_two(self, client, clerk):
        _, mine = self.begin(client)
        other = Client()
        _, theirs = self.begin(other)
        other.post(SET_UP, {"code": code_of(theirs)})

        assert client.post(SET_UP, {"code": code_of(mine)})["Location"] == CODE
        assert Authenticator.objects.filter(type="totp").count() == 1
        assert not opens(client)

    def test_waits_for_an_address_that_nobody_has_verified(self, client, clerk):
        EmailAddress.objects.create(user=clerk, email=clerk.email, primary=True)
        _, secret = self.begin(client)

        page = client.post(SET_UP, {"code": code_of(secret)}).content.decode()

        assert "verified your email address" in page
        assert not opens(client)

    def test_needs_a_password_first(self, client, clerk):
        assert client.get(SET_UP)["Location"] == LOGIN
        assert client.post(SET_UP, {"code": "000000"})["Location"] == LOGIN


class TestASessionThatIsNone:
    def test_from_before_the_second_factor(self, client, clerk):
        client.log_in_by_password_alone(clerk)

        assert not opens(client)
        assert client.get("/admin/orders/order/").status_code == 302
        assert client.post("/admin/password_change/", {}).status_code == 302

    def test_of_the_shops_accounts(self, client, clerk, secret):
        shopper = Shopper(clerk)
        client.cookies["sessionid"] = Session.objects.get().session_key

        assert shopper.get("/me").status_code == 200
        assert not opens(client)

    def test_every_page_of_the_admin_asks(self, client, clerk):
        from django.urls import get_resolver  # noqa: PLC0415 - used here alone

        client.log_in_by_password_alone(clerk)
        patterns = [
            pattern
            for prefix in get_resolver().url_patterns
            if str(prefix.pattern) == "admin/"
            for pattern in flat(prefix.url_patterns, "/admin/")
        ]

        open_ones = {address for address in patterns if client.get(address).status_code == 200}

        assert len(patterns) > 100
        assert open_ones == {LOGIN}


def flat(patterns, prefix):
    """Addresses of the admin; what a part of them says does not matter to who is let in."""
    for one in patterns:
        address = prefix + re.sub(r"<[^>]*>|\(\?P?<?[^)]*\)|[\^$]", "1", str(one.pattern))
        if hasattr(one, "url_patterns"):
            yield from flat(one.url_patterns, address)
        else:
            yield address


class TestASession:
    def test_ends_when_nobody_is_there(self, client, clerk, secret, settings):
        log_in(client, secret)
        shift(client, seen=timedelta(minutes=settings.STAFF_IDLE_MINUTES, seconds=5))

        assert not opens(client)
        assert audited(clerk) == ["LOGIN", "LOGOUT"]
        assert not Session.objects.filter(customer=clerk).exists()

    def test_ends_after_some_hours_whatever_is_done(self, client, clerk, secret, settings):
        log_in(client, secret)
        shift(client, since=timedelta(hours=settings.STAFF_SESSION_HOURS, seconds=5))

        assert not opens(client)

    def test_goes_on_while_somebody_is_there(self, client, clerk, secret):
        log_in(client, secret)
        for _ in range(4):
            shift(client, seen=timedelta(minutes=20))
            assert opens(client)

    def test_is_written_once_a_minute_at_most(
        self, client, clerk, secret, django_assert_num_queries
    ):
        log_in(client, secret)
        seen = client.session[STAFF]["seen"]

        opens(client)
        assert client.session[STAFF]["seen"] == seen

        shift(client, seen=timedelta(seconds=61))
        opens(client)
        assert client.session[STAFF]["seen"] >= seen

    def test_is_the_newest_of_a_few(self, clerk, secret, settings):
        settings.STAFF_SESSIONS = 2
        codes = RecoveryCodes.activate(clerk).get_unused_codes()
        browsers = []
        for code in codes[:4]:
            browsers.append(Client())
            type_password(browsers[-1])
            browsers[-1].post(CODE, {"code": code})

        assert [opens(browser) for browser in browsers] == [False, False, True, True]
        assert audited(clerk).count("SESSIONS_ENDED") == 2

    def test_of_the_shop_is_not_counted_among_them(self, client, clerk, secret, settings):
        settings.STAFF_SESSIONS = 1
        shopper = Shopper(clerk)

        log_in(client, secret)

        assert shopper.get("/me").status_code == 200

    def test_that_is_old_is_forgotten(self, client, clerk, secret, settings):
        log_in(client, secret)
        shopper = access_token(clerk)
        assert shopper
        shift(client, since=timedelta(hours=settings.STAFF_SESSION_HOURS, minutes=1))

        tasks.forget_dead_sessions()

        assert [row.staff_since for row in Session.objects.all()] == [None]

    def test_ends_by_logging_out(self, client, clerk, secret):
        log_in(client, secret)

        client.post(reverse("admin:logout"))

        assert not opens(client)
        assert audited(clerk) == ["LOGIN", "LOGOUT"]

    def test_ends_with_the_rights_of_its_owner(self, client, clerk, secret):
        log_in(client, secret)
        type(clerk).objects.update(is_staff=False, is_superuser=False)

        assert not opens(client)

    def test_ends_everywhere_else_by_a_button(self, client, clerk, secret):
        other = Client()
        other.force_login(clerk)
        shopper = Shopper(clerk)
        log_in(client, secret)
        page = client.get(reverse("admin:sessions")).content.decode()
        assert (page.count("somewhere else"), page.count(">here<")) == (1, 1)

        client.post(reverse("admin:sessions"))

        assert (opens(client), opens(other)) == (True, False)
        assert shopper.get("/me").status_code == 401
        row = AuditLog.objects.get(event_type="SESSIONS_ENDED")
        assert (row.user_id, row.data) == (clerk.pk, {"ended": 2})


class TestAnotherPassword:
    NEW = "another pass phrase"

    def change(self, client, old=PASSWORD, new=NEW):
        return client.post(
            reverse("admin:password_change"),
            {"old_password": old, "new_password1": new, "new_password2": new},
        )

    def test_keeps_this_session_and_ends_all_others(self, client, clerk, secret):
        other = Client()
        other.force_login(clerk)
        shopper = Shopper(clerk)
        log_in(client, secret)

        assert self.change(client).status_code == 302

        assert (opens(client), opens(other)) == (True, False)
        assert shopper.get("/me").status_code == 401
        clerk.refresh_from_db()
        assert clerk.check_password(self.NEW)
        assert audited(clerk)[-2:] == ["PASSWORD_CHANGED", "SESSIONS_ENDED"]
        assert OutboxMessage.objects.filter(fact="account.password_changed").count() == 1

    def test_takes_the_present_one(self, client, clerk, secret):
        log_in(client, secret)

        assert self.change(client, old="a guess").status_code == 200

        assert audited(clerk) == ["LOGIN", "LOGIN_FAILED"]
        clerk.refresh_from_db()
        assert clerk.check_password(PASSWORD)

    def test_may_be_guessed_so_often(self, client, clerk, secret, settings):
        log_in(client, secret)
        settings.THROTTLE = True
        settings.ACCOUNT_LIMITS = {**settings.ACCOUNT_LIMITS, "password_change": ((3, 60),)}

        answers = [self.change(client, old="a guess").status_code for _ in range(4)]

        assert answers == [200, 200, 200, 429]

    def test_is_held_to_the_rules(self, client, clerk, secret):
        log_in(client, secret)

        assert self.change(client, new="short").status_code == 200
        clerk.refresh_from_db()
        assert clerk.check_password(PASSWORD)


class TestNewRecoveryCodes:
    """Once the app is proven again."""

    @pytest.fixture
    def page(self, client, clerk, secret):
        client.force_login(clerk)
        return reverse("admin:recovery_codes")

    @pytest.fixture
    def old(self, clerk):
        return RecoveryCodes.activate(clerk).get_unused_codes()

    def valid(self):
        return RecoveryCodes(Authenticator.objects.get(type="recovery_codes")).get_unused_codes()

    def test_take_the_place_of_the_old_ones(self, client, clerk, secret, page, old):
        assert "New recovery codes" in client.get("/admin/").content.decode()
        assert "authenticator app shows" in client.get(page).content.decode()

        answer = client.post(page, {"code": code_of(secret)})

        told = answer.content.decode()
        new = self.valid()
        assert len(new) == 10
        assert not set(new) & set(old)
        assert all(code in told for code in new)
        assert not any(code in told for code in old)
        assert "no-store" in answer["Cache-Control"]
        row = AuditLog.objects.get(event_type="RECOVERY_CODES_MADE")
        assert (row.user_id, row.entity_id, row.data) == (clerk.pk, clerk.pk, {})
        assert OutboxMessage.objects.filter(fact="account.recovery_codes_made").count() == 1
        for code, lets_in in ((old[0], False), (new[0], True)):
            browser = Client()
            type_password(browser)
            browser.post(CODE, {"code": code})
            assert opens(browser) is lets_in

    def test_are_shown_once(self, client, secret, page, old):
        code = {"code": code_of(secret)}
        client.post(page, code)
        new = self.valid()

        shown = client.get(page).content.decode()
        again = client.post(page, code).content.decode()

        assert not any(code in shown + again for code in new)
        assert "Incorrect code" in again
        assert self.valid() == new

    @pytest.mark.parametrize("code", ["000000", "", "x" * 50])
    def test_are_not_for_who_has_no_app_at_hand(self, client, clerk, page, old, code):
        assert client.post(page, {"code": code}).status_code == 200

        assert self.valid() == old
        assert audited(clerk)[-1] == "SECOND_FACTOR_FAILED"

    def test_are_not_for_a_recovery_code_which_stays_good(self, client, page, old):
        client.post(page, {"code": old[0]})

        assert self.valid() == old

    def test_may_be_tried_for_so_often(self, client, secret, page, old, settings):
        settings.THROTTLE = True
        settings.ACCOUNT_LIMITS = {**settings.ACCOUNT_LIMITS, "mfa": ((2, 300),)}

        answers = [client.post(page, {"code": "000000"}).status_code for _ in range(3)]

        assert answers == [200, 200, 429]
        assert client.post(page, {"code": code_of(secret)}).status_code == 429
        assert self.valid() == old

    def test_are_only_for_who_is_inside(self, clerk, secret, page, old):
        outside = Client()
        type_password(outside)

        assert outside.post(page, {"code": code_of(secret)}).status_code == 302
        assert self.valid() == old

    def test_without_a_token_of_the_page_are_refused(self, clerk, secret, page, old):
        strict = Client(enforce_csrf_checks=True)
        strict.force_login(clerk)

        assert strict.post(page, {"code": code_of(secret)}).status_code == 403
        assert self.valid() == old

    def test_are_not_made_for_an_app_that_was_taken_away_meanwhile(self, clerk, secret):
        services.reset_second_factor(customer_id=clerk.pk, user_id=None)

        with pytest.raises(InvalidTransitionError, match="no authenticator app"):
            staff_log_in.renew_recovery_codes(customer_id=clerk.pk)
        assert not Authenticator.objects.exists()


class TestALostSecondFactor:
    @pytest.fixture
    def boss(self, client):
        boss = factories.CustomerFactory(is_staff=True, is_superuser=True)
        client.force_login(boss)
        return boss

    def press(self, client, who):
        address = reverse("admin:customers_customer_do", args=[who.pk, "reset-second-factor"])
        asked = client.get(address)
        if asked.status_code != 200:
            return asked
        key = asked.context["form"]["request_key"].value()
        return client.post(address, {"request_key": key}, follow=True)

    def test_is_taken_away_by_a_superuser(self, client, boss, clerk, secret):
        theirs = Client()
        theirs.force_login(clerk)

        page = self.press(client, clerk).content.decode()

        assert "set up another when they log in" in page
        assert not Authenticator.objects.exists()
        assert not opens(theirs)
        assert audited(clerk)[-4:-1] == ["MFA_DEACTIVATED", "SESSIONS_ENDED", "SECOND_FACTOR_RESET"]
        told = AuditLog.objects.get(event_type="SECOND_FACTOR_RESET")
        assert told.user_id == boss.pk
        assert OutboxMessage.objects.get(fact="account.mfa_deactivated").aggregate_id == clerk.pk
        assert type_password(Client())["Location"] == SET_UP

    def test_is_not_for_other_staff(self, clerk, secret):
        from django.contrib.auth.models import Group  # noqa: PLC0415 - used here alone

        manager = factories.CustomerFactory(is_staff=True)
        manager.groups.add(Group.objects.get(name="Manager"))
        browser = Client()
        browser.force_login(manager)

        assert self.press(browser, clerk).status_code == 403
        assert Authenticator.objects.exists()

    def test_is_not_taken_away_by_its_owner(self, client, boss):
        totp.TOTP.activate(boss, totp.generate_totp_secret())

        assert "by a colleague" in self.press(client, boss).content.decode()
        assert Authenticator.objects.exists()

    def test_of_nobody_or_of_a_customer(self, boss):
        with pytest.raises(InvalidTransitionError):
            services.reset_second_factor(
                customer_id=factories.CustomerFactory(is_staff=True).pk, user_id=boss.pk
            )
        with pytest.raises(NotFoundError):
            services.reset_second_factor(
                customer_id=factories.CustomerFactory().pk, user_id=boss.pk
            )

    def test_of_the_last_superuser_is_taken_away_by_command(self, clerk, secret, capsys):
        call_command("reset_second_factor", "Clerk@example.com")

        assert "sets up another" in capsys.readouterr().out
        assert not Authenticator.objects.exists()
        with pytest.raises(CommandError, match="no second factor"):
            call_command("reset_second_factor", "clerk@example.com")
        with pytest.raises(CommandError, match="no account"):
            call_command("reset_second_factor", "nobody@example.com")


def test_a_half_way_session_is_not_staff_however_it_is_marked_later(client, clerk, secret):
    type_password(client)

    assert client.get("/admin/").status_code == 302
    assert timezone.now() - Session.objects.get().expire_date < timedelta(0)
    assert Session.objects.get().staff_since is None
