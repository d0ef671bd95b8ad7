"""The addresses a customer keeps: an order's address with an id, seen by nobody else."""

import json
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import IntegrityError, connection, transaction

from audit.models import AuditLog
from customers import services
from customers.models import Address
from tests import factories
from tests.shop import ADDRESS, Shopper, access_token

pytestmark = pytest.mark.django_db
ROUTE = "/me/addresses"


@pytest.fixture
def shopper(db):
    return Shopper(factories.CustomerFactory())


@pytest.fixture
def stranger(db):
    return Shopper(factories.CustomerFactory())


def send(shopper, method, path, body=None):
    return shopper.client.generic(
        method,
        f"/api/v1{path}",
        b"" if body is None else json.dumps(body).encode(),
        content_type="application/json",
        headers=shopper.headers,
    )


def add(shopper, **parts):
    answer = shopper.post(ROUTE, {**ADDRESS, **parts})
    assert answer.status_code == 201, answer.content
    return answer.json()


class TestAdding:
    def test_keeps_an_order_s_address_under_an_id(self, shopper):
        answer = shopper.post(ROUTE, {**ADDRESS, "state": "new york", "phone": "+1 212 555 0100"})

        assert answer.status_code == 201
        kept = answer.json()
        assert kept == {"id": kept["id"], **ADDRESS, "phone": "+1 212 555 0100"}
        assert answer["Location"] == f"/api/v1{ROUTE}/{kept['id']}"
        assert uuid.UUID(kept["id"]).version == 7
        assert Address.objects.get().customer == shopper.customer
        row = AuditLog.objects.get(event_type="ADDRESS_ADDED")
        assert (row.entity_id, row.data) == (
            Address.objects.get().pk,
            {"customer_id": shopper.customer.pk},
        )

    def test_answers_what_an_order_takes(self, shop, shopper):
        factories.ProductFactory(sku="APPLE", on_hand=5)
        kept = add(shopper, line2="Floor 3")

        del kept["id"]
        answer = shopper.order(("APPLE", 1), shipping_address=kept)

        assert answer.status_code == 201, answer.content
        assert answer.json()["shipping_address"] == kept

    @pytest.mark.parametrize(
        ("parts", "field"),
        [
            ({"postal_code": "1000"}, "postal_code"),
            ({"postal_code": ""}, "postal_code"),
            ({"state": "Bavaria"}, "state"),
            ({"state": ""}, "state"),
            ({"country": "us"}, "country"),
            ({"country": None}, "country"),
            ({"city": ""}, "city"),
            ({"name": "4242 4242 4242 4242"}, "name"),
            ({"line1": "a\nb"}, "line1"),
            ({"phone": ""}, "phone"),
            ({"id": "0192f0c1-7a51-7c3e-9d5e-3f0a5b9c1d2e"}, "id"),
            ({"customer": 1}, "customer"),
        ],
    )
    def test_refuses_bad_input_by_name(self, shopper, parts, field):
        answer = shopper.post(ROUTE, {**ADDRESS, **parts})

        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "VALIDATION_FAILED"
        assert list(answer.json()["error"]["details"]) == [field]
        assert not Address.objects.exists()

    def test_is_over_at_the_most_that_are_kept(self, shopper, monkeypatch):
        monkeypatch.setattr(services, "MAX_ADDRESSES", 2)
        add(shopper)
        add(shopper)

        answer = shopper.post(ROUTE, ADDRESS)

        assert answer.status_code == 400
        assert "non_field_errors" in answer.json()["error"]["details"]
        assert Address.objects.count() == 2

    def test_needs_a_token(self, client):
        assert client.post(f"/api/v1{ROUTE}", ADDRESS, "application/json").status_code == 401

    def test_is_refused_to_a_suspended_customer_who_may_still_read(self, shopper):
        kept = add(shopper)
        type(shopper.customer).objects.update(status="suspended")

        for method, path in (("POST", ROUTE), ("PATCH", f"{ROUTE}/{kept['id']}")):
            answer = send(shopper, method, path, ADDRESS)
            assert (answer.status_code, answer.json()["error"]["code"]) == (
                403,
                "INACTIVE_CUSTOMER",
            )
        assert send(shopper, "DELETE", f"{ROUTE}/{kept['id']}").status_code == 403
        assert shopper.get(ROUTE).json()["results"] == [kept]


class TestReading:
    def test_lists_one_s_own_newest_first(self, shopper, stranger):
        first, second = add(shopper, name="First"), add(shopper, name="Second")
        add(stranger)

        page = shopper.get(ROUTE).json()

        assert page == {"next": None, "previous": None, "results": [second, first]}
        assert shopper.get(f"{ROUTE}/{first['id']}").json() == first

    def test_comes_in_pages(self, shopper):
        for name in ("A", "B", "C"):
            add(shopper, name=name)

        page = shopper.get(ROUTE, page_size="2").json()
        rest = shopper.client.get(page["next"], headers=shopper.headers).json()

        names = [found["name"] for found in page["results"] + rest["results"]]
        assert names == ["C", "B", "A"]

    @pytest.mark.parametrize("many", [1, 20])
    def test_takes_as_many_queries_for_many_as_for_one(
        self, shopper, many, django_assert_num_queries
    ):
        Address.objects.bulk_create(
            Address(customer=shopper.customer, **ADDRESS) for _ in range(many)
        )

        with django_assert_num_queries(2):  # who asks, and the page
            assert len(shopper.get(ROUTE).json()["results"]) == many


class TestChanging:
    def test_changes_what_is_sent_and_nothing_else(self, shopper):
        kept = add(shopper, line2="Floor 3", phone="+1 212 555 0100")
        changes = {"line2": "", "phone": None, "city": "Albany", "postal_code": "12207"}

        answer = send(shopper, "PATCH", f"{ROUTE}/{kept['id']}", changes)

        assert answer.status_code == 200
        expected = {**ADDRESS, "id": kept["id"], "city": "Albany", "postal_code": "12207"}
        assert answer.json() == expected
        assert shopper.get(f"{ROUTE}/{kept['id']}").json() == expected

    def test_checks_the_whole_by_its_country(self, shopper):
        kept = add(shopper)

        answer = send(shopper, "PATCH", f"{ROUTE}/{kept['id']}", {"country": "CA"})

        assert answer.status_code == 400
        assert set(answer.json()["error"]["details"]) == {"postal_code", "state"}
        assert shopper.get(f"{ROUTE}/{kept['id']}").json() == kept

    def test_changes_no_order(self, shop, shopper):
        factories.ProductFactory(sku="APPLE", on_hand=5)
        kept = add(shopper)
        order = shopper.order(("APPLE", 1)).json()

        send(shopper, "PATCH", f"{ROUTE}/{kept['id']}", {"line1": "2 Side Street"})
        send(shopper, "DELETE", f"{ROUTE}/{kept['id']}")

        read = shopper.get(f"/orders/{order['order_number']}").json()
        assert read["shipping_address"] == ADDRESS

    def test_forgets_it(self, shopper):
        kept = add(shopper)

        answer = send(shopper, "DELETE", f"{ROUTE}/{kept['id']}")

        assert (answer.status_code, answer.content) == (204, b"")
        assert shopper.get(f"{ROUTE}/{kept['id']}").status_code == 404
        assert send(shopper, "DELETE", f"{ROUTE}/{kept['id']}").status_code == 404
        assert not Address.objects.exists()


class TestSomebodyElseS:
    @pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
    def test_looks_as_if_there_were_none(self, shopper, stranger, method):
        path = f"{ROUTE}/{add(shopper)['id']}"
        body = {"name": "Mallory"} if method == "PATCH" else None

        answer = send(stranger, method, path, body)
        missing = send(stranger, method, f"{ROUTE}/{uuid.uuid4()}", body)

        assert answer.status_code == missing.status_code == 404
        assert answer.json()["error"] == missing.json()["error"]
        assert Address.objects.get().name == ADDRESS["name"]

    def test_goes_with_its_account(self, shopper, stranger):
        add(shopper)
        add(stranger)

        shopper.customer.delete()

        assert Address.objects.get().customer == stranger.customer


class TestTable:
    def test_refuses_what_is_no_country_code(self, shopper):
        with pytest.raises(IntegrityError, match="address_country_is_a_code"), transaction.atomic():
            Address.objects.create(customer=shopper.customer, **{**ADDRESS, "country": "us"})


class TestQuotesAndOrders:
    @pytest.mark.parametrize("path", ["/quotes", "/orders"])
    def test_are_held_to_the_same_rules(self, shop, shopper, path):
        factories.ProductFactory(sku="APPLE", on_hand=5)
        body = {
            "items": [{"sku": "APPLE", "quantity": 1}],
            "shipping_address": {**ADDRESS, "postal_code": "SW1A 1AA"},
        }
        body |= {"payment_method_id": "pm_card_visa"} if path == "/orders" else {}

        answer = shopper.post(path, body, **{"Idempotency-Key": "postal"})

        assert answer.status_code == 400
        assert answer.json()["error"]["details"] == {
            "shipping_address": {"postal_code": ["This is not a postal code of US, such as 95014."]}
        }

    def test_tax_a_state_whether_it_is_written_out_or_not(self, shop, shopper):
        factories.ProductFactory(sku="APPLE", on_hand=5)
        basket = {"items": [{"sku": "APPLE", "quantity": 1}]}

        by_code, by_name = (
            shopper.post("/quotes", {**basket, "shipping_address": {**ADDRESS, "state": state}})
            for state in ("NY", "New York")
        )

        assert by_code.json() == by_name.json()
        assert by_code.json()["tax_amount"] != "0.00"


@pytest.mark.django_db(transaction=True)
@pytest.mark.concurrency
class TestAtOnce:
    def at_once(self, work, times):
        barrier = threading.Barrier(times)

        def run(number):
            try:
                barrier.wait(timeout=30)
                return work(number)
            finally:
                connection.close()

        with ThreadPoolExecutor(times) as pool:
            return list(pool.map(run, range(times)))

    def test_no_more_are_kept_than_allowed(self, monkeypatch):
        monkeypatch.setattr(services, "MAX_ADDRESSES", 2)
        customer = factories.CustomerFactory()
        token = access_token(customer)

        def attempt(_):
            shopper = Shopper()
            shopper.headers["Authorization"] = f"Bearer {token}"
            return shopper.post(ROUTE, ADDRESS).status_code

        assert sorted(self.at_once(attempt, 5)) == [201, 201, 400, 400, 400]
        assert Address.objects.count() == 2

    def test_two_changes_are_both_made(self):
        customer = factories.CustomerFactory()
        address = Address.objects.create(customer=customer, **ADDRESS)
        changes = [{"name": "New Name"}, {"line1": "2 Side Street"}]

        self.at_once(
            lambda number: services.change_address(
                customer_id=customer.pk, public_id=address.public_id, changes=changes[number]
            ),
            2,
        )

        address.refresh_from_db()
        assert (address.name, address.line1) == ("New Name", "2 Side Street")
