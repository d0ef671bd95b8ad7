"""Being told that something can be ordered again: by request, to one's own address, once."""

from __future__ import annotations

import threading

import pytest
from django.core import mail
from django.db import connection, transaction
from django.utils import timezone

from audit import outbox
from audit.models import Delivery, OutboxMessage
from customers.models import Customer
from integrations.email import back_in_stock
from inventory.models import Product, StockLevel
from orders.models import StockAlert
from orders.services import privacy, stock_alerts
from tests import factories
from tests.shop import Shopper

pytestmark = pytest.mark.django_db
URL = "/products/KETTLE/stock-alerts"


@pytest.fixture
def kettle(shop):
    return factories.ProductFactory(sku="KETTLE", name="Kettle <b>", on_hand=0)


@pytest.fixture
def ann(shop):
    return Shopper(factories.CustomerFactory(email="ann@example.com", email_verified=True))


def give_up(shopper, url=URL):
    return shopper.client.delete(f"/api/v1{url}", headers=shopper.headers)


def told():
    """To whom it is told now."""
    mail.outbox.clear()
    stock_alerts.tell_available()
    outbox.relay()
    return [letter.to for letter in mail.outbox]


class TestAsking:
    def test_again_is_the_same_wish(self, kettle, ann):
        assert [ann.post(URL).status_code for _ in range(2)] == [204, 204]

        assert StockAlert.objects.count() == 1

    def test_for_what_is_there_is_refused(self, kettle, ann):
        factories.receive(kettle, 1)

        answer = ann.post(URL)

        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "INVALID_TRANSITION")
        assert not StockAlert.objects.exists()

    def test_for_what_is_not_sold_is_refused(self, kettle, ann):
        Product.objects.update(is_active=False)

        assert ann.post(URL).status_code == 404
        assert ann.post("/products/NOTHING/stock-alerts").status_code == 404

    def test_is_not_for_guests_and_not_for_the_suspended(self, kettle, ann):
        assert Shopper().post(URL).status_code == 401
        Customer.objects.filter(pk=ann.customer.pk).update(status="suspended")

        assert ann.post(URL).status_code == 403
        assert not StockAlert.objects.exists()

    def test_has_an_end(self, kettle, ann, monkeypatch):
        monkeypatch.setattr(stock_alerts, "MOST_ALERTS", 1)
        factories.ProductFactory(sku="POT", on_hand=0)
        assert ann.post("/products/POT/stock-alerts").status_code == 204

        assert ann.post(URL).status_code == 429
        assert give_up(ann, "/products/POT/stock-alerts").status_code == 204
        assert ann.post(URL).status_code == 204


class TestTelling:
    def test_waits_until_it_can_be_ordered_and_is_done_once(self, kettle, ann):
        ann.post(URL)
        assert told() == []

        factories.receive(kettle, 1)

        assert told() == [["ann@example.com"]]
        assert told() == []
        assert not StockAlert.objects.exists()
        (fact,) = OutboxMessage.objects.filter(fact=stock_alerts.DUE)
        assert fact.payload == {"customer_id": ann.customer.pk, "product_id": kettle.pk}

    def test_says_what_and_where_in_the_customers_language(self, kettle, ann, settings):
        settings.PUBLIC_URL = "https://shop.example.com"
        Customer.objects.filter(pk=ann.customer.pk).update(language="fr")
        ann.post(URL)
        factories.receive(kettle, 1)

        told()

        (letter,) = mail.outbox
        assert letter.subject == "Ce que vous attendiez est de nouveau disponible"
        assert "Kettle <b> peut de nouveau" in letter.body
        assert "https://shop.example.com/p/KETTLE\n" in letter.body
        assert "Kettle <b>" not in letter.alternatives[0].content
        assert "List-Unsubscribe" not in letter.extra_headers  # asked for, and the only one

    def test_waits_for_an_address_that_is_not_verified(self, kettle, ann):
        Customer.objects.filter(pk=ann.customer.pk).update(email_verified=False)
        ann.post(URL)
        factories.receive(kettle, 1)
        assert told() == []

        Customer.objects.filter(pk=ann.customer.pk).update(email_verified=True)

        assert told() == [["ann@example.com"]]

    def test_does_not_count_what_is_promised_to_others(self, kettle, ann):
        ann.post(URL)
        factories.receive(kettle, 1)
        StockLevel.objects.filter(product=kettle).update(allocated=1)

        assert told() == []

    def test_does_not_reach_who_gave_it_up(self, kettle, ann):
        ann.post(URL)
        assert [give_up(ann).status_code for _ in range(2)] == [204, 204]
        factories.receive(kettle, 1)

        assert told() == []

    def test_goes_to_everybody_who_asked_batch_by_batch(self, kettle):
        for _ in range(3):
            Shopper(factories.CustomerFactory(email_verified=True)).post(URL)
        factories.receive(kettle, 1)

        assert stock_alerts.tell_available(limit=2) == 3

    def test_reads_little_while_nothing_is_there(self, kettle, ann, django_assert_num_queries):
        ann.post(URL)

        with django_assert_num_queries(2):
            stock_alerts.tell_available()


class TestLookedAtAgainWhenSent:
    @pytest.fixture
    def due(self, kettle, ann):
        """It was there when the fact was stated."""
        ann.post(URL)
        factories.receive(kettle, 1)
        stock_alerts.tell_available()

    def noted(self):
        mail.outbox.clear()
        outbox.relay()
        assert mail.outbox == []
        delivery = Delivery.objects.get(subscriber="email", message__fact=stock_alerts.DUE)
        assert delivery.status == "delivered"
        return delivery.last_error

    def test_not_if_it_is_not_sold_any_more(self, due):
        Product.objects.update(is_active=False)

        assert self.noted() == "not sent: the product is not sold any more"

    @pytest.mark.parametrize("status", ["suspended", "inactive"])
    def test_not_if_the_account_is_not_active(self, due, status):
        Customer.objects.update(status=status)

        assert self.noted() == "not sent: the account is not active"

    def test_not_if_somebody_else_took_it_and_the_wish_stays(self, kettle, due):
        StockLevel.objects.filter(product=kettle).update(allocated=1)

        assert self.noted() == "not sent: it is sold out again, and they wait on"

        assert StockAlert.objects.count() == 1
        factories.receive(kettle, 1)
        assert told() == [["ann@example.com"]]
        assert not StockAlert.objects.exists()

    @pytest.mark.parametrize("gone", ["customer_id", "product_id"])
    def test_not_if_something_is_gone(self, due, gone):
        message = OutboxMessage.objects.get(fact=stock_alerts.DUE)
        message.payload[gone] = 0

        assert back_in_stock.send(message).startswith("not sent: ")


@pytest.mark.concurrency
@pytest.mark.django_db(transaction=True)
def test_two_at_once_tell_each_wish_once(kettle, ann):
    for _ in range(5):
        Shopper(factories.CustomerFactory(email_verified=True)).post(URL)
    with transaction.atomic():
        factories.receive(kettle, 1)
    barrier, counts = threading.Barrier(2), []

    def tell():
        barrier.wait(10)
        counts.append(stock_alerts.tell_available())
        connection.close()

    threads = [threading.Thread(target=tell) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert sum(counts) == 5
    assert OutboxMessage.objects.filter(fact=stock_alerts.DUE).count() == 5
    assert not StockAlert.objects.exists()


def test_export_and_erasure_know_of_it(kettle, ann):
    ann.post(URL)
    now = timezone.now()
    exported = privacy.export_customer(customer_id=ann.customer.pk, now=now)
    assert [wish["sku"] for wish in exported["stock_alerts"]] == ["KETTLE"]

    privacy.erase_customer(customer_id=ann.customer.pk, now=now)

    assert not StockAlert.objects.exists()
