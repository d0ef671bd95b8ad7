"""Letters over real SMTP: as a mail server takes them, and once for it, however often it fails."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from urllib.parse import urlsplit

import pytest

from audit import outbox
from audit.models import Delivery, OutboxMessage
from audit.outbox import DeliveryFailedError, ReceiverAwayError, RejectedError
from integrations.email import about_orders
from tests import factories
from tests.shop import Shopper, order_of

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _by_smtp(settings, sinks):
    server = urlsplit(sinks.email_url)
    settings.EMAIL_BACKEND = "integrations.email.smtp.TimedSmtpBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = server.hostname, server.port
    settings.PUBLIC_URL = "https://shop.example.com"


@pytest.fixture
def placed(shop):
    """A guest's order, in Arabic."""
    product = factories.ProductFactory(on_hand=5, name="Tee <b>")
    guest = Shopper()
    guest.headers["Accept-Language"] = "ar"
    return order_of(guest.order((product.sku, 2)))


@pytest.fixture
def confirmed(placed):
    return OutboxMessage.objects.get(fact="order.confirmed")


@contextlib.contextmanager
def server(speak):
    """A port at which somebody speaks as `speak(connection, over)` does, to one who comes."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def host():
            with contextlib.suppress(OSError), listening.accept()[0] as connection:
                speak(connection, over)

        thread = threading.Thread(target=host)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            over.set()
            with contextlib.suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            thread.join(10)


def drips(connection, over):
    """Its greeting never ends, and is never silent for long."""
    while not over.wait(0.1):
        connection.sendall(b"2")


def dawdles(connection, over):
    """Each answer comes within the time that one may take, all of them together do not."""
    answer = b"220 here\r\n"
    while not over.wait(0.7):
        connection.sendall(answer)
        answer = b"250 well\r\n" if connection.recv(4096) else b""


def is_silent(_connection, over):
    over.wait(10)


def seconds_until_away(message):
    began = time.monotonic()
    with pytest.raises(ReceiverAwayError):
        about_orders.send(message)
    return time.monotonic() - began


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
    assert letter["headers"]["X-Order-Number"] == placed.order_number
    assert f"X-Order-Number: {placed.order_number}\n" in letter["content"].replace("\r", "")
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


class TestAServerThatTakesNothing:
    """Letters cost it no try, and are not given up for it."""

    @pytest.mark.parametrize(
        ("code", "at"),
        [
            *((421, at) for at in ("connect", "helo", "mail", "rcpt", "data", "end")),
            *((554, "connect"), (550, "helo"), (451, "mail"), (553, "mail")),
        ],
    )
    def test_is_away(self, sinks, confirmed, code, at):
        sinks.fail("smtp", "refuse", code=code, at=at, times=None)

        with pytest.raises(ReceiverAwayError, match="the mail server"):
            about_orders.send(confirmed)

    def test_is_away_if_it_hangs_up(self, sinks, confirmed):
        sinks.fail("smtp", "drop")

        with pytest.raises(ReceiverAwayError, match="SMTPServerDisconnected"):
            about_orders.send(confirmed)

    def test_is_away_if_nobody_listens(self, settings, confirmed):
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            settings.EMAIL_PORT = nobody.getsockname()[1]

            with pytest.raises(ReceiverAwayError, match="ConnectionRefusedError"):
                about_orders.send(confirmed)

    def test_is_away_if_it_does_not_let_us_in(self, settings, confirmed):
        settings.EMAIL_HOST_USER, settings.EMAIL_HOST_PASSWORD = "shop", "wrong"

        with pytest.raises(ReceiverAwayError, match="SMTPAuthenticationError: SMTP 535"):
            about_orders.send(confirmed)


class TestARefusal:
    @pytest.mark.parametrize("at", ["rcpt", "data", "end"])
    def test_for_now_is_tried_again(self, sinks, confirmed, at):
        sinks.fail("smtp", "refuse", code=451, at=at)

        with pytest.raises(DeliveryFailedError, match="SMTP 451") as caught:
            about_orders.send(confirmed)

        assert type(caught.value) is DeliveryFailedError

    @pytest.mark.parametrize(("code", "at"), [(550, "rcpt"), (554, "data"), (554, "end")])
    def test_for_good_is_given_up_at_once_with_its_code(self, sinks, placed, code, at):
        sinks.fail("smtp", "refuse", code=code, at=at, times=None)

        outbox.relay()

        delivery = Delivery.objects.get(subscriber="email")
        assert (delivery.status, delivery.attempts) == ("dead", 1)
        assert f"SMTP {code}" in delivery.last_error
        assert "@" not in delivery.last_error

    def test_is_told_as_such(self, sinks, confirmed):
        sinks.fail("smtp", "refuse", code=550, at="rcpt")

        with pytest.raises(RejectedError, match="refuses the recipient: SMTP 550"):
            about_orders.send(confirmed)


class TestTheWholeConversation:
    """Ends in time, however the server spends it."""

    @pytest.fixture(autouse=True)
    def _in_a_second(self, settings):
        settings.EMAIL_TIMEOUT = 1

    @pytest.mark.parametrize("speak", [drips, dawdles, is_silent])
    def test_is_bounded(self, settings, confirmed, speak):
        with server(speak) as settings.EMAIL_PORT:
            assert 0.9 < seconds_until_away(confirmed) < 2

    @pytest.mark.parametrize("speak", [drips, is_silent])
    def test_is_bounded_over_tls(self, settings, confirmed, speak):
        settings.EMAIL_USE_SSL = True
        with server(speak) as settings.EMAIL_PORT:
            assert seconds_until_away(confirmed) < 2

    def test_is_bounded_after_the_letter_was_taken(self, sinks, confirmed):
        sinks.fail("smtp", "hang", seconds=5)

        assert 0.9 < seconds_until_away(confirmed) < 2
        about_orders.send(confirmed)

        assert sinks.received("smtp").kept == 1  # it is the same Message-ID

    def test_waits_for_a_server_that_is_slow(self, sinks, confirmed):
        sinks.fail("smtp", "latency", seconds=0.5)

        assert about_orders.send(confirmed) is None
