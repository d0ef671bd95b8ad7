"""Mail that comes back, and complaints: heard once, from who knows the secret, and honoured."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

import pytest
from django.contrib import admin
from django.core import mail
from django.test import Client
from django.utils import timezone

from audit import outbox
from audit.models import AuditLog, Delivery, OutboxMessage
from config.kernel.errors import InvalidTransitionError, NotFoundError
from customers import suppressions
from customers.models import Customer, EmailSuppression
from orders.models import Order
from orders.services import privacy
from tests import factories
from tests.admin import rows
from tests.shop import Shopper, order_of

pytestmark = pytest.mark.django_db

SECRET = "hook:long-and-random"
SIGNING_KEY = "mailgun-signing-key"
HARD, COMPLAINT, OTHERS = (
    {
        "postmark": {"RecordType": "Bounce", "Type": "HardBounce", "Email": "ann@example.com"},
        "brevo": {"event": "hard_bounce", "email": "ann@example.com"},
        "mailgun": {
            "event": "failed",
            "severity": "permanent",
            "reason": "bounce",
            "recipient": "ann@example.com",
        },
    },
    {
        "postmark": {
            "RecordType": "SpamComplaint",
            "Type": "SpamComplaint",
            "Email": "ann@example.com",
        },
        "brevo": {"event": "spam", "email": "ann@example.com"},
        "mailgun": {"event": "complained", "recipient": "ann@example.com"},
    },
    {
        "postmark": [
            {"RecordType": "Delivery", "Recipient": "ann@example.com"},
            {"RecordType": "Bounce", "Type": "SoftBounce", "Email": "ann@example.com"},
            {"RecordType": "Bounce", "Type": "Transient", "Email": "ann@example.com"},
            {"RecordType": "SomethingNew"},
        ],
        "brevo": [
            {"event": "delivered", "email": "ann@example.com"},
            {"event": "soft_bounce", "email": "ann@example.com"},
            {"event": "something_new"},
        ],
        "mailgun": [
            {"event": "delivered", "recipient": "ann@example.com"},
            {"event": "failed", "severity": "temporary", "recipient": "ann@example.com"},
        ],
    },
)
each_provider = pytest.mark.parametrize("provider", HARD)


@pytest.fixture
def ann():
    return factories.CustomerFactory(email="ann@example.com", marketing_consent=True)


@pytest.fixture(autouse=True)
def _hook(settings, request):
    provider = getattr(request.node, "callspec", None)
    name = provider.params.get("provider", "postmark") if provider else "postmark"
    settings.EMAIL_PROVIDER = name
    settings.EMAIL_WEBHOOK_SECRET = SIGNING_KEY if name == "mailgun" else SECRET
    settings.ANYMAIL = (
        {"MAILGUN_API_KEY": "k", "MAILGUN_WEBHOOK_SIGNING_KEY": SIGNING_KEY}
        if name == "mailgun"
        else {"WEBHOOK_SECRET": SECRET}
    )


def body_of(provider, event, *, key=SIGNING_KEY):
    """As the provider sends it, by its documentation."""
    if provider != "mailgun":
        return {"ts_epoch": 1_764_000_000_000, "ID": 1, **event}
    at, token = "1764000000", "a" * 50
    signature = hmac.new(key.encode(), f"{at}{token}".encode(), hashlib.sha256).hexdigest()
    return {
        "signature": {"timestamp": at, "token": token, "signature": signature},
        "event-data": {"timestamp": 1764000000.1, "id": "x", **event},
    }


def tell(provider, event, *, secret=SECRET, key=SIGNING_KEY):
    credentials = base64.b64encode(secret.encode()).decode()
    return Client().post(
        f"/api/v1/webhooks/email/{provider}",
        json.dumps(body_of(provider, event, key=key)),
        content_type="application/json",
        headers={} if provider == "mailgun" else {"Authorization": f"Basic {credentials}"},
    )


@each_provider
class TestAWord:
    def test_of_mail_that_came_back_is_kept_once_and_without_the_address(self, provider, ann):
        for _ in range(3):
            answer = tell(provider, HARD[provider])
            assert (answer.status_code, answer.json()) == (200, {"received": True})

        kept = EmailSuppression.objects.get()
        assert (kept.reason, kept.provider, kept.customer_id) == ("bounced", provider, ann.pk)
        assert "ann" not in str(EmailSuppression.objects.values().get())
        (row,) = AuditLog.objects.filter(event_type="EMAIL_SUPPRESSED")
        assert row.data == {"reason": "bounced", "provider": provider}
        assert Customer.objects.get(pk=ann.pk).marketing_consent

    def test_of_a_complaint_withdraws_the_consent_to_marketing_once(self, provider, ann):
        for _ in range(2):
            assert tell(provider, COMPLAINT[provider]).status_code == 200

        fresh = Customer.objects.get(pk=ann.pk)
        assert not fresh.marketing_consent
        assert fresh.version == ann.version + 1
        assert EmailSuppression.objects.get().reason == "complained"
        fact = OutboxMessage.objects.get(fact="customer.marketing_consent_changed")
        assert fact.payload == {"customer_id": ann.pk, "marketing_consent": False}

    def test_of_anything_else_changes_nothing(self, provider, ann):
        for event in OTHERS[provider]:
            assert tell(provider, event).status_code == 200

        assert not EmailSuppression.objects.exists()

    def test_of_somebody_without_the_secret_is_refused(self, provider, ann):
        answer = tell(provider, HARD[provider], secret="hook:guessed", key="guessed")

        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "VALIDATION_FAILED"
        assert not EmailSuppression.objects.exists()

    @pytest.mark.parametrize("junk", [b"", b"[]", b"1", b"null", b"{", b'{"event": []}', b"\xff"])
    def test_that_is_none_is_refused(self, provider, junk):
        credentials = base64.b64encode(SECRET.encode()).decode()
        answer = Client().post(
            f"/api/v1/webhooks/email/{provider}",
            junk,
            content_type="application/json",
            headers={"Authorization": f"Basic {credentials}"},
        )

        assert answer.status_code in {200, 400}
        assert not EmailSuppression.objects.exists()


class TestTheRoute:
    @pytest.mark.parametrize("name", ["brevo", "nobody", "POSTMARK", ""])
    def test_is_there_for_the_shops_own_provider_alone(self, name):
        assert tell(name, HARD["brevo"]).status_code == 404

    def test_is_not_there_without_a_secret(self, settings):
        settings.EMAIL_WEBHOOK_SECRET = ""
        settings.ANYMAIL = {}

        assert tell("postmark", HARD["postmark"]).status_code == 404

    def test_takes_no_other_method(self):
        answer = Client().get("/api/v1/webhooks/email/postmark")

        assert (answer.status_code, answer.json()["error"]["code"]) == (405, "METHOD_NOT_ALLOWED")


class TestASuppressedAddress:
    @pytest.fixture
    def suppressed(self, shop):
        suppressions.suppress(
            address="Guest@Example.com", reason=suppressions.Reason.BOUNCED, provider="postmark"
        )
        return EmailSuppression.objects.get()

    def test_is_not_written_to_and_the_delivery_says_why(self, suppressed):
        product = factories.ProductFactory(on_hand=5)
        Shopper().order((product.sku, 1))

        outbox.relay()

        assert mail.outbox == []
        delivery = Delivery.objects.get(subscriber="email")
        assert delivery.status == "delivered"
        assert delivery.last_error == "not sent: the address is suppressed: mail to it came back"

    def test_is_written_to_again_when_it_was_lifted(self, suppressed):
        clerk = rows.make_customer(50)

        suppressions.lift(suppression_id=suppressed.pk, user_id=clerk.pk)

        assert suppressions.find_reason(address="guest@example.com") is None
        row = AuditLog.objects.get(event_type="EMAIL_SUPPRESSION_LIFTED")
        assert row.data == {"suppression": suppressed.pk, "reason": "bounced"}
        with pytest.raises(InvalidTransitionError):
            suppressions.lift(suppression_id=suppressed.pk, user_id=clerk.pk)
        with pytest.raises(NotFoundError):
            suppressions.lift(suppression_id=0, user_id=clerk.pk)

    def test_is_suppressed_anew_when_it_comes_back_anew(self, suppressed):
        clerk = rows.make_customer(50)
        suppressions.lift(suppression_id=suppressed.pk, user_id=clerk.pk)

        changed = suppressions.suppress(
            address="guest@example.com", reason=suppressions.Reason.BOUNCED, provider="postmark"
        )

        assert changed
        assert EmailSuppression.objects.count() == 2

    def test_a_complaint_outshines_a_bounce_and_not_the_other_way_round(self, suppressed):
        reasons = []
        for reason in ("complained", "bounced"):
            suppressions.suppress(
                address="guest@example.com",
                reason=suppressions.Reason(reason),
                provider="postmark",
            )
            reasons.append(suppressions.find_reason(address="guest@example.com"))

        assert reasons == ["complained", "complained"]

    def test_is_found_by_staff_who_type_it_and_lifted_by_a_button(self, suppressed):
        browser = Client()
        browser.force_login(rows.make_customer(99, is_staff=True, is_superuser=True))
        suppressions.suppress(
            address="else@example.com", reason=suppressions.Reason.BOUNCED, provider="brevo"
        )

        listed = browser.get(
            "/admin/customers/emailsuppression/", {"q": " GUEST@example.com"}
        ).content.decode()
        pressed = browser.post(f"/admin/customers/emailsuppression/{suppressed.pk}/do/lift/", {
            "request_key": "6f1f4d3e-7a63-4c50-9d8b-3a3f4b7f0d11",
        })  # fmt: skip

        assert f"/emailsuppression/{suppressed.pk}/" in listed
        assert "brevo" not in listed.partition("<table")[2]
        assert pressed.status_code == 302
        suppressed.refresh_from_db()
        assert suppressed.lifted_at is not None


class TestErasure:
    def test_takes_a_customers_along(self, ann):
        tell("postmark", HARD["postmark"])
        exported = privacy.export_customer(customer_id=ann.pk, now=timezone.now())
        assert exported["email_suppressions"][0]["reason"] == "bounced"

        privacy.erase_customer(customer_id=ann.pk, now=timezone.now())

        assert not EmailSuppression.objects.exists()

    def test_takes_a_guests_along_with_the_order(self, shop):
        product = factories.ProductFactory(on_hand=5)
        guest = Shopper()
        order = order_of(guest.order((product.sku, 1)))
        suppressions.suppress(
            address="guest@example.com", reason=suppressions.Reason.BOUNCED, provider="postmark"
        )
        Order.objects.filter(pk=order.pk).update(status="shipped")

        privacy.erase_guest(email="guest@example.com", now=timezone.now())

        assert not EmailSuppression.objects.exists()


class TestAnotherKey:
    """Whoever must not be written to is known for longer than any key lives."""

    @pytest.fixture
    def complained(self, ann):
        return suppressions.suppress(
            address=ann.email, reason=suppressions.Reason.COMPLAINED, provider="postmark"
        )

    @pytest.fixture
    def replaced(self, settings):
        settings.SUPPRESSION_OLD_KEYS = [settings.SUPPRESSION_KEY]
        settings.SUPPRESSION_KEY = b"n" * 32

    def test_that_signs_sessions_changes_nothing(self, ann, complained, settings):
        settings.SECRET_KEY = "another one"

        assert suppressions.find_reason(address=ann.email) == "complained"

    def test_finds_what_a_former_one_made(self, ann, complained, replaced):
        assert suppressions.find_reason(address="ANN@example.com ") == "complained"
        assert suppressions.find_suppressed(addresses=[ann.email, "bob@example.com"]) == {ann.email}

    def test_makes_no_second_one(self, ann, settings):
        suppressions.suppress(
            address=ann.email, reason=suppressions.Reason.BOUNCED, provider="postmark"
        )
        settings.SUPPRESSION_OLD_KEYS = [settings.SUPPRESSION_KEY]
        settings.SUPPRESSION_KEY = b"n" * 32

        again = [
            suppressions.suppress(address=ann.email, reason=reason, provider="postmark")
            for reason in ("bounced", "complained", "complained")
        ]

        assert again == [False, True, False]
        assert EmailSuppression.objects.get().reason == "complained"

    def test_lets_it_be_lifted_and_made_anew(self, ann, complained, replaced):
        staff = factories.CustomerFactory()
        suppressions.lift(suppression_id=EmailSuppression.objects.get().pk, user_id=staff.pk)
        assert suppressions.find_reason(address=ann.email) is None

        suppressions.suppress(address=ann.email, reason=suppressions.Reason.BOUNCED, provider="x")

        assert suppressions.find_reason(address=ann.email) == "bounced"

    def test_lets_it_be_forgotten(self, complained, replaced):
        EmailSuppression.objects.update(customer=None)

        suppressions.forget(addresses=["ann@example.com"])

        assert not EmailSuppression.objects.exists()

    def test_lets_staff_search_by_address(self, complained, replaced):
        page = admin.site.get_model_admin(EmailSuppression)

        found, _ = page.get_search_results(None, EmailSuppression.objects.all(), "Ann@example.com")

        assert found.count() == 1

    def test_alone_knows_nothing(self, ann, complained, settings):
        """Else the tests above would show nothing."""
        settings.SUPPRESSION_KEY = b"n" * 32

        assert suppressions.find_reason(address=ann.email) is None
