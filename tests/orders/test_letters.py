"""Letters to buyers: kept as they were sent, sent once, and once more when staff asks for it."""

from __future__ import annotations

import smtplib

import pytest
from django.core import mail
from django.core.mail.backends.locmem import EmailBackend

from audit import outbox
from audit import services as audit
from audit.models import AuditLog, Delivery, OutboxMessage
from config.kernel.errors import (
    InvalidTransitionError,
    NotFoundError,
    RateLimitExceededError,
    ValidationFailedError,
)
from integrations.email import about_orders
from orders.models import Letter, Order
from orders.services.letters import MOST_RESENT, RESEND, forget_letters, resend_letter
from tests import factories
from tests.shop import order_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def order(shopper):
    factories.ProductFactory(sku="APPLE")
    order = order_of(shopper.order(("APPLE", 2)))
    outbox.relay()
    return order


@pytest.fixture
def letter(order):
    return Letter.objects.get(order=order)


def confirmed(order):
    return OutboxMessage.objects.get(fact="order.confirmed", aggregate_id=order.pk)


class TestKeeping:
    def test_keeps_a_letter_as_it_was_sent(self, order, letter, shopper):
        (sent,) = mail.outbox

        assert letter.recipient == sent.to[0] == shopper.customer.email
        assert (letter.subject, letter.body_text) == (sent.subject, sent.body)
        assert letter.body_html == sent.alternatives[0][0]
        assert letter.message_uuid == confirmed(order).uuid
        assert (letter.fact, letter.repeats_id) == ("order.confirmed", None)

    def test_follows_no_later_change_of_the_order(self, order, letter):
        Order.objects.filter(pk=order.pk).update(shipping_address={"name": "Somebody else"})

        letter.refresh_from_db()
        assert "Ada Lovelace" in letter.body_text

    def test_sends_what_was_delivered_twice_once(self, order, letter):
        said = about_orders.send(confirmed(order))

        assert said == "not sent: it was sent already"
        assert len(mail.outbox) == 1
        assert Letter.objects.count() == 1

    def test_keeps_none_that_was_refused(self, shopper, monkeypatch):
        factories.ProductFactory(sku="APPLE")
        refusal = smtplib.SMTPResponseException(451, "later")

        def refuse(*_):
            raise refusal

        monkeypatch.setattr(EmailBackend, "send_messages", refuse)
        order = order_of(shopper.order(("APPLE", 1)))
        outbox.relay()
        assert not Letter.objects.exists()
        monkeypatch.undo()

        audit.retry_deliveries(aggregate_type="order", aggregate_id=order.pk)
        outbox.relay()

        assert Letter.objects.get().order == order

    def test_shows_staff_no_key_of_a_guest(self, guest):
        factories.ProductFactory(sku="APPLE")
        answer = guest.order(("APPLE", 1))
        outbox.relay()

        letter = Letter.objects.get()

        token = answer.json()["guest_token"]
        assert token in letter.body_text
        assert token not in letter.readable_text
        assert f"/orders/{order_of(answer).order_number}?token=…" in letter.readable_text


class TestResending:
    def test_sends_the_same_words_to_the_address_of_today(self, letter, shopper):
        shopper.customer.email = "new@example.com"
        shopper.customer.save()

        assert resend_letter(letter_id=letter.pk, request_key="once")
        outbox.relay()

        first, again = mail.outbox
        assert again.to == ["new@example.com"]
        assert (again.subject, again.body) == (first.subject, first.body)
        assert again.alternatives[0][0] == first.alternatives[0][0]
        assert again.extra_headers["Message-ID"] != first.extra_headers["Message-ID"]
        kept = Letter.objects.get(repeats=letter)
        assert (kept.recipient, kept.body_text) == ("new@example.com", letter.body_text)

    def test_is_written_down_without_the_address(self, letter):
        resend_letter(letter_id=letter.pk, request_key="once")

        row = AuditLog.objects.get(event_type="LETTER_RESEND_REQUESTED")
        assert (row.entity_type, row.entity_id) == ("order", letter.order_id)
        assert row.data == {
            "order_number": letter.order.order_number,
            "letter": letter.pk,
            "fact": "order.confirmed",
        }

    def test_takes_the_same_wish_twice_once(self, letter):
        assert resend_letter(letter_id=letter.pk, request_key="once")
        assert not resend_letter(letter_id=letter.pk, request_key="once")
        outbox.relay()

        assert len(mail.outbox) == 2
        assert AuditLog.objects.filter(event_type="LETTER_RESEND_REQUESTED").count() == 1

    def test_floods_nobody(self, letter):
        for n in range(MOST_RESENT):
            resend_letter(letter_id=letter.pk, request_key=f"wish {n}")

        with pytest.raises(RateLimitExceededError, match="that is enough"):
            resend_letter(letter_id=letter.pk, request_key="one more")

        outbox.relay()
        assert len(mail.outbox) == 1 + MOST_RESENT
        assert not resend_letter(letter_id=letter.pk, request_key="wish 0")

    def test_counts_what_is_long_ago_no_more(self, letter):
        for n in range(MOST_RESENT):
            resend_letter(letter_id=letter.pk, request_key=f"wish {n}")
        OutboxMessage.objects.filter(fact=RESEND).update(occurred_at="2020-02-02T00:00Z")

        assert resend_letter(letter_id=letter.pk, request_key="one more")

    def test_of_an_erased_buyer_is_refused(self, letter):
        forget_letters(order_ids=[letter.order_id])

        with pytest.raises(InvalidTransitionError, match="was erased"):
            resend_letter(letter_id=letter.pk, request_key="once")

        assert not OutboxMessage.objects.filter(fact=RESEND).exists()

    def test_to_a_buyer_who_is_erased_before_it_leaves_is_not_sent(self, letter):
        resend_letter(letter_id=letter.pk, request_key="once")
        forget_letters(order_ids=[letter.order_id])
        outbox.relay()

        assert len(mail.outbox) == 1
        delivery = Delivery.objects.get(message__fact=RESEND)
        assert "was erased" in delivery.last_error

    def test_of_nothing_is_refused(self, db):
        with pytest.raises(NotFoundError):
            resend_letter(letter_id=1, request_key="once")

    @pytest.mark.parametrize("key", ["", "k" * 65])
    def test_with_a_key_that_is_none_is_refused(self, letter, key):
        with pytest.raises(ValidationFailedError):
            resend_letter(letter_id=letter.pk, request_key=key)


class TestRetryingDeliveries:
    def retry(self, order):
        return audit.retry_deliveries(aggregate_type="order", aggregate_id=order.pk)

    def test_makes_dead_ones_due_and_is_written_down(self, order):
        delivery = Delivery.objects.filter(message=confirmed(order)).first()
        Delivery.objects.filter(pk=delivery.pk).update(status="dead", attempts=12)

        assert self.retry(order) == 1

        delivery.refresh_from_db()
        assert (delivery.status, delivery.attempts) == ("pending", 0)
        row = AuditLog.objects.get(event_type="DELIVERIES_RETRIED")
        assert (row.entity_type, row.entity_id) == ("order", order.pk)
        assert row.data == {"delivery_ids": [delivery.pk], "retried": 1}

    def test_leaves_what_arrived_and_other_orders_alone(self, order, shopper):
        other = order_of(shopper.order(("APPLE", 1)))
        outbox.relay()
        theirs = Delivery.objects.filter(message=confirmed(other)).first()
        Delivery.objects.filter(pk=theirs.pk).update(status="dead", attempts=12)

        assert self.retry(order) == 0

        theirs.refresh_from_db()
        assert theirs.status == "dead"
        assert not AuditLog.objects.filter(event_type="DELIVERIES_RETRIED").exists()
