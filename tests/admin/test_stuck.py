"""Everything that does not move is on one page, with why and a button; what moves is not."""

import re
from datetime import timedelta
from uuid import uuid4

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from audit.models import AuditLog, AuditVerification, Delivery, OutboxMessage, Receiver
from inventory.models import ScheduledPrice
from orders import stuck
from orders.books import alerts
from orders.models import (
    BackgroundJob,
    CheckedInvariant,
    Order,
    RefundProposal,
    Return,
    ReturnReceipt,
)
from payments.models import Dispute, Payment, ProviderEvent, ReconciliationCase, Refund
from tests.admin import rows

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


@pytest.fixture
def shop():
    """A row of everything, none of it stuck."""
    shop = rows.make_everything(1)
    now = timezone.now()
    ReconciliationCase.objects.update(resolved_at=now)
    Dispute.objects.update(status="won")
    CheckedInvariant.objects.update(checked_at=now)
    OutboxMessage.objects.update(fanned_out_at=now)
    RefundProposal.objects.update(status="withdrawn", decided_at=now)
    ScheduledPrice.objects.update(status="cancelled", ended_at=now)
    return shop


def heaps():
    return {heap.name: heap for heap in stuck.find_heaps(may_read=lambda _permission: True)}


def pend(n, **payment):
    """A pending order with its payment, an hour old, its hold not over."""
    now = timezone.now()
    order = Order.objects.create(
        order_number=f"WAIT-{n:04}",
        customer=rows.make_customer(n),
        subtotal=10,
        tax_amount=0,
        shipping_amount=0,
        total_amount=10,
        shipping_address=rows.ADDRESS,
        billing_address=rows.ADDRESS,
        hold_expires_at=now + HOUR,
    )
    row = Payment.objects.create(
        order=order,
        currency="USD",
        amount=10,
        payment_method_id="pm_card_visa",
        create_params={},
        confirm_params={},
    )
    fields = {"created_at": now - HOUR, **payment}
    Payment.objects.filter(pk=row.pk).update(**fields)
    return order


def test_a_shop_where_all_moves_has_no_heaps(shop, browser):
    assert heaps() == {}
    assert "Everything moves" in browser.get("/admin/stuck/").content.decode()
    assert "Everything moves" in browser.get("/admin/").content.decode()


class TestPayments:
    def test_in_doubt(self, shop):
        order = pend(
            2,
            status="requires_action",
            in_doubt_since=timezone.now() - HOUR,
            attempts=3,
            last_error="timeout",
        )

        (row,) = heaps()["in-doubt"].rows

        assert row.row == order
        assert row.reason == (
            "The provider has not said whether 10.00 USD were paid (asked 3 times; last: timeout)."
        )

    def test_created_and_left(self, shop):
        pend(2)
        assert heaps()["in-doubt"].count == 1

    def test_just_created_is_not_stuck(self, shop):
        pend(2, created_at=timezone.now())
        assert heaps() == {}

    def test_waiting_for_the_customer_is_not_stuck(self, shop):
        pend(2, status="requires_action")
        assert heaps() == {}

    def test_of_a_bank_is_not_stuck(self, shop):
        pend(2, status="processing", in_doubt_since=timezone.now() - HOUR)
        assert heaps() == {}

    def test_quarantined(self, shop):
        pend(2, status="quarantined", last_error="another amount")

        found = heaps()

        assert list(found) == ["quarantined"]
        assert "another amount" in found["quarantined"].rows[0].reason
        assert found["quarantined"].buttons == ("settle", "end_quarantine")

    def test_hold_that_is_over(self, shop):
        order = pend(2, status="requires_action")
        Order.objects.filter(pk=order.pk).update(hold_expires_at=timezone.now() - HOUR)

        assert list(heaps()) == ["expired-holds"]


@pytest.mark.parametrize(
    ("changes", "is_stuck"),
    [
        ({"age": timedelta(0)}, False),
        ({"age": HOUR}, True),
        ({"age": timedelta(0), "last_error": "refused: charge_disputed"}, True),
        ({"status": "pending", "age": timedelta(days=3)}, False),
        ({"status": "pending", "age": timedelta(days=11)}, True),
        ({"status": "succeeded", "stripe_refund_id": "re_1", "age": HOUR}, False),
    ],
)
def test_refunds(shop, changes, is_stuck):
    age = changes.get("age", HOUR)
    fields = {name: value for name, value in changes.items() if name != "age"}
    Refund.objects.update(created_at=timezone.now() - age, **fields)

    assert ("refunds" in heaps()) is is_stuck


class TestWhatPeopleAreToDecide:
    def test_a_refund_that_waits_for_a_second_person(self, shop, browser):
        waiting = propose(shop.order, shop.customer)

        (row,) = heaps()["proposals"].rows

        assert (row.row, row.since) == (waiting, waiting.proposed_at)
        assert row.reason == (
            "Ann Lee 1 (ann1@example.com) proposes to give 12.00 USD back for order ABCD-0001"
            " (an amount)."
        )
        assert buttons_beside(browser, "proposals") == {"approve", "refuse"}

    def test_a_strangers_charge_that_waits_for_one(self, shop):
        case = ReconciliationCase.objects.get()
        RefundProposal.objects.create(
            kind="charge", case=case, currency="USD", amount=12, proposed_by=shop.customer
        )

        assert "back for unknown pi_1 (a charge without" in heaps()["proposals"].rows[0].reason

    @pytest.mark.parametrize("status", ["approved", "refused", "withdrawn"])
    def test_one_that_was_decided_waits_for_nobody(self, shop, status):
        waiting = propose(shop.order, shop.customer)
        RefundProposal.objects.filter(pk=waiting.pk).update(
            status=status,
            decided_at=timezone.now(),
            decided_by=None if status == "withdrawn" else rows.make_customer(7),
        )

        assert heaps() == {}

    @pytest.mark.parametrize(
        ("age", "arrived", "is_stuck"),
        [
            (timedelta(days=15), 1, True),
            (timedelta(days=13), 1, False),
            (timedelta(days=15), 0, False),
        ],
    )
    def test_a_return_that_nobody_refunded(self, shop, browser, age, arrived, is_stuck):
        wish = Return.objects.create(order=shop.order, reason="broken")
        item = wish.items.create(order_item=shop.order.items.get(), quantity=1)
        ReturnReceipt.objects.create(item=item, quantity=arrived, restocked=0)
        for status in ("accepted", "received"):
            Return.objects.filter(pk=wish.pk).update(
                status=status, received_at=timezone.now() - age
            )

        found = heaps()

        assert ("returns" in found) is is_stuck
        if is_stuck:
            assert found["returns"].rows[0].row == wish
            assert "order ABCD-0001" in found["returns"].rows[0].reason
            assert buttons_beside(browser, "returns") == {"refund"}

    def test_a_return_that_is_on_its_way_is_not_stuck(self, shop):
        long_ago = timezone.now() - timedelta(days=90)
        Return.objects.update(status="accepted", decided_at=long_ago, created_at=long_ago)

        assert heaps() == {}


def propose(order, by):
    return RefundProposal.objects.create(
        kind="amount", order=order, currency="USD", amount=12, proposed_by=by
    )


def buttons_beside(browser, name):
    """Of the first row of a heap, as the page draws them."""
    shown = {
        heap.name: beside
        for heap, beside in browser.get("/admin/stuck/").context["heaps"]
        if beside
    }
    _, _, buttons = shown[name][0]
    return {button.name for button in buttons}


def test_a_case_that_is_open(shop):
    ReconciliationCase.objects.update(resolved_at=None)

    (row,) = heaps()["cases"].rows
    assert row.reason == "Unknown: not there"


def test_a_dispute_whose_evidence_is_due(shop):
    Dispute.objects.update(status="needs_response", evidence_due_at=timezone.now() + HOUR)
    assert "fraudulent" in heaps()["disputes"].rows[0].reason


@pytest.mark.parametrize(
    ("status", "age", "is_stuck"),
    [
        ("received", HOUR, True),
        ("received", timedelta(seconds=5), False),
        ("quarantined", HOUR, True),
        ("quarantined", timedelta(days=31), False),
        ("processed", HOUR, False),
        ("ignored", HOUR, False),
    ],
)
def test_webhooks(shop, status, age, is_stuck):
    ProviderEvent.objects.update(
        status=status,
        received_at=timezone.now() - age,
        processed_at=None if status == "received" else timezone.now(),
    )

    assert ("events" in heaps()) is is_stuck


def test_a_webhook_has_a_button(shop, browser):
    ProviderEvent.objects.update(
        status="quarantined", received_at=timezone.now(), processed_at=timezone.now()
    )
    assert buttons_beside(browser, "events") == {"work_off"}

    browser.post(
        reverse(
            "admin:payments_providerevent_do", args=[ProviderEvent.objects.get().pk, "work_off"]
        ),
        {"request_key": uuid4()},
    )

    assert ProviderEvent.objects.get().status == "received"


class TestScheduledPrices:
    def schedule(self, shop, *, runs=False, **fields):
        scheduled = ScheduledPrice.objects.create(
            product=shop.product, currency="USD", amount=9, **fields
        )
        if runs:
            ScheduledPrice.objects.filter(pk=scheduled.pk).update(
                status="running", applied_at=scheduled.starts_at
            )
        return scheduled

    def test_that_should_have_begun(self, shop, browser):
        scheduled = self.schedule(shop, starts_at=timezone.now() - HOUR)

        (row,) = heaps()["prices"].rows

        assert (row.row, row.since) == (scheduled, scheduled.starts_at)
        assert row.reason == "APPLE-1, 9.00 USD should have begun."
        assert buttons_beside(browser, "prices") == {"stop"}

    def test_that_should_have_ended(self, shop):
        now = timezone.now()
        scheduled = self.schedule(shop, runs=True, starts_at=now - 2 * HOUR, ends_at=now - HOUR)

        (row,) = heaps()["prices"].rows

        assert (row.row, row.since) == (scheduled, scheduled.ends_at)
        assert row.reason == "APPLE-1, 9.00 USD should have ended, and still holds."

    def test_whose_time_has_not_come_are_not_stuck(self, shop):
        now = timezone.now()
        self.schedule(shop, runs=True, starts_at=now - 2 * HOUR, ends_at=now + HOUR)
        self.schedule(shop, starts_at=now + HOUR)

        assert heaps() == {}

    def test_whose_moment_is_now_are_not_stuck(self, shop):
        self.schedule(shop, starts_at=timezone.now())

        assert heaps() == {}


@pytest.mark.parametrize(
    ("status", "age", "is_stuck"),
    [
        ("failed", timedelta(days=6), True),
        ("failed", timedelta(days=8), False),
        ("cancelled", timedelta(days=1), False),
    ],
)
def test_exports_and_imports(shop, browser, status, age, is_stuck):
    now = timezone.now()
    job = BackgroundJob.objects.create(
        kind="export", subject="orders", owner=shop.customer, request_key="k", expires_at=now
    )
    BackgroundJob.objects.filter(pk=job.pk).update(
        status=status, finished_at=now - age, error="The worker was away."
    )

    found = heaps()

    assert ("jobs" in found) is is_stuck
    if is_stuck:
        assert found["jobs"].rows[0].reason == (
            "Ann Lee 1 (ann1@example.com) asked for it: The worker was away."
        )
        assert "The worker was away." in browser.get("/admin/stuck/").content.decode()


class TestDeliveries:
    def test_given_up(self, shop):
        Delivery.objects.update(status="dead", attempts=12, last_error="SMTP is away")

        (row,) = heaps()["dead-deliveries"].rows

        assert row.row == shop.delivery
        assert row.reason == (
            "order.confirmed to email: given up (tried 12 times; last: SMTP is away)."
        )

    def test_late(self, shop):
        Delivery.objects.update(created_at=timezone.now() - HOUR)
        assert list(heaps()) == ["late-deliveries"]

    @pytest.mark.parametrize(
        ("column", "age", "reason"),
        [
            ("failing_since", HOUR, "crm takes nothing; last: CRM answered 503."),
            ("failing_since", timedelta(minutes=1), None),
            ("paused_at", 2 * HOUR, "Somebody has paused crm: is what it was paused for over?"),
            ("paused_at", timedelta(minutes=50), None),
        ],
    )
    def test_whose_receiver_takes_nothing(self, shop, column, age, reason):
        since = timezone.now() - age
        Receiver.objects.create(subscriber="crm", last_error="CRM answered 503", **{column: since})

        found = heaps()

        assert list(found) == (["silent-receivers"] if reason else [])
        if reason:
            (row,) = found["silent-receivers"].rows
            assert (row.reason, row.since) == (reason, since)

    def test_facts_nobody_was_told(self, shop):
        OutboxMessage.objects.update(fanned_out_at=None, occurred_at=timezone.now() - HOUR)
        assert list(heaps()) == ["unannounced"]


class TestTheAuditLog:
    @pytest.mark.parametrize(
        ("age", "is_stuck"), [(timedelta(minutes=6), True), (timedelta(minutes=4), False)]
    )
    def test_that_is_not_sealed(self, shop, browser, age, is_stuck):
        row = AuditLog.objects.create(event_type="X", created_at=timezone.now() - age)

        found = heaps()

        assert ("unsealed" in found) is is_stuck
        if is_stuck:
            (shown,) = found["unsealed"].rows
            assert (shown.row, shown.since) == (row, row.created_at)
            assert "wait for a seal" in shown.reason
            assert buttons_beside(browser, "unsealed") == {"seal"}

    def test_that_is_not_as_it_was_sealed(self, shop, browser):
        row = AuditVerification.objects.create(
            seconds=1,
            first_seal=1,
            seals=9,
            rows=90,
            findings=5,
            examples=[
                {"kind": "row_altered", "seal": 3, "row": 17},
                {"kind": "copy_damaged", "place": "seals-2026-11.jsonl:4"},
            ],
        )

        (shown,) = heaps()["not-as-sealed"].rows

        assert shown.row == row
        assert shown.reason == (
            "5 findings: row altered, seal 3, row 17; copy damaged, place seals-2026-11.jsonl:4."
            " docs/audit.md says what to do with each."
        )
        assert buttons_beside(browser, "not-as-sealed") == {"verify"}

    def test_that_nobody_verified_since(self, shop):
        AuditVerification.objects.update(ran_at=timezone.now() - timedelta(hours=29))

        (shown,) = heaps()["not-as-sealed"].rows

        assert shown.reason.startswith("Nobody has looked since")

    def test_that_was_found_in_order_since_is_not_stuck(self, shop):
        for findings in (5, 0):
            AuditVerification.objects.create(
                seconds=1, first_seal=1, seals=9, rows=90, findings=findings
            )

        assert heaps() == {}


class TestTheBooks:
    def test_that_do_not_balance_say_what_to_do(self, shop):
        CheckedInvariant.objects.update(violations=2, examples=["ABCD-0001"])

        (row,) = heaps()["books"].rows

        assert "ABCD-0001" in row.reason
        assert alerts.what_to_do("I5") in row.reason

    def test_that_nobody_checked(self, shop):
        CheckedInvariant.objects.update(checked_at=timezone.now() - 4 * HOUR)
        assert list(heaps()) == ["unchecked"]

    def test_compared_last_night_are_not_late(self, shop):
        CheckedInvariant.objects.update(
            invariant="I15", checked_at=timezone.now() - timedelta(hours=20)
        )
        assert heaps() == {}


def test_many_are_counted_and_the_oldest_shown(shop, browser):
    for n in range(stuck.MOST_SHOWN + 5):
        OutboxMessage.objects.create(
            fact="x",
            aggregate_type="x",
            aggregate_id=n,
            dedupe_key=f"x.{n}",
            payload={},
            occurred_at=timezone.now() - HOUR,
        )

    heap = heaps()["unannounced"]

    assert (heap.count, len(heap.rows)) == (25, 20)
    assert "The 20 that wait longest, of 25" in browser.get("/admin/stuck/").content.decode()


class TestThePage:
    def test_clears_a_stuck_delivery(self, shop, browser):
        Delivery.objects.update(status="dead", attempts=12)
        page = browser.get("/admin/stuck/").content.decode()
        action, key = re.search(
            r'action="([^"]+/do/retry/)".*?name="request_key" value="([^"]+)"', page, re.DOTALL
        ).groups()

        browser.post(action, {"request_key": key})

        shop.delivery.refresh_from_db()
        assert shop.delivery.status == "pending"

    def test_shows_what_may_be_read(self, shop, client):
        Delivery.objects.update(status="dead")
        CheckedInvariant.objects.update(violations=2)
        clerk = rows.make_customer(9)
        type(clerk).objects.filter(pk=clerk.pk).update(is_staff=True)
        client.force_login(clerk)
        assert "Everything moves" in client.get("/admin/stuck/").content.decode()

        clerk.user_permissions.add(
            Permission.objects.get(codename="view_delivery", content_type__app_label="audit")
        )

        page = client.get("/admin/stuck/").content.decode()
        assert "Deliveries given up" in page
        assert "Books that do not balance" not in page
        assert "/do/retry/" not in page

    def test_is_for_staff(self, client):
        client.force_login(rows.make_customer(1))
        assert client.get("/admin/stuck/").status_code == 302


def test_twenty_rows_ask_no_more_than_one_does(shop, browser):
    """Every row has buttons; those that do not help are not even looked at."""

    def statements():
        with CaptureQueriesContext(connection) as queries:
            browser.get("/admin/stuck/")
        return len(queries)

    pend(11, in_doubt_since=timezone.now() - HOUR)
    statements()  # what a process remembers
    of_one = statements()
    for n in range(12, 20):
        pend(n, in_doubt_since=timezone.now() - HOUR)

    assert statements() == of_one
