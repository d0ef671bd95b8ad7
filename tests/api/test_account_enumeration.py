"""Nobody learns from a log-in or a reset whether an address has an account: not by time, either."""

import math
import re
import statistics
import time
from itertools import chain
from random import Random

import pytest
from allauth.account.models import EmailAddress
from django.contrib.auth.hashers import MD5PasswordHasher
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from audit.models import Delivery, OutboxMessage
from customers import hashers
from customers.api import middleware
from tests import factories

pytestmark = pytest.mark.django_db

ACCOUNTS = "/_allauth/app/v1"
SAMPLES = 200
EXPERIMENTS = 3
BY_CHANCE = 0.01  # of so small a p, or smaller
KNOWN = {"verified": "ann@example.com", "unverified": "bob@example.com"}
UNKNOWN = "nobody@example.com"


@pytest.fixture(autouse=True)
def _accounts(db):
    for kind, email in KNOWN.items():
        customer = factories.CustomerFactory(email=email)
        EmailAddress.objects.create(
            user=customer, email=email, primary=True, verified=kind == "verified"
        )


def log_in(email):
    body = {"email": email, "password": "wrong password"}
    return Client().post(f"{ACCOUNTS}/auth/login", body, "application/json")


def ask_for_reset(email):
    body = {"email": email}
    return Client().post(f"{ACCOUNTS}/auth/password/request", body, "application/json")


ROUTES = [log_in, ask_for_reset]


def shape(answer):
    of_its_own = {"X-Request-ID", "Expires"}  # the second it is
    headers = {name: value for name, value in answer.items() if name not in of_its_own}
    return answer.status_code, answer.content, headers


def statements(ask, email):
    """What the database is asked, without the values."""
    with CaptureQueriesContext(connection) as captured:
        ask(email)
    first_lines = (query["sql"].strip().splitlines()[0] for query in captured)
    return [re.sub(r"""["'].*""", "", line) for line in first_lines]


@pytest.mark.parametrize("ask", ROUTES)
@pytest.mark.parametrize("kind", KNOWN)
class TestAnAddressWithAnAccount:
    def test_is_answered_like_one_without(self, ask, kind):
        assert shape(ask(KNOWN[kind])) == shape(ask(UNKNOWN))

    def test_is_worked_for_like_one_without(self, ask, kind, monkeypatch):
        hashes = []
        encode = MD5PasswordHasher.encode

        def counted(hasher, password, salt):
            hashes.append(password)
            return encode(hasher, password, salt)

        monkeypatch.setattr(MD5PasswordHasher, "encode", counted)

        ask(UNKNOWN)  # the first one of a process makes what nobody's password is held against
        hashes.clear()
        known = (statements(ask, KNOWN[kind]), len(hashes))
        hashes.clear()
        unknown = (statements(ask, UNKNOWN), len(hashes))

        assert known == unknown
        assert len(known[0]) < 8
        assert known[1] == (1 if ask is log_in else 0)

    def test_leaves_as_much_behind_as_one_without(self, ask, kind):
        ask(KNOWN[kind])
        known = (OutboxMessage.objects.count(), Delivery.objects.count())
        ask(UNKNOWN)

        assert (OutboxMessage.objects.count(), Delivery.objects.count()) == tuple(
            2 * count for count in known
        )


class TestTime:
    @pytest.mark.parametrize(("ask", "kind"), [(log_in, "verified"), (ask_for_reset, "unverified")])
    def test_tells_nothing(self, settings, monkeypatch, ask, kind):
        # At its low priority hashing would measure what else runs on the machine.
        monkeypatch.setattr(hashers, "_step_back", lambda: None)
        monkeypatch.setattr(hashers, "workshop", hashers.Workshop(places=2))
        # A tenth of the work: a hash that is left out shows all the same, and so does what is less.
        monkeypatch.setattr(hashers.Argon2idHasher, "memory_cost", 2_048)
        settings.PASSWORD_HASHERS = ["customers.hashers.Argon2idHasher"]
        rehash_passwords()
        veiled, unveiled = [], []

        while len(veiled) < EXPERIMENTS and not (veiled and veiled[-1] > BY_CHANCE):
            veiled.append(mann_whitney_p(*experiment(ask, KNOWN[kind], seed=len(veiled))))
        monkeypatch.setattr(middleware, "VEIL_SECONDS", 0)
        while len(unveiled) < EXPERIMENTS and not (unveiled and unveiled[-1] < 0.1):
            unveiled.append(medians_apart(*experiment(ask, KNOWN[kind], seed=len(unveiled))))

        assert veiled[-1] > BY_CHANCE, veiled
        assert unveiled[-1] < 0.1, unveiled


def rehash_passwords():
    for email in KNOWN.values():
        customer = EmailAddress.objects.get(email=email).user
        customer.set_password("correct horse battery")
        customer.save(update_fields=["password"])


def experiment(ask, known, *, seed):
    """So many times each, in a random order, one right after the other."""
    order = [known, UNKNOWN] * SAMPLES
    Random(seed).shuffle(order)  # noqa: S311 - no secret
    for email in order[:10]:  # warm
        ask(email)
    taken = {known: [], UNKNOWN: []}
    for email in order:
        started = time.perf_counter()
        ask(email)
        taken[email].append(time.perf_counter() - started)
    return taken[known], taken[UNKNOWN]


def medians_apart(one, other):
    """As a fraction."""
    medians = statistics.median(one), statistics.median(other)
    return abs(medians[0] - medians[1]) / min(medians)


def mann_whitney_p(one, other):
    """Two-sided, by the normal approximation: exact enough for hundreds, and no two times tie."""
    ranked = sorted(chain(((value, 0) for value in one), ((value, 1) for value in other)))
    rank_sum = sum(rank for rank, (_, group) in enumerate(ranked, start=1) if group == 0)
    n, m = len(one), len(other)
    u = rank_sum - n * (n + 1) / 2
    z = (u - n * m / 2) / math.sqrt(n * m * (n + m + 1) / 12)
    return math.erfc(abs(z) / math.sqrt(2))


class TestTheTest:
    def test_sees_a_difference_of_a_tenth(self):
        random = Random(0)  # noqa: S311 - no secret
        one = [random.gauss(30, 3) for _ in range(SAMPLES)]

        assert mann_whitney_p(one, [value * 1.1 for value in one]) < BY_CHANCE
        assert mann_whitney_p(one, [random.gauss(30, 3) for _ in range(SAMPLES)]) > BY_CHANCE
