"""Letters over real SMTP: as a mail server takes them, and once for it, however often it fails."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from audit import outbox
from audit.models import Delivery, OutboxMessage
from tests import factories
from tests.shop import Shopper, order_of

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _by_smtp(settings, sinks):
    server = urlsplit(sinks.email_url)
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = server.hostname, server.port
    settings.PUBLIC_URL = "https://shop.example.com"


@pytest.fixture
def placed(shop):
    """A guest's order, in Arabic."""
    product = factories.ProductFactory(on_hand=5, name="Tee <b>")
    guest = Shopper()
    guest.headers["Accept-Language"] = "ar"
    return order_of(guest.order((product.sku, 2)))


def try_again():
    Delivery.objects.filter(subscriber="email").update(next_attempt_at="2020-01-01T00:00:00Z")
    outbox.retry(
        delivery_ids=list(Delivery.objects.values_list("pk", flat=True)), include_dead=True
    )
    outbox.relay()


def test_a_letter_in_arabic_arrives_as_it_was_written(sinks, placed):
    outbox.relay()

    (letter,) = sinks.received("smtp").bodies
    message = OutboxMessage.objects.get(fact="order.confirmed")
    assert letter["headers"]["Message-ID"] == f"<{message.uuid}@shop.example.com>"
    assert letter["recipients"] == ["guest@example.com"]
    assert letter["subject"] == f"تم تأكيد الطلب {placed.order_number}"
    assert "شكرًا لك على طلبك" in letter["text"]
    assert "Tee <b>" in letter["text"]


@pytest.mark.parametrize("kind", ["refuse", "answer_lost"])
def test_one_that_failed_on_its_way_arrives_once(sinks, placed, kind):
    sinks.fail("smtp", kind)
    outbox.relay()
    assert Delivery.objects.get(subscriber="email").status == "pending"

    try_again()

    assert Delivery.objects.get(subscriber="email").status == "delivered"
    assert sinks.received("smtp").kept == 1
