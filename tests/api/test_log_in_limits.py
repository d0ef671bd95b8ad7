"""Guessing: how many tries get through to the password, alone, at once, and without a cache."""

import itertools
import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from urllib.parse import unquote

import pytest
from allauth.account.models import EmailAddress
from django.core import mail
from django.core.cache import cache
from django.db import connection
from django.test import Client

from audit import outbox
from audit.models import AuditLog
from config import cache as caching
from config.kernel import limits
from customers import hashers, throttling
from customers.api import middleware
from customers.models import Customer
from tests import factories

pytestmark = pytest.mark.django_db

ACCOUNTS = "/_allauth/app/v1"
HOME = "192.0.2.1"
WRONG = "wrong password"


@pytest.fixture(autouse=True)
def _throttled(settings):
    settings.THROTTLE = True


@pytest.fixture
def ann():
    return factories.CustomerFactory(email="ann@example.com")


@pytest.fixture
def without_cache(monkeypatch):
    """The server is away, and this process knows."""
    monkeypatch.setattr(caching.outage, "is_on", lambda: True)


def post(path, body, *, address=HOME):
    return Client(REMOTE_ADDR=address).post(f"{ACCOUNTS}{path}", body, "application/json")


def log_in(*, email="ann@example.com", password=WRONG, address=HOME):
    return post("/auth/login", {"email": email, "password": password}, address=address)


def statuses(times, **tried):
    return [log_in(**tried).status_code for _ in range(times)]


def failures():
    """How many passwords were looked at, and wrong."""
    return AuditLog.objects.filter(event_type="LOGIN_FAILED").count()


class TestGuessingOneAccount:
    def test_is_over_after_five_from_one_address(self, ann):
        assert statuses(5) == [400] * 5

        refused = log_in()
        assert refused.status_code == 429
        assert refused.json() == {"status": 429}
        assert 1 <= int(refused["Retry-After"]) <= 60
        assert log_in(password=factories.PASSWORD).status_code == 429
        assert failures() == 5

    def test_however_often_gets_few_passwords_looked_at(self, ann, settings):
        settings.ACCOUNT_LIMITS = {**settings.ACCOUNT_LIMITS, "log_in": ((5, 3_600),)}

        assert statuses(200) == [400] * 5 + [429] * 195
        assert failures() == 5

    def test_leaves_its_owner_alone_elsewhere(self, ann):
        statuses(6)

        assert log_in(password=factories.PASSWORD, address="192.0.2.2").status_code == 200

    def test_slows_down_the_longer_it_goes_on(self, ann, settings):
        settings.ACCOUNT_LIMITS = {
            **settings.ACCOUNT_LIMITS,
            "log_in": ((2, 60), (4, 3_600)),
        }
        statuses(3)
        limits.forget([throttling._by_pair("ann@example.com", HOME)[0]])  # a minute later
        assert statuses(3) == [400, 400, 429]

        refused = log_in()
        assert 60 < int(refused["Retry-After"]) <= 3_600

    def test_counts_no_success(self, ann):
        assert statuses(4) == [400] * 4
        for _ in range(8):
            assert log_in(password=factories.PASSWORD).status_code == 200

        assert statuses(2) == [400, 429]

    def test_counts_an_address_in_any_case_as_one(self, ann):
        statuses(5, email="ANN@example.com")

        assert log_in().status_code == 429

    def test_counts_a_subscriber_s_ipv6_addresses_as_one(self, ann):
        for host in range(5):
            assert log_in(address=f"2001:db8:1:2::{host}").status_code == 400

        assert log_in(address="2001:db8:1:2:ffff::1").status_code == 429
        assert log_in(address="2001:db8:1:3::1").status_code == 400

    def test_is_over_for_an_account_that_does_not_exist_as_well(self, db):
        tried = {"email": "nobody@example.com"}

        assert statuses(6, **tried) == [400] * 5 + [429]

    def test_is_over_in_the_admin_as_well(self):
        factories.CustomerFactory(email="staff@example.com", is_staff=True)
        typed = {"username": "staff@example.com", "password": "wrong password"}

        answers = [
            Client(REMOTE_ADDR=HOME).post("/admin/login/", typed).status_code for _ in range(6)
        ]

        assert answers == [200] * 5 + [429]
        assert failures() == 5

    def test_is_over_where_the_password_is_asked_for_again(self, ann):
        EmailAddress.objects.create(user=ann, email=ann.email, primary=True)
        token = log_in(password=factories.PASSWORD).json()["meta"]["session_token"]

        answers = [
            Client(REMOTE_ADDR=HOME)
            .post(
                f"{ACCOUNTS}/auth/reauthenticate",
                {"password": "wrong password"},
                "application/json",
                headers={"X-Session-Token": token},
            )
            .status_code
            for _ in range(6)
        ]

        assert answers == [400] * 5 + [429]


class TestChangingThePassword:
    NEW = "another good passphrase"

    def change(self, token, *, current=WRONG, address=HOME, **fields):
        return Client(REMOTE_ADDR=address).post(
            f"{ACCOUNTS}/account/password/change",
            {"current_password": current, "new_password": self.NEW, **fields},
            "application/json",
            headers={"X-Session-Token": token},
        )

    @pytest.fixture
    def token(self, ann):
        return log_in(password=factories.PASSWORD).json()["meta"]["session_token"]

    def test_lets_few_passwords_be_guessed_from_many_addresses(self, ann, token):
        answers = [self.change(token, address=f"192.0.2.{n}").status_code for n in range(6)]

        assert answers == [400] * 5 + [429]
        assert failures() == 5
        rows = AuditLog.objects.filter(event_type="LOGIN_FAILED", entity_id=ann.pk)
        assert rows.count() == 5
        right = self.change(token, current=factories.PASSWORD, address="192.0.2.9")
        assert right.status_code == 429

    def test_is_no_failed_log_in_when_only_the_new_one_is_bad(self, token):
        right = factories.PASSWORD
        assert self.change(token, current=right, new_password="short").status_code == 400
        assert self.change(token, current="").status_code == 400
        assert failures() == 0

    def test_leaves_the_owner_alone_who_knows_it(self, ann, token):
        for n in range(4):
            self.change(token, address=f"192.0.2.{n}")

        answer = self.change(token, current=factories.PASSWORD, address="192.0.2.9")

        assert answer.status_code == 401  # log in, please
        assert log_in(password=self.NEW).status_code == 200


class TestSpraying:
    def test_is_over_after_twenty_accounts(self, db):
        answers = [log_in(email=f"shopper{n}@example.com").status_code for n in range(21)]

        assert answers == [400] * 20 + [429]
        assert log_in(email="other@example.com", address="192.0.2.2").status_code == 400


class TestManyAddresses:
    @pytest.fixture(autouse=True)
    def _few(self, settings):
        settings.ACCOUNT_LIMITS = {**settings.ACCOUNT_LIMITS, "log_in_account": ((10, 3_600),)}

    def guess(self, times):
        return [log_in(address=f"198.51.100.{n}").status_code for n in range(times)]

    def test_that_try_one_account_are_slowed_down(self, ann):
        assert self.guess(12) == [400] * 10 + [429] * 2
        assert failures() == 10

    def test_do_not_lock_its_owner_out_of_where_they_have_logged_in(self, ann):
        assert log_in(password=factories.PASSWORD).status_code == 200
        self.guess(12)

        assert log_in(password=factories.PASSWORD).status_code == 200
        assert log_in(password=factories.PASSWORD, address="192.0.2.2").status_code == 429

    def test_are_told_the_same_of_an_account_that_does_not_exist(self, db):
        answers = [
            log_in(email="nobody@example.com", address=f"198.51.100.{n}").status_code
            for n in range(11)
        ]

        assert answers == [400] * 10 + [429]

    def test_use_nothing_up_once_they_are_refused(self, ann):
        for _ in range(50):
            log_in()  # 5 get through, all of one address

        assert self.guess(6) == [400] * 5 + [429]


class TestWithoutACache:
    def test_every_process_counts_by_itself(self, ann, without_cache):
        assert statuses(6) == [400] * 5 + [429]
        assert failures() == 5

    def test_shoppers_get_in(self, ann, without_cache):
        for _ in range(8):
            assert log_in(password=factories.PASSWORD).status_code == 200

    def test_no_more_is_remembered_than_there_is_room_for(self, monkeypatch, without_cache):
        monkeypatch.setattr(limits, "MOST_REMEMBERED", 10)
        memory = limits.Memory()

        for n in range(50):
            memory.take([(f"key{n}", 5, 60)])

        assert len(memory._counters) <= 10


class TestOtherRoutes:
    def test_sign_up_is_limited_by_address(self, settings, db):
        settings.ACCOUNT_LIMITS = {**settings.ACCOUNT_LIMITS, "sign_up": ((2, 60),)}
        body = {"password": "correct horse", "first_name": "Ann", "last_name": "Lee"}

        answers = [
            post("/auth/signup", {**body, "email": f"ann{n}@example.com"}).status_code
            for n in range(3)
        ]

        assert answers == [200, 200, 429]
        assert Customer.objects.count() == 2

    @pytest.mark.parametrize("email", ["ann@example.com", "nobody@example.com"])
    def test_resets_are_limited_by_account_whether_there_is_one_or_not(self, ann, email):
        answers = [
            post("/auth/password/request", {"email": email}, address=f"192.0.2.{n}").status_code
            for n in range(6)
        ]

        assert answers == [200] * 5 + [429]

    def test_resets_are_limited_by_address(self, db):
        answers = [
            post("/auth/password/request", {"email": f"a{n}@example.com"}).status_code
            for n in range(21)
        ]

        assert answers == [200] * 20 + [429]

    @pytest.mark.parametrize("path", ["/auth/password/reset", "/auth/email/verify"])
    def test_keys_are_tried_only_so_often(self, db, path):
        body = {"key": "1-abc", "password": "correct horse"}

        answers = [post(path, body).status_code for _ in range(21)]

        assert answers == [400] * 20 + [429]

    @pytest.mark.parametrize(
        ("path", "header"),
        [
            ("/auth/password/reset", "X-Password-Reset-Key"),
            ("/auth/email/verify", "X-Email-Verification-Key"),
        ],
    )
    def test_keys_are_looked_up_only_so_often(self, db, path, header):
        asks = Client(REMOTE_ADDR=HOME)

        answers = [
            asks.get(f"{ACCOUNTS}{path}", headers={header: "1-abc"}).status_code for _ in range(21)
        ]

        assert answers == [400] * 20 + [429]
        assert post(path, {"key": "1-abc", "password": "correct horse"}).status_code == 429

    @pytest.mark.parametrize("method", ["PUT", "OPTIONS", "HEAD"])
    def test_keys_are_tried_only_so_often_by_any_method(self, db, method):
        body = json.dumps({"key": "1-abc"})

        answers = [
            Client(REMOTE_ADDR=HOME)
            .generic(method, f"{ACCOUNTS}/auth/email/verify", body, "application/json")
            .status_code
            for _ in range(21)
        ]

        assert answers == [400] * 20 + [429]

    def test_a_reset_lets_its_owner_in_again(self, ann):
        EmailAddress.objects.create(user=ann, email=ann.email, primary=True)
        statuses(6)
        post("/auth/password/request", {"email": ann.email})
        outbox.relay()
        key = unquote(re.search(r"/reset/key/(\S+)", mail.outbox[-1].body)[1])
        new = "another good passphrase"
        post("/auth/password/reset", {"key": key, "password": new})

        assert log_in(password=new).status_code == 200

    def test_nothing_is_limited_with_the_throttle_off(self, ann, settings):
        settings.THROTTLE = False

        assert statuses(30) == [400] * 30


class TestTooManyAtOnce:
    PATHS = ["/auth/login", "/auth/signup", "/auth/password/reset"]

    @pytest.fixture
    def full(self, monkeypatch):
        """Every place before the hashing thread is taken."""
        workshop = hashers.Workshop(places=1)
        workshop._places.acquire()
        monkeypatch.setattr(middleware, "workshop", workshop)
        monkeypatch.setattr(hashers, "workshop", workshop)
        return workshop

    @pytest.mark.parametrize("path", PATHS)
    def test_are_turned_away_before_anything_is_asked(self, full, path, django_assert_num_queries):
        with django_assert_num_queries(0):
            answer = post(path, {"email": "ann@example.com", "password": WRONG})

        assert answer.status_code == 503
        assert answer.json() == {"status": 503}
        assert 1 <= int(answer["Retry-After"]) <= 3

    def test_are_turned_away_from_the_admin_too(self, full, db):
        answer = Client().post("/admin/login/", {"username": "a@example.com", "password": WRONG})

        assert (answer.status_code, answer["Content-Type"]) == (503, "text/plain")

    def test_who_came_too_late_by_a_moment_has_tried_nothing(self, full, settings, monkeypatch):
        settings.PASSWORD_HASHERS = ["customers.hashers.Argon2idHasher"]
        monkeypatch.setattr(full, "is_full", lambda: False)

        answer = log_in(email="nobody@example.com")

        assert (answer.status_code, answer.json()) == (503, {"status": 503})
        assert failures() == 0

    def test_let_everybody_else_go_on(self, full, db):
        assert Client().get("/api/v1/products").status_code == 200
        assert post("/auth/password/request", {"email": "ann@example.com"}).status_code == 200


@pytest.mark.django_db(transaction=True)
@pytest.mark.concurrency
class TestAtOnce:
    TRIES = 200

    @pytest.mark.parametrize("is_away", [False, True, None], ids=["up", "away", "coming and going"])
    def test_no_more_passwords_are_looked_at_than_allowed(self, monkeypatch, is_away):
        if is_away is not False:
            turns = itertools.cycle([True, False, False]) if is_away is None else repeat(True)
            monkeypatch.setattr(caching.outage, "is_on", lambda: next(turns))
        factories.CustomerFactory(email="ann@example.com")
        body = json.dumps({"email": "ann@example.com", "password": "wrong password"})
        threads = 20
        barrier = threading.Barrier(threads)

        def attempt(_):
            try:
                barrier.wait(timeout=30)
                return [
                    post("/auth/login", json.loads(body)).status_code
                    for _ in range(self.TRIES // threads)
                ]
            finally:
                connection.close()

        with ThreadPoolExecutor(threads) as pool:
            answers = [status for some in pool.map(attempt, range(threads)) for status in some]

        assert len(answers) == self.TRIES
        assert answers.count(400) == failures() == 5
        assert answers.count(429) == self.TRIES - 5

    def test_the_cache_counts_without_a_gap(self):
        barrier = threading.Barrier(20)

        def attempt(_):
            barrier.wait(timeout=30)
            return [cache.take([("one", 7, 60), ("other", 100, 60)]) for _ in range(10)]

        with ThreadPoolExecutor(20) as pool:
            waits = [wait for some in pool.map(attempt, range(20)) for wait in some]

        assert waits.count(0) == 7
        assert all(1 <= wait <= 60 for wait in waits if wait)
        assert cache.take([("other", 8, 60)]) == 0  # 7 were counted, refused ones were not
        cache.give_back(["one"])
        assert cache.take([("one", 7, 60)]) == 0
        assert cache.take([("one", 7, 60)]) > 0
