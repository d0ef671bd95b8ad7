"""Cases of the security matrix that no other file shows; each is named after its row."""

import base64
import json
import os
import re
import subprocess
import sys
import uuid
from pathlib import Path

import psycopg2
import pytest
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal import auth as totp
from django.conf import settings
from django.core import mail, signing
from django.core.cache import cache
from django.db import connection
from django.test import Client

from audit import outbox
from config import docs
from config.logging import redacted
from customers.sessions import SessionStore
from inventory.models import Reservation
from orders.models import Order
from tests import factories
from tests.shop import ADDRESS, Shopper, payment_link

ROOT = Path(__file__).parents[2]

OWN_KEYS = ("AUDIT_SEAL_KEY", "SUPPRESSION_KEY", "WEBHOOK_KEY")
PRODUCTION = {
    "ENVIRONMENT": "production",
    "DJANGO_SETTINGS_MODULE": "config.settings.production",
    "SECRET_KEY": "k7!x" * 20 + "abcdefgh",
    **dict.fromkeys(OWN_KEYS, base64.b64encode(bytes(range(32))).decode()),
    "ALLOWED_HOSTS": "shop.example",
    "CSRF_TRUSTED_ORIGINS": "https://shop.example",
    "CORS_ALLOWED_ORIGINS": "https://shop.example",
    "PUBLIC_URL": "https://shop.example",
    "STRIPE_SECRET_KEY": "sk_live_checked",
    "STRIPE_API_BASE": "https://api.stripe.com",
    "STRIPE_WEBHOOK_SECRET": "whsec_checked",
}


PLACE = {"host", "port", "user", "password", "dbname"}


def assert_nothing_happened():
    assert not Order.objects.exists()
    assert not Reservation.objects.exists()


class TestRow3AnOrderOfWhatIsSomebodyElses:
    def test_cart_is_one_of_no_cart(self, shop):
        factories.ProductFactory(sku="APPLE")
        owner = Shopper(factories.CustomerFactory())
        cart = owner.post("/carts", {"items": [{"sku": "APPLE", "quantity": 1}]}).json()["id"]

        for stranger in (Shopper(factories.CustomerFactory()), Shopper()):
            told = [
                stranger.order(items=None, cart_id=cart_id).json()["error"]
                for cart_id in (cart, str(uuid.uuid4()))
            ]
            assert told[0] == told[1]
            assert told[0]["details"] == {"cart_id": ["There is no such cart."]}
        assert_nothing_happened()

    def test_address_cannot_be_named_by_its_id(self, shopper):
        factories.ProductFactory(sku="APPLE")
        owner = Shopper(factories.CustomerFactory())
        kept = owner.post("/me/addresses", ADDRESS).json()

        by_id = shopper.order(("APPLE", 1), shipping_address=None, address_id=kept["id"])
        within = shopper.order(("APPLE", 1), shipping_address={"id": kept["id"]})

        assert by_id.status_code == within.status_code == 400
        assert by_id.json()["error"]["details"]["address_id"] == ["This field is not known."]
        assert "id" in within.json()["error"]["details"]["shipping_address"]
        assert_nothing_happened()

    def test_coupon_is_not_for_whoever_knows_its_code(self, shopper):
        factories.ProductFactory(sku="APPLE")
        factories.CouponFactory(code="GOLDEN", tier="gold")

        answer = shopper.order(("APPLE", 1), coupon_code="GOLDEN")

        assert answer.status_code == 409
        assert answer.json()["error"]["details"] == {"reason": "not_for_customer"}
        assert_nothing_happened()


class TestRow6Ids:
    def test_are_random_wherever_a_path_takes_one(self, shopper, guest):
        factories.ProductFactory(sku="APPLE")
        carts = [guest.post("/carts").json()["id"] for _ in range(2)]
        addresses = [shopper.post("/me/addresses", ADDRESS).json()["id"] for _ in range(2)]

        links = [str(payment_link().public_id) for _ in range(2)]

        assert {uuid.UUID(one).version for one in (*carts, *links)} == {4}  # to know is to have
        # An address' own begins with its time; whose it is, is asked as well.
        assert {uuid.UUID(one).version for one in addresses} == {7}
        assert len({one[-12:] for one in (*carts, *addresses, *links)}) == 6

    def test_of_orders_are_numbers_that_do_not_follow_each_other(self, shopper):
        factories.ProductFactory(sku="APPLE")
        placed = [shopper.order(("APPLE", 1)).json()["order_number"] for _ in range(3)]
        keys = [str(order.pk) for order in Order.objects.all()]

        assert len({number[:4] for number in placed}) == 3
        assert [shopper.get(f"/orders/{key}").status_code for key in keys] == [404] * 3

    def test_in_paths_are_no_row_numbers(self):
        named = {
            name for path in docs._document()["paths"] for name in re.findall(r"{(\w+)}", path)
        }

        # A document's number is counted by law, and looked for below one's own order alone.
        assert named == {
            *("sku", "order_number", "cart_id", "address_id", "return_id", "document_number"),
            *("payment_method_id", "payment_link_id", "provider"),
            "unsubscribe_token",  # signed: the number in it is good for nothing without that
        }


def test_row_24_a_letter_links_to_our_own_address_whatever_a_request_says(db):
    factories.CustomerFactory(email="ann@example.com")

    answer = Client().post(
        "/_allauth/app/v1/auth/password/request",
        {"email": "ann@example.com"},
        content_type="application/json",
        headers={
            "X-Forwarded-Host": "evil.example",
            "X-Forwarded-Proto": "gopher",
            "X-Original-Host": "evil.example",
            "Forwarded": "host=evil.example;proto=gopher",
            "Origin": "https://evil.example",
            "Referer": "https://evil.example/",
        },
    )
    outbox.relay()

    assert answer.status_code == 200
    [letter] = mail.outbox
    whole = letter.message().as_string()
    assert f"{settings.PUBLIC_URL}/account/password/reset/key/" in letter.body
    assert set(re.findall(r"\w+://[^/\s\"]+", letter.body)) == {settings.PUBLIC_URL}
    assert "evil" not in whole
    assert "gopher" not in whole


@pytest.mark.django_db(transaction=True)
class TestRow30AStatementThatTakesTooLong:
    @pytest.fixture
    def stuck(self):
        """Nobody can read products; our own patience is short."""
        with connection.cursor() as cursor:
            cursor.execute("SET statement_timeout = '100ms'")
        place = {k: v for k, v in connection.get_connection_params().items() if k in PLACE}
        other = psycopg2.connect(**place)
        other.cursor().execute("LOCK TABLE products IN ACCESS EXCLUSIVE MODE")
        yield
        other.close()
        connection.close()

    @pytest.mark.parametrize("search", ["", "?search=apple", "?ordering=price&min_price=1.00"])
    def test_is_ended_and_told_as_503(self, stuck, search):
        answer = Client().get(f"/api/v1/products{search}")

        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "SERVICE_UNAVAILABLE"
        assert int(answer["Retry-After"]) >= 1
        assert b"timeout" not in answer.content

    def test_has_a_limit_in_the_database_itself(self):
        with connection.cursor() as cursor:
            cursor.execute("SHOW statement_timeout")
            assert cursor.fetchone() == ("15s",)


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "http://localhost.evil.example",
        "https://127.0.0.1.evil.example",
    ],
)
@pytest.mark.parametrize("method", ["get", "options"])
def test_row_43_cors_lets_no_foreign_origin_read(client, db, origin, method):
    answer = getattr(client, method)(
        "/api/v1/me",
        headers={"Origin": origin, "Access-Control-Request-Method": "GET"},
    )

    assert not any(name.lower().startswith("access-control-allow") for name in answer.headers)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2026 4242 4242 4242 4242", "[card]"),
        ("4242424242424242_1", "[card]_1"),
        ("at 1764207994123 ms", "at 1764207994123 ms"),
        ("2026-11-27 01:48:38.404242", "2026-11-27 01:48:38.404242"),
        ("order K7M2-Q9XD-4T", "order K7M2-Q9XD-4T"),
    ],
)
def test_row_60_logs_hold_no_card_number_and_keep_the_rest(text, shown):
    assert redacted(text) == shown


@pytest.mark.parametrize("name", OWN_KEYS)
def test_row_64_what_outlives_a_session_is_signed_by_a_key_of_its_own(name):
    without = {k: v for k, v in (os.environ | PRODUCTION).items() if k not in {name, "THROTTLE"}}

    done = subprocess.run(
        [sys.executable, "-c", "import config.settings.production"],
        env=without,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert f"orderkeep: {name}: is required here and not set" in done.stderr


def test_row_64_check_deploy_has_no_complaint():
    kept = {k: v for k, v in os.environ.items() if k not in {"THROTTLE", "PYTEST_XDIST_WORKER"}}

    done = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        env=kept | PRODUCTION,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "System check identified no issues" in done.stdout + done.stderr


def test_production_sends_no_mail_from_nobody():
    mail = {"EMAIL_URL": "smtp://mail.example", "EMAIL_FROM": ""}

    done = subprocess.run(
        [sys.executable, "-c", "import config.settings.production"],
        env=os.environ | PRODUCTION | mail,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode != 0
    assert "EMAIL_FROM: is required here and not set" in done.stderr


class TestRow51ARedirect:
    @pytest.mark.parametrize(
        "target",
        [
            *(
                "//evil.example",
                "https://evil.example",
                "https:evil.example",
                "https:///evil.example",
            ),
            *(
                "\\\\evil.example",
                "/\\evil.example",
                "javascript:alert(1)",
                "//evil.example/admin/",
            ),
            *(
                "http://testserver@evil.example",
                "\thttps://evil.example",
                "https://testserver.evil.example",
            ),
        ],
    )
    def test_after_a_log_in_to_the_admin_stays_here(self, db, target):
        boss = factories.CustomerFactory(email="boss@example.com", is_staff=True)
        code = RecoveryCodes.activate(boss).get_unused_codes()[0]
        totp.TOTP.activate(boss, totp.generate_totp_secret())
        browser = Client()

        browser.post(
            "/admin/login/",
            {"username": "boss@example.com", "password": factories.PASSWORD, "next": target},
        )
        answer = browser.post("/admin/login/code/", {"code": code})

        assert (answer.status_code, answer["Location"]) == (302, "/admin/")

    @pytest.mark.parametrize("path", ["//evil.example", "/\\evil.example", "//evil.example/admin"])
    def test_of_a_path_that_is_a_host_is_none(self, db, path):
        answer = Client().get("/admin" + path)

        assert not answer.get("Location", "").startswith(("//", "http", "\\"))


class TestRow65WhatIsRead:
    def test_from_the_queue_is_json(self):
        assert settings.CELERY_ACCEPT_CONTENT == ["json"]
        assert settings.CELERY_TASK_SERIALIZER == "json"

    def test_from_the_cache_is_json(self):
        cache.set("row-65", {"a": [1, "b"]})

        [raw] = cache._cache.get_client(None).mget([cache.make_key("row-65")])

        assert json.loads(raw) == {"a": [1, "b"]}
        with pytest.raises(TypeError):
            cache.set("row-65", object())

    def test_from_a_session_is_signed_json(self):
        assert SessionStore().serializer is signing.JSONSerializer

    @pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
    def test_from_an_index_is_pinned_by_hash(self, name):
        entries = re.split(r"\n(?=\S)", (ROOT / name).read_text().strip())
        pinned = [entry for entry in entries if not entry.startswith("#")]

        assert len(pinned) > 20
        assert [
            entry
            for entry in pinned
            if not re.match(r"\S+==\S+ .*--hash=sha256:", entry, re.DOTALL)
        ] == []
