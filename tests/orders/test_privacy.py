"""Export and erasure: a person is told everything, and leaves nothing behind."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from io import StringIO
from pathlib import Path
from uuid import uuid4

import pytest
import structlog
from allauth.account.models import EmailAddress
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework import serializers

from audit import outbox
from audit.models import AuditLog, OutboxMessage
from customers import services as customers
from customers.models import Address, Customer, Session
from orders import books, erasure_journal
from orders.api.privacy import ExportSerializer
from orders.models import (
    Cart,
    IdempotencyKey,
    Letter,
    Order,
    OrderNote,
    PaymentLink,
    RefundProposal,
    Return,
    ReturnItem,
)
from orders.services import letters as correspondence
from orders.services import notes, payment_links, privacy
from orders.services.placement import Guest
from tests import factories
from tests.shop import Shopper, access_token, order_of, payment_link

pytestmark = pytest.mark.django_db(transaction=True)

# Words that stand nowhere but where this person wrote them.
CANARIES = (
    "Zuleika",
    "Quillfeather",
    "canary-",
    "Marzipan Lane",
    "Plumpton",
    "555 0177",
    "whisper",
)
EMAIL = "canary-zuleika@example.com"
ADDRESS = {
    "name": "Zuleika Quillfeather",
    "line1": "7 Marzipan Lane",
    "city": "Plumpton",
    "state": "NY",
    "postal_code": "10001",
    "country": "US",
    "phone": "+1 212 555 0177",
}


@pytest.fixture(autouse=True)
def _own_files(settings, tmp_path):
    settings.ERASURE_JOURNAL = str(tmp_path / "erasures.jsonl")
    settings.MAIL_DIR = tmp_path / "mail"
    settings.EMAIL_BACKEND = "integrations.email.backend.EmlFileBackend"


@pytest.fixture
def apple(shop):
    return factories.ProductFactory(sku="APPLE", on_hand=100)


@pytest.fixture
def zuleika(apple):
    """A customer who has left traces everywhere."""
    answer = Client().post(
        "/_allauth/app/v1/auth/signup",
        data={
            "email": EMAIL,
            "password": "a-long-password-of-hers",
            "first_name": "Zuleika",
            "last_name": "Quillfeather",
        },
        content_type="application/json",
    )
    assert answer.status_code == 200, answer.content
    customer = Customer.objects.get(email=EMAIL)
    shopper = Shopper(customer)
    shopper.headers["Authorization"] = f"Bearer {answer.json()['meta']['access_token']}"
    assert shopper.post("/me/addresses", ADDRESS).status_code == 201
    shopper.post("/carts", {"items": [{"sku": "APPLE", "quantity": 3}]})
    return shopper


def order(shopper, *, status="delivered", **changes):
    placed = shopper.order(
        ("APPLE", 1), shipping_address=ADDRESS, notes="whisper it at the door", **changes
    )
    row = order_of(placed)
    if status == "cancelled":
        shopper.post(f"/orders/{row.order_number}/cancel", {"reason": "whisper: not any more"})
    elif status != row.status:
        for step in ("shipped", "delivered")[: 1 + (status == "delivered")]:
            Order.objects.filter(pk=row.pk).update(status=step, shipped_at=row.created_at)
    return row


def ask_for_return(row):
    wish = Return.objects.create(order=row, reason="whisper: too small")
    ReturnItem.objects.create(parent=wish, order_item=row.items.get(), quantity=1)
    return wish


def refuse(wish):
    Return.objects.filter(pk=wish.pk).update(
        status="refused", refusal="whisper: it is not", decided_at=wish.created_at
    )


def erase(shopper):
    privacy.erase_customer(customer_id=shopper.customer.pk, now=timezone.now())


def note_everywhere(shopper):
    """What staff writes about somebody, and an order that is taken by telephone, also for later."""
    clerk = factories.CustomerFactory(is_staff=True)
    for row in Order.objects.filter(customer=shopper.customer):
        said = {"text": "whisper: leave it next door", "user_id": clerk.pk, "request_key": "k"}
        notes.add_note(order_id=row.pk, **said)
    customers.add_note(customer_id=shopper.customer.pk, **said)
    payment_link(
        customer_id=shopper.customer.pk, guest=None, shipping_address=ADDRESS, notes="whisper"
    )


def traces():
    """Every column of every table, and every file, in which a canary still sings."""
    found = []
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_name FROM information_schema.tables"
            " WHERE table_schema = 'public' AND table_type = 'BASE TABLE'"
            " AND table_name <> 'invoices'"  # the law wants them kept as they are
        )
        tables = [name for (name,) in cursor.fetchall()]
        for table in tables:
            cursor.execute(f'SELECT row_to_json(r)::text FROM "{table}" AS r')  # noqa: S608 - names of ours
            for (row,) in cursor.fetchall():
                found += [f"{table}: {word}" for word in CANARIES if word.lower() in row.lower()]
    return sorted(set(found))


def books_are_clean():
    with connection.cursor() as cursor:
        found = books.check_invariants(cursor)
    return [each.name for each in found if each.violations] == []


def journal(settings, *entries):
    lines = [json.dumps({**entry, "at": "2026-11-27T00:00:00Z"}) + "\n" for entry in entries]
    Path(settings.ERASURE_JOURNAL).write_text("".join(lines))


def replay():
    out = StringIO()
    call_command("erase_customer", "--replay", "--json", stdout=out)
    return json.loads(out.getvalue())


def letters(settings):
    return [file.read_text() for file in Path(settings.MAIL_DIR).glob("*.eml")]


class TestAnExport:
    def test_holds_all_and_only_what_is_held_on_the_customer(self, zuleika, apple):
        mine = order(zuleika)
        somebody = Shopper(factories.CustomerFactory())
        somebody.order(("APPLE", 1))

        answer = zuleika.get("/me/export")

        told = answer.json()
        assert answer.status_code == 200
        assert told["account"]["email"] == EMAIL
        assert (told["account"]["first_name"], told["account"]["phone"]) == ("Zuleika", None)
        assert [each["line1"] for each in told["addresses"]] == ["7 Marzipan Lane"]
        assert [each["order_number"] for each in told["orders"]] == [mine.order_number]
        assert told["orders"][0]["shipping_address"] == ADDRESS
        assert [cart["items"] for cart in told["carts"]] == [[{"sku": "APPLE", "quantity": 3}]]
        assert {each["event_type"] for each in told["activity"]} >= {"CUSTOMER_CREATED", "LOGIN"}
        assert "shopper" not in json.dumps(told["orders"])
        assert AuditLog.objects.filter(
            event_type="CUSTOMER_EXPORTED", entity_id=zuleika.customer.pk
        ).exists()

    def test_does_not_tell_where_staff_sat(self, zuleika):
        staff = factories.CustomerFactory(is_staff=True)
        for event, user in (("STAFF_CHANGED", staff), ("LOGIN", zuleika.customer)):
            AuditLog.objects.create(
                event_type=event,
                entity_type="customer",
                entity_id=zuleika.customer.pk,
                user_id=user.pk,
                ip_address="203.0.113.7",
                user_agent="Browser/1",
            )

        told = {each["event_type"]: each for each in zuleika.get("/me/export").json()["activity"]}

        assert (told["STAFF_CHANGED"]["ip_address"], told["STAFF_CHANGED"]["user_agent"]) == (
            None,
            None,
        )
        assert (told["LOGIN"]["ip_address"], told["LOGIN"]["user_agent"]) == (
            "203.0.113.7",
            "Browser/1",
        )

    def test_holds_no_password_and_no_key(self, zuleika):
        told = json.dumps(zuleika.get("/me/export").json())

        assert zuleika.customer.password not in told
        assert "secret" not in told

    def test_holds_what_was_said_and_written_about_an_order(self, zuleika):
        row = order(zuleika, status="cancelled")
        refuse(ask_for_return(row))
        outbox.relay()

        (told,) = zuleika.get("/me/export").json()["orders"]

        whisper = "whisper: not any more"
        assert told["cancellation_reason"] == whisper
        assert [(each["amount"], each["reason"]) for each in told["refunds"]] == [
            (told["total_amount"], whisper)
        ]
        assert [(each["reason"], each["refusal"], each["items"]) for each in told["returns"]] == [
            ("whisper: too small", "whisper: it is not", [{"sku": "APPLE", "quantity": 1}])
        ]
        kinds = [each["kind"] for each in told["documents"]]
        assert kinds == list(row.invoices.order_by("pk").values_list("kind", flat=True))
        assert "invoice" in kinds
        assert told["documents"][0]["buyer"]["billing_address"] == ADDRESS
        assert (told["guest_email"], told["guest_first_name"]) == (None, "")

    def test_holds_what_its_schema_says_and_nothing_else(self, zuleika):
        row = order(zuleika, status="cancelled")
        refuse(ask_for_return(row))
        note_everywhere(zuleika)
        RefundProposal.objects.create(
            order=row,
            kind="amount",
            amount=1,
            currency="USD",
            reason="whisper",
            proposed_by=factories.CustomerFactory(is_staff=True),
        )
        outbox.relay()

        told = zuleika.get("/me/export").json()

        assert told["orders"][0]["refund_proposals"][0]["reason"] == "whisper"
        assert differing(told, ExportSerializer()) == []

    def test_holds_the_guest_who_placed_a_claimed_order(self, zuleika, guest):
        buyer = {"email": "canary-guest@example.com", "first_name": "Z", "last_name": "Quill"}
        placed = guest.order(("APPLE", 1), customer=buyer).json()
        token = {"guest_token": placed["guest_token"]}
        assert zuleika.post(f"/orders/{placed['order_number']}/claim", token).status_code == 200

        (told,) = zuleika.get("/me/export").json()["orders"]

        names = ("guest_email", "guest_first_name", "guest_last_name")
        assert [told[name] for name in names] == list(buyer.values())

    def test_holds_the_letters_and_what_staff_has_noted(self, zuleika):
        row = order(zuleika)
        note_everywhere(zuleika)
        outbox.relay()

        told = zuleika.get("/me/export").json()

        (mine,) = told["orders"]
        (letter,) = mine["letters"]
        assert letter["recipient"] == EMAIL
        assert letter["subject"] == f"Order {row.order_number} confirmed"
        assert "7 Marzipan Lane" in letter["text"]
        whisper = "whisper: leave it next door"
        assert [each["text"] for each in mine["staff_notes"]] == [whisper]
        assert [each["text"] for each in told["staff_notes"]] == [whisper]
        (link,) = told["payment_links"]
        assert (link["email"], link["shipping_address"], link["notes"]) == (
            EMAIL,
            ADDRESS,
            "whisper",
        )

    def test_takes_a_constant_number_of_statements(self, zuleika):
        counts = []
        for orders in (1, 5):
            for _ in range(orders):
                ask_for_return(order(zuleika, status="cancelled"))
            outbox.relay()
            with CaptureQueriesContext(connection) as queries:
                zuleika.get("/me/export")
            counts.append(len(queries))

        assert counts[0] == counts[1]

    def test_is_ones_own(self, apple):
        assert Client().get("/api/v1/me/export").status_code == 401


def differing(told, serializer, path=""):
    """Where an answer has other fields than its serializer; what may be left out may be missing."""
    if isinstance(serializer, serializers.ListSerializer):
        return [
            one
            for n, item in enumerate(told)
            for one in differing(item, serializer.child, f"{path}[{n}]")
        ]
    if not isinstance(serializer, serializers.Serializer) or told is None:
        return []
    needed = {name for name, field in serializer.fields.items() if field.required}
    odd = (needed - set(told)) | (set(told) - set(serializer.fields))
    return [f"{path}.{name}" for name in sorted(odd)] + [
        one
        for name, field in serializer.fields.items()
        if name in told
        for one in differing(told[name], field, f"{path}.{name}")
    ]


class TestAnErasure:
    def test_leaves_no_trace_of_the_person(self, zuleika, settings):
        for status in ("shipped", "delivered", "cancelled"):
            order(zuleika, status=status)
        zuleika.client.patch(
            "/api/v1/me",
            data={"version": 1, "phone": "+1 212 555 0177", "marketing_consent": True},
            content_type="application/json",
            headers=zuleika.headers,
        )
        note_everywhere(zuleika)
        outbox.relay()
        assert len(letters(settings)) > 0
        assert len(traces()) > 5
        assert {each.split(":")[0] for each in traces()} >= {
            *("letters", "order_notes", "customer_notes", "payment_links"),
        }

        answer = zuleika.client.delete("/api/v1/me", headers=zuleika.headers)
        outbox.relay()

        assert (answer.status_code, answer.content) == (204, b"")
        assert traces() == []
        assert letters(settings) == []

    def test_keeps_that_letters_and_notes_were_written(self, zuleika):
        row = order(zuleika)
        note_everywhere(zuleika)
        outbox.relay()

        erase(zuleika)
        outbox.relay()

        letter, note = Letter.objects.get(order=row), OrderNote.objects.get(order=row)
        assert (letter.recipient, letter.body_text, letter.body_html) == ("", "", "")
        assert letter.subject == f"Order {row.order_number} confirmed"
        assert note.text == ""

    def test_takes_the_letters_of_what_is_still_to_be_sent_at_once(self, zuleika):
        row = order(zuleika, status="confirmed")
        outbox.relay()
        assert Letter.objects.get(order=row).body_text

        erase(zuleika)
        outbox.relay()

        row.refresh_from_db()
        assert row.shipping_address == ADDRESS
        assert Letter.objects.get(order=row).body_text == ""

    def test_lets_no_letter_be_kept_that_was_on_its_way_meanwhile(self, zuleika):
        row = order(zuleika)
        erase(zuleika)
        message = OutboxMessage.objects.get(fact="order.confirmed", aggregate_id=row.pk)

        correspondence.keep_letter(
            order_id=row.pk,
            message=message,
            recipient=EMAIL,
            subject="Confirmed",
            body_text="Hello Zuleika",
            body_html="<p>Hello Zuleika</p>",
        )

        letter = Letter.objects.get(order=row)
        assert (letter.recipient, letter.body_text, letter.body_html) == ("", "", "")

    def test_ends_the_links_that_wait_for_a_payment(self, zuleika, settings):
        link = payment_link(customer_id=zuleika.customer.pk, guest=None, shipping_address=ADDRESS)
        payment_links.send_link(link_id=link.pk, request_key="k")
        outbox.relay()
        assert str(link.public_id) in "".join(letters(settings))

        erase(zuleika)
        outbox.relay()

        assert Client().get(f"/api/v1/payment-links/{link.public_id}").status_code == 404
        link.refresh_from_db()
        assert (link.email, link.shipping_address) == ("", {})
        assert letters(settings) == []

    def test_of_a_guest_ends_their_links_too(self, apple, guest):
        link = payment_link(shipping_address=ADDRESS)

        privacy.erase_guest(email="Guest@example.com", now=timezone.now())

        link.refresh_from_db()
        assert (link.email, link.first_name, link.shipping_address) == ("", "", {})
        assert link.withdrawn_at is not None

    def test_of_a_guest_takes_the_link_that_became_an_order(self, apple, guest):
        link = payment_link(shipping_address=ADDRESS)
        other = payment_link(
            shipping_address=ADDRESS,
            guest=Guest(email="other@example.com", first_name="O", last_name="Ther"),
        )
        placed = guest.order(items=None, cart_id=str(link.cart_id))
        Order.objects.update(status="shipped", shipped_at=timezone.now())
        assert placed.status_code == 201

        privacy.erase_guest(email="guest@example.com", now=timezone.now())

        assert PaymentLink.objects.get(pk=link.pk).email == ""
        assert PaymentLink.objects.get(pk=other.pk).email == "other@example.com"

    def test_keeps_the_books(self, zuleika):
        before = order(zuleika, status="cancelled")
        before.refresh_from_db()

        zuleika.client.delete("/api/v1/me", headers=zuleika.headers)
        outbox.relay()

        after = Order.objects.get(pk=before.pk)
        kept = ("order_number", "total_amount", "tax_amount", "customer_id", "status", "public_id")
        assert [getattr(after, name) for name in kept] == [getattr(before, name) for name in kept]
        assert after.shipping_address == {
            "name": "",
            "line1": "",
            "city": "",
            "postal_code": "",
            "state": "NY",
            "country": "US",
        }
        assert after.items.count() == 1
        assert books_are_clean()

    def test_takes_as_many_statements_however_many_orders(self, apple):
        counts = []
        for orders in (1, 4):
            shopper = Shopper(factories.CustomerFactory())
            for _ in range(orders):
                order(shopper)
            with CaptureQueriesContext(connection) as queries:
                shopper.client.delete("/api/v1/me", headers=shopper.headers)
            counts.append(len(queries))
        assert counts[0] == counts[1]

        outbox.relay()
        assert not Order.objects.filter(erased_at__isnull=True).exists()

    def test_ends_every_session_at_once(self, zuleika):
        other = Shopper(zuleika.customer)

        zuleika.client.delete("/api/v1/me", headers=zuleika.headers)

        for shopper in (zuleika, other):
            assert shopper.get("/me").status_code == 401
            assert shopper.get("/orders").status_code == 401
            assert shopper.order(("APPLE", 1)).status_code == 401
        assert not Session.objects.filter(customer=zuleika.customer).exists()
        log_in = Client().post(
            "/_allauth/app/v1/auth/login",
            data={"email": EMAIL, "password": "a-long-password-of-hers"},
            content_type="application/json",
        )
        assert log_in.status_code == 400

    def test_frees_the_address_for_a_new_account(self, zuleika):
        order(zuleika)
        zuleika.client.delete("/api/v1/me", headers=zuleika.headers)

        again = Client().post(
            "/_allauth/app/v1/auth/signup",
            data={
                "email": EMAIL,
                "password": "a-long-password-of-hers",
                "first_name": "New",
                "last_name": "Person",
            },
            content_type="application/json",
        )

        assert again.status_code == 200
        assert Customer.objects.get(email=EMAIL).pk != zuleika.customer.pk
        assert Order.objects.filter(customer__email=EMAIL).count() == 0

    @pytest.mark.parametrize("status", ["confirmed", "pending"])
    def test_leaves_an_address_to_what_is_still_to_be_sent(self, zuleika, status):
        method = "pm_card_threeDSecure2Required" if status == "pending" else "pm_card_visa"
        row = order(zuleika, status=status, payment_method_id=method)

        answer = zuleika.client.delete("/api/v1/me", headers=zuleika.headers)
        outbox.relay()

        assert answer.status_code == 204
        row.refresh_from_db()
        assert (row.shipping_address, row.erased_at) == (ADDRESS, None)
        assert not Address.objects.exists()

    def test_takes_it_once_it_was_sent(self, zuleika):
        row = order(zuleika, status="confirmed")
        zuleika.client.delete("/api/v1/me", headers=zuleika.headers)
        assert privacy.finish_erasures() == 1
        Order.objects.filter(pk=row.pk).update(status="shipped", shipped_at=row.created_at)

        assert privacy.finish_erasures() == 0

        outbox.relay()
        assert traces() == []

    def test_is_written_down_without_personal_data_and_told_to_the_world(self, zuleika):
        zuleika.client.delete("/api/v1/me", headers=zuleika.headers)

        fact = OutboxMessage.objects.get(fact="customer.erased")
        assert fact.payload == {"customer_id": zuleika.customer.pk, "stripe_customer_id": None}
        assert AuditLog.objects.filter(event_type="CUSTOMER_ERASED").count() == 1
        (entry,) = erasure_journal.read()
        assert (entry.kind, entry.id) == ("customer", zuleika.customer.pk)

    def test_repeated_changes_nothing(self, zuleika):
        order(zuleika)
        erase(zuleika)
        before = Customer.objects.values().get(pk=zuleika.customer.pk)

        erase(zuleika)

        assert Customer.objects.values().get(pk=zuleika.customer.pk) == before
        assert OutboxMessage.objects.filter(fact="customer.erased").count() == 1

    def test_touches_nobody_else(self, zuleika):
        somebody = Shopper(factories.CustomerFactory())
        theirs = order_of(somebody.order(("APPLE", 1), key="same"))
        order(zuleika, key="same")

        erase(zuleika)
        outbox.relay()

        theirs.refresh_from_db()
        assert theirs.shipping_address["name"] == "Ada Lovelace"
        assert somebody.get("/me").status_code == 200
        assert somebody.order(("APPLE", 1), key="same")["Idempotent-Replayed"] == "true"
        assert IdempotencyKey.objects.count() == 1

    def test_of_staff_is_refused(self, apple):
        staff = factories.CustomerFactory(is_staff=True)

        answer = Client().delete(
            "/api/v1/me", headers={"Authorization": f"Bearer {access_token(staff)}"}
        )

        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "INVALID_TRANSITION")
        staff.refresh_from_db()
        assert staff.erased_at is None
        assert list(erasure_journal.read()) == []

    def test_without_a_journal_does_not_begin(self, zuleika, settings, tmp_path):
        (tmp_path / "blocked").write_text("a file where the directory should be")
        settings.ERASURE_JOURNAL = str(tmp_path / "blocked" / "erasures.jsonl")

        with pytest.raises(OSError, match="blocked"):
            erase(zuleika)

        assert Customer.objects.get(pk=zuleika.customer.pk).email == EMAIL


class TestAGuest:
    def test_is_erased_by_the_command(self, guest, apple, settings):
        buyer = {"email": EMAIL, "first_name": "Zuleika", "last_name": "Quillfeather"}
        factories.CouponFactory(code="TEN")
        placed = guest.order(
            ("APPLE", 1),
            customer=buyer,
            shipping_address=ADDRESS,
            notes="whisper",
            coupon_code="TEN",
        ).json()
        number, token = placed["order_number"], placed["guest_token"]
        guest.post(f"/orders/{number}/cancel?token={token}", {"reason": "whisper"})
        outbox.relay()
        assert len(letters(settings)) > 0
        out = StringIO()

        call_command("erase_customer", EMAIL, "--json", stdout=out)
        outbox.relay()

        assert json.loads(out.getvalue()) == {"found": 1, "left": 0}
        assert traces() == []
        assert letters(settings) == []
        assert guest.get(f"/orders/{number}", token=token).status_code == 404
        assert books_are_clean()

    def test_whose_parcel_is_not_sent_is_told_to_be_left(self, guest, apple):
        buyer = {"email": EMAIL, "first_name": "Zuleika", "last_name": "Quillfeather"}
        row = order_of(guest.order(("APPLE", 1), customer=buyer, shipping_address=ADDRESS))

        with pytest.raises(SystemExit) as exit_:
            call_command("erase_customer", EMAIL, stdout=StringIO())

        assert exit_.value.code == 1
        row.refresh_from_db()
        assert (row.shipping_address, row.erased_at) == (ADDRESS, None)

    def test_is_erased_once_the_parcel_was_sent(self, guest, apple, settings):
        buyer = {"email": EMAIL, "first_name": "Zuleika", "last_name": "Quillfeather"}
        row = order_of(guest.order(("APPLE", 1), customer=buyer, shipping_address=ADDRESS))
        outbox.relay()
        privacy.erase_guest(email=EMAIL, now=timezone.now())
        assert privacy.finish_erasures() == 1
        Order.objects.filter(pk=row.pk).update(status="shipped", shipped_at=row.created_at)

        assert privacy.finish_erasures() == 0

        outbox.relay()
        assert traces() == []
        assert letters(settings) == []
        assert OutboxMessage.objects.filter(fact="order.erased", aggregate_id=row.pk).count() == 1

    def test_who_has_an_account_is_found_by_any_verified_address(self, zuleika):
        second = "canary-second@example.com"
        EmailAddress.objects.create(user=zuleika.customer, email=second, verified=True)

        call_command("erase_customer", second.upper(), stdout=StringIO())
        outbox.relay()

        assert traces() == []

    def test_nobody_knows_is_told(self, shop):
        with pytest.raises(SystemExit) as exit_:
            call_command("erase_customer", "nobody@example.com", stdout=StringIO())

        assert exit_.value.code == 1


class TestTheJournal:
    def test_erases_again_what_a_restore_brought_back(self, zuleika):
        row = order(zuleika)
        before = {
            model: list(model.objects.filter(**which).values())
            for model, which in ((Customer, {"pk": zuleika.customer.pk}), (Order, {"pk": row.pk}))
        }
        erase(zuleika)
        outbox.relay()
        restored = {**before[Customer][0]}
        restored.pop("is_active")
        Customer.objects.filter(pk=zuleika.customer.pk).update(**restored)
        kept = ("shipping_address", "billing_address", "notes", "erased_at")
        Order.objects.filter(pk=row.pk).update(**{name: before[Order][0][name] for name in kept})
        for fact in ("customer.erased", "order.erased"):
            OutboxMessage.objects.filter(fact=fact).update(dedupe_key=f"{fact}, before the restore")
        assert traces() != []

        assert replay() == {"erased_again": 1, "left": 0}
        assert traces() == []
        assert Cart.objects.count() == 0

    def test_spares_whoever_was_given_the_key_after_a_restore(self, zuleika, guest, settings):
        earlier = zuleika.customer.created_at - timedelta(microseconds=1)
        theirs = order_of(guest.order(("APPLE", 1)))
        Order.objects.filter(pk=theirs.pk).update(status="shipped", shipped_at=theirs.created_at)
        journal(
            settings,
            {"kind": "customer", "id": zuleika.customer.pk, "mark": earlier.isoformat()},
            {"kind": "order", "id": theirs.pk, "mark": str(uuid4())},
        )

        assert replay() == {"erased_again": 0, "left": 0}
        assert zuleika.get("/me").json()["email"] == EMAIL
        theirs.refresh_from_db()
        assert theirs.erased_at is None

    def test_that_does_not_say_more_than_a_key_is_not_followed(self, zuleika, settings):
        journal(settings, {"kind": "customer", "id": zuleika.customer.pk})

        with structlog.testing.capture_logs() as logs:
            assert replay() == {"erased_again": 0, "left": 0}
        assert [(each["event"], each["line"]) for each in logs] == [
            ("erasure_journal_line_skipped", 1)
        ]
        assert zuleika.get("/me").status_code == 200

    def test_that_ends_in_the_middle_of_a_line_is_read_up_to_there(self, settings):
        journal(settings, {"kind": "customer", "id": 1, "mark": "2026-11-27T00:00:00+00:00"})
        with Path(settings.ERASURE_JOURNAL).open("ab") as file:
            file.write(b'{"kind":"cust')

        assert [entry.id for entry in erasure_journal.read()] == [1]

    def test_goes_on_in_a_line_of_its_own_after_a_torn_one(self, zuleika, settings):
        Path(settings.ERASURE_JOURNAL).write_bytes(b'{"kind":"cust')

        erase(zuleika)

        assert [entry.id for entry in erasure_journal.read()] == [zuleika.customer.pk]

    def test_does_not_forget_a_guest_whose_parcel_is_not_sent(self, guest, apple):
        row = order_of(guest.order(("APPLE", 1)))
        privacy.erase_guest(email="guest@example.com", now=timezone.now())
        Order.objects.filter(pk=row.pk).update(erase_requested_at=None)  # as restored

        with pytest.raises(SystemExit):
            replay()

        Order.objects.filter(pk=row.pk).update(status="shipped", shipped_at=row.created_at)
        assert privacy.finish_erasures() == 0
        row.refresh_from_db()
        assert row.erased_at is not None

    def test_of_which_the_disk_takes_a_part_stops_the_erasure(self, zuleika, monkeypatch):
        write = os.write
        monkeypatch.setattr(os, "write", lambda file, line: write(file, line[:9]))

        with pytest.raises(OSError, match="part of the line"):
            erase(zuleika)

        assert Customer.objects.get(pk=zuleika.customer.pk).email == EMAIL

    def test_with_one_who_works_here_by_now_erases_the_others(self, zuleika, settings):
        staff = factories.CustomerFactory(is_staff=True)
        somebody = factories.CustomerFactory()
        journal(
            settings,
            *(
                {"kind": "customer", "id": each.pk, "mark": each.created_at.isoformat()}
                for each in (staff, somebody)
            ),
        )

        with pytest.raises(SystemExit) as exit_:
            replay()

        assert exit_.value.code == 1
        for each in (staff, somebody):
            each.refresh_from_db()
        assert staff.erased_at is None
        assert somebody.erased_at is not None

    def test_is_readable_by_its_owner_alone(self, settings, zuleika):
        erase(zuleika)

        assert Path(settings.ERASURE_JOURNAL).stat().st_mode & 0o777 == 0o600
