"""What staff notes about orders and customers: once, checked, and without its words in the log."""

from __future__ import annotations

import pytest

from audit.models import AuditLog
from config.kernel.errors import (
    InvalidTransitionError,
    NotFoundError,
    RequestKeyReusedError,
    ValidationFailedError,
)
from customers import services as customers
from customers.models import CustomerNote
from orders.models import Order, OrderNote
from orders.services import notes
from tests import factories
from tests.shop import order_of

pytestmark = pytest.mark.django_db

BAD = {
    "": "Write something.",
    " \n ": "Write something.",
    "x" * 2_001: "At most 2,000 characters.",
    "a\x00b": "Control characters are not allowed.",
    "turned \u202e around": "Control characters are not allowed.",
    "\ud800": "This text is not valid Unicode.",
    "it is 4242 4242 4242 4242": "This looks like a card number: never send one here.",
}


@pytest.fixture
def clerk(db):
    return factories.CustomerFactory(is_staff=True, email="clerk@example.com")


@pytest.fixture
def order(shopper):
    factories.ProductFactory(sku="APPLE")
    return order_of(shopper.order(("APPLE", 1)))


@pytest.fixture(params=["order", "customer"])
def add(request, order, clerk):
    """Both kinds of notes keep the same rules."""

    def add_note(text, *, request_key="key", **changes):
        said = {"text": text, "user_id": clerk.pk, "request_key": request_key, **changes}
        if request.param == "order":
            return notes.add_note(**{"order_id": order.pk, **said})
        return customers.add_note(**{"customer_id": order.customer_id, **said})

    add_note.about = request.param
    return add_note


class TestANote:
    def test_is_kept_with_who_wrote_it(self, add, clerk):
        note = add("  Ring twice.\r\n\tThen leave.\n")

        assert (note.text, note.author) == ("Ring twice.\n\tThen leave.", clerk)
        assert type(note).objects.get() == note

    def test_takes_the_longest_there_may_be(self, add):
        assert len(add("é" * 2_000).text) == 2_000

    def test_is_written_down_without_its_words(self, add, order):
        note = add("secret of a kind")

        row = AuditLog.objects.get(event_type=f"{add.about.upper()}_NOTE_ADDED")
        entity_id = order.pk if add.about == "order" else order.customer_id
        assert (row.entity_type, row.entity_id) == (add.about, entity_id)
        assert row.data["note"] == note.pk
        assert "secret" not in str(row.data)

    @pytest.mark.parametrize("text", BAD)
    def test_that_is_none_is_refused_and_says_why(self, add, text):
        with pytest.raises(ValidationFailedError) as caught:
            add(text)

        assert caught.value.details == {"text": [BAD[text]]}
        assert not OrderNote.objects.exists()
        assert not CustomerNote.objects.exists()

    @pytest.mark.parametrize("key", ["", "k" * 65])
    def test_with_a_key_that_is_none_is_refused(self, add, key):
        with pytest.raises(ValidationFailedError):
            add("Ring twice.", request_key=key)

    def test_sent_twice_is_one(self, add):
        first, second = add("Ring twice."), add("Ring twice.")

        assert first == second
        assert AuditLog.objects.filter(event_type__endswith="NOTE_ADDED").count() == 1

    def test_of_the_same_key_with_other_words_is_refused(self, add):
        add("Ring twice.")

        with pytest.raises(RequestKeyReusedError):
            add("Ring thrice.")

        assert add("Ring twice.").text == "Ring twice."

    def test_about_nothing_is_refused(self, add):
        with pytest.raises(NotFoundError):
            add("Ring twice.", **{f"{add.about}_id": 0})


def test_nothing_more_is_noted_of_an_erased_buyers_order(order, clerk):
    Order.objects.filter(pk=order.pk).update(erased_at=order.created_at)

    with pytest.raises(InvalidTransitionError, match="erased"):
        notes.add_note(order_id=order.pk, text="Hm.", user_id=clerk.pk, request_key="k")


def test_nothing_more_is_noted_of_an_erased_customer(shopper, clerk):
    type(shopper.customer).objects.update(erased_at="2026-01-01T00:00Z")

    with pytest.raises(NotFoundError):
        customers.add_note(
            customer_id=shopper.customer.pk, text="Hm.", user_id=clerk.pk, request_key="k"
        )
