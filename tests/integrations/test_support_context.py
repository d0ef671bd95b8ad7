"""The context of a chat: little, told to whoever has shown that they may hear it, and audited."""

from __future__ import annotations

import json

import pytest
from django.core.signing import TimestampSigner
from django.test import Client
from django.utils import timezone

from audit.models import AuditLog
from integrations.support import context
from tests import factories
from tests.admin import rows

pytestmark = pytest.mark.django_db

PATH = "/api/v1/support/context"
TOKEN = "the-chat-tools-own-token-here"


@pytest.fixture(autouse=True)
def _shop(settings):
    settings.PUBLIC_URL = "https://shop.example.com"
    settings.SUPPORT_CONTEXT_TOKENS = [TOKEN, "the-one-that-comes-after-it"]


@pytest.fixture
def order():
    return rows.make_order(7)


def ask(*, token: str | None = TOKEN, **query: str):
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return Client().get(PATH, query, headers=headers)


def audited():
    return AuditLog.objects.filter(event_type="SUPPORT_CONTEXT_READ")


class TestAContext:
    def test_of_an_order_is_where_it_stands_and_where_to_read_more(self, order):
        answer = ask(order="abcd-0007")

        assert answer.status_code == 200
        assert answer.json() == {
            "customer_url": "https://shop.example.com/admin/customers/customer/"
            f"{order.customer_id}/change/",
            "orders": [
                {
                    "order_number": "ABCD-0007",
                    "status": "confirmed",
                    "payment_status": "pending",
                    "total_amount": "25.66",
                    "currency": "USD",
                    "created_at": order.created_at.isoformat().replace("+00:00", "Z"),
                    "url": f"https://shop.example.com/admin/orders/order/{order.pk}/change/",
                }
            ],
        }

    def test_of_an_address_is_the_accounts_orders_and_a_guests_newest_first(self, order):
        rows.make_order(8, guest_email="ann7@example.com", created_at=timezone.now())
        rows.make_order(9, guest_email="somebody@example.com")

        answer = ask(email=" Ann7@Example.com ")

        numbers = [one["order_number"] for one in answer.json()["orders"]]
        assert numbers == ["ABCD-0008", "ABCD-0007"]

    def test_of_an_address_ends_with_ten(self):
        for number in range(1, 13):
            rows.make_order(number, guest_email="gus@example.com")

        answer = ask(email="gus@example.com").json()

        assert len(answer["orders"]) == 10
        assert answer["customer_url"] is None

    def test_of_nobody_is_empty(self):
        answer = ask(email="nobody@example.com")

        assert (answer.status_code, answer.json()) == (200, {"customer_url": None, "orders": []})

    def test_of_no_order_is_not_there(self):
        assert ask(order="NO-SUCH").status_code == 404

    def test_holds_nothing_of_a_person(self, order):
        text = json.dumps(ask(email="ann7@example.com").json()).lower()

        for personal in ("ann7@", "lee", "main", "notes", "pi_"):
            assert personal not in text

    def test_is_audited_without_a_person(self, order):
        ask(order="ABCD-0007")
        ask(email="ann7@example.com")
        ask(email="nobody@example.com")

        kept = [(row.entity_type, row.entity_id, row.data) for row in audited().order_by("pk")]
        found = ("customer", order.customer_id, {"how": "token", "orders": ["ABCD-0007"]})
        assert kept == [found, found, ("order", None, {"how": "token", "orders": []})]


class TestWhoAsks:
    @pytest.mark.parametrize("token", [None, "", "x", TOKEN[:-1], f"{TOKEN}x", "é", TOKEN.upper()])
    def test_needs_a_token_of_the_shops_own(self, order, token):
        answer = ask(token=token, order="ABCD-0007")

        assert answer.status_code == 401
        assert not audited().exists()

    def test_may_have_either_token_while_it_is_changed(self, order):
        assert ask(token="the-one-that-comes-after-it", order="ABCD-0007").status_code == 200

    def test_is_not_helped_by_being_staff(self, order, client):
        client.force_login(factories.CustomerFactory(is_staff=True, is_superuser=True))

        assert client.get(PATH, {"order": "ABCD-0007"}).status_code == 401

    def test_asks_in_vain_where_no_token_is_set(self, order, settings):
        link = context.link_for(order_number="ABCD-0007")
        settings.SUPPORT_CONTEXT_TOKENS = []

        assert ask(order="ABCD-0007").status_code == 401
        assert ask(token="", order="ABCD-0007").status_code == 401
        assert Client().get(link.removeprefix("https://shop.example.com")).status_code == 401
        assert context.link_for(order_number="ABCD-0007") == ""

    @pytest.mark.parametrize(
        "query",
        [{}, {"order": "A", "email": "a@example.com"}, {"email": "nonsense"}, {"order": "x" * 41}],
    )
    def test_has_to_name_one_thing(self, query):
        assert ask(**query).status_code == 400

    def test_is_slowed_down(self, settings, order):
        settings.THROTTLE = True
        settings.THROTTLE_RATES = {**settings.THROTTLE_RATES, "support_context": (2, 60)}

        codes = [ask(token="wrong", order="ABCD-0007").status_code for _ in range(3)]

        assert codes == [401, 401, 429]
        assert ask(order="ABCD-0007").status_code == 429


class TestALink:
    @pytest.fixture
    def link(self, order):
        return context.link_for(order_number=order.order_number).removeprefix(
            "https://shop.example.com"
        )

    def test_needs_no_token_and_is_about_one_order(self, order, link):
        rows.make_order(8, customer=order.customer)

        answer = Client().get(link)

        assert [one["order_number"] for one in answer.json()["orders"]] == ["ABCD-0007"]
        assert audited().get().data == {"how": "link", "orders": ["ABCD-0007"]}

    def test_ends_after_a_week(self, order, link, monkeypatch):
        unsign = TimestampSigner.unsign

        def a_week_later(self, value, max_age=None):
            return unsign(self, value, max_age=max_age.total_seconds() - 7 * 86_400 - 1)

        monkeypatch.setattr(TimestampSigner, "unsign", a_week_later)

        assert Client().get(link).status_code == 404

    @pytest.mark.parametrize("change", [("ABCD-0007", "ABCD-0008"), ("link=", "link=x")])
    def test_cannot_be_made_into_another(self, link, change):
        rows.make_order(8)

        assert Client().get(link.replace(*change)).status_code == 404

    def test_is_not_an_unsubscribe_link(self, link):
        token = link.partition("link=")[2]

        assert Client().get(f"/api/v1/unsubscribe/{token}").status_code == 404

    def test_of_an_order_that_never_was_is_not_there(self, db):
        link = context.link_for(order_number="NO-SUCH").removeprefix("https://shop.example.com")

        assert Client().get(link).status_code == 404
