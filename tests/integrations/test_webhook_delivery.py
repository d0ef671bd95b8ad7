"""What a merchant's system is sent, how it is signed, and what its answers do."""

from __future__ import annotations

import ssl
import time
from datetime import datetime, timedelta
from types import SimpleNamespace

import pytest
from django.db.models import F
from django.utils import timezone
from standardwebhooks import Webhook, WebhookVerificationError

from audit import outbox
from audit import services as audit
from audit.models import AuditLog, Delivery, OutboxMessage, Receiver
from config.kernel.clock import Deadline
from customers import services as customers
from integrations.webhooks import delivery, events, services, signing
from integrations.webhooks.models import WebhookAttempt, WebhookEndpoint, WebhookSecret
from orders.models import Cart, CartItem, Order, Return, ReturnItem, Shipment, ShipmentItem
from orders.services import cancellation, shipping
from tests import factories
from tests.integrations.webhook_receiver import (
    MerchantsServer,
    answering,
    babbling,
    flooding,
    make_endpoint,
    stalling,
)
from tests.shop import ADDRESS, order_of

pytestmark = pytest.mark.django_db

PERSONAL = ("Lovelace", "Ada", "Main Street", "10001", "@example.com", "Ring twice", "guest_token")


CONSENT = "customer.marketing_consent_changed"


def state(kind=CONSENT, number=1, **payload):
    audit.publish(
        kind,
        aggregate_type=kind.partition(".")[0],
        aggregate_id=number,
        dedupe_key=f"{kind}.{number}.{OutboxMessage.objects.count()}",
        payload={"customer_id": number, "marketing_consent": True, **payload},
    )


def let_pass(seconds):
    span = timedelta(seconds=seconds)
    Delivery.objects.update(next_attempt_at=F("next_attempt_at") - span)
    Receiver.objects.filter(retry_at__isnull=False).update(retry_at=F("retry_at") - span)


def deliveries_to(endpoint):
    return Delivery.objects.filter(subscriber=endpoint.subscriber).order_by("pk")


def attempts():
    rows = WebhookAttempt.objects.order_by("pk")
    return list(rows.values_list("outcome", "http_status", "error", "excerpt"))


@pytest.fixture
def placed(shopper):
    factories.ProductFactory(sku="APPLE")
    return order_of(shopper.order(("APPLE", 2), notes="Ring twice"))


class TestWhatIsSent:
    def test_is_contracts_envelope_and_verified_by_a_merchants_library(self, merchant, placed):
        _, secret = make_endpoint(merchant, "order.confirmed")

        outbox.relay()

        (request,) = merchant.requests
        message = OutboxMessage.objects.get(fact="order.confirmed")
        assert request.is_signed_with(secret)
        assert request.event.keys() == {"id", "type", "occurred_at", "data"}
        assert request.event["type"] == "order.confirmed"
        assert datetime.fromisoformat(request.event["occurred_at"]) == message.occurred_at
        assert request.id == request.event["id"] == str(message.uuid)
        assert request.headers["idempotency-key"] == request.id
        assert request.headers["content-type"] == "application/json"
        assert request.headers["orderkeep-payload-version"] == "1"
        assert abs(int(request.headers["webhook-timestamp"]) - time.time()) < 60

    def test_of_an_order_is_the_order_as_the_api_shows_it_without_the_person(
        self, merchant, placed, shopper
    ):
        make_endpoint(merchant, "order.confirmed")

        outbox.relay()

        data = merchant.last.event["data"]
        shown = shopper.get(f"/orders/{placed.order_number}").json()
        assert data["order_number"] == placed.order_number
        assert data["customer_id"] == placed.customer_id
        assert data["order"] == {
            name: value
            for name, value in shown.items()
            if name not in {"shipping_address", "billing_address", "notes"}
        }
        assert data["order"]["items"][0]["quantity"] == 2
        assert not [word for word in PERSONAL if word.encode() in merchant.last.body]

    def test_of_a_guests_order_opens_it_to_nobody(self, merchant, guest):
        factories.ProductFactory(sku="APPLE")
        answer = guest.order(("APPLE", 1)).json()
        make_endpoint(merchant, "order.confirmed")

        outbox.relay()

        assert answer["guest_token"].encode() not in merchant.last.body
        assert merchant.last.event["data"]["customer_id"] is None
        assert not [word for word in PERSONAL if word.encode() in merchant.last.body]

    def test_of_every_kind_names_no_person(self, merchant, placed):
        """Each kind that can be chosen is sent once, by the facts as the services state them."""
        make_endpoint(merchant)
        item = placed.items.get()
        shipment = Shipment.objects.create(
            order=placed, carrier="UPS", tracking_number="1Z1", tracking_url="https://ups.test/1Z1"
        )
        ShipmentItem.objects.create(shipment=shipment, order_item=item, quantity=1)
        wish = Return.objects.create(order=placed, reason="Ring twice")
        ReturnItem.objects.create(parent=wish, order_item=item, quantity=1)
        cart = Cart.objects.create(currency="USD", expires_at=timezone.now())
        CartItem.objects.create(cart=cart, product=item.product, quantity=3)
        money = {"amount": "1.00", "currency": "USD"}
        payload = {
            "order_id": placed.pk,
            "order_number": placed.order_number,
            "shipment": shipment.pk,
            "return": str(wish.public_id),
            "refund": "0197f000-0000-7000-8000-000000000001",
            "dispute": "dp_1",
            "status": "needs_response",
            "customer_id": placed.customer_id,
            "marketing_consent": True,
            "email": "ada@example.com",
            **money,
        }
        for kind in events.KINDS[1:]:
            number = cart.pk if kind.startswith("cart") else placed.pk
            state(kind, number, **payload)

        outbox.relay()

        assert merchant.kinds == dict.fromkeys(events.KINDS, 1)
        by_kind = {request.event["type"]: request.event["data"] for request in merchant.requests}
        assert by_kind["shipment.sent"]["shipment"]["items"] == [{"sku": "APPLE", "quantity": 1}]
        assert by_kind["return.requested"]["return"] == {
            "id": str(wish.public_id),
            "status": "requested",
            "items": [{"sku": "APPLE", "quantity": 1}],
            "created_at": wish.created_at.isoformat().replace("+00:00", "Z"),
        }
        assert by_kind["order.refunded"]["refund"] == {"id": payload["refund"], **money}
        assert by_kind["cart.abandoned"]["items"] == [{"sku": "APPLE", "quantity": 3}]
        assert str(cart.public_id) not in str(by_kind["cart.abandoned"])
        assert by_kind["order.erased"] == {"order_number": placed.order_number}
        assert by_kind["customer.erased"] == {"customer_id": placed.pk}
        for request in merchant.requests:
            assert not [word for word in PERSONAL if word.encode() in request.body], request

    def test_follows_the_services(self, merchant, placed):
        """Kinds are the facts' own names: what the shop really does is heard."""
        make_endpoint(merchant)
        parcel = shipping.Parcel(carrier="UPS", tracking_number="1Z1")
        outbox.relay()

        shipping.ship_order(order_id=placed.pk, parcel=parcel)
        shipping.deliver_order(order_id=placed.pk)
        outbox.relay()

        kinds = [request.event["type"] for request in merchant.requests]
        assert kinds[:1] == ["order.confirmed"]
        assert {"shipment.sent", "order.shipped", "order.delivered"} <= set(kinds)
        assert kinds.index("order.shipped") < kinds.index("order.delivered")

    def test_of_a_cancellation_is_the_cancelled_order(self, merchant, placed):
        make_endpoint(merchant, "order.cancelled")

        cancellation.cancel_order(order_id=placed.pk, reason="x", deadline=Deadline(12.0))
        outbox.relay()

        assert merchant.last.event["data"]["order"]["status"] == "cancelled"

    def test_is_nothing_of_what_is_gone(self, merchant):
        endpoint, _ = make_endpoint(merchant, "cart.abandoned")
        state("cart.abandoned", 4711)

        outbox.relay()

        (one,) = deliveries_to(endpoint)
        assert (one.status, one.last_error) == ("delivered", "not sent: what it is about is gone")
        assert merchant.requests == []

    def test_is_what_was_chosen_alone(self, merchant):
        make_endpoint(merchant, CONSENT)
        state(CONSENT)
        state("order.erased", order_number="ABCD-0001")
        state("account.password_changed")

        outbox.relay()

        assert merchant.kinds == {CONSENT: 1}

    def test_is_nothing_internal(self):
        internal = ("account.", "letter.", "payment_link.", "webhook.")
        assert not [kind for kind in events.KINDS if kind.startswith(internal)]


class TestSignatures:
    def test_of_another_secret_body_id_or_time_are_refused(self, merchant):
        _, secret = make_endpoint(merchant, CONSENT)
        state()
        outbox.relay()
        request = merchant.last
        stranger = signing.PREFIX + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

        assert request.is_signed_with(secret)
        with pytest.raises(WebhookVerificationError):
            request.is_signed_with(stranger)
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(request.body + b" ", request.headers)
        for name, value in (("webhook-id", "x"), ("webhook-timestamp", "1")):
            with pytest.raises(WebhookVerificationError):
                Webhook(secret).verify(request.body, {**request.headers, name: value})

    def test_of_both_secrets_come_for_24_hours_after_a_change(self, merchant):
        endpoint, old = make_endpoint(merchant, CONSENT)
        new = services.give_secret(
            endpoint_id=endpoint.pk, request_key="second", user_id=endpoint.created_by_id
        )
        state(number=1)
        outbox.relay()
        WebhookSecret.objects.filter(expires_at__isnull=False).update(expires_at=timezone.now())
        state(number=2)
        outbox.relay()

        during, after = merchant.requests
        assert new != old
        assert during.is_signed_with(old)
        assert during.is_signed_with(new)
        assert after.is_signed_with(new)
        with pytest.raises(WebhookVerificationError):
            after.is_signed_with(old)

    def test_change_with_each_try_and_its_time(self, merchant, monkeypatch):
        _, secret = make_endpoint(merchant, CONSENT)
        merchant.answers(answering(500))
        state()
        outbox.relay()
        first = merchant.last
        later = SimpleNamespace(time=lambda: time.time() + 90, monotonic=time.monotonic)
        monkeypatch.setattr(delivery, "time", later)
        let_pass(60)
        outbox.relay()
        second = merchant.last

        assert second.is_signed_with(secret)
        assert second is not first
        assert second.id == first.id
        assert second.headers["webhook-signature"] != first.headers["webhook-signature"]

    def test_need_the_key_that_the_secret_was_made_of(self, merchant, settings):
        endpoint, secret = make_endpoint(merchant, CONSENT)
        old = settings.WEBHOOK_KEY
        settings.WEBHOOK_KEY = b"k" * 32
        state()
        outbox.relay()
        assert merchant.requests == []
        assert "give it a new secret" in deliveries_to(endpoint).get().last_error

        settings.WEBHOOK_OLD_KEYS = [old]
        let_pass(60)
        outbox.relay()

        assert merchant.last.is_signed_with(secret)

    def test_are_not_to_be_made_from_the_database(self, merchant):
        _, secret = make_endpoint(merchant)

        row = WebhookSecret.objects.values().get()

        assert secret not in str(row)
        assert signing.shown(WebhookSecret.objects.get()) == secret
        assert len(secret) == len("whsec_") + 44


class TestAnAnswer:
    @pytest.fixture
    def endpoint(self, merchant):
        endpoint, _ = make_endpoint(merchant, CONSENT)
        state()
        return endpoint

    @pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
    def test_of_2xx_is_a_yes(self, merchant, endpoint, status):
        merchant.answers(answering(status, b"" if status == 204 else b"thanks"))

        outbox.relay()

        assert deliveries_to(endpoint).get().status == "delivered"
        assert attempts() == [("delivered", status, "", "")]

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 429, 500, 502, 503])
    def test_of_another_kind_is_tried_again(self, merchant, endpoint, status):
        merchant.answers(answering(status, b"no"))
        outbox.relay()
        one = deliveries_to(endpoint).get()
        assert (one.status, one.last_error) == ("pending", f"answered {status}")

        merchant.answers(answering(204))
        let_pass(60)
        outbox.relay()

        one.refresh_from_db()
        assert one.status == "delivered"
        assert len({request.id for request in merchant.requests}) == 1
        assert attempts() == [
            ("failed", status, f"answered {status}", "no"),
            ("delivered", 204, "", ""),
        ]

    def test_that_asks_to_wait_is_waited_for(self, merchant, endpoint):
        merchant.answers(answering(503, Retry_After="1200"))

        outbox.relay()

        waits = deliveries_to(endpoint).get().next_attempt_at - timezone.now()
        assert timedelta(minutes=19) < waits < timedelta(minutes=21)

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_that_leads_elsewhere_is_not_followed(self, merchant, endpoint, status):
        other = MerchantsServer()
        try:
            merchant.answers(answering(status, Location=other.url))

            outbox.relay()

            assert other.requests == []
        finally:
            other.close()
        assert "not followed" in deliveries_to(endpoint).get().last_error

    def test_of_410_disables_the_endpoint_and_tells_staff_why(self, merchant, endpoint):
        merchant.answers(answering(410))

        outbox.relay()

        endpoint.refresh_from_db()
        assert (endpoint.status, endpoint.disabled_because) == ("disabled", "it answered 410 Gone")
        one = deliveries_to(endpoint).get()
        assert one.status == "dead"  # shown under *Not moving*
        assert one.last_error == "it answered 410 Gone: the endpoint is disabled"
        assert AuditLog.objects.filter(event_type="WEBHOOK_ENDPOINT_DISABLED").count() == 1
        state(number=2)
        outbox.relay()
        assert len(merchant.requests) == 1

    def test_that_is_no_http_is_a_failure(self, merchant, endpoint):
        merchant.answers(babbling)

        outbox.relay()

        assert deliveries_to(endpoint).get().last_error == "gave no whole answer: BadStatusLine"

    def test_without_an_end_is_given_up_at_a_megabyte(self, merchant, endpoint):
        merchant.answers(flooding)
        began = time.monotonic()

        outbox.relay()

        assert time.monotonic() - began < 5
        assert "no whole answer" in deliveries_to(endpoint).get().last_error
        assert attempts()[0][3] == ""

    def test_that_never_comes_is_given_up_in_time(self, merchant, endpoint, monkeypatch):
        monkeypatch.setattr(delivery, "CALL_SECONDS", 0.5)
        merchant.answers(stalling(30))
        began = time.monotonic()

        outbox.relay()

        assert time.monotonic() - began < 3
        assert deliveries_to(endpoint).get().last_error == "gave no whole answer: TimeoutError"

    def test_is_kept_short_and_plain(self, merchant, endpoint):
        nasty = "<script>alert(1)</script>\x00\x1b[31m \u202egnp.exe\r\n" + "x" * 5_000
        merchant.answers(answering(500, nasty.encode() + b"\xff\xfe"))

        outbox.relay()

        ((_, _, error, excerpt),) = attempts()
        assert error == "answered 500"
        assert excerpt.startswith("<script>alert(1)</script> [31m gnp.exe xxx")
        assert len(excerpt) == 200
        assert excerpt.isprintable()
        assert "script" not in deliveries_to(endpoint).get().last_error
        assert "script" not in str(list(AuditLog.objects.values()))

    def test_is_blanked_when_anybody_is_erased(self, merchant, endpoint):
        merchant.answers(answering(500, b"no customer Ada Lovelace"))
        outbox.relay()
        assert attempts()[0][3] == "no customer Ada Lovelace"

        state("order.erased", 7, order_number="ABCD-0001")
        outbox.relay()

        assert {excerpt for *_, excerpt in attempts()} == {""}


class TestWhereItGoes:
    """Row 50, at the connection: what the name leads to by then."""

    def test_is_nowhere_if_the_network_is_allowed_no_more(self, merchant, settings):
        endpoint, _ = make_endpoint(merchant, CONSENT)
        settings.WEBHOOK_ALLOWED_NETWORKS = []
        state()

        outbox.relay()

        assert merchant.requests == []
        one = deliveries_to(endpoint).get()
        assert one.status == "pending"
        assert one.last_error == "its name leads to an address that is not allowed: nothing sent"

    @pytest.mark.parametrize(
        "url", ["https://localhost:{}/", "https://[::ffff:127.0.0.1]:{}/", "https://127.0.0.1:{}/"]
    )
    def test_is_not_this_machine_whatever_stands_in_the_row(self, merchant, settings, url):
        settings.WEBHOOK_ALLOWED_NETWORKS = []
        endpoint, _ = make_endpoint(url.format(merchant.server_address[1]), CONSENT)
        state()

        outbox.relay()

        assert merchant.requests == []
        assert "not allowed" in deliveries_to(endpoint).get().last_error

    def test_is_a_server_with_a_certificate_of_its_name(
        self, loopback_allowed, certificate, monkeypatch
    ):
        monkeypatch.setenv("SSL_CERT_FILE", certificate.authority)
        delivery._transport.cache_clear()
        server = MerchantsServer(certificate=certificate.files)
        try:
            endpoint, secret = make_endpoint(server.url.replace("127.0.0.1", "localhost"), CONSENT)
            other, _ = make_endpoint(server.url, CONSENT)  # not in the certificate
            state()

            outbox.relay()

            (request,) = server.requests
            assert request.is_signed_with(secret)
            assert deliveries_to(endpoint).get().status == "delivered"
            problem = deliveries_to(other).get().last_error
            assert problem == f"gave no whole answer: {ssl.SSLCertVerificationError.__name__}"
        finally:
            server.close()
            delivery._transport.cache_clear()


class TestAnEndpointThatFails:
    def test_for_days_is_disabled_and_staff_sees_it(self, merchant, settings):
        endpoint, _ = make_endpoint(merchant, CONSENT)
        merchant.answers(answering(500))
        state(number=1)
        outbox.relay()
        endpoint.refresh_from_db()
        assert endpoint.failing_since is not None
        days = timedelta(days=settings.WEBHOOK_FAILING_DAYS)
        WebhookEndpoint.objects.update(failing_since=F("failing_since") - days)

        let_pass(60)
        outbox.relay()

        endpoint.refresh_from_db()
        assert endpoint.status == "disabled"
        assert endpoint.disabled_because == "it has taken nothing for 5 days"
        assert deliveries_to(endpoint).get().status == "dead"

    def test_and_takes_something_in_between_stays(self, merchant):
        endpoint, _ = make_endpoint(merchant, CONSENT)
        merchant.answers(answering(500))
        state(number=1)
        outbox.relay()
        WebhookEndpoint.objects.update(failing_since=timezone.now() - timedelta(days=40))
        merchant.answers(answering(204))
        state(number=2)

        outbox.relay()

        endpoint.refresh_from_db()
        assert (endpoint.status, endpoint.failing_since) == ("enabled", None)


def test_nothing_of_an_erased_customer_is_needed_to_tell_of_it(merchant):
    make_endpoint(merchant, CONSENT)
    customer = factories.CustomerFactory()
    customer.version += 1
    customers.tell_consent(customer)

    outbox.relay()

    assert merchant.last.event["data"] == {
        "customer_id": customer.pk,
        "marketing_consent": customer.marketing_consent,
    }
    assert ADDRESS["name"].encode() not in merchant.last.body
    assert not Order.objects.exists()
