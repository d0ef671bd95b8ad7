"""A customer's page: it answers every question about them, and each button does its work once."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from uuid import uuid4

import pytest
from allauth.account.models import EmailAddress
from django.contrib.auth.models import Group, Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from audit import outbox
from audit.models import AuditLog, OutboxMessage
from customers import services
from customers.models import Customer, CustomerMetrics, CustomerNote, Session
from orders import customer_page
from orders.services.payment_links import withdraw_link
from orders.services.returns import request_return
from orders.services.shipping import Parcel, ship_order
from tests import factories
from tests.admin import rows
from tests.admin.plans import read_without_an_index
from tests.shop import Shopper, order_of, payment_link

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _own_journal(settings, tmp_path):
    settings.ERASURE_JOURNAL = str(tmp_path / "erasures.jsonl")


@pytest.fixture
def goods(shop, provider):
    return factories.ProductFactory(sku="APPLE", on_hand=50)


@pytest.fixture
def ann(goods):
    return Shopper(rows.make_customer(1, phone="+1 555 0100", email_verified=True))


@pytest.fixture
def customer(ann):
    return ann.customer


@pytest.fixture
def manager(client):
    """The browser of somebody who may do everything that a role lets one do to customers."""
    clerk = rows.make_customer(90, is_staff=True, first_name="Maria", last_name="Manager")
    clerk.groups.add(Group.objects.get(name="Manager"))
    client.force_login(clerk)
    client.person = clerk
    return client


def path_of(row, page="change", *args):
    opts = row._meta
    return reverse(f"admin:{opts.app_label}_{opts.model_name}_{page}", args=[row.pk, *args])


def look(browser, row):
    answer = browser.get(path_of(row))
    assert answer.status_code == 200
    return answer


def text_of(browser, row):
    return re.sub(r"\s+", " ", look(browser, row).content.decode())


def press(browser, row, name, *, key=None, **said):
    """The answer; the row as it stands then."""
    answer = browser.post(
        path_of(row, "do", name), {"request_key": key or uuid4(), **said}, follow=True
    )
    row.refresh_from_db()
    return answer


def buttons_of(browser, row):
    return {button.name for button in look(browser, row).context["buttons"]}


def events(row):
    log = AuditLog.objects.filter(entity_type="customer", entity_id=row.pk)
    return list(log.order_by("pk").values_list("event_type", flat=True))


def states(row):
    """Before and after the last button, as the log has them."""
    log = AuditLog.objects.filter(
        entity_id=row.pk, event_type__in=["STAFF_ACTION_ASKED", "STAFF_ACTION_DONE"]
    )
    return [one.data["state"] for one in log.order_by("pk")][-2:]


def log_in(customer):
    return Client().post(
        "/_allauth/app/v1/auth/login",
        {"email": customer.email, "password": factories.PASSWORD},
        content_type="application/json",
    )


class TestThePage:
    def test_says_who_they_are_and_how_to_reach_them(self, manager, customer):
        EmailAddress.objects.create(user=customer, email="other@example.com", verified=False)
        services.update_profile(
            customer_id=customer.pk, version=1, changes={"marketing_consent": True}
        )

        text = text_of(manager, customer)

        assert "<dd>Ann Lee 1</dd>" in text
        assert "ann1@example.com, verified" in text
        assert "other@example.com, not verified" in text
        assert "+1 555 0100" in text
        assert re.search(r"May be written to</dt><dd>yes, since 20", text)
        assert "<dt>Second factor</dt><dd>no</dd>" in text
        assert "<dd>1 place</dd>" in text
        assert Session.objects.get(customer=customer).session_key not in text

    def test_says_what_they_bought_and_what_is_open(self, manager, ann, customer):
        order = order_of(ann.order(("APPLE", 2)))
        CustomerMetrics.objects.create(
            customer=customer, currency="USD", order_count=1, lifetime_value="31.20"
        )
        ship_order(order_id=order.pk, parcel=Parcel(carrier="UPS"))
        wish = request_return(order_id=order.pk, units={"APPLE": 1}, reason="Too <sour>.")
        waits = payment_link(customer_id=customer.pk, guest=None)
        withdraw_link(link_id=payment_link(customer_id=customer.pk, guest=None).pk)

        text = text_of(manager, customer)

        assert f'<a class="staff-link" href="{path_of(order)}">{order.order_number}</a>' in text
        assert f"{order.total_amount} USD" in text
        assert "31.20" in text
        assert f"A return of order {order.order_number} is requested" in text
        assert "Too &lt;sour&gt;." in text
        assert path_of(wish) in text
        assert path_of(waits) in text
        assert "<td>waits for the customer</td>" in text
        assert "<td>withdrawn</td>" in text

    def test_shows_the_newest_orders_and_leads_to_all(self, manager, customer):
        others = rows.make_order(1, customer=rows.make_customer(2))
        for n in range(2, customer_page.MOST_ORDERS + 3):
            rows.make_order(n, customer=customer, created_at=rows.NOW + timedelta(hours=n))

        answer = look(manager, customer)
        listed = manager.get(answer.context["orders_url"])

        shown = [order.order_number for order, _ in answer.context["orders"]]
        assert shown == [f"ABCD-{n:04}" for n in range(22, 2, -1)]
        assert "All of their orders" in answer.content.decode()
        assert listed.context["cl"].result_count == 21
        assert others not in listed.context["cl"].result_list

    def test_tells_what_happened_to_the_account_in_words_and_by_whom(
        self, manager, customer, superuser
    ):
        AuditLog.objects.create(
            event_type="LOGIN_FAILED",
            entity_type="customer",
            entity_id=customer.pk,
            ip_address="192.0.2.7",
        )
        press(manager, customer, "suspend", reason="whisper")
        press(manager, customer, "tier", tier="gold")

        answer = look(manager, customer)

        told = {one.title: (one.who, one.detail) for one, _ in answer.context["history"]}
        maria = "Maria Manager (ann90@example.com)"
        assert told["Suspended"] == (maria, "active → suspended")
        assert told["The tier was changed"] == (maria, "none → gold")
        assert told["Somebody did not know the password"][0] == "somebody who was not logged in"
        assert told["Pressed “suspend”"] == (maria, "is logged out: False")
        assert "192.0.2.7" not in answer.content.decode()

    def test_tells_what_colleagues_did_at_work_to_those_who_read_the_log(self, client, superuser):
        support = rows.make_customer(91, is_staff=True)
        support.groups.add(Group.objects.get(name="Support"))
        client.force_login(support)

        assert "What happened to the account" not in text_of(client, superuser)
        support.user_permissions.add(Permission.objects.get(codename="view_auditlog"))
        assert "What happened to the account" in text_of(client, superuser)

    def test_shows_nothing_that_may_not_be_read_elsewhere(self, client, ann, customer):
        order = order_of(ann.order(("APPLE", 1)))
        CustomerNote.objects.create(
            customer=customer, author=customer, text="Whisper.", request_key="k"
        )
        EmailAddress.objects.create(user=customer, email="other@example.com")
        clerk = rows.make_customer(91, is_staff=True)
        clerk.user_permissions.add(Permission.objects.get(codename="view_customer"))
        client.force_login(clerk)

        text = text_of(client, customer)

        for secret in (order.order_number, "Whisper.", "other@example.com", "customer-spending"):
            assert secret not in text
        assert buttons_of(client, customer) == set()

    def test_takes_as_many_statements_for_many_orders_as_for_one(self, manager, ann, customer):
        def grow(n):
            order = order_of(ann.order(("APPLE", 1)))
            ship_order(order_id=order.pk, parcel=Parcel(carrier="UPS"))
            request_return(order_id=order.pk, units={"APPLE": 1}, reason="x")
            payment_link(customer_id=customer.pk, guest=None)
            services.add_note(
                customer_id=customer.pk, text="x", user_id=manager.person.pk, request_key=f"{n}"
            )

        grow(0)
        look(manager, customer)
        with CaptureQueriesContext(connection) as few:
            look(manager, customer)
        for n in range(1, 4):
            grow(n)

        with CaptureQueriesContext(connection) as many:
            look(manager, customer)

        assert len(many) == len(few) <= 35

    def test_reads_everything_by_an_index(self, ann, customer):
        order = order_of(ann.order(("APPLE", 1)))
        ship_order(order_id=order.pk, parcel=Parcel(carrier="UPS"))
        request_return(order_id=order.pk, units={"APPLE": 1}, reason="x")
        payment_link(customer_id=customer.pk, guest=None)

        with CaptureQueriesContext(connection) as queries:
            customer_page.shown(customer, may=lambda _permission: True, now=timezone.now())

        assert len(queries) > 10
        assert read_without_an_index(queries) == {}

    def test_of_an_erased_customer_opens_and_offers_nothing(self, manager, ann, customer):
        order = order_of(ann.order(("APPLE", 1)))
        press(manager, customer, "erase", email=customer.email)

        answer = look(manager, customer)

        assert answer.context["buttons"] == []
        assert "Erased " in answer.content.decode()
        assert order.order_number in answer.content.decode()
        assert not answer.context["has_change_permission"]
        saved = manager.post(path_of(customer), {"first_name": "Zombie"})
        assert saved.status_code == 403
        for name, said in {
            "note": {"text": "x"},
            "log_out": {},
            "tier": {"tier": "gold"},
            "suspend": {"reason": "x"},
            "reactivate": {},
            "export": {},
        }.items():
            before = Customer.objects.filter(pk=customer.pk).values().get()
            assert "Not found." in press(manager, customer, name, **said).content.decode(), name
            assert Customer.objects.filter(pk=customer.pk).values().get() == before


class TestWhichButtons:
    def test_an_active_customer_has(self, manager, customer):
        assert buttons_of(manager, customer) == {
            *("note", "log_out", "tier", "suspend", "export", "erase", "phone_order"),
        }

    def test_a_suspended_one_has(self, manager, customer):
        Customer.objects.filter(pk=customer.pk).update(status="suspended")

        assert buttons_of(manager, customer) == {
            *("note", "log_out", "tier", "reactivate", "export", "erase"),
        }

    def test_an_inactive_one_has_both(self, manager, customer):
        Customer.objects.filter(pk=customer.pk).update(status="inactive")

        assert {"suspend", "reactivate"} <= buttons_of(manager, customer)

    def test_support_has(self, client, customer):
        support = rows.make_customer(91, is_staff=True)
        support.groups.add(Group.objects.get(name="Support"))
        client.force_login(support)

        assert buttons_of(client, customer) == {"note", "log_out", "phone_order"}


class TestSuspending:
    def test_lets_nobody_in_and_nothing_be_written(self, manager, customer):
        customer.set_password(factories.PASSWORD)
        customer.save(update_fields=["password"])
        ann = Shopper(customer)
        order = order_of(ann.order(("APPLE", 1)))
        assert log_in(customer).status_code == 200

        text = press(manager, customer, "suspend", reason="Two chargebacks.").content.decode()

        assert "Suspended." in text
        assert (customer.status, customer.is_active, customer.version) == ("suspended", False, 2)
        assert log_in(customer).status_code == 401
        assert ann.order(("APPLE", 1)).json()["error"]["code"] == "INACTIVE_CUSTOMER"
        assert ann.get("/me").status_code == 200  # reading goes on: docs/api.md
        order.refresh_from_db()
        assert order.status == "confirmed"

    def test_logs_them_out_as_well_where_that_is_wished(self, manager, ann, customer):
        press(manager, customer, "suspend", reason="Hijacked.", is_logged_out="on")

        assert ann.get("/me").status_code == 401
        assert not Session.objects.filter(customer=customer).exists()
        assert [state["sessions"] for state in states(customer)] == [1, 0]

    def test_keeps_the_reason_as_a_note_and_out_of_the_log(self, manager, customer):
        press(manager, customer, "suspend", reason="whisper")

        note = CustomerNote.objects.get()
        assert (note.text, note.author) == ("Suspended: whisper", manager.person)
        assert "whisper" not in str(list(AuditLog.objects.values_list("data", flat=True)))

    def test_is_on_record_with_before_and_after(self, manager, customer):
        press(manager, customer, "suspend", reason="x")

        before, after = states(customer)
        unchanged = {"tier": "", "is_erased": False}
        assert before == {"status": "active", "sessions": 1, **unchanged}
        assert after == {"status": "suspended", "sessions": 1, **unchanged}
        row = AuditLog.objects.get(event_type="CUSTOMER_SUSPENDED")
        assert (row.user_id, row.data) == (
            manager.person.pk,
            {"before": "active", "after": "suspended"},
        )

    def test_sent_twice_is_once(self, manager, customer):
        key = uuid4()
        for _ in range(2):
            text = press(manager, customer, "suspend", reason="x", key=key).content.decode()

        assert "Suspended." in text
        assert CustomerNote.objects.count() == 1
        assert events(customer).count("CUSTOMER_SUSPENDED") == 1

    def test_a_page_sent_again_after_a_reactivation_does_not_suspend_anew(self, manager, customer):
        key = uuid4()
        press(manager, customer, "suspend", reason="x", key=key)
        press(manager, customer, "reactivate")

        press(manager, customer, "suspend", reason="x", key=key)

        assert customer.status == "active"

    def test_of_one_who_is_suspended_is_refused_and_notes_nothing(self, manager, customer):
        Customer.objects.filter(pk=customer.pk).update(status="suspended")

        text = press(manager, customer, "suspend", reason="x").content.decode()

        assert "This account is suspended already." in text
        assert not CustomerNote.objects.exists()
        assert events(customer)[-1] == "STAFF_ACTION_REFUSED"

    @pytest.mark.parametrize(
        ("reason", "told"),
        [
            ("", "This field is required."),
            ("x" * 501, "at most 500 characters"),
            ("4242 4242 4242 4242", "This looks like a card number"),
            ("a\x07b", "Control characters are not allowed."),
        ],
    )
    def test_says_what_is_wrong_and_changes_nothing(self, manager, customer, reason, told):
        text = press(manager, customer, "suspend", reason=reason).content.decode()

        assert told in text
        assert customer.status == "active"
        assert not CustomerNote.objects.exists()

    def test_is_undone(self, manager, customer):
        press(manager, customer, "suspend", reason="x")

        text = press(manager, customer, "reactivate").content.decode()

        assert "Active again." in text
        assert (customer.status, customer.version) == ("active", 3)
        assert [state["status"] for state in states(customer)] == ["suspended", "active"]
        assert "active already" in press(manager, customer, "reactivate").content.decode()


class TestTheTier:
    def test_is_changed_once(self, manager, customer):
        for _ in range(2):
            text = press(manager, customer, "tier", tier="wholesale").content.decode()

        assert "The tier is wholesale now." in text
        assert (customer.tier, customer.version) == ("wholesale", 2)
        row = AuditLog.objects.get(event_type="CUSTOMER_TIER_CHANGED")
        assert row.data == {"before": "", "after": "wholesale"}

    def test_is_taken_away(self, manager, customer):
        Customer.objects.filter(pk=customer.pk).update(tier="gold")

        assert "There is no tier now." in press(manager, customer, "tier", tier="").content.decode()
        assert customer.tier == ""

    @pytest.mark.parametrize("tier", ["Gold", "gold!", "x" * 31, "gold silver"])
    def test_that_cannot_be_one_is_refused(self, manager, customer, tier):
        press(manager, customer, "tier", tier=tier)

        assert customer.tier == ""
        assert "CUSTOMER_TIER_CHANGED" not in events(customer)


def test_logging_out_everywhere_ends_all_sessions_and_no_account(manager, ann, customer):
    Shopper(customer)

    text = press(manager, customer, "log_out").content.decode()

    assert "Sessions ended: 2." in text
    assert ann.get("/me").status_code == 401
    assert customer.is_active
    assert [state["sessions"] for state in states(customer)] == [2, 0]


class TestExporting:
    def test_is_what_the_customer_would_get(self, manager, ann, customer):
        order_of(ann.order(("APPLE", 2)))
        theirs = ann.get("/me/export").json()

        answer = press(manager, customer, "export")

        assert answer["Content-Type"] == "application/json"
        assert re.fullmatch(
            rf'attachment; filename="customer-{customer.pk}-[\d-]{{10}}\.json"',
            answer["Content-Disposition"],
        )
        ours = json.loads(answer.content)
        for export in (theirs, ours):
            del export["exported_at"], export["activity"]
        assert ours == theirs
        assert len(ours["orders"]) == 1

    def test_is_on_record_under_who_did_it(self, manager, customer):
        press(manager, customer, "export")

        row = AuditLog.objects.get(event_type="CUSTOMER_EXPORTED")
        assert (row.entity_id, row.user_id) == (customer.pk, manager.person.pk)
        assert events(customer)[-3:] == [
            "STAFF_ACTION_ASKED",
            "CUSTOMER_EXPORTED",
            "STAFF_ACTION_DONE",
        ]

    def test_is_not_done_by_get(self, manager, customer):
        answer = manager.get(path_of(customer, "do", "export"))

        assert answer["Content-Type"].startswith("text/html")
        assert "CUSTOMER_EXPORTED" not in events(customer)


class TestErasing:
    def test_asks_for_the_address_and_says_what_stays(self, manager, ann, customer):
        order_of(ann.order(("APPLE", 1)))

        text = manager.get(path_of(customer, "do", "erase")).content.decode()

        assert "the law wants them" in text
        assert "1 of their orders still has something to be sent, and keeps the address" in text
        assert 'name="email" value' not in text

    @pytest.mark.parametrize("typed", ["", "ann2@example.com", "ann1"])
    def test_of_another_address_is_refused(self, manager, customer, typed):
        press(manager, customer, "erase", email=typed)

        assert (customer.erased_at, customer.email) == (None, "ann1@example.com")
        assert "STAFF_ACTION_ASKED" not in events(customer)

    def test_removes_the_person_and_their_orders_follow(self, manager, ann, customer):
        order = order_of(ann.order(("APPLE", 1)))
        ship_order(order_id=order.pk, parcel=Parcel(carrier="UPS"))
        outbox.relay()

        text = press(manager, customer, "erase", email=" ANN1@example.com ").content.decode()
        outbox.relay()

        assert "Erased." in text
        assert customer.erased_at is not None
        assert (customer.first_name, customer.status) == ("", "inactive")
        order.refresh_from_db()
        assert order.erased_at is not None
        assert ann.get("/me").status_code == 401
        row = AuditLog.objects.get(event_type="CUSTOMER_ERASED")
        assert row.user_id == manager.person.pk
        assert [state["is_erased"] for state in states(customer)] == [False, True]
        assert "ann1" not in str(list(AuditLog.objects.values_list("data", flat=True)))

    def test_sent_twice_is_once(self, manager, customer):
        key = uuid4()
        for _ in range(2):
            press(manager, customer, "erase", email="ann1@example.com", key=key)

        assert events(customer).count("CUSTOMER_ERASED") == 1
        assert OutboxMessage.objects.filter(fact="customer.erased").count() == 1

    def test_without_a_journal_is_refused_in_words(self, manager, customer, settings, tmp_path):
        (tmp_path / "blocked").write_text("")
        settings.ERASURE_JOURNAL = str(tmp_path / "blocked" / "erasures.jsonl")

        text = press(manager, customer, "erase", email=customer.email).content.decode()

        assert "Nothing was erased: the journal of erasures cannot be written" in text
        assert customer.erased_at is None
        assert events(customer)[-1] == "STAFF_ACTION_REFUSED"


class TestAccountsOfStaff:
    @pytest.fixture
    def colleague(self, goods):
        return rows.make_customer(50, is_staff=True)

    @pytest.mark.parametrize(
        ("name", "said"),
        [
            ("suspend", {"reason": "x"}),
            ("reactivate", {}),
            ("tier", {"tier": "gold"}),
            ("log_out", {}),
        ],
    )
    def test_are_decided_about_by_superusers_alone(self, manager, browser, colleague, name, said):
        # `browser` is the same client: it has logged in as the superuser last.
        manager.force_login(manager.person)
        before = Customer.objects.filter(pk=colleague.pk).values().get()

        text = press(manager, colleague, name, **said).content.decode()

        assert "This account works here: superusers alone decide about it." in text
        assert Customer.objects.filter(pk=colleague.pk).values().get() == before
        assert events(colleague)[-1] == "STAFF_ACTION_REFUSED"

    def test_are_suspended_by_a_superuser_and_out_at_once(self, browser, colleague):
        theirs = Client()
        theirs.force_login(colleague)
        assert theirs.get("/admin/").status_code == 200

        press(browser, colleague, "suspend", reason="Left the company.")

        assert colleague.status == "suspended"
        assert theirs.get("/admin/").status_code == 302

    def test_are_not_suspended_by_themselves(self, browser, superuser):
        text = press(browser, superuser, "suspend", reason="x").content.decode()

        assert "This is your own account: a colleague decides about it." in text
        assert superuser.is_active

    def test_are_not_erased_by_anybody(self, browser, colleague):
        assert "erase" not in buttons_of(browser, colleague)

        text = press(browser, colleague, "erase", email=colleague.email).content.decode()

        assert "This account works here; take its staff rights away first." in text
        assert colleague.erased_at is None


class TestThePhoneOrder:
    def test_begins_with_the_customer_filled_in(self, manager, ann, customer):
        ann.post("/me/addresses", rows.ADDRESS)
        url = next(
            button.url
            for button in look(manager, customer).context["buttons"]
            if button.name == "phone_order"
        )

        form = manager.get(url).context["form"]

        assert form["email"].value() == "ann1@example.com"
        assert (form["line1"].value(), form["country"].value()) == ("1 Main St", "US")
        assert "ann1" not in url

    @pytest.mark.parametrize("number", ["", "x", "-1", "0", "²", "9" * 40])
    def test_of_nobody_begins_empty(self, manager, customer, number):
        answer = manager.get(reverse("admin:orders_paymentlink_add"), {"customer": number})

        assert answer.status_code == 200
        assert not answer.context["form"]["email"].value()

    def test_fills_in_nothing_that_may_not_be_read(self, client, customer):
        clerk = rows.make_customer(91, is_staff=True)
        for codename in ("view_paymentlink", "place_order"):
            clerk.user_permissions.add(Permission.objects.get(codename=codename))
        client.force_login(clerk)

        answer = client.get(reverse("admin:orders_paymentlink_add"), {"customer": customer.pk})

        assert not answer.context["form"]["email"].value()


class TestTheForm:
    def test_moves_neither_status_nor_tier(self, manager, customer):
        answer = manager.post(
            path_of(customer),
            {"first_name": "Ann", "last_name": "Chan", "status": "suspended", "tier": "gold"},
        )

        assert answer.status_code == 302
        customer.refresh_from_db()
        assert (customer.last_name, customer.status, customer.tier) == ("Chan", "active", "")

    def test_tells_of_a_consent_that_staff_has_heard(self, manager, customer):
        manager.post(
            path_of(customer),
            {"first_name": "Ann", "last_name": "Lee 1", "marketing_consent": "on"},
        )

        row = AuditLog.objects.get(event_type="MARKETING_CONSENT_GIVEN")
        assert (row.entity_id, row.user_id) == (customer.pk, manager.person.pk)
        fact = OutboxMessage.objects.get(fact="customer.marketing_consent_changed")
        assert fact.payload == {"customer_id": customer.pk, "marketing_consent": True}


def test_of_a_new_customer_says_that_there_is_nothing_yet(manager, customer):
    text = text_of(manager, customer)

    assert "None yet." in text
    assert "Nothing yet." in text
